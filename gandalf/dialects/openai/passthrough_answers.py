"""What whole answers of OpenAI's other endpoints say: usage, failures, objects.

An answer without what its operation must have is none (``gandalf.dialects.unread``).
Source: the sections Responses, Files, Batch, Images, Audio and Moderations of
https://platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

import enum

import msgspec

from gandalf.dialects import sse
from gandalf.dialects.base import UNREADABLE, Answer, Follower
from gandalf.dialects.conversation import Failed
from gandalf.dialects.ends import bad_end, lacks
from gandalf.dialects.openai.answers import chat_answer, failure_in
from gandalf.dialects.openai.counts import MetaView, UsageView, tokens_of
from gandalf.dialects.openai.errors import failed_of, stream_error
from gandalf.dialects.openai.media import MediaStream, OpaqueStream
from gandalf.dialects.openai.passthrough import Action, PassthroughCall
from gandalf.dialects.openai.responses import ResponsesStream, ResponseView
from gandalf.dialects.openai.responses import stream_error as responses_stream_error
from gandalf.dialects.unread import Kind, kind_of, read_whole
from gandalf.domain.errors import GatewayError
from gandalf.domain.objects import SeenObject
from gandalf.domain.usage import OtherUsage, TokenUsage, add

JSON = b"application/json"
EVENTS = b"text/event-stream"
PAGE = b"text/html"

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

_RESPONSE_STATUSES = frozenset(
    {"cancelled", "completed", "failed", "in_progress", "incomplete", "queued"}
)
# Statuses of a response that may have no output, or not yet.
_WITHOUT_OUTPUT = _RESPONSE_STATUSES - {"completed", "incomplete"}
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
    if call.stream or kind == PAGE:
        # Not what was asked for, unless its first bytes say otherwise.
        return Shape.WHOLE
    return Shape.OPAQUE


def shape_by(shape: Shape, beginning: bytes) -> Shape:
    """Return the shape of an answer that begins so, whatever its label says.

    Args:
        shape: By its label; not OPAQUE, which may begin with anything.
        beginning: Its first bytes.
    """
    kind = kind_of(beginning)
    if kind is Kind.EVENTS:
        return Shape.EVENTS
    return Shape.WHOLE if kind is Kind.JSON else shape


LABELS = {Shape.EVENTS: EVENTS, Shape.WHOLE: JSON}
"""Content types of answers that came with another one."""


def wants_whole(call: PassthroughCall, shape: Shape) -> bool:
    """Return whether an answer that is a stream was asked for as a whole one.

    Of a form that says, and of an answer that is retrieved, it is not known.
    """
    asked = call.action is Action.CREATE and call.upload is None and not call.stream
    return shape is Shape.EVENTS and asked


def as_whole(call: PassthroughCall, body: bytes) -> bytes:
    """Return the response that is in the last event of a stream; b"" if none is."""
    if call.operation != "responses":
        return b""
    stream = ResponsesStream(call)
    try:
        stream.feed(body)
        stream.flush()
        data = sse.data_of(stream.ending) or b""
        return bytes(_decode_last(data).response) if not stream.unread else b""
    except (sse.EventTooLarge, *UNREADABLE):
        return b""


class _Last(msgspec.Struct):
    response: msgspec.Raw


_decode_last = msgspec.json.Decoder(_Last).decode


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
    """An answer of ``images``, ``audio``, ``moderations`` or ``rerank``."""

    data: list[msgspec.Raw] | None = None
    results: list[msgspec.Raw] | None = None
    text: str | None = None
    usage: UsageView | None = None
    svg_usage: UsageView | None = None
    meta: MetaView | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


class _File(msgspec.Struct):
    id: str = ""
    data: list[msgspec.Raw] | None = None
    """Of a list."""
    object: str = ""
    deleted: bool = False
    error: msgspec.Raw = msgspec.Raw(b"")


class _Batch(msgspec.Struct):
    id: str = ""
    data: list[msgspec.Raw] | None = None
    """Of a list."""
    object: str = ""
    status: str = ""
    model: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    usage: UsageView | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


class _Response(ResponseView):
    deleted: bool = False
    data: list[msgspec.Raw] | None = None
    """Of a list of its input."""
    input_tokens: int | None = None
    """Of a count."""


_decode_media = msgspec.json.Decoder(_Media).decode
_decode_file = msgspec.json.Decoder(_File).decode
_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_response = msgspec.json.Decoder(_Response).decode


def _response(call: PassthroughCall, body: bytes) -> Answer:
    view, unread = read_whole(body, _decode_response, _Response)
    if call.action is Action.CREATE and view.object == "chat.completion":
        # So some compatible servers answer: it passes, by the rules of its own shape.
        return chat_answer(body)
    missing = _missing_of_response(call, view)
    if missing and not (view.failed is not None and not call.background):
        failed = failure_in(body) or lacks(missing)
        return Answer(usage=None, failed=failed, unread=unread)
    if call.action in (Action.CONTENT, Action.COUNT):
        return Answer(usage=None, unread=unread)
    if view.deleted:
        call.note(SeenObject(id=call.object_id, kind="response", deleted=True))
        return Answer(usage=None, unread=unread)
    fresh = call.action is Action.CREATE
    if fresh and view.failed is not None and not call.background:
        return Answer(usage=None, failed=view.failed)
    if view.status is not None and view.status not in _RESPONSE_STATUSES:
        return Answer(usage=None, failed=bad_end(view.status), unread=unread)
    seen = view.seen(call)
    if seen is not None and (fresh or seen.id == call.object_id):
        call.note(seen)
    return Answer(
        usage=of_model(view.tokens, call, view.model),
        finish_reason=view.finish_reason,
        unread=unread,
    )


def _missing_of_response(call: PassthroughCall, view: _Response) -> str:
    """Return the name of the member that the answer lacks; "" if it has it."""
    match call.action:
        case Action.COUNT:
            return "" if view.input_tokens is not None else "input_tokens"
        case Action.CONTENT:
            return "" if view.data is not None else "data"
        case Action.CREATE:
            # A compaction has no status, and a response that failed no output.
            ended = view.status in _WITHOUT_OUTPUT
            return "" if view.output is not None or ended else "output"
    return "" if view.id or view.deleted else "id"


def _media(call: PassthroughCall, body: bytes) -> Answer:
    view, unread = read_whole(body, _decode_media, _Media)
    usage = add(tokens_of(view.usage), tokens_of(view.svg_usage))
    if usage is None and view.meta is not None:
        usage = view.meta.usage
    failed = _failed(view.error)
    if failed is None and (missing := _missing_of_media(call.operation, view)):
        failed = failure_in(body) or lacks(missing)
    return Answer(usage=usage, failed=failed, unread=unread)


def _missing_of_media(operation: str, view: _Media) -> str:
    """Return the name of the member that the answer lacks; "" if it has it."""
    match operation:
        case "images":
            return "" if view.data else "data"
        case "audio":
            return "" if view.text is not None else "text"
        case "moderations":
            return "" if view.results else "results"
    # Of rerankers some call it ``data``, and a list may be empty if none is wanted.
    return "" if view.results is not None or view.data is not None else "results"


def _file(call: PassthroughCall, body: bytes) -> Answer:
    view, unread = read_whole(body, _decode_file, _File)
    failed = None
    if view.deleted:
        call.note(SeenObject(id=call.object_id, kind="file", deleted=True))
    elif _is_about(call, view.id):
        call.note(SeenObject(id=view.id, kind="file", shown=_shown(body)))
    else:
        failed = _without_object(call, view, body)
    return Answer(usage=None, failed=failed, unread=unread)


def _batch(call: PassthroughCall, body: bytes) -> Answer:
    view, unread = read_whole(body, _decode_batch, _Batch)
    if not _is_about(call, view.id):
        failed = _without_object(call, view, body)
        return Answer(usage=None, failed=failed, unread=unread)
    under_way = view.status not in _BATCH_ENDS
    call.note(
        SeenObject(id=view.id, kind="batch", usage_due=under_way, shown=_shown(body))
    )
    for file_id in (view.output_file_id, view.error_file_id):
        if file_id:
            call.note(SeenObject(id=file_id, kind="file"))
    # While it goes on, its usage is that of a part, and told again later.
    usage = None if under_way else tokens_of(view.usage, service_tier="batch")
    usage = of_model(usage, call, view.model)
    return Answer(usage=usage, finish_reason=view.status, unread=unread)


def of_model(
    usage: TokenUsage | None, call: PassthroughCall, model: str | None
) -> TokenUsage | None:
    """Return ``usage`` with the model that the answer names, if the call names none."""
    if usage is None or call.model or not model:
        return usage
    other = msgspec.structs.replace(usage.other or OtherUsage(), model=model)
    return msgspec.structs.replace(usage, other=other)


def _without_object(
    call: PassthroughCall, view: _File | _Batch, body: bytes
) -> Failed | None:
    """Return why an answer that tells of no object of the call's is none."""
    if view.id or (call.action is Action.LIST and view.data is not None):
        return None
    return failure_in(body) or lacks("data" if call.action is Action.LIST else "id")


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
