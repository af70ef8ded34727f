"""A whole answer: what it says of itself, and from and to the neutral model.

Source: https://docs.ollama.com/api/chat and .../generate. An answer's id, which other
dialects need for each call of a tool, is optional here and missing in older servers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from gandalf.dialects.arguments import fresh_call_id, named
from gandalf.dialects.base import UNREADABLE, Answer, Call
from gandalf.dialects.conversation import (
    Choice,
    Completion,
    Failed,
    Finish,
    Media,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gandalf.dialects.ends import AnswerFailed, bad_end, lacks
from gandalf.dialects.lenient import Reader, checked
from gandalf.dialects.ollama import wire
from gandalf.dialects.ollama.errors import failed_in
from gandalf.dialects.ollama.finishes import finish_of, is_good_end, reason_of
from gandalf.dialects.ollama.images import image_of
from gandalf.dialects.ollama.wire import is_empty
from gandalf.dialects.unread import (
    read_leniently,
    read_whole,
)
from gandalf.domain.usage import TokenUsage


class MessageView(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[wire.ToolCall] | None = None
    images: list[str] | None = None


class AnswerView(msgspec.Struct):
    """An answer, or one line of a streamed one, of a chat or a generation."""

    model: str = ""
    created_at: str = ""
    message: MessageView | None = None
    response: str | None = None
    thinking: str | None = None
    tool_calls: list[wire.ToolCall] | None = None
    image: str | None = None
    done: bool | None = None
    done_reason: str | None = None
    logprobs: list[wire.TokenLogprob] | None = None
    prompt_eval_count: int | None = None
    prompt_eval_cached_count: int | None = None
    eval_count: int | None = None
    error: msgspec.Raw = wire.ABSENT
    type: Any = None
    """Of a line that is no answer; Ollama itself has none."""


class PassingView(AnswerView):
    """An answer that passes through, to any operation."""

    embeddings: msgspec.Raw = wire.ABSENT
    embedding: msgspec.Raw = wire.ABSENT


class _EndView(msgspec.Struct):
    done_reason: msgspec.Raw = wire.ABSENT


ASIDE = (
    "model",
    "created_at",
    "logprobs",
    "prompt_eval_count",
    "prompt_eval_cached_count",
    "eval_count",
    "id",
)
"""Members that hold nothing of the answer's own text; see ``lenient``."""

decode_answer = msgspec.json.Decoder(AnswerView).decode
decode_passing = msgspec.json.Decoder(PassingView).decode
read_odd_answer = Reader(AnswerView, ASIDE)
_encode = msgspec.json.Encoder().encode


def read_answer(operation: str, body: bytes) -> Answer | None:
    """Return what a whole answer says of itself; None if it is no answer at all."""
    try:
        view, unread = read_whole(body, decode_passing, PassingView)
    except UNREADABLE:
        return None
    return Answer(
        usage=tokens_of(view),
        finish_reason=view.done_reason,
        failed=failed_in(view.error) or _missing(operation, view, body),
        unread=unread,
    )


def _missing(operation: str, view: PassingView, body: bytes) -> Failed | None:
    """Return why an answer to ``operation`` is none; None if it is one."""
    if operation == "embeddings":
        return lacks("embeddings") if is_empty(view.embeddings) else None
    if operation == "legacy_embeddings":
        return lacks("embedding") if is_empty(view.embedding) else None
    if not view.done:
        return bad_end(None)
    if (failed := failed_end(view, body)) is not None:
        return failed
    if view.message is None and view.response is None:
        return lacks("message" if operation == "chat" else "response")
    return None


def failed_end(view: AnswerView, data: bytes) -> Failed | None:
    """Return the failure that the ``done_reason`` of ``data`` tells of, if any."""
    reason = view.done_reason
    if reason is None and b'"done_reason"' in data:
        # Null, or of a type that was not read.
        end = read_leniently(data, _EndView) or _EndView()
        written = bytes(end.done_reason).decode(errors="replace")
        return bad_end(written) if written not in ("", "null") else None
    return None if reason is None or is_good_end(reason) else bad_end(reason)


def tokens_of(view: AnswerView) -> TokenUsage | None:
    return wire.usage_of(
        view.prompt_eval_count, view.prompt_eval_cached_count, view.eval_count
    )


def is_without_message(view: AnswerView) -> bool:
    """Return whether ``view`` has none of the members that hold an answer."""
    return view.message is None and view.response is None and view.image is None


def message_of(view: AnswerView) -> MessageView:
    """Return the message of ``view``; that of a generation is in pieces."""
    if view.message is not None:
        return view.message
    return MessageView(
        content=view.response,
        thinking=view.thinking,
        tool_calls=view.tool_calls,
        images=[view.image] if view.image else None,
    )


# From Ollama's words.


def parse_answer(body: bytes) -> Completion:
    """Return a whole answer.

    Raises:
        UNREADABLE: It is none.
        AnswerFailed: It reports a failure.
    """
    try:
        view = decode_answer(checked(body))
    except UNREADABLE:
        view = read_odd_answer.view(body)
    if failed := failed_in(view.error):
        raise AnswerFailed(failed)
    if is_without_message(view):
        raise msgspec.ValidationError("the answer has no message")
    message = message_of(view)
    calls = calls_of(message.tool_calls or (), view.created_at, 0)
    choice = Choice(
        parts=(*_parts(message), *calls),
        finish=_finish(view, called=bool(calls)),
        logprobs=neutral_logprobs(view.logprobs),
    )
    return Completion(
        model=view.model,
        created=wire.unix_time(view.created_at),
        choices=(choice,),
        usage=tokens_of(view),
    )


def _finish(view: AnswerView, *, called: bool) -> Finish:
    finish = finish_of(view.done_reason, called=called) if view.done else None
    if finish is None:
        raise AnswerFailed(bad_end(view.done_reason))
    return finish


def _parts(message: MessageView) -> list[Part]:
    parts: list[Part] = []
    if message.thinking:
        parts.append(Thinking(text=message.thinking))
    if message.content:
        parts.append(Text(text=message.content))
    parts += map(image_of, message.images or ())
    return parts


def calls_of(
    calls: Sequence[wire.ToolCall], created_at: str, before: int
) -> list[ToolCall]:
    """Return the calls of one message, ``before`` of whose answer have come already.

    Their ``index`` is of no use: there are servers that give 0 to each.
    """
    return [
        _call_of(call, created_at, count) for count, call in enumerate(calls, before)
    ]


def _call_of(call: wire.ToolCall, created_at: str, count: int) -> ToolCall:
    name = named(call.function.name)
    arguments = wire.arguments_text(call.function.arguments)
    return ToolCall(
        id=call.id or _made_up_id(created_at, count, name, arguments),
        name=name,
        arguments=arguments,
    )


def _made_up_id(*seed: object) -> str:
    # The time of the answer keeps equal calls of two turns apart.
    if not seed[0]:
        return fresh_call_id()
    digest = hashlib.blake2b(repr(seed).encode(errors="replace"), digest_size=12)
    return f"call_{digest.hexdigest()}"


def neutral_logprobs(logprobs: list[wire.TokenLogprob] | None) -> dict[str, Any] | None:
    """Return log probabilities in OpenAI's form."""
    if not logprobs:
        return None
    return {"content": [_openai_logprob(each) for each in logprobs], "refusal": None}


def _openai_logprob(logprob: wire.TokenLogprob) -> dict[str, Any]:
    top = [_token(each) for each in logprob.top_logprobs or ()]
    return {**_token(logprob), "top_logprobs": top}


def _token(logprob: wire.TokenLogprob) -> dict[str, Any]:
    return {
        "token": logprob.token,
        "logprob": logprob.logprob,
        "bytes": logprob.bytes,
    }


# Into Ollama's words.


def render_answer(completion: Completion, call: Call) -> bytes:
    """Return the body that answers ``call``, which is of this dialect."""
    choice = completion.choices[0] if completion.choices else Choice()
    message = rendered_message(choice.parts)
    answer: dict[str, Any] = {
        "model": completion.model or call.model,
        "created_at": wire.rfc3339(completion.created),
        **placed(message, call.operation),
        "done": True,
        "done_reason": reason_of(choice.finish),
        **wire.counts_of(completion.usage),
    }
    if logprobs := own_logprobs(choice.logprobs):
        answer["logprobs"] = logprobs
    return _encode(answer)


def placed(message: dict[str, Any], operation: str) -> dict[str, Any]:
    """Return the members of an answer to ``operation`` that ``message`` goes into."""
    if operation != "generate":
        return {"message": {"role": "assistant", **message}}
    answer = {"response": message.pop("content"), **message}
    if images := answer.pop("images", None):
        answer["image"] = images[0]
    return answer


def rendered_message(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the members of an assistant's message that says ``parts``."""
    calls = [part for part in parts if isinstance(part, ToolCall)]
    rendered, failed = rendered_calls(calls)
    said = [part.text for part in parts if isinstance(part, Text | Refusal)]
    thought = [part.text for part in parts if isinstance(part, Thinking)]
    images = [
        part.data
        for part in parts
        if isinstance(part, Media) and part.kind == "image" and part.data
    ]
    message: dict[str, Any] = {"content": "".join([*said, *failed])}
    if any(thought):
        message["thinking"] = "".join(thought)
    if images:
        message["images"] = images
    if rendered:
        message["tool_calls"] = rendered
    return message


def rendered_calls(
    calls: Sequence[ToolCall],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return Ollama's form of ``calls``, and as text those that have none.

    Arguments that are no JSON object (cut off, or badly written by the model) cannot
    be said. Ollama gives such a call as the text it is, and so do we: a call without
    its arguments might be carried out.
    """
    rendered: list[dict[str, Any]] = []
    failed: list[str] = []
    for call in calls:
        arguments = wire.arguments_object(call.arguments)
        if arguments is None:
            failed.append(f"{call.name}({call.arguments})")
            continue
        function = {"index": len(rendered), "name": call.name, "arguments": arguments}
        named: dict[str, Any] = {"id": call.id} if call.id else {}
        rendered.append({**named, "function": function})
    return rendered, failed


def own_logprobs(logprobs: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - OpenAI's JSON
    """Return OpenAI's log probabilities in Ollama's form."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return [_own_logprob(each) for each in content or ()]


def _own_logprob(logprob: dict[str, Any]) -> dict[str, Any]:
    own = {
        name: logprob[name]
        for name in ("token", "logprob", "bytes")
        if logprob.get(name) is not None
    }
    if top := logprob.get("top_logprobs"):
        own["top_logprobs"] = [_own_logprob(each) for each in top]
    return own
