"""The answers of ``pairs_answers`` in the words of each upstream, whole and streamed.

``SAYS`` has one of them for each dialect. ``size`` is how many characters a piece of a
stream has.
"""

import json

from gandalf.dialects.conversation import Finish, Refusal, Text, Thinking, ToolCall
from tests.fakes import (
    anthropic_format,
    bedrock_format,
    gemini_format,
    ollama_format,
    openai_format,
)

from .pairs_answers import replace, total

_OPENAI_ENDS = {
    Finish.STOP: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "stop",
}
_ANTHROPIC_ENDS = {
    Finish.STOP: "end_turn",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.REFUSAL: "refusal",
    Finish.PAUSE: "pause_turn",
}
_GEMINI_ENDS = {
    Finish.STOP: "STOP",
    Finish.TOOL_CALLS: "STOP",
    Finish.LENGTH: "MAX_TOKENS",
    Finish.CONTENT_FILTER: "SAFETY",
}
_CONVERSE_ENDS = {
    Finish.STOP: "end_turn",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "content_filtered",
}


def _pieces(text, size):
    return [text[at : at + size] for at in range(0, len(text), size)]


class _OpenAI:
    """Thinking in ``reasoning_content``, signatures in ``extra_content``."""

    def usage(self, usage):
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "prompt_tokens_details": {
                "cached_tokens": usage.cache_read,
                "cache_write_tokens": usage.cache_write,
            },
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        }

    def call(self, part, **more):
        function = {"name": part.name, "arguments": part.arguments}
        return {
            "id": part.id,
            "type": "function",
            "function": function,
            **_extra(part.signature),
            **more,
        }

    def whole(self, answer):
        choice = answer.choices[0]
        message = {"role": "assistant", "content": None, **_extra(choice.signature)}
        for part in choice.parts:
            if isinstance(part, Thinking):
                message["reasoning_content"] = part.text
            elif isinstance(part, Text):
                message["content"] = part.text
            elif isinstance(part, Refusal):
                message["refusal"] = part.text
            else:
                message.setdefault("tool_calls", []).append(self.call(part))
        finish_reason = _OPENAI_ENDS[choice.finish]
        made = {"index": 0, "message": message, "finish_reason": finish_reason}
        return openai_format.completion(
            choices=[made], usage=self.usage(answer.usage), model=answer.model
        )

    def stream(self, answer, size):
        choice = answer.choices[0]
        chunks = [{"role": "assistant", "content": ""}]
        calls = 0
        for part in choice.parts:
            if isinstance(part, ToolCall):
                begun = self.call(replace(part, arguments=""), index=calls)
                chunks.append({"tool_calls": [begun]})
                chunks += [
                    {"tool_calls": [{"index": calls, "function": {"arguments": piece}}]}
                    for piece in _pieces(part.arguments, size)
                ]
                calls += 1
            else:
                fields = {Thinking: "reasoning_content", Text: "content"}
                field = fields.get(type(part), "refusal")
                chunks += [{field: piece} for piece in _pieces(part.text, size)]
        if choice.signature:
            chunks.append({"content": "", **_extra(choice.signature)})
        said = [self.chunk(delta, None) for delta in chunks]
        said.append(self.chunk({}, _OPENAI_ENDS[choice.finish]))
        said.append(_frame() | {"choices": [], "usage": self.usage(answer.usage)})
        compact = [json.dumps(each, separators=(",", ":")).encode() for each in said]
        return [openai_format.event(each) for each in compact] + [openai_format.DONE]

    def chunk(self, delta, reason):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _frame() | {"choices": [choice]}


def _frame():
    return {"id": "chatcmpl-1", "created": openai_format.CREATED, "model": "some-model"}


def _extra(signature):
    google = {"google": {"thought_signature": signature}}
    return {"extra_content": google} if signature else {}


class _Anthropic:
    def usage(self, usage):
        counted = {
            "input_tokens": usage.input,
            "output_tokens": usage.completion_tokens,
            "cache_read_input_tokens": usage.cache_read,
            "cache_creation_input_tokens": total(
                usage.cache_write, usage.cache_write_1h
            ),
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.cache_write,
                "ephemeral_1h_input_tokens": usage.cache_write_1h,
            },
        }
        if usage.reasoning is not None:
            counted["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
        return counted

    def block(self, part):
        if isinstance(part, Text):
            return anthropic_format.text(part.text)
        if isinstance(part, ToolCall):
            arguments = json.loads(part.arguments)
            return anthropic_format.tool_use(part.name, arguments, part.id)
        if part.redacted:
            return anthropic_format.redacted_thinking(part.redacted)
        return anthropic_format.thinking(part.text, part.signature or "")

    def _made(self, answer):
        choice = answer.choices[0]
        blocks = [self.block(part) for part in choice.parts]
        said = {
            "model": answer.model,
            "stop_reason": _ANTHROPIC_ENDS[choice.finish],
            "stop_sequence": choice.stop_sequence,
            "usage": self.usage(answer.usage),
        }
        return blocks, said

    def whole(self, answer):
        blocks, said = self._made(answer)
        return anthropic_format.message(**said, content=blocks)

    def stream(self, answer, size):
        blocks, said = self._made(answer)
        longest = max((len(json.dumps(block)) for block in blocks), default=1)
        # Without blocks the fake says what it says by itself.
        empty = blocks or [""]
        events = anthropic_format.message_events(
            *empty, **said, pieces=-(-longest // size)
        )
        # A call without arguments has no piece but the empty one.
        wordless = tuple(
            b'"index":%d,"delta":{"type":"input_json_delta"' % index
            for index, block in enumerate(blocks)
            if block.get("input") == {}
        )
        return [e for e in events if not any(begin in e for begin in wordless)]


class _Gemini:
    def usage(self, usage):
        return gemini_format.usage(
            usage.prompt_tokens,
            usage.output,
            thoughts=usage.reasoning,
            cached=usage.cache_read,
        )

    def part(self, part):
        if isinstance(part, ToolCall):
            return gemini_format.function_call(
                part.name,
                json.loads(part.arguments),
                id=part.id,
                signature=part.signature,
            )
        if isinstance(part, Thinking):
            return gemini_format.text(part.text, part.signature, thought=True)
        return gemini_format.text(part.text)

    def whole(self, answer):
        choice = answer.choices[0]
        parts = [self.part(part) for part in choice.parts]
        if choice.signature:
            parts.append(gemini_format.text("", choice.signature))
        made = gemini_format.candidate(
            *parts, finish_reason=_GEMINI_ENDS[choice.finish]
        )
        return gemini_format.body(
            gemini_format.response(
                made, usage=self.usage(answer.usage), model=answer.model
            )
        )

    def stream(self, answer, size):
        choice = answer.choices[0]
        parts = []
        for part in choice.parts:
            if isinstance(part, ToolCall):
                parts.append(self.part(part))
                continue
            pieces = _pieces(part.text, size)
            said = [replace(part, text=piece) for piece in pieces]
            if isinstance(part, Thinking):
                # The seal comes with the last piece.
                said[:-1] = [Thinking(text=piece) for piece in pieces[:-1]]
            parts += map(self.part, said)
        if choice.signature or not parts:
            parts.append(gemini_format.text("", choice.signature))
        return gemini_format.stream_events(
            *parts,
            usage=self.usage(answer.usage),
            finish_reason=_GEMINI_ENDS[choice.finish],
            model=answer.model,
        )


class _Ollama:
    def counts(self, usage):
        return ollama_format.metrics(
            usage.prompt_tokens, usage.completion_tokens, usage.cache_read
        )

    def word(self, finish):
        stopped = finish in (Finish.STOP, Finish.TOOL_CALLS)
        return "stop" if stopped else finish.value

    def calls(self, choice):
        calls = [part for part in choice.parts if isinstance(part, ToolCall)]
        return [
            ollama_format.tool_call(
                part.name, json.loads(part.arguments), id=part.id, index=place
            )
            for place, part in enumerate(calls)
        ]

    def text(self, choice, kind):
        return "".join(part.text for part in choice.parts if isinstance(part, kind))

    def whole(self, answer):
        choice = answer.choices[0]
        return ollama_format.chat(
            self.text(choice, Text),
            thinking=self.text(choice, Thinking),
            tool_calls=self.calls(choice),
            model=answer.model,
            done_reason=self.word(choice.finish),
            counts=self.counts(answer.usage),
        )

    def stream(self, answer, size):
        choice = answer.choices[0]
        return ollama_format.chat_lines(
            *(_pieces(self.text(choice, Text), size) or [""]),
            thinking=_pieces(self.text(choice, Thinking), size),
            tool_calls=self.calls(choice),
            done_reason=self.word(choice.finish),
            counts=self.counts(answer.usage),
        )


class _Converse:
    def usage(self, usage):
        counted = {
            "inputTokens": usage.input,
            "outputTokens": usage.output,
            "totalTokens": usage.total_tokens,
        }
        if usage.cache_read is not None:
            counted["cacheReadInputTokens"] = usage.cache_read
        written = total(usage.cache_write, usage.cache_write_1h)
        if written is not None:
            counted["cacheWriteInputTokens"] = written
        if usage.cache_write_1h is not None:
            details = [{"ttl": "1h", "inputTokens": usage.cache_write_1h}]
            counted["cacheDetails"] = details
        return counted

    def block(self, part):
        if isinstance(part, Text):
            return {"text": part.text}
        if isinstance(part, ToolCall):
            arguments = json.loads(part.arguments)
            use = {"toolUseId": part.id, "name": part.name, "input": arguments}
            return {"toolUse": use}
        if part.redacted:
            return {"reasoningContent": {"redactedContent": part.redacted}}
        text = {"text": part.text}
        if part.signature:
            text["signature"] = part.signature
        return {"reasoningContent": {"reasoningText": text}}

    def _made(self, answer):
        choice = answer.choices[0]
        said = {"usage": self.usage(answer.usage)}
        if choice.stop_sequence is not None:
            extra = {"stop_sequence": choice.stop_sequence}
            said["additionalModelResponseFields"] = extra
        return choice, _CONVERSE_ENDS[choice.finish], said

    def whole(self, answer):
        choice, word, said = self._made(answer)
        content = [self.block(part) for part in choice.parts]
        message = {"message": {"content": content, "role": "assistant"}}
        return bedrock_format.converse_answer(stopReason=word, output=message, **said)

    def events(self, index, part, size):
        if isinstance(part, Text):
            return bedrock_format.text_block(index, *_pieces(part.text, size))
        if isinstance(part, ToolCall):
            # Without arguments there are no pieces of any.
            said = "" if part.arguments == "{}" else part.arguments
            pieces = _pieces(said, size)
            return bedrock_format.tool_block(index, part.id, part.name, *pieces)
        if part.redacted:
            deltas = [{"redactedContent": part.redacted}]
        else:
            deltas = [{"text": piece} for piece in _pieces(part.text, size)]
        if part.signature:
            deltas.append({"signature": part.signature})
        return bedrock_format.thinking_block(index, *deltas)

    def stream(self, answer, size):
        choice, word, said = self._made(answer)
        blocks = [
            self.events(index, part, size) for index, part in enumerate(choice.parts)
        ]
        # Without blocks the fake says what it says by itself.
        return bedrock_format.converse_events(
            *(blocks or [[]]), stop_reason=word, **said
        )


SAYS = {
    "openai": _OpenAI(),
    "anthropic": _Anthropic(),
    "gemini": _Gemini(),
    "ollama": _Ollama(),
    "converse": _Converse(),
}
