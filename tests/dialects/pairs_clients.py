"""What the clients of the pairs ask, and what they have understood."""

import json

import msgspec

from gandalf.dialects.conversation import (
    Choice,
    CitationDelta,
    Finished,
    Refusal,
    RefusalDelta,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gandalf.dialects.registry import DIALECTS, UPSTREAM_DIALECTS

from .pairs_answers import CLIENT_LIMITS, in_fields, is_sealed, merged, replace

UPSTREAMS = {dialect.NAME: dialect for dialect in UPSTREAM_DIALECTS}
CLIENTS = DIALECTS

_ASKED = {"role": "user", "content": "hi"}


def a_call(client):
    """What a client asks that wants a stream and to know what it used."""
    bodies = {
        "openai": {"messages": [_ASKED], "stream_options": {"include_usage": True}},
        "anthropic": {"messages": [_ASKED], "max_tokens": 9},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        "ollama": {"messages": [_ASKED]},
    }
    body = bodies[client]
    if client == "gemini":
        return CLIENTS[client].read_call(
            "chat", json.dumps(body).encode(), "alias", stream=True
        )
    return CLIENTS[client].read_call(
        "chat", json.dumps({"model": "alias", "stream": True, **body}).encode()
    )


CALLS = {client: a_call(client) for client in CLIENTS}


def understood(client, choice):
    """What a client's dialect reads, in the one form in which all are compared."""
    choice = replace(choice, logprobs=None)
    if client == "anthropic":
        choice = _with_carried_signatures(choice)
    if in_fields in CLIENT_LIMITS[client]:
        # In a stream they come in the order in which the upstream said them.
        choice = in_fields(choice)
    return merged(choice)


def _with_carried_signatures(choice):
    """Put signatures back that travel in blocks of thinking, for want of a field.

    A client gives the blocks back as they are; see ``anthropic.parse_blocks``.
    """
    parts, of_call, of_text = [], None, choice.signature
    for part in choice.parts:
        carried = _carried(part)
        if carried.startswith("text:"):
            of_text = carried.removeprefix("text:")
        elif carried.startswith("call:"):
            of_call = carried.removeprefix("call:")
        elif isinstance(part, ToolCall) and of_call:
            parts.append(replace(part, signature=of_call))
            of_call = None
        else:
            parts.append(part)
    return replace(choice, parts=tuple(parts), signature=of_text)


def _carried(part):
    """The signature of another part, with what it belongs to; empty if it is none."""
    seal = part.signature if isinstance(part, Thinking) else None
    own = part.origin == "gemini" if seal else False
    return seal if own and seal.startswith(("text:", "call:")) else ""


def joined(events):
    """The answer that a stream's events make, and its usage."""
    parts, calls = [], {}
    finish, signature, usage = None, None, None
    for event in events:
        if isinstance(event, TextDelta):
            parts.append(Text(text=event.text))
            signature = event.signature or signature
        elif isinstance(event, RefusalDelta):
            parts.append(Refusal(event.text))
        elif isinstance(event, ThinkingDelta):
            _join_thinking(parts, event)
        elif isinstance(event, ToolCallStarted):
            assert event.call == len(calls), "calls are counted as they begin"
            calls[event.call] = len(parts)
            parts.append(
                ToolCall(
                    id=event.id,
                    name=event.name,
                    arguments="",
                    signature=event.signature,
                )
            )
        elif isinstance(event, ToolCallDelta):
            place = calls[event.call]
            more = parts[place].arguments + event.arguments
            parts[place] = replace(parts[place], arguments=more)
        elif isinstance(event, Finished):
            finish = event
        elif isinstance(event, UsageReported):
            usage = event.usage
        else:
            assert not isinstance(event, CitationDelta)
    choice = Choice(
        parts=tuple(parts),
        finish=finish and finish.finish,
        stop_sequence=finish and finish.stop_sequence,
        signature=signature,
    )
    return choice, usage


def _join_thinking(parts, event):
    last = parts[-1] if parts else None
    thought = Thinking(
        text=event.text,
        signature=event.signature,
        redacted=event.redacted,
        origin=event.origin,
    )
    goes_on = isinstance(last, Thinking) and not is_sealed(last)
    # A block that only carries another part's signature is a block of its own.
    if goes_on and not event.redacted and not _carried(thought):
        parts[-1] = replace(thought, text=last.text + event.text)
    else:
        parts.append(thought)


def comparable(choice):
    """The choice with the arguments of its calls as the JSON they are."""
    parts = [
        (part.id, part.name, json.loads(part.arguments), part.signature)
        if isinstance(part, ToolCall)
        else part
        for part in choice.parts
    ]
    return parts, choice.finish, choice.stop_sequence, choice.signature


def counts(usage):
    """The tokens by class. What Anthropic must say though nobody knows it is 0."""
    return {k: v or 0 for k, v in msgspec.structs.asdict(usage).items()}
