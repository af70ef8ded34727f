"""Whole answers: chat completions both ways, and legacy completions for the client.

Source: https://platform.openai.com/docs/api-reference/chat/object and
https://platform.openai.com/docs/api-reference/completions/object. What other
providers' models say beyond that stands in the fields of ``thinking``, and pictures in
``images``, as at OpenRouter (https://openrouter.ai/docs/features/multimodal).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from gandalf.dialects.arguments import named, text_of
from gandalf.dialects.base import UNREADABLE, Call
from gandalf.dialects.conversation import (
    Choice,
    Completion,
    Finish,
    Media,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gandalf.dialects.ends import AnswerFailed, bad_end
from gandalf.dialects.lenient import Reader, checked
from gandalf.dialects.openai import thinking
from gandalf.dialects.openai.answers import tokens_of, usage_json
from gandalf.dialects.openai.call_parser import Function, made_up_id
from gandalf.dialects.openai.calls import Call as OpenAICall
from gandalf.dialects.openai.citations import annotation_of
from gandalf.dialects.openai.compatible import ABSENT, ASIDE, is_error
from gandalf.dialects.openai.errors import failed_of
from gandalf.dialects.openai.finishes import finish_of, reason_of
from gandalf.dialects.openai.views import UsageView

Json = dict[str, Any]


class _ToolCall(msgspec.Struct):
    function: Function
    id: str | None = None
    extra_content: thinking.ExtraContent | None = None


class _ImageUrl(msgspec.Struct):
    url: str


class _Image(msgspec.Struct):
    image_url: _ImageUrl


class _Audio(msgspec.Struct):
    data: str = ""
    transcript: str = ""


class _Message(thinking.Carrier, kw_only=True):
    content: str | list[thinking.Piece] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: Function | None = None
    annotations: list[Json] | None = None
    audio: _Audio | None = None
    images: list[_Image] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    index: int = 0
    finish_reason: str | None = None
    logprobs: Any = None
    error: msgspec.Raw = ABSENT


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    created: float | None = None
    """Not every server sends a whole number."""
    usage: UsageView | None = None
    service_tier: str | None = None
    error: msgspec.Raw = ABSENT


_decode = msgspec.json.Decoder(_Answer).decode
_read = Reader(_Answer, ASIDE).view
_encode = msgspec.json.Encoder().encode


# Parsing.


def parse_answer(body: bytes) -> Completion:
    """Return a whole chat completion.

    Raises:
        UNREADABLE: It is none.
        AnswerFailed: It reports a failure.
    """
    try:
        answer = _decode(checked(body))
    except UNREADABLE:
        answer = _read(body)
    if is_error(answer.error):
        raise AnswerFailed(failed_of(bytes(answer.error)))
    if not answer.choices:
        raise msgspec.ValidationError("the answer has no choices")
    seed = answer.id or uuid.uuid4().hex[:24]
    answer.choices.sort(key=lambda choice: choice.index)
    return Completion(
        id=answer.id or "",
        model=answer.model or "",
        created=None if answer.created is None else int(answer.created),
        choices=tuple(_parsed(choice, seed) for choice in answer.choices),
        usage=tokens_of(answer.usage, answer.service_tier),
    )


def _parsed(choice: _Choice, answer_id: str) -> Choice:
    message = choice.message
    if is_error(choice.error):
        raise AnswerFailed(failed_of(bytes(choice.error)))
    seals = thinking.call_signatures(message.reasoning_details or ())
    refusal = (Refusal(message.refusal),) if message.refusal else ()
    return Choice(
        parts=(
            *thinking.thoughts_of(message),
            *_content(message),
            *refusal,
            *_media(message),
            *_calls(message, answer_id, seals),
        ),
        finish=_finish(choice.finish_reason, refused=bool(refusal)),
        signature=thinking.signature_of(message.extra_content) or seals.get(None),
        logprobs=choice.logprobs,
    )


def _finish(reason: str | None, *, refused: bool) -> Finish:
    finish = finish_of(reason or "", refused=refused)
    if finish is None:
        raise AnswerFailed(bad_end(reason))
    return finish


def _content(message: _Message) -> tuple[Text | Thinking, ...]:
    content = message.content
    if isinstance(content, list):
        return tuple(map(_piece, content))
    text = content or (message.audio.transcript if message.audio else "")
    if not text:
        return ()
    return (Text(text=text, citations=tuple(message.annotations or ())),)


def _piece(piece: thinking.Piece) -> Text | Thinking:
    thought = thinking.thought_in(piece)
    return Text(text=piece.text) if thought is None else Thinking(text=thought)


def _media(message: _Message) -> tuple[Media, ...]:
    pictures = tuple(_picture(image.image_url.url) for image in message.images or ())
    if message.audio is None:
        return pictures
    return (*pictures, Media(kind="audio", data=message.audio.data))


def _picture(url: str) -> Media:
    head, comma, data = url.partition(";base64,")
    if not comma or not head.startswith("data:"):
        return Media(kind="image", url=url)
    return Media(kind="image", media_type=head.removeprefix("data:"), data=data)


def _calls(
    message: _Message, answer_id: str, seals: dict[str | None, str]
) -> tuple[ToolCall, ...]:
    calls = list(message.tool_calls or ())
    if message.function_call is not None:
        calls.append(_ToolCall(message.function_call))
    return tuple(
        ToolCall(
            id=call.id or made_up_id(answer_id, 0, place),
            name=named(call.function.name),
            arguments=text_of(call.function.arguments) or "{}",
            signature=thinking.signature_of(call.extra_content) or seals.get(call.id),
        )
        for place, call in enumerate(calls)
    )


# Rendering.


def render_answer(completion: Completion, call: Call) -> bytes:
    """Return the body that answers ``call``."""
    legacy = call.operation == "completions"
    functions = isinstance(call, OpenAICall) and call.functions
    choices = [
        _text_choice(choice, index)
        if legacy
        else _chat_choice(choice, index, functions=functions)
        for index, choice in enumerate(completion.choices)
    ]
    usage = completion.usage
    return _encode(
        {
            "id": completion.id or new_id(legacy=legacy),
            "object": "text_completion" if legacy else "chat.completion",
            "created": completion.created or now(),
            "model": completion.model or call.model,
            "choices": choices,
            **({"usage": usage_json(usage)} if usage is not None else {}),
        }
    )


def new_id(*, legacy: bool) -> str:
    """Return an id for an answer that came without."""
    return f"{'cmpl' if legacy else 'chatcmpl'}-{uuid.uuid4().hex}"


def now() -> int:
    """Return the Unix time, for an answer that does not say when it was made."""
    return int(time.time())


def _chat_choice(choice: Choice, index: int, *, functions: bool) -> Json:
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    reason = choice.finish and reason_of(
        choice.finish, refused=refused, functions=functions
    )
    return {
        "index": index,
        "message": _message(choice, functions=functions),
        "logprobs": choice.logprobs,
        "finish_reason": reason,
    }


def _message(choice: Choice, *, functions: bool) -> Json:
    parts = choice.parts
    texts = [part.text for part in parts if isinstance(part, Text)]
    refusals = [part.text for part in parts if isinstance(part, Refusal)]
    message: Json = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) or None,
    }
    if annotations := _annotations(parts):
        message["annotations"] = annotations
    message |= _thinking(choice)
    message |= _shown(parts)
    calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
    if calls and functions:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = calls
    return message


def _annotations(parts: Sequence[Part]) -> list[Json]:
    annotations, start = [], 0
    for part in parts:
        if isinstance(part, Text):
            end = start + len(part.text)
            found = (annotation_of(each, start, end) for each in part.citations)
            annotations += [each for each in found if each is not None]
            start = end
    return annotations


def _thinking(choice: Choice) -> Json:
    thoughts = [part for part in choice.parts if isinstance(part, Thinking)]
    fields: Json = {
        "reasoning_content": "".join(thought.text for thought in thoughts),
        "thinking_blocks": thinking.blocks_of(thoughts),
        "reasoning_details": thinking.details_of(
            thoughts, choice.parts, choice.signature
        ),
    }
    if choice.signature:
        fields["extra_content"] = thinking.extra_content(choice.signature)
    return {name: value for name, value in fields.items() if value}


def _shown(parts: Sequence[Part]) -> Json:
    media = [part for part in parts if isinstance(part, Media)]
    images = [_image(part) for part in media if part.kind == "image"]
    sounds = [part for part in media if part.kind == "audio" and part.data]
    shown: Json = {"images": images} if images else {}
    if sounds:
        shown["audio"] = {
            "id": "audio",
            "data": sounds[0].data,
            "expires_at": 0,
            "transcript": "",
        }
    return shown


def _image(image: Media) -> Json:
    url = image.url or f"data:{image.media_type or 'image/png'};base64,{image.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    extra = (
        {"extra_content": thinking.extra_content(call.signature)}
        if call.signature
        else {}
    )
    return {"id": call.id, "type": "function", "function": function, **extra}


# Legacy completions.


class _Token(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Token] = []


class _Logprobs(msgspec.Struct):
    content: list[_Token]


def _text_choice(choice: Choice, index: int) -> Json:
    return {
        "text": "".join(p.text for p in choice.parts if isinstance(p, Text | Refusal)),
        "index": index,
        "logprobs": text_logprobs(choice.logprobs),
        "finish_reason": choice.finish and reason_of(choice.finish, refused=True),
    }


def text_logprobs(logprobs: object, offset: int = 0) -> Json | None:
    """Return the logprobs of a chat as a legacy completion has them.

    Args:
        logprobs: The chat's.
        offset: How much text there was before.
    """
    try:
        tokens = msgspec.convert(logprobs, _Logprobs).content
    except msgspec.ValidationError:
        return None
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {each.token: each.logprob for each in token.top_logprobs}
            for token in tokens
        ],
        "text_offset": offsets,
    }
