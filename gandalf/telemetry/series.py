"""Counters, gauges and histograms that live in plain dictionaries.

prometheus-client's own children take a lock and a Python loop over the buckets for
every observation, and double the page with ``_created`` series. These cost a
dictionary lookup, because they belong to the event loop's thread; prometheus-client
collects them and writes the page, and is imported when somebody wants one.

Label values are given as a tuple, in the order of the names. A series with more than
``limit`` different tuples counts what is new under ``other``: whatever clients send,
the page stays bounded.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric

Labels = tuple[str | int, ...]
Read = Callable[[], float]
"""Returns a value when the page is made. Must be quick and must not raise."""

OTHER = "other"
# A histogram of 16 buckets takes 18 lines for each set of label values, so the cap
# bounds one metric to some thousands of lines, which is some 20 ms to write.
MAX_SERIES = 500
MAX_HISTOGRAMS = 200


class Cell:
    """One number. Whoever counts often keeps hold of it."""

    __slots__ = ("value",)

    def __init__(self, value: float = 0.0) -> None:
        self.value = value


class Series:
    """One metric with all its label values. A ``Collector`` of prometheus-client's."""

    name: str
    label_names: tuple[str, ...]

    def collect(self) -> list[Metric]:
        """Return the present values."""
        raise NotImplementedError


class _Scalar(Series):
    """One number for each set of label values, kept here or read from its owner."""

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str] = (), *, limit: int
    ) -> None:
        self.name = name
        self.label_names = tuple(labels)
        self._help = help_text
        self._limit = limit
        self._other: Labels = (OTHER,) * len(self.label_names)
        self._cells: dict[Labels, Cell] = {} if labels else {(): Cell()}
        self._watched: dict[Labels, Read] = {}
        self._divisor = 1

    def watch(self, read: Read, labels: Labels = ()) -> None:
        """Show whatever ``read`` returns at the time of each scrape."""
        self._cells.pop(labels, None)
        self._watched[labels] = read

    def value(self, labels: Labels = ()) -> float:
        """Return the present value; 0 if there is none yet."""
        if (read := self._watched.get(labels)) is not None:
            return read()
        cell = self._cells.get(labels)
        return 0.0 if cell is None else cell.value

    def _samples(self) -> Iterator[tuple[list[str], float]]:
        for labels, cell in self._cells.items():
            yield [str(label) for label in labels], cell.value / self._divisor
        for labels, read in self._watched.items():
            yield [str(label) for label in labels], float(read())


class Counter(_Scalar):
    """A number that only grows."""

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str] = (),
        *,
        limit: int = MAX_SERIES,
        divisor: int = 1,
    ) -> None:
        """Make one; what is shown is what was added, divided by ``divisor``."""
        super().__init__(name, help_text, labels, limit=limit)
        self._divisor = divisor

    def add(self, labels: Labels = (), amount: float = 1.0) -> None:
        """Add ``amount`` to the series of ``labels``."""
        self.cell(labels).value += amount

    def cell(self, labels: Labels = ()) -> Cell:
        """Return what to add to for the series of ``labels``; it may be kept."""
        cell = self._cells.get(labels)
        if cell is None:
            if len(self._cells) >= self._limit:
                labels = self._other
            cell = self._cells.setdefault(labels, Cell())
        return cell

    def collect(self) -> list[Metric]:
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(self.name, self._help, labels=self.label_names)
        for labels, value in self._samples():
            family.add_metric(labels, value)
        return [family]


class Gauge(_Scalar):
    """A number that goes up and down."""

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str] = (),
        *,
        limit: int = MAX_SERIES,
    ) -> None:
        super().__init__(name, help_text, labels, limit=limit)
        self._read_all: Callable[[], Mapping[Labels, float]] | None = None

    def watch_all(self, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Show whatever series ``read`` returns at the time of each scrape."""
        self._read_all = read

    def set(self, value: float, labels: Labels = ()) -> None:
        """Replace the value of the series of ``labels``."""
        # No ``other`` here: of two values that share it, one would be a lie.
        if labels in self._cells or len(self._cells) < self._limit:
            self._cells[labels] = Cell(value)

    def collect(self) -> list[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily(self.name, self._help, labels=self.label_names)
        if self._read_all is not None:
            self._cells = {k: Cell(value) for k, value in self._read_all().items()}
        for labels, value in self._samples():
            family.add_metric(labels, value)
        return [family]


class Distribution:
    """What one histogram has seen: a count for each bucket, and the sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count ``value``."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Histogram(Series):
    """How often a value fell into each of a fixed set of buckets."""

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        limit: int = MAX_HISTOGRAMS,
    ) -> None:
        self.name = name
        self.label_names = tuple(labels)
        self._help = help_text
        self._bounds = tuple(buckets)
        self._limit = limit
        self._other: Labels = (OTHER,) * len(self.label_names)
        self._seen: dict[Labels, Distribution] = {}
        if not labels:
            self.distribution()

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Count ``value`` in the series of ``labels``."""
        self.distribution(labels).observe(value)

    def distribution(self, labels: Labels = ()) -> Distribution:
        """Return what counts for the series of ``labels``; it may be kept."""
        seen = self._seen.get(labels)
        if seen is None:
            if len(self._seen) >= self._limit:
                labels = self._other
            seen = self._seen.setdefault(labels, Distribution(self._bounds))
        return seen

    def count(self, labels: Labels = ()) -> int:
        """Return how many values the series of ``labels`` has seen."""
        seen = self._seen.get(labels)
        return 0 if seen is None else sum(seen.counts)

    def collect(self) -> list[Metric]:
        from prometheus_client.core import HistogramMetricFamily

        family = HistogramMetricFamily(self.name, self._help, labels=self.label_names)
        for labels, seen in self._seen.items():
            family.add_metric(
                [str(label) for label in labels], self._buckets(seen), seen.total
            )
        return [family]

    def _buckets(self, seen: Distribution) -> list[tuple[str, float]]:
        so_far = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*self._bounds, math.inf), seen.counts, strict=True):
            so_far += count
            buckets.append((_written(bound), so_far))
        return buckets


def _written(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else repr(bound)
