"""The finish reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.matrix.formats import FORMATS, PIECES, Format, Item, put
from tests.matrix.replies import Reply

from . import Case, behaviour

STREAMED = "streamed"


@behaviour("finish-missing")
def _(case: Case) -> Reply:
    return case.without_end()


@behaviour("finish-null")
def _(case: Case) -> Reply:
    return case.with_end(None)


@behaviour("finish-a-number")
def _(case: Case) -> Reply:
    return case.with_end(1)


def _reason(name: str, reasons: dict[str, str]) -> None:
    """Declare the behaviour of ending with the reason that each dialect calls so."""

    @behaviour(name, upstreams=tuple(reasons))
    def _(case: Case) -> Reply:
        return case.with_end(reasons[case.form.name])


def _declare(kind: str, of: Callable[[Format], Sequence[str]]) -> None:
    by_name: dict[str, dict[str, str]] = {}
    for form in FORMATS.values():
        for reason in of(form):
            label = reason.lower().replace("_", "-") or "empty"
            by_name.setdefault(f"finish-{kind}-{label}", {})[form.name] = reason
    for name, reasons in by_name.items():
        _reason(name, reasons)


_declare("good", lambda form: form.good_ends)
_declare("bad", lambda form: form.bad_ends)


@behaviour("finish-with-last-content", STREAMED)
def _(case: Case) -> Reply | None:
    """The last text and the finish reason in one event."""
    form = case.form
    if form.name in ("anthropic", "converse"):
        return None
    items = case.items
    at = len(case.before("finish"))
    both = items[at].put(form.piece, PIECES[-1])
    return case.stream([*items[: at - 1], both, *items[at + 1 :]])


@behaviour("finish-twice", STREAMED)
def _(case: Case) -> Reply:
    items = case.items
    at = len(case.before("finish"))
    return case.stream([*items[: at + 1], items[at], *items[at + 1 :]])


@behaviour(
    "content-after-finish",
    STREAMED,
    upstreams=("openai", "anthropic", "gemini", "converse"),
)
def _(case: Case) -> Reply:
    """Text behind the finish reason, which no client would look for."""
    items = case.items
    at = len(case.before("finish"))
    last = len(case.begun(len(PIECES))) - 1
    rest = [item for place, item in enumerate(items[:at]) if place != last]
    return case.stream([*rest, items[at], items[last], *items[at + 1 :]])


@behaviour("error-after-finish", STREAMED)
def _(case: Case) -> Reply:
    at = len(case.before("finish"))
    return case.stream([*case.items[: at + 1], case.form.error_item()])


@behaviour("finish-then-end", STREAMED)
def _(case: Case) -> Reply:
    """No end marker, and no usage: the response just ends."""
    return case.stream([*case.before("finish"), _finish(case)])


@behaviour("finish-then-cut", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([*case.before("finish"), _finish(case)], cut=True, end="close")


@behaviour("finish-then-reset", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([*case.before("finish"), _finish(case)], cut=True, end="reset")


@behaviour("finish-then-stall", STREAMED)
def _(case: Case) -> Reply:
    return case.stream([*case.before("finish"), _finish(case)], cut=True, end="stall")


@behaviour("finish-then-nonsense", STREAMED, upstreams=("openai", "anthropic"))
def _(case: Case) -> Reply:
    nonsense = Item("x", b"what?")
    return case.stream(
        [*case.before("finish"), _finish(case), nonsense, case.items[-1]]
    )


@behaviour("finish-cut-in-half", STREAMED)
def _(case: Case) -> Reply:
    half = case.form.frame(_finish(case))
    return case.stream([*case.before("finish"), half[: len(half) // 2]])


def _finish(case: Case) -> Item:
    return case.items[len(case.before("finish"))]


@behaviour("second-choice-unfinished", STREAMED, upstreams=("openai", "gemini"))
def _(case: Case) -> Reply:
    path = (case.form.item_answers[0], 0, "index")
    other = put(case.begun()[-1].data, path, 1)
    other = put(other, case.form.piece, "")
    # Another answer begins, and never ends.
    other = put(other, (*path[:2], "x_vendor"), "more")
    return case.stream(
        [*case.begun(), Item("content", _said(case, other)), *case.rest()]
    )


def _said(case: Case, data: object) -> object:
    return put(data, case.form.piece, "Aside")
