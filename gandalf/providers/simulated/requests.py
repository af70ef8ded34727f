"""What is read of a request, and what OpenAI says of a malformed one."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

TOKEN_CHARS = 4

_encode = msgspec.json.encode


class Invalid(Exception):
    """The request is at fault, and this is what OpenAI would say about it."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.body = error_body(message, "invalid_request_error", param, code)


def error_body(
    message: str, kind: str, param: str | None = None, code: str | None = None
) -> bytes:
    """Return an error body in OpenAI's shape."""
    return _encode(
        {"error": {"message": message, "type": kind, "param": param, "code": code}}
    )


Positive = Annotated[int, msgspec.Meta(ge=1)]


class Part(msgspec.Struct):
    """A piece of a message's content; only text is read."""

    type: str
    text: str = ""


class Message(msgspec.Struct):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class Function(msgspec.Struct):
    """A function that the model may call."""

    name: str
    parameters: dict[str, object] | None = None


class Tool(msgspec.Struct):
    """A tool that the model may use; only functions are."""

    type: str
    function: Function | None = None


class JsonSchema(msgspec.Struct):
    """The schema of a structured output."""

    name: str
    schema: dict[str, object] | None = None


class ResponseFormat(msgspec.Struct):
    """What the text must be."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct):
    """Whether a stream ends with the usage."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """The fields of a chat completion request that change the answer."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    stop: str | list[str] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, object] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    seed: int | None = None
    service_tier: str | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None

    @property
    def prompt_tokens(self) -> int:
        return 3 + sum(4 + count_tokens(message.text) for message in self.messages)


class EmbeddingsRequest(msgspec.Struct):
    """The fields of an embeddings request that change the answer."""

    model: str
    input: str | list[str | int | list[int]]
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] | None = None
    encoding_format: Literal["float", "base64"] | None = None

    @property
    def inputs(self) -> list[str | list[int]]:
        """What is to be embedded, one by one: texts, or texts already in tokens."""
        given = self.input
        if isinstance(given, str):
            return [given]
        tokens = [item for item in given if isinstance(item, int)]
        texts = [item for item in given if not isinstance(item, int)]
        if tokens and texts:
            raise Invalid("'input' mixes texts and tokens.", param="input")
        return [tokens] if tokens else texts


def count_tokens(text: str) -> int:
    """Return how many tokens the simulated model sees in ``text``."""
    return -(-len(text) // TOKEN_CHARS)


_chat_decoder = msgspec.json.Decoder(ChatRequest)
_embeddings_decoder = msgspec.json.Decoder(EmbeddingsRequest)
_MISSING = re.compile(r"missing required field `(\w+)`")
_PLACE = re.compile(r" - at `\$\.?(.*)`$")


def read_chat(body: bytes) -> ChatRequest:
    """Read a chat completion request.

    Raises:
        Invalid: It is not one.
    """
    try:
        request = _chat_decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _complaint(error) from error
    if request.stream_options is not None and not request.stream:
        raise Invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    return request


def read_embeddings(body: bytes) -> EmbeddingsRequest:
    """Read an embeddings request.

    Raises:
        Invalid: It is not one.
    """
    try:
        request = _embeddings_decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _complaint(error) from error
    inputs = request.inputs
    if not 0 < len(inputs) <= 2048 or not all(inputs):
        raise Invalid("'input' is empty or has too many items.", param="input")
    return request


def _complaint(error: Exception) -> Invalid:
    # A ValidationError is a DecodeError too: the more precise one comes first.
    if not isinstance(error, msgspec.ValidationError):
        return Invalid("We could not parse the JSON body of your request.")
    text = str(error)
    place = _PLACE.search(text)
    param = place.group(1) if place else ""
    if missing := _MISSING.search(text):
        param = f"{param}.{missing.group(1)}" if param else missing.group(1)
        if param == "model":
            return Invalid("you must provide a model parameter")
        return Invalid(
            f"Missing required parameter: '{param}'.",
            param=param,
            code="missing_required_parameter",
        )
    fault = _PLACE.sub("", text).replace("`", "")
    code = "invalid_type" if ", got" in fault else "invalid_value"
    return Invalid(
        f"Invalid value for '{param}': {fault[:1].lower()}{fault[1:]}.",
        param=param or None,
        code=code,
    )
