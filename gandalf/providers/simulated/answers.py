"""What the simulated model says, in OpenAI's formats. Deterministic; no I/O.

The text of an answer depends on the last message, ``seed`` and the choice's number,
and on nothing else. A token is about four characters.
"""

from __future__ import annotations

import array
import base64
import hashlib
import math
import re
import sys
import zlib
from collections.abc import Iterator, Sequence

import msgspec

from gandalf.providers.simulated.requests import (
    TOKEN_CHARS,
    ChatRequest,
    EmbeddingsRequest,
    Function,
    Invalid,
    ResponseFormat,
    count_tokens,
)
from gandalf.providers.simulated.schema import Unsatisfiable, instance

FINGERPRINT = "fp_simulated"

# Each is long enough to be split into the tokens of a very short answer.
_SAYINGS = (
    "The beacons are lit and the road is open.",
    "A staff is only as steady as the hand.",
    "Ask twice, for the first echo is the hill.",
    "Even the wise read slowly by candlelight.",
    "The grey ones are listening, as ever.",
    "All doors have a word; most have two.",
    "No spell was cast in the making of this.",
)
_SEVERAL = re.compile(r"\b(?:and|both|each|several|two|parallel)\b", re.IGNORECASE)
_NAME = re.compile(r"(?<=\w )[A-Z][\w-]*")

_encode = msgspec.json.encode


class FunctionCall(msgspec.Struct):
    """What a tool call asks for."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, kw_only=True):
    """One call of a function."""

    id: str
    type: str = "function"
    function: FunctionCall


class Choice(msgspec.Struct):
    """One answer: its text by tokens, or the calls it makes."""

    pieces: list[str]
    finish_reason: str
    calls: list[ToolCall]

    @property
    def tokens(self) -> int:
        made = (c.function.name + c.function.arguments for c in self.calls)
        return len(self.pieces) + sum(count_tokens(call) for call in made)


class Chat:
    """The answer to one chat request, to be had whole or as the events of a stream.

    Args:
        request: What was asked.
        length: Tokens of an answer, unless the request asks for less.
        number: Makes the ids; a different one for each request.
        created: Unix time in seconds.
    """

    def __init__(
        self, request: ChatRequest, *, length: int, number: int, created: int
    ) -> None:
        self._request = request
        self._id = f"chatcmpl-{number:032x}"
        self._created = created
        self._choices = [
            _choose(request, length, number, index) for index in range(request.n or 1)
        ]
        self.completion_tokens = sum(choice.tokens for choice in self._choices)

    def whole(self) -> bytes:
        """Return the body of an answer that is not streamed."""
        return _encode(
            {
                "id": self._id,
                "object": "chat.completion",
                "created": self._created,
                "model": self._request.model,
                "choices": [
                    {
                        "index": index,
                        "message": _message(choice),
                        "logprobs": None,
                        "finish_reason": choice.finish_reason,
                    }
                    for index, choice in enumerate(self._choices)
                ],
                "usage": self._usage(),
                "service_tier": self._service_tier,
                "system_fingerprint": FINGERPRINT,
            }
        )

    def stream(self) -> Iterator[tuple[int, bytes]]:
        """Yield the events as they are generated, with the tokens each cost in time.

        Choices advance side by side, as they do at OpenAI.
        """
        options = self._request.stream_options
        with_usage = options is not None and bool(options.include_usage)
        head = b"data: " + _encode(
            {
                "id": self._id,
                "object": "chat.completion.chunk",
                "created": self._created,
                "model": self._request.model,
                "service_tier": self._service_tier,
                "system_fingerprint": FINGERPRINT,
            }
        ).removesuffix(b"}")
        tail = b',"usage":null}\n\n' if with_usage else b"}\n\n"
        running = [
            (index, _deltas(choice)) for index, choice in enumerate(self._choices)
        ]
        cost = 0
        while running:
            burst = []
            for index, deltas in tuple(running):
                delta = next(deltas, None)
                if delta is None:
                    running.remove((index, deltas))
                    reason = _encode(self._choices[index].finish_reason)
                    burst.append(head + _choice(index, b"{}", reason) + tail)
                else:
                    burst.append(head + _choice(index, delta, b"null") + tail)
            yield cost if running else 0, b"".join(burst)
            cost = 1
        if with_usage:
            usage = _encode(self._usage())
            yield 0, head + b',"choices":[],"usage":' + usage + b"}\n\n"
        yield 0, b"data: [DONE]\n\n"

    @property
    def _service_tier(self) -> str:
        tier = self._request.service_tier
        return tier if tier and tier != "auto" else "default"

    def _usage(self) -> dict[str, object]:
        prompt = self._request.prompt_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.completion_tokens,
            "total_tokens": prompt + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


def _message(choice: Choice) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if choice.calls else "".join(choice.pieces),
    }
    if choice.calls:
        message["tool_calls"] = choice.calls
    return {**message, "refusal": None, "annotations": []}


def _choice(index: int, delta: bytes, finish_reason: bytes) -> bytes:
    return (
        b',"choices":[{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}]'
        % (index, delta, finish_reason)
    )


def _deltas(choice: Choice) -> Iterator[bytes]:
    if not choice.calls:
        yield b'{"role":"assistant","content":"","refusal":null}'
        for piece in choice.pieces:
            yield b'{"content":' + _encode(piece) + b"}"
        return
    yield b'{"role":"assistant","content":null,"refusal":null}'
    for index, call in enumerate(choice.calls):
        opening = {
            "index": index,
            "id": call.id,
            "type": call.type,
            "function": {"name": call.function.name, "arguments": ""},
        }
        yield _encode({"tool_calls": [opening]})
        for piece in _split(
            call.function.arguments, count_tokens(call.function.arguments)
        ):
            part = {"index": index, "function": {"arguments": piece}}
            yield _encode({"tool_calls": [part]})


def _choose(request: ChatRequest, length: int, number: int, index: int) -> Choice:
    if wanted := _wanted_calls(request):
        calls = [
            ToolCall(
                id=f"call_{(number + (index << 8) + i) % (1 << 96):024x}",
                function=FunctionCall(
                    name=function.name, arguments=_arguments(function, request, i)
                ),
            )
            for i, function in enumerate(wanted)
        ]
        return Choice(pieces=[], finish_reason="tool_calls", calls=calls)
    pieces = _speak(request, length, index)
    pieces = _stopped(pieces, request.stop)
    limit = request.max_completion_tokens or request.max_tokens
    if limit is not None and len(pieces) > limit:
        return Choice(pieces=pieces[:limit], finish_reason="length", calls=[])
    return Choice(pieces=pieces, finish_reason="stop", calls=[])


def _speak(request: ChatRequest, length: int, index: int) -> list[str]:
    last = request.messages[-1]
    asked = _asked(request)
    form = request.response_format
    if form is not None and form.type != "text":
        text = _structured(form, asked)
        return _split(text, count_tokens(text))
    variant = zlib.crc32(asked.encode()) + (request.seed or 0) + index
    if last.role == "tool":
        asked = f'The tool answered: "{last.text}"'
    elif asked:
        asked = f'You said: "{asked}"'
    return _split(_fill(asked, length * TOKEN_CHARS, variant), length)


def _asked(request: ChatRequest) -> str:
    for message in reversed(request.messages):
        if message.role == "user":
            return message.text
    return request.messages[-1].text


def _fill(echo: str, room: int, variant: int) -> str:
    text = _SAYINGS[variant % len(_SAYINGS)]
    if echo:
        text = f"{text} {echo}"
    if len(text) > room:
        return text[: room - 1] + "…"
    parts = [text]
    free = room - len(text)
    while len(more := _SAYINGS[(variant + len(parts)) % len(_SAYINGS)]) < free:
        parts.append(more)
        free -= len(more) + 1
    return " ".join(parts)


def _split(text: str, count: int) -> list[str]:
    size = len(text)
    return [text[i * size // count : (i + 1) * size // count] for i in range(count)]


def _stopped(pieces: list[str], stop: str | list[str] | None) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    text = "".join(pieces)
    found = [at for s in stops if s and (at := text.find(s)) >= 0]
    if not found:
        return pieces
    kept, left = [], min(found)
    for piece in pieces:
        if left <= 0:
            break
        kept.append(piece[:left])
        left -= len(piece)
    return kept


def _structured(form: ResponseFormat, asked: str) -> str:
    if form.type == "json_object":
        return _encode({"answer": _SAYINGS[0], "asked": asked[:200]}).decode()
    if form.json_schema is None:
        raise Invalid(
            "Missing required parameter: 'response_format.json_schema'.",
            param="response_format.json_schema",
            code="missing_required_parameter",
        )
    try:
        made = instance(form.json_schema.schema or True, _names(asked))
    except Unsatisfiable as error:
        name = form.json_schema.name
        raise Invalid(
            f"Invalid schema for response_format '{name}': {error}.",
            param="response_format",
        ) from error
    return _encode(made).decode()


# --- tools ---


def _wanted_calls(request: ChatRequest) -> list[Function]:
    functions = [t.function for t in request.tools or () if t.function is not None]
    choice = request.tool_choice
    if not functions or choice == "none" or request.messages[-1].role != "user":
        return []
    if isinstance(choice, dict) and choice.get("type") == "function":
        return [_forced(functions, choice)]
    text = request.messages[-1].text
    first = next((i for i, f in enumerate(functions) if _mentions(text, f)), 0)
    if request.parallel_tool_calls is not False and _SEVERAL.search(text):
        return [functions[first], functions[(first + 1) % len(functions)]]
    return [functions[first]]


def _forced(functions: list[Function], choice: dict[str, object]) -> Function:
    named = choice.get("function")
    name = named.get("name") if isinstance(named, dict) else None
    for function in functions:
        if function.name == name:
            return function
    raise Invalid(
        f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice"
    )


def _mentions(text: str, function: Function) -> bool:
    words = re.split(r"[_\W]+", function.name.lower())
    return any(len(word) > 3 and word in text.lower() for word in words)


def _arguments(function: Function, request: ChatRequest, variant: int) -> str:
    if not function.parameters:
        return "{}"
    names = _names(request.messages[-1].text)
    turned = names[variant % len(names) :] + names[: variant % len(names)]
    try:
        return _encode(instance(function.parameters, turned)).decode()
    except Unsatisfiable as error:
        raise Invalid(
            f"Invalid schema for function '{function.name}': {error}.",
            param="tools",
            code="invalid_function_parameters",
        ) from error


def _names(text: str) -> list[str]:
    # "the weather in Paris and Rome": the likeliest arguments are the proper names.
    return _NAME.findall(text) or ["example"]


# --- embeddings ---


def embedding(
    index: int, given: str | list[int], request: EmbeddingsRequest
) -> dict[str, object]:
    """Return one item of an embeddings answer: a unit vector made from ``given``."""
    size = request.dimensions or (3072 if "large" in request.model else 1536)
    source = given.encode() if isinstance(given, str) else repr(given).encode()
    noise = array.array("b", hashlib.shake_256(source).digest(size))
    # The half keeps every vector away from zero, whatever the noise is.
    norm = math.sqrt(sum((n + 0.5) * (n + 0.5) for n in noise))
    vector = [(n + 0.5) / norm for n in noise]
    if request.encoding_format != "base64":
        return {"object": "embedding", "index": index, "embedding": vector}
    packed = array.array("f", vector)
    if sys.byteorder == "big":
        packed.byteswap()
    text = base64.b64encode(packed.tobytes()).decode()
    return {"object": "embedding", "index": index, "embedding": text}


def embeddings_body(
    request: EmbeddingsRequest, data: Sequence[dict[str, object]]
) -> bytes:
    """Return the body of an embeddings answer."""
    tokens = sum(
        count_tokens(given) if isinstance(given, str) else len(given)
        for given in request.inputs
    )
    return _encode(
        {
            "object": "list",
            "data": data,
            "model": request.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )
