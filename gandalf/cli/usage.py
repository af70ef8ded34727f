"""Past requests and their costs, from the database."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gandalf.cli import usage_sums
from gandalf.cli.gateway import running, with_database
from gandalf.cli.output import (
    FAILED,
    MISUSED,
    OK,
    fail,
    print_fields,
    print_json,
    print_objects,
    print_table,
    printable,
    say,
    time_text,
)

if TYPE_CHECKING:
    from gandalf.storage.database import Database

_INPUT = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input")
_OUTPUT = ("output", "reasoning", "audio_output")


def recent(args: argparse.Namespace) -> int:
    """Show the latest requests, or one."""
    if (api := running(args)) is not None:
        if args.request_id is None:
            query = _query(args) | {"limit": args.limit}
            return _shown(api.call("GET", "/usage", query=query).data["data"], args)
        return _shown(api.call("GET", f"/requests/{args.request_id}").data, args)
    from gandalf.storage.requests import RequestRecords
    from gandalf.storage.usage_queries import EVERYTHING, Range, UsageQueries

    filters = usage_sums.filters_of(args)
    try:
        within = usage_sums.range_of(args)
    except ValueError as error:
        return fail(str(error), MISUSED)

    async def show(database: Database) -> int:
        records = RequestRecords(database)
        if args.request_id is None:
            if filters == EVERYTHING and within == Range():
                rows = await records.latest(args.limit)
            else:
                found = await UsageQueries(database).records(
                    filters, within, limit=args.limit
                )
                rows = await records.of([record.request_id for record in found])
            _show_records(rows, as_json=args.json)
            return OK
        record = await records.find(args.request_id)
        if record is None:
            return fail(f"no request {args.request_id!r} is on record")
        if args.json:
            _show_records([record], as_json=True)
        else:
            _show_record(record)
        return OK

    return with_database(args, show, reading=True)


def rerate(args: argparse.Namespace) -> int:
    """Compute costs again."""
    from gandalf.actors.routes import build_routes, targets_of
    from gandalf.config import ConfigError, load
    from gandalf.pricing.amounts import usd
    from gandalf.pricing.rerate import Rerater
    from gandalf.pricing.resolve import price_table
    from gandalf.storage import rerating

    prices = None
    if not args.stored:
        try:
            config = load(args.config, os.environ)
            targets = targets_of(build_routes(config))
            prices = price_table(config, targets, now=0.0, every_model=True)
        except ConfigError as error:
            return fail(str(error), MISUSED)

    async def run(database: Database) -> int:
        found = await rerating.rerate(
            database, args.since, Rerater(prices), apply=args.apply
        )
        rows = [
            [
                one.target,
                str(one.rows),
                str(one.changed),
                usd(one.before_nanousd),
                usd(one.after_nanousd),
                usd(one.after_nanousd - one.before_nanousd),
                f"{one.unknown_before} -> {one.unknown_after}",
            ]
            for one in found
        ]
        names = "TARGET ROWS CHANGED USD-BEFORE USD-AFTER DIFFERENCE UNKNOWN"
        print_table(names.split(), rows)
        say("kept" if args.apply else "nothing is changed yet; --apply keeps it")
        return OK

    return with_database(args, run, reading=not args.apply)


def summary(args: argparse.Namespace) -> int:
    """Sum usage up by bucket and group."""
    if (api := running(args)) is not None:
        query = _query(args) | {
            "period": args.period.value,
            "group_by": ",".join(args.by),
            "percentiles": args.percentiles,
        }
        answer = api.call("GET", "/usage/summary", query=query)
        return _shown(answer.data["data"], args)

    async def show(database: Database) -> int:
        try:
            await usage_sums.summary(args, database, print_table)
        except ValueError as error:
            return fail(str(error), MISUSED)
        return OK

    return with_database(args, show, reading=True)


def rebuild(args: argparse.Namespace) -> int:
    """Make the roll-ups anew."""

    async def rebuild(database: Database) -> int:
        await usage_sums.rebuild(database)
        return OK

    return with_database(args, rebuild)


def audit(args: argparse.Namespace) -> int:
    """Check that every roll-up and every balance is the sum of its records."""
    from gandalf.storage.usage import UsageTable

    async def audit(database: Database) -> int:
        try:
            right = await usage_sums.audit(args, database)
        except ValueError as error:
            return fail(str(error), MISUSED)
        found = await UsageTable(database).audit()
        if not found:
            print("every balance is the sum of its records")
            return OK if right else FAILED
        names = "BALANCE SUBJECT WINDOW SPENT RECORDS FIRST_ROW"
        rows = [
            [
                one.rule,
                one.subject or "-",
                time_text(one.window_start),
                str(one.spent),
                str(one.total),
                one.first_row or "-",
            ]
            for one in found
        ]
        print_table(names.split(), rows)
        return FAILED

    return with_database(args, audit, reading=True)


def _query(args: argparse.Namespace) -> dict[str, Any]:
    """Return the conditions of ``args`` as the admin API takes them."""
    names = (*usage_sums.TEXTS, "status")
    given = {name: getattr(args, name) for name in names}
    query: dict[str, Any] = {
        name: ",".join(map(str, values)) for name, values in given.items() if values
    }
    return query | {"since": args.since, "until": args.until, "tz": str(args.tz)}


def _shown(found: Any, args: argparse.Namespace) -> int:  # noqa: ANN401 - any JSON
    if args.json:
        print_json(found)
    elif isinstance(found, dict):
        print_fields(found)
    else:
        print_objects(found)
    return OK


def _show_records(records: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(records)
        return
    names = "TIME REQUEST KEY ALIAS PROVIDER STATUS END IN OUT SECONDS CACHE USD"
    print_table(names.split(), [_record_row(record) for record in records])


def _record_row(record: dict[str, Any]) -> list[str]:
    return [
        time_text(record["received_at"]),
        record["request_id"],
        record["key_id"] or "-",
        record["alias"] or "-",
        record["provider"] or "-",
        str(record["status"]),
        record["end_reason"],
        _tokens(record, _INPUT),
        _tokens(record, _OUTPUT),
        _seconds(record["latency_us"]),
        record["cache"],
        _usd(record["cost_nanousd"]),
    ]


def _show_record(record: dict[str, Any]) -> None:
    shown = {name: value for name, value in record.items() if name != "attempts"}
    shown["received_at"] = time_text(record["received_at"])
    width = max(map(len, shown))
    for name, value in shown.items():
        text = "-" if value in (None, "") else printable(str(value))
        print(f"{name.ljust(width)}  {text}")
    print()
    names = "ATTEMPT TARGET STARTED SECONDS STATUS OUTCOME DECISION REASON"
    rows = [
        [
            str(number),
            attempt["target"],
            _seconds(attempt["started_us"]),
            _seconds(attempt["duration_us"]),
            "-" if attempt["status"] is None else str(attempt["status"]),
            attempt["outcome"] or "-",
            attempt["decision"] or "-",
            attempt["reason"] or "-",
        ]
        for number, attempt in enumerate(record["attempts"], 1)
    ]
    print_table(names.split(), rows)


def _tokens(record: dict[str, Any], classes: Sequence[str]) -> str:
    # What was not reported is not zero.
    known = [record[f"{name}_tokens"] for name in classes]
    counts = [count for count in known if count is not None]
    return str(sum(counts)) if counts else "-"


def _usd(nano: int | None) -> str:
    from gandalf.pricing.amounts import usd

    return "-" if nano is None else usd(nano)


def _seconds(microseconds: int) -> str:
    return f"{microseconds / 1e6:.3f}"
