"""What upstreams do, by the phase of the answer in which they do it.

A behaviour is a function from a ``Case`` (an upstream dialect, whole or streamed) to the
HTTP reply of the first target; None where it cannot occur. Its name is that of its row
in ``docs/reliability.md``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.matrix.formats import PIECES, SECOND, TEXT, Format, Item, Path, drop, put
from tests.matrix.replies import Reply, Step, respond, stream

PHASES = (
    "connect",
    "headers",
    "status",
    "error_bodies",
    "whole_bodies",
    "framing",
    "before_content",
    "in_content",
    "finish",
    "end",
)


@dataclass(frozen=True)
class Case:
    """One upstream dialect, whole or streamed, and what a good answer is there."""

    form: Format
    streamed: bool

    @property
    def items(self) -> list[Item]:
        """The items of the good stream."""
        return self.form.items()

    def good(self, pieces: Sequence[str] = PIECES, **how: Any) -> Reply:
        """Return the good answer."""
        if self.streamed:
            return self.stream(self.form.items(pieces), **how)
        return self.whole(self.form.whole(pieces), **how)

    def bytes(self) -> bytes:
        """Return the body of the good answer."""
        steps = self.good().body
        return b"".join(step for step in steps if isinstance(step, bytes))

    def whole(self, body: Any, **how: Any) -> Reply:
        """Return a whole answer with ``body``."""
        return respond(body, **how)

    def stream(self, items: Sequence[Item | Step], **how: Any) -> Reply:
        """Return a stream of ``items``, bytes and waits."""
        steps = [
            self.form.frame(item) if isinstance(item, Item) else item for item in items
        ]
        how.setdefault("content_type", self.form.stream_type)
        return stream(steps, **how)

    def before(self, kind: str, items: Sequence[Item] | None = None) -> list[Item]:
        """Return the items before the first of ``kind``."""
        items = self.items if items is None else items
        at = next(at for at, item in enumerate(items) if item.kind == kind)
        return list(items[:at])

    def begun(self, contents: int = 2) -> list[Item]:
        """Return the items up to some content."""
        at = len(self.before("content"))
        return self.items[: at + contents]

    def rest(self, contents: int = 2) -> list[Item]:
        """Return the items that come after ``begun``."""
        return self.items[len(self.begun(contents)) :]

    def changed(self, kind: str, change: Callable[[Item], Item]) -> list[Item]:
        """Return the items with the first of ``kind`` changed."""
        items = self.items
        at = len(self.before(kind))
        items[at] = change(items[at])
        return items

    def with_end(self, reason: Any) -> Reply:
        """Return the answer with another finish reason."""
        form = self.form
        if not self.streamed:
            return self.whole(put(form.whole(), form.end, reason))
        return self.stream(
            self.changed("finish", lambda item: item.put(form.piece_end, reason))
        )

    def without_end(self) -> Reply:
        """Return the answer without a finish reason, but with all the rest."""
        form = self.form
        if not self.streamed:
            return self.whole(drop(form.whole(), form.end))
        return self.stream(
            self.changed("finish", lambda item: item.drop(form.piece_end))
        )

    def with_value(self, path: Path, value: Any) -> Reply:
        """Return the whole answer with ``value`` at ``path``."""
        return self.whole(put(self.form.whole(), path, value))


Make = Callable[[Case], Reply | None]


@dataclass(frozen=True)
class Behaviour:
    """One thing that an upstream does."""

    name: str
    phase: str
    make: Make
    modes: Sequence[str] = ("whole", "streamed")
    upstreams: Sequence[str] = ()
    """The dialects in which it can occur; empty: all."""
    clients: Sequence[str] = ()
    """The clients it is tried with, where it takes long; empty: all."""
    rewritten: bool = False
    """Whether even a client of the same dialect gets other bytes."""
    large: bool = False
    """Whether it sends more than the buffers of a connection hold, which takes real
    time."""
    text: str = TEXT
    """What the upstream means to say."""
    calls: tuple[tuple[str, Any], ...] = ()
    """The calls of tools that it means to make."""

    def reply(self, case: Case) -> Reply | None:
        mode = "streamed" if case.streamed else "whole"
        if mode not in self.modes:
            return None
        if self.upstreams and case.form.name not in self.upstreams:
            return None
        return self.make(case)


BEHAVIOURS: dict[str, Behaviour] = {}

SSE = ("openai", "anthropic", "gemini")


def behaviour(
    name: str, modes: str = "whole streamed", **more: Any
) -> Callable[[Make], Make]:
    """Declare the decorated function as the behaviour ``name``."""

    def declare(make: Make) -> Make:
        phase = make.__module__.rpartition(".")[2]
        assert name not in BEHAVIOURS, name
        BEHAVIOURS[name] = Behaviour(name, phase, make, tuple(modes.split()), **more)
        return make

    return declare


def second(case: Case) -> Reply:
    """Return the good answer of the second target."""
    return case.good(SECOND)


def load() -> dict[str, Behaviour]:
    """Return all behaviours by name."""
    for phase in PHASES:
        importlib.import_module(f"{__name__}.{phase}")
    return BEHAVIOURS
