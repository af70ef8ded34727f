"""What whole answers of OpenAI's other endpoints say: usage, failures, objects.

Source: the sections Responses, Files, Batch, Images, Audio and Moderations of
https://platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

import enum

import msgspec

from gandalf.dialects.base import UNREADABLE, Answer, Follower
from gandalf.dialects.conversation import Failed
from gandalf.dialects.openai.counts import MetaView, UsageView, together, tokens_of
from gandalf.dialects.openai.errors import failed_of, stream_error
from gandalf.dialects.openai.media import MediaStream, OpaqueStream
from gandalf.dialects.openai.passthrough import Action, PassthroughCall
from gandalf.dialects.openai.responses import ResponsesStream, ResponseView
from gandalf.dialects.openai.responses import stream_error as responses_stream_error
from gandalf.domain.errors import GatewayError
from gandalf.domain.objects import SeenObject

JSON = b"application/json"
EVENTS = b"text/event-stream"

# Of an object's description in a list; a batch with many errors has a longer one.
MAX_SHOWN_BYTES = 16 * 1024

# Of an upstream's header fields, those that say something of the body, beside its type.
_PASSED_HEADERS = (
    b"accept-ranges",
    b"content-disposition",
    b"content-language",
    b"content-range",
    b"etag",
    b"last-modified",
    b"openai-poll-after-ms",
    b"openai-processing-ms",
)

_BATCH_ENDS = frozenset({"failed", "completed", "expired", "cancelled"})


class Shape(enum.Enum):
    """How the body of an answer is to be dealt with."""

    WHOLE = enum.auto()
    """JSON: read whole, by ``read_answer``."""
    EVENTS = enum.auto()
    """Server-sent events: followed."""
    OPAQUE = enum.auto()
    """Anything else: followed too, to its end."""


def shape_of(call: PassthroughCall, status: int, content_type: bytes) -> Shape:
    """Return how to deal with an answer, whose status is some 2xx."""
    kind = content_type.partition(b";")[0].strip(b" \t").lower()
    if status == 204 or (call.operation == "files" and call.action is Action.CONTENT):
        # A file may be JSON and hold whatever it likes.
        return Shape.OPAQUE
    if kind == EVENTS:
        return Shape.EVENTS
    if kind == JSON or kind.endswith(b"+json") or call.operation != "audio":
        return Shape.WHOLE
    return Shape.OPAQUE


def follow(call: PassthroughCall, shape: Shape) -> Follower:
    """Return what follows the streamed answer to ``call``."""
    if shape is Shape.OPAQUE:
        return OpaqueStream()
    if call.operation == "responses":
        return ResponsesStream(call)
    return MediaStream(call.n if call.upload is None else call.upload.choices)


def passed_headers(headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Return those of an upstream's header fields that the client gets."""
    return [(name, headers[name]) for name in _PASSED_HEADERS if name in headers]


def broken_off(call: PassthroughCall, shape: Shape, error: GatewayError) -> bytes:
    """Return what tells of ``error`` in a streamed answer that has begun.

    Nothing, if what is streamed are not events: the connection's end must say it.
    """
    if shape is not Shape.EVENTS:
        return b""
    if call.operation == "responses":
        return responses_stream_error(error)
    return stream_error(error)


def read_answer(call: PassthroughCall, body: bytes) -> Answer | None:
    """Return what a whole answer says of itself; None if it is no answer at all.

    Objects that it tells of are noted with the call.
    """
    try:
        if call.operation == "responses":
            return _response(call, body)
        return _READERS.get(call.operation, _media)(call, body)
    except UNREADABLE:
        return None


class _Media(msgspec.Struct):
    usage: UsageView | None = None
    svg_usage: UsageView | None = None
    meta: MetaView | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


class _File(msgspec.Struct):
    id: str = ""
    object: str = ""
    deleted: bool = False
    error: msgspec.Raw = msgspec.Raw(b"")


class _Batch(msgspec.Struct):
    id: str = ""
    object: str = ""
    status: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None
    usage: UsageView | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


class _Response(ResponseView):
    deleted: bool = False


_decode_media = msgspec.json.Decoder(_Media).decode
_decode_file = msgspec.json.Decoder(_File).decode
_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_response = msgspec.json.Decoder(_Response).decode


def _response(call: PassthroughCall, body: bytes) -> Answer:
    view = _decode_response(body)
    if call.action in (Action.CONTENT, Action.COUNT):
        return Answer(usage=None)
    if view.deleted:
        call.note(SeenObject(id=call.object_id, kind="response", deleted=True))
        return Answer(usage=None)
    fresh = call.action is Action.CREATE
    if fresh and view.failed is not None and not call.background:
        return Answer(usage=None, failed=view.failed)
    seen = view.seen(call)
    if seen is not None and (fresh or seen.id == call.object_id):
        call.note(seen)
    return Answer(usage=tokens_of(view.usage), finish_reason=view.finish_reason)


def _media(call: PassthroughCall, body: bytes) -> Answer:
    view = _decode_media(body)
    usage = together(tokens_of(view.usage), tokens_of(view.svg_usage))
    if usage is None and view.meta is not None:
        usage = tokens_of(view.meta.tokens)
    return Answer(usage=usage, failed=_failed(view.error))


def _file(call: PassthroughCall, body: bytes) -> Answer:
    view = _decode_file(body)
    if view.deleted:
        call.note(SeenObject(id=call.object_id, kind="file", deleted=True))
    elif _is_about(call, view.id):
        call.note(SeenObject(id=view.id, kind="file", shown=_shown(body)))
    return Answer(usage=None, failed=None if view.id else _failed(view.error))


def _batch(call: PassthroughCall, body: bytes) -> Answer:
    view = _decode_batch(body)
    if not _is_about(call, view.id):
        return Answer(usage=None, failed=_failed(view.error))
    under_way = view.status not in _BATCH_ENDS
    call.note(
        SeenObject(id=view.id, kind="batch", usage_due=under_way, shown=_shown(body))
    )
    for file_id in (view.output_file_id, view.error_file_id):
        if file_id:
            call.note(SeenObject(id=file_id, kind="file"))
    # While it goes on, its usage is that of a part, and told again later.
    return Answer(
        usage=None if under_way else tokens_of(view.usage), finish_reason=view.status
    )


_READERS = {"files": _file, "batches": _batch}


def _is_about(call: PassthroughCall, object_id: str) -> bool:
    """Whether an answer tells of the object that it should tell of."""
    fresh = call.action is Action.CREATE
    return object_id != "" and (fresh or object_id == call.object_id)


def _shown(body: bytes) -> str:
    return body.decode("utf-8") if len(body) <= MAX_SHOWN_BYTES else ""


def _failed(error: msgspec.Raw) -> Failed | None:
    said = bytes(error)
    return failed_of(said) if said not in (b"", b"null") else None
