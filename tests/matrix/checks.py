"""What must hold of one request: the page's row, and what holds whatever it says."""

from __future__ import annotations

from collections.abc import Iterator

from .behaviours import Behaviour
from .clients import Client, Seen
from .formats import SAID, SECOND, SECRET
from .gateway import Outcome
from .page import NOTHING, PART, WHOLE, Place, Row
from .replies import Reply

# What the gateway may add to an answer that lacks nothing else.
_ENDINGS = (
    b"data: [DONE]\n\n",
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)


def understood(
    client: Client, outcome: Outcome, said: bytes | None = None, *, native: bool = False
) -> tuple[Seen | None, str]:
    """Return what the client has read and, in the page's words, what that is."""
    received = outcome.received
    try:
        if received.status >= 400:
            if native and received.body == said:
                message = said.decode(errors="replace")
            else:
                message = client.error(received.body)
            its_words = ", in the upstream's words" if SAID in message else ""
            return None, f"error {received.status}{its_words}"
        if not received.streamed:
            seen = client.whole(received.body)
            return seen, WHOLE if seen.ended else "a whole answer without an end"
        seen = client.stream(received.body)
    except (ValueError, KeyError, AssertionError, TypeError, AttributeError) as error:
        return None, f"what no client can read: {error!r}: {received.body[:200]!r}"
    if seen.error is None:
        if not received.complete:
            return seen, "a stream that is cut off"
        return seen, WHOLE if seen.ended else "a stream without an end"
    return seen, "a whole answer and an error" if seen.ended else PART


def problems(
    behaviour: Behaviour,
    place: Place,
    row: Row,
    client: Client,
    outcome: Outcome,
    reply: Reply,
    *,
    two: bool,
) -> Iterator[str]:
    """Yield everything that is not as it must be."""
    record, received = outcome.record, outcome.received
    seen, sees = understood(client, outcome, reply.said, native=place.native)
    moved = two and row.next_target
    text = "".join(SECOND) if moved else behaviour.text
    expected = WHOLE if moved else row.sees
    if sees != expected:
        yield f"the client sees {sees}, not {expected}"
    calls = () if moved else behaviour.calls
    yield from _lies(seen, sees, record, text, calls, native=place.native)
    if place.native and seen is not None and not (moved or behaviour.rewritten):
        yield from _altered(
            client, seen, received.body, reply, streamed=received.streamed
        )
    yield from _recorded(row, outcome, moved=moved)
    if SECRET.encode() in received.body + received.fields or SECRET in repr(record):
        yield "a secret is told"
    learned = outcome.learned.get("a/m", NOTHING)
    if learned != row.breaker:
        yield f"the breaker learns {learned}, not {row.breaker}"
    if "b/m" in outcome.learned:
        yield "the second target's breaker opened"


def _lies(seen, sees, record, text, calls, *, native) -> Iterator[str]:
    complete = record.end_reason == "complete"
    if complete and sees != WHOLE:
        yield f"complete on the record, but the client sees {sees}"
    if seen is None:
        return
    if not complete and (seen.ended or seen.marker):
        yield "an end marker, but not complete on the record"
    if seen.behind.strip():
        yield f"{seen.behind!r} after the end"
    if seen.odd and native:
        return  # The upstream's own bytes, as ``_altered`` makes sure.
    if seen.odd:
        yield f"the gateway wrote {seen.odd}"
    seen.text = _without_surrogates(seen.text)
    if sees == WHOLE and (seen.text != text or tuple(seen.calls) != calls):
        yield f"told {seen.text!r} {seen.calls}, meant {text!r} {calls}"
    if sees != WHOLE and not text.startswith(seen.text):
        yield f"told {seen.text!r}, which is not how {text!r} begins"


def _without_surrogates(text: str) -> str:
    pairs = text.encode("utf-16", "surrogatepass")
    return pairs.decode("utf-16", "replace")


def _altered(
    client: Client, seen: Seen, body: bytes, reply: Reply, *, streamed: bool
) -> Iterator[str]:
    said = reply.said
    if said is None:
        return
    # Some clients do not expect a byte order mark, so the gateway takes it out.
    said = said.removeprefix(b"\xef\xbb\xbf")
    if seen.error is not None:
        events = client.events(body)
        body = b"".join(events[:-1])
    for ending in _ENDINGS:
        body = body.removesuffix(ending)
    if client.name == "ollama" and streamed:
        said = said.replace(b"\n\n", b"\n")  # Blank lines say nothing.
    as_sent = said.startswith(body.rstrip(b"\r\n")) if streamed else body == said
    if not as_sent:
        yield f"not the upstream's bytes: {body!r}"


def _recorded(row: Row, outcome: Outcome, *, moved: bool) -> Iterator[str]:
    record = outcome.record
    targets = [attempt.target for attempt in record.attempts]
    if moved:
        if targets != ["a/m", "b/m"]:
            yield f"tried {targets}"
        if record.end_reason != "complete":
            yield f"recorded as {record.end_reason} by the second target"
    else:
        if targets != ["a/m"]:
            yield f"tried {targets}"
        if record.end_reason != row.end_reason:
            yield f"recorded as {record.end_reason}, not {row.end_reason}"
    if record.attempts and record.attempts[0].outcome != row.outcome:
        yield f"the attempt is {record.attempts[0].outcome}, not {row.outcome}"
