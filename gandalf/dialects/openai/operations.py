"""What is read natively of each operation: three tables, and who looks into them."""

from __future__ import annotations

from collections.abc import Callable

from gandalf.dialects.base import UNREADABLE, Answer, Call, Follower
from gandalf.dialects.openai import answers, calls, streams
from gandalf.dialects.refusals import refusal

CALLS: dict[str, Callable[[bytes], Call]] = {
    "chat": calls.chat_call,
    "completions": calls.completions_call,
    "embeddings": calls.embeddings_call,
}
"""They raise what msgspec raises, or BadRequest."""

FOLLOWERS: dict[str, Callable[[Call], Follower]] = {
    "chat": streams.follow_choices,
    "completions": streams.follow_choices,
}

ANSWERS: dict[str, Callable[[bytes], Answer]] = {
    "chat": answers.chat_answer,
    "completions": answers.completions_answer,
    "embeddings": answers.embeddings_answer,
}
"""They raise one of UNREADABLE if it is no answer at all."""


def read_call(
    operation: str, body: bytes, model: str = "", *, stream: bool = False
) -> Call:
    """Return what ``body`` asks for, of ``model`` if the URL names one (Azure's do).

    Raises:
        BadRequest: It is not JSON, lacks what every call has, has it in the wrong
            type, or says twice what may be said once.
    """
    try:
        if model:
            body = calls.with_model(body, model)
        return CALLS[operation](body)
    except UNREADABLE as error:
        raise refusal(error) from error


def follow(call: Call) -> Follower:
    """Return what follows the stream that answers ``call``."""
    return FOLLOWERS[call.operation](call)


def read_answer(operation: str, body: bytes) -> Answer | None:
    """Return what a whole answer says of itself; None if it is no answer at all."""
    try:
        return ANSWERS[operation](body)
    except UNREADABLE:
        return None
