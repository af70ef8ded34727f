"""``gandalf usage``: what past requests used, as tables or as JSON.

What needs the database is imported where it is used, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gandalf.domain.buckets import Period, bucket_start

if TYPE_CHECKING:
    from gandalf.storage.database import Database
    from gandalf.storage.usage_queries import Filters, Range, Sums

PrintTable = Callable[[list[str], list[list[str]]], None]

TEXTS = (
    "org_id",
    "team_id",
    "key_id",
    "user_id",
    "alias",
    "provider",
    "model",
    "operation",
    "end_reason",
    "error_code",
    "tag",
)
"""Conditions on texts, each an option: ``--org``, ``--error-code``."""
_DAYS = {Period.HOURLY: 2, Period.DAILY: 31, Period.WEEKLY: 182}


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which requests are meant."""
    for name in TEXTS:
        flag = "--" + name.removesuffix("_id").replace("_", "-")
        parser.add_argument(flag, dest=name, action="append", metavar="NAME")
    parser.add_argument("--status", type=int, action="append")
    parser.add_argument("--since", metavar="TIME", help="date or RFC 3339 time")
    parser.add_argument("--until", metavar="TIME", help="not including it")
    parser.add_argument("--tz", type=_zone, default=UTC, help="time zone (UTC)")


def add_summary(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``gandalf usage summary``."""
    add_filters(parser)
    parser.add_argument(
        "--period", type=Period, choices=list(Period), default=Period.DAILY
    )
    parser.add_argument(
        "--by",
        type=_dimensions,
        default=("model",),
        metavar="A,B",
        help=f"group by some of {', '.join(TEXTS[:-1])}, status, tags (model)",
    )
    parser.add_argument(
        "--percentiles", action="store_true", help="show p50, p95 and p99 of latency"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def filters_of(args: argparse.Namespace) -> Filters:
    """Return which requests ``args`` means."""
    from gandalf.storage.usage_queries import Filters

    given = {name: getattr(args, name) for name in Filters.__struct_fields__}
    return Filters(**{name: tuple(v) for name, v in given.items() if v})


def range_of(args: argparse.Namespace, days: int | None = None) -> Range:
    """Return the time that ``args`` means.

    Args:
        args: The command line.
        days: How many before now if it does not say. None: all.

    Raises:
        ValueError: A time is not one.
    """
    from gandalf.storage.usage_queries import Range

    since = _moment(args.since, args.tz)
    until = _moment(args.until, args.tz)
    if since is None and days is not None:
        since = (until or datetime.now(UTC)) - timedelta(days=days)
    whole = Range()
    return Range(
        whole.since if since is None else int(since.timestamp() * 1000),
        whole.until if until is None else int(until.timestamp() * 1000),
    )


async def summary(
    args: argparse.Namespace, database: Database, print_table: PrintTable
) -> None:
    """Print sums by bucket and group.

    Raises:
        ValueError: There is no such dimension to group by, or a time is not one.
    """
    from gandalf.storage.usage_queries import UsageQueries

    found = await UsageQueries(database).sums(
        filters_of(args),
        range_of(args, _DAYS.get(args.period)),
        period=args.period,
        zone=args.tz,
        group_by=args.by,
        histograms=args.percentiles,
    )
    if args.json:
        for sums in found:
            print(json.dumps(_as_object(sums, args)))
        return
    names = ["BUCKET", *(name.upper() for name in args.by)]
    names += ["REQUESTS", "ERRORS", "CACHED", "IN", "OUT", "USD", "SECONDS"]
    if args.percentiles:
        names += ["P50", "P95", "P99", "TTFT50"]
    print_table(names, [_as_row(sums, args) for sums in found])


async def rebuild(database: Database) -> None:
    """Make the roll-ups anew from the rows."""
    from gandalf.storage.usage_upkeep import UsageUpkeep

    rows = await UsageUpkeep(database).rebuild()
    print(f"roll-ups of {rows} requests were made anew")


async def audit(args: argparse.Namespace, database: Database) -> bool:
    """Print the first roll-ups that are not the sum of their rows; False if any."""
    from gandalf.storage.usage_upkeep import UsageUpkeep

    since = range_of(args).since / 1000
    found = await UsageUpkeep(database).audit(since)
    for wrong in found:
        print(
            f"{wrong.table}: series {wrong.series}, {_when(wrong.table, wrong.at)}:"
            f" {wrong.measure} is {wrong.stored}, the sum is {wrong.rows}"
        )
    if not found:
        print("every roll-up is the sum of its rows")
    return not found


def _when(table: str, at: int) -> str:
    hours = at * 24 if table == "usage_days" else at
    return bucket_start(Period.HOURLY, hours, UTC)


def _as_row(sums: Sums, args: argparse.Namespace) -> list[str]:
    from gandalf.domain import histogram

    outputs = ("output", "reasoning", "audio_output", "other_output")
    completion = sum(sums[f"{name}_tokens"] for name in outputs)
    row = [
        _bucket(sums, args),
        *(str(value) or "-" for value in sums.group),
        str(sums["requests"]),
        str(sums["errors"]),
        str(sums["cached"]),
        str(_tokens(sums) - completion),
        str(completion),
        _usd(sums["cost_nanousd"]),
        f"{sums['latency_us'] / sums['requests'] / 1e6:.3f}",
    ]
    if args.percentiles:
        ranks = histogram.quantiles(sums.latency, (0.5, 0.95, 0.99))
        ranks += histogram.quantiles(sums.ttft, (0.5,))
        row += ["-" if us is None else f"{us / 1e6:.3f}" for us in ranks]
    return row


def _as_object(sums: Sums, args: argparse.Namespace) -> dict[str, Any]:
    from gandalf.domain import histogram
    from gandalf.storage.rollups import MEASURES

    found: dict[str, Any] = {"period": args.period.value, "bucket": _bucket(sums, args)}
    found |= zip(args.by, sums.group, strict=True)
    found |= {name: sums[name] for name in MEASURES}
    if args.percentiles:
        for name, packed in (("latency", sums.latency), ("ttft", sums.ttft)):
            ranks = histogram.quantiles(packed, (0.5, 0.95, 0.99))
            found |= zip(
                (f"{name}_p50_us", f"{name}_p95_us", f"{name}_p99_us"),
                [None if us is None else round(us) for us in ranks],
                strict=True,
            )
    return found


def _bucket(sums: Sums, args: argparse.Namespace) -> str:
    if args.period is Period.TOTAL:
        return "total"
    start = bucket_start(args.period, sums.bucket, args.tz)
    return start if args.period is Period.HOURLY else start[:10]


def _tokens(sums: Sums) -> int:
    from gandalf.storage.rollups import MEASURES

    return sum(sums[name] for name in MEASURES if name.endswith("_tokens"))


def _usd(nanousd: int) -> str:
    whole, part = divmod(nanousd, 10**9)
    return f"{whole}.{part:09d}"


def _moment(text: str | None, zone: tzinfo) -> datetime | None:
    if not text:
        return None
    try:
        if len(text) == len("2026-11-01"):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=zone)
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"not a time: {text!r}; expected 2026-11-01 or 2026-11-01T08:00:00Z"
        ) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=zone)


def _zone(name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise argparse.ArgumentTypeError(f"unknown time zone {name!r}") from None


def _dimensions(text: str) -> Sequence[str]:
    return tuple(filter(None, (name.strip() for name in text.split(","))))
