"""OpenAI's other endpoints: what a request asks for, as far as we must know.

Source: https://platform.openai.com/docs/api-reference, sections Responses, Moderations,
Images, Audio, Files and Batch; ``rerank`` is Cohere's and Jina's, which vLLM and others
serve beside OpenAI's (https://docs.cohere.com/reference/rerank).

These go to upstreams of the same dialect only, byte for byte but for the model name.
The gateway reads what it governs by (the model, whether to stream, how much may come)
and which objects of the upstream's a request refers to: those tie it to one provider,
and must be the caller's own.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

import msgspec

from gandalf.dialects import json_object
from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.estimate import BYTES_PER_TOKEN, estimate_tokens
from gandalf.dialects.openai.references import few, file_references, may_refer
from gandalf.dialects.refusals import refusal
from gandalf.domain.errors import BadRequest
from gandalf.domain.objects import SeenObject

OPERATIONS = frozenset(
    {"responses", "moderations", "images", "audio", "rerank", "files", "batches"}
)

# What OpenAI takes where a request names no model.
DEFAULT_MODELS = {"moderations": "omni-moderation-latest"}

FORM_FIELDS = frozenset({"model", "n", "stream"})
"""Governed fields of form data."""

# Speech at 128 kbit/s has 16,000 bytes and gives about ten tokens a second.
AUDIO_BYTES_PER_TOKEN = 1600


class Action(enum.StrEnum):
    """What is to be done, by method and path."""

    CREATE = "create"
    LIST = "list"
    RETRIEVE = "retrieve"
    CONTENT = "content"
    """A part of an object: a file's bytes, a response's input."""
    CANCEL = "cancel"
    DELETE = "delete"
    COUNT = "count"
    """Tokens, without using any."""


KINDS = {"responses": "response", "files": "file", "batches": "batch"}
"""What the objects of an operation are called in the table of objects."""


class Upload(Protocol):
    """A body that is passed on while it arrives, once the model in it is known."""

    length: int | None
    """Bytes that ``receive`` returns in all; None if nobody knows."""
    begun: bool
    """Whether any of it has been taken, so that it cannot be sent again."""

    @property
    def whole(self) -> bool:
        """Whether all of it has come, so that ``receive`` has nothing to add."""

    @property
    def choices(self) -> int:
        """How many answers the form asks for, as far as it has come."""

    def opening_for(self, model: str) -> bytes:
        """Return what comes before, asking for ``model``."""

    async def receive(self) -> bytes:
        """Return the next bytes, waiting for some; b"" at the end."""


class PassthroughCall(BaseCall, kw_only=True):
    """A call that is passed on as it is, to an upstream of the same dialect.

    ``model`` is empty if the request names none: then it goes where an object is, or
    to the provider that is chosen for such objects.
    """

    action: Action = Action.CREATE
    members: dict[str, json_object.Span] = msgspec.field(default_factory=dict)
    object_id: str = ""
    """The object that the URL names."""
    references: tuple[str, ...] = ()
    """Objects that the body refers to."""
    background: bool = False
    """Whether the answer is made after the request is over."""
    stored: bool = True
    """Whether the upstream keeps what it makes."""
    content_type: bytes = b"application/json"
    """Of the body; empty if there is none."""
    upload: Upload | None = None
    """The body, if not all of it is there yet."""
    on_object: Callable[[SeenObject], None] | None = None
    """Told of each object as soon as an answer tells of it."""
    announced: bool = False
    """Whether an answer has told of an object that is still under way."""
    usage_counts: bool | None = None
    """Whether the usage that the answer tells of is to be accounted for. None: as
    usual, if the call makes something."""

    @property
    def replayable(self) -> bool:
        """Whether it can be sent to another target after one has failed."""
        return self.upload is None or not self.upload.begun

    @property
    def rest(self) -> Upload | None:
        """What follows ``body_for``; None if that is all."""
        return None if self.upload is None or self.upload.whole else self.upload

    def body_for(self, model: str) -> bytes:
        """Return the body, or what comes before ``rest``, asking for ``model``.

        Raises:
            BadRequest: It has been sent in part, and what was sent is gone.
        """
        if self.upload is not None:
            if self.upload.begun:
                raise BadRequest("the upload cannot be sent again", code="upload_gone")
            return self.upload.opening_for(model)
        if model == self.model or not self.model:
            return self.body
        found = self.members.get("model")
        if found is None:
            start = self.body.index(b"{") + 1
            empty = self.body[start:].lstrip(b" \t\r\n").startswith(b"}")
            name = b'"model":%b%b' % (
                msgspec.json.encode(model),
                b"" if empty else b",",
            )
            return json_object.splice(
                self.body, [(json_object.Span(start, start), name)]
            )
        end = json_object.value_end(self.body, found.start)
        span = json_object.Span(found.start, end)
        return json_object.splice(self.body, [(span, msgspec.json.encode(model))])

    def note(self, seen: SeenObject) -> None:
        """Pass on what an answer tells of an object."""
        if self.on_object is not None:
            self.on_object(seen)


class _View(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    n: int | None = None
    background: bool | None = None
    store: bool | None = None
    max_output_tokens: int | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw = msgspec.Raw(b"")
    prompt: msgspec.Raw = msgspec.Raw(b"")
    input: msgspec.Raw = msgspec.Raw(b"")
    instructions: msgspec.Raw = msgspec.Raw(b"")
    tools: msgspec.Raw = msgspec.Raw(b"")
    query: msgspec.Raw = msgspec.Raw(b"")
    documents: msgspec.Raw = msgspec.Raw(b"")
    stream_format: str | None = None
    input_file_id: str | None = None


class _Conversation(msgspec.Struct):
    id: str


_GOVERNED = {
    "responses": json_object.Governed(
        "model",
        "stream",
        "background",
        "store",
        "max_output_tokens",
        "previous_response_id",
        "conversation",
        "input",
        "tools",
    ),
    "moderations": json_object.Governed("model", "input"),
    "images": json_object.Governed("model", "stream", "n", "prompt"),
    "audio": json_object.Governed("model", "stream_format", "input"),
    "rerank": json_object.Governed("model", "query", "documents"),
    "batches": json_object.Governed("input_file_id", "endpoint"),
}

_decode = msgspec.json.Decoder(_View).decode
_decode_any = msgspec.json.Decoder().decode
_decode_conversation = msgspec.json.Decoder(str | _Conversation | None).decode


def read_call(
    operation: str, body: bytes, path: bytes = b"", method: bytes = b"POST"
) -> PassthroughCall:
    """Return what a request without an upload asks for.

    Args:
        operation: One of ``OPERATIONS``.
        body: As it arrived.
        path: Where below the base URL.
        method: Of the request.

    Raises:
        BadRequest: The body cannot be read, or governs itself twice.
    """
    action, object_id = read_path(method, path)
    if object_id or action is Action.LIST:
        return PassthroughCall(
            operation=operation,
            model="",
            body=body,
            action=action,
            object_id=object_id,
            stream=False,
            content_type=b"application/json" if body else b"",
        )
    try:
        call = _json_call(operation, body)
    except UNREADABLE as error:
        raise refusal(error) from error
    call.action = action
    return call


def read_form(
    operation: str, model: str, upload: Upload, content_type: bytes
) -> PassthroughCall:
    """Return the call of a request whose body is form data that is still arriving.

    Args:
        operation: One of ``OPERATIONS``.
        model: From the form; empty if such a form names none (files).
        upload: The body: what ``PassthroughCall.upload`` is.
        content_type: The request's.
    """
    estimate = 0
    if operation == "audio" and upload.length is not None:
        estimate = upload.length // AUDIO_BYTES_PER_TOKEN
    return PassthroughCall(
        operation=operation,
        model=model,
        body=b"",
        upload=upload,
        content_type=content_type,
        estimated_tokens=estimate,
    )


def read_path(method: bytes, path: bytes) -> tuple[Action, str]:
    """Return what ``path`` asks for, and the object that it names."""
    _, collection, *rest = path.decode("ascii", "replace").split("/")
    if collection not in KINDS:
        return Action.CREATE, ""
    if not rest:
        return (Action.LIST if method == b"GET" else Action.CREATE), ""
    if collection == "responses" and rest == ["input_tokens"] and method == b"POST":
        return Action.COUNT, ""
    if collection == "responses" and rest == ["compact"] and method == b"POST":
        return Action.CREATE, ""
    if rest[1:] == ["cancel"]:
        return Action.CANCEL, rest[0]
    if rest[1:]:
        return Action.CONTENT, rest[0]
    return (Action.DELETE if method == b"DELETE" else Action.RETRIEVE), rest[0]


def _json_call(operation: str, body: bytes) -> PassthroughCall:
    view = _decode(body)
    members = _GOVERNED[operation].members(body)
    if view.model is None:
        members.pop("model", None)  # Such a name may stand deeper in the body.
    if operation == "batches":
        return _batch(view, body)
    model = view.model if view.model is not None else DEFAULT_MODELS.get(operation)
    if not model:
        why = "model is empty" if model == "" else "the request names no model"
        raise BadRequest(why, param="model")
    return PassthroughCall(
        operation=operation,
        model=model,
        body=body,
        members=members,
        stream=bool(view.stream) or view.stream_format == "sse",
        n=view.n or 1,
        background=bool(view.background),
        stored=view.store is not False,
        max_tokens=view.max_output_tokens,
        references=_references(operation, view, body),
        estimated_tokens=_estimate(view),
    )


def _batch(view: _View, body: bytes) -> PassthroughCall:
    if not view.input_file_id:
        raise BadRequest("input_file_id is missing", param="input_file_id")
    return PassthroughCall(
        operation="batches", model="", body=body, references=(view.input_file_id,)
    )


def _estimate(view: _View) -> int:
    spent = [view.input, view.prompt, view.query, view.documents]
    said = sum(estimate_tokens(text) for text in spent if text)
    return said + (len(view.instructions) + len(view.tools)) // BYTES_PER_TOKEN


# References.


def _references(operation: str, view: _View, body: bytes) -> tuple[str, ...]:
    found: dict[str, None] = {}
    if view.previous_response_id:
        found[view.previous_response_id] = None
    if view.conversation:
        conversation = _decode_conversation(view.conversation)
        if conversation:
            held = conversation if isinstance(conversation, str) else conversation.id
            found[held] = None
    if operation in ("responses", "images") and may_refer(body):
        found |= dict.fromkeys(file_references(_decode_any(body)))
    return few(found)
