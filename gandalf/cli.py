"""The command line. Each command imports what it needs, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandalf import __version__, usage_commands

if TYPE_CHECKING:
    from gandalf.domain.keys import StoredKey
    from gandalf.pricing.price import Price
    from gandalf.pricing.price_list import PriceList
    from gandalf.storage.database import Database

DEFAULT_CONFIG = Path("configs/gandalf.yaml")
ROLES = ("admin", "member", "viewer", "service_account")

_INPUT = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input")
_OUTPUT = ("output", "reasoning", "audio_output")

_WEEKDAYS = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)

# A prefix shorter than this may mean another key than the one thought of.
SHORTEST_PREFIX = 8

OK = 0
FAILED = 1
MISUSED = 2
"""As of argparse: the command line, or the configuration file, is wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` and return the exit status."""
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output (``| head``) has had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gandalf", description="An LLM gateway.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"gandalf {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        group: argparse._SubParsersAction[argparse.ArgumentParser],
        name: str,
        run: Callable[[argparse.Namespace], int],
        text: str,
    ) -> argparse.ArgumentParser:
        added = group.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(run=run)
        added.add_argument(
            "--config",
            type=Path,
            default=DEFAULT_CONFIG,
            metavar="FILE",
            help=f"configuration file (default: {DEFAULT_CONFIG})",
        )
        return added

    command(commands, "serve", _serve, "Run the gateway.")
    command(commands, "check", _check, "Tell whether a configuration file is valid.")

    prices = command(
        commands, "prices", _prices, "Show what each target costs, and why."
    )
    prices.add_argument("alias", nargs="?", metavar="ALIAS", help="of one route only")
    prices.add_argument("--json", action="store_true", help="one JSON object a line")
    prices.add_argument(
        "--vendors", action="store_true", help="the vendors of the price list instead"
    )

    keys = commands.add_parser("keys", help="Make, list and revoke API keys.")
    actions = keys.add_subparsers(metavar="ACTION", required=True)
    create = command(
        actions, "create", _create_key, "Make a key; it is shown this once, on stdout."
    )
    create.add_argument("--name", default="", help="what the key is for")
    create.add_argument("--org", default="default", help="organization (default)")
    create.add_argument("--role", choices=ROLES, default="member", help="(member)")
    create.add_argument(
        "--models", default="", help="allowed models: a,b,c* (default: every model)"
    )
    create.add_argument("--rpm", type=_count, help="requests per minute; 0: unlimited")
    create.add_argument("--tpm", type=_count, help="tokens per minute; 0: unlimited")
    create.add_argument("--max-budget", metavar="USD", help="lifetime budget")
    create.add_argument("--tags", default="", help="tags of its requests: a,b")
    create.add_argument(
        "--expires-in", type=_duration, metavar="TIME", help="such as 12h or 90d"
    )
    command(actions, "list", _list_keys, "List the keys of the database.")
    revoke = command(
        actions, "revoke", _revoke_key, "Block a key, within a second and for good."
    )
    revoke.add_argument("key", metavar="ID_OR_PREFIX", help="as listed")

    budgets = commands.add_parser("budgets", help="List and raise budgets.")
    budget_actions = budgets.add_subparsers(metavar="ACTION", required=True)
    command(
        budget_actions, "list", _list_budgets, "Show what budgets have spent so far."
    )
    more = command(
        budget_actions,
        "raise",
        _raise_budget,
        "Raise a budget for a time; a running gateway knows it in a second.",
    )
    more.add_argument("budget", metavar="NAME", help="as in the configuration")
    more.add_argument("amount", metavar="AMOUNT", help="such as +20, in its unit")
    more.add_argument(
        "--until",
        required=True,
        metavar="WHEN",
        help="2026-06-05 or friday (to their end), or 2026-06-05T18:00",
    )
    more.add_argument(
        "--id", default="", help="the key, user, team, ... (default: each of them)"
    )

    usage = command(commands, "usage", _usage, "Show what past requests used.")
    usage.add_argument("--limit", type=_count, default=20, help="how many (20)")
    usage.add_argument("--request-id", metavar="ID", help="one request, in detail")
    usage.add_argument("--json", action="store_true", help="one JSON object a line")
    usage_commands.add_filters(usage)
    actions = usage.add_subparsers(metavar="ACTION", required=False)
    summary = command(
        actions, "summary", _usage_summary, "Sum usage up by bucket and group."
    )
    usage_commands.add_summary(summary)
    command(
        actions,
        "rebuild",
        _rebuild_usage,
        "Make the roll-ups anew from the rows. Meanwhile a running gateway keeps its"
        " records in its journal.",
    )
    audit = command(
        actions,
        "audit",
        _audit_usage,
        "Check that every roll-up and every balance is the sum of its records.",
    )
    usage_commands.add_filters(audit)
    rerate = command(
        actions,
        "rerate",
        _rerate,
        "Compute the costs of past requests again, and show what differs.",
    )
    rerate.add_argument(
        "--since",
        type=_moment,
        required=True,
        metavar="TIME",
        help="2026-12-01[T08:00]",
    )
    rerate.add_argument(
        "--stored",
        action="store_true",
        help="by the unit prices that records keep, not by those of the configuration",
    )
    rerate.add_argument("--apply", action="store_true", help="keep the new costs")
    return parser


def _serve(args: argparse.Namespace) -> int:
    from gandalf import app

    return app.main(args.config)


def _check(args: argparse.Namespace) -> int:
    from gandalf.actors.routes import build_routes, targets_of
    from gandalf.config import ConfigError, load
    from gandalf.pricing.resolve import price_targets

    try:
        config = load(args.config, os.environ)
        price_targets(config, targets_of(build_routes(config)))
    except ConfigError as error:
        return _fail(str(error), MISUSED)
    counts = (
        f"{len(things)} {name}{'s' * (len(things) != 1)}"
        for things, name in (
            (config.providers, "provider"),
            (config.routes, "route"),
            (config.keys, "key"),
        )
    )
    print(f"{args.config}: valid ({', '.join(counts)})")
    return OK


def _prices(args: argparse.Namespace) -> int:
    from gandalf.actors.routes import build_routes, targets_of
    from gandalf.config import ConfigError, load
    from gandalf.pricing.price_list import PriceList
    from gandalf.pricing.resolve import price_targets

    try:
        config = load(args.config, os.environ)
        if args.vendors:
            _show_vendors(PriceList(config.prices.file))
            return OK
        routes = build_routes(config)
        if args.alias is not None and args.alias not in routes:
            return _fail(f"there is no route {args.alias!r}")
        found = price_targets(config, targets_of(routes), now=_now())
    except ConfigError as error:
        return _fail(str(error), MISUSED)
    shown = [
        (alias, found[target.name])
        for alias, route in sorted(routes.items())
        for target in route.targets
        if args.alias in (None, alias)
    ]
    _show_prices(shown, as_json=args.json)
    return OK


def _show_vendors(prices: PriceList) -> None:
    rows = [[name, str(count)] for name, count in sorted(prices.vendors.items())]
    _print_table(["VENDOR", "MODELS"], rows)


def _show_prices(prices: list[tuple[str, Price]], *, as_json: bool) -> None:
    import json

    from gandalf.pricing.describe import describe, units

    if as_json:
        for alias, price in prices:
            print(json.dumps({"alias": alias} | describe(price)))
        return
    now, rows = _now(), []
    for alias, price in prices:
        rates = price.rates(0, now)
        usd = {} if rates is None else units(rates.prices)
        rest = [f"{u}={p}" for u, p in usd.items() if u not in ("input", "output")]
        sent, made = usd.get("input", "-"), usd.get("output", "-")
        row = [alias, price.target, price.match, price.entry or "-"]
        rows.append([*row, sent, made, " ".join(rest) or "-"])
    names = "ALIAS TARGET MATCH ENTRY INPUT OUTPUT OTHER"
    _print_table(names.split(), rows)


def _create_key(args: argparse.Namespace) -> int:
    import time

    from gandalf.domain.budgets import TAG, Unit, parse_amount, tag_values
    from gandalf.domain.identity import Role
    from gandalf.domain.ids import new_id
    from gandalf.domain.keys import StoredKey, hash_key, new_key, shown_prefix
    from gandalf.storage.keys import KeyStore

    secret, now = new_key(), time.time()
    models = tuple(filter(None, (name.strip() for name in args.models.split(","))))
    if args.models and not models:
        # Not the same as naming none, which would allow all.
        return _fail("--models names no model", MISUSED)
    tags = tuple(filter(None, (tag.strip() for tag in args.tags.split(","))))
    if wrong := [tag for tag in tags if not TAG.fullmatch(tag)]:
        return _fail(f"not a tag: {wrong[0]!r}", MISUSED)
    try:
        most = (
            None if args.max_budget is None else parse_amount(args.max_budget, Unit.USD)
        )
    except ValueError as error:
        return _fail(f"--max-budget: {error}", MISUSED)
    key = StoredKey(
        key_id=new_id(),
        key_hash=hash_key(secret.reveal().encode()),
        key_prefix=shown_prefix(secret),
        name=args.name,
        org_id=args.org or "default",
        role=Role(args.role),
        allowed_models=models,
        rpm_limit=args.rpm,
        tpm_limit=args.tpm,
        max_budget_nanousd=most,
        tags=tag_values(tags),
        expires_at=None if args.expires_in is None else now + args.expires_in,
        created_at=now,
    )

    async def create(database: Database) -> int:
        if await KeyStore(database).insert(key):
            _say(f"the organization {key.org_id!r} is new")
        return OK

    if (status := _with_database(args, create, new=True)) == OK:
        _say(f"{key.role} key {key.key_id}; a running gateway knows it in a second")
        _say("Keep it now, it is not shown again:")
        print(secret.reveal())
    return status


def _list_keys(args: argparse.Namespace) -> int:
    from gandalf.storage.keys import KeyStore

    async def show(database: Database) -> int:
        keys = await KeyStore(database).all()
        rows = [_key_row(key) for key in keys]
        names = "ID PREFIX STATE ROLE ORG NAME MODELS RPM TPM EXPIRES USED"
        _print_table(names.split(), rows)
        return OK

    return _with_database(args, show, reading=True)


def _revoke_key(args: argparse.Namespace) -> int:
    from gandalf.storage.keys import KeyStore

    async def revoke(database: Database) -> int:
        store = KeyStore(database)
        found = [k for k in await store.all() if _is_meant(k, args.key)]
        if not found:
            return _fail(f"there is no key {args.key!r} in the database")
        if len(found) > 1:
            ids = "\n  ".join(key.key_id for key in found)
            return _fail(f"{args.key!r} may be any of these; say which:\n  {ids}")
        key = found[0]
        if key.blocked:
            print(f"{key.key_id} was revoked before")
            return OK
        await store.revoke(key.key_id)
        print(f"{key.key_id} is revoked; a running gateway refuses it in a second")
        return OK

    return _with_database(args, revoke)


def _usage(args: argparse.Namespace) -> int:
    from gandalf.storage.requests import RequestRecords
    from gandalf.storage.usage_queries import EVERYTHING, Range, UsageQueries

    filters = usage_commands.filters_of(args)
    try:
        within = usage_commands.range_of(args)
    except ValueError as error:
        return _fail(str(error), MISUSED)

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
            return _fail(f"no request {args.request_id!r} is on record")
        if args.json:
            _show_records([record], as_json=True)
        else:
            _show_record(record)
        return OK

    return _with_database(args, show, reading=True)


def _rerate(args: argparse.Namespace) -> int:
    from gandalf.actors.routes import build_routes, targets_of
    from gandalf.config import ConfigError, load
    from gandalf.pricing.amounts import usd
    from gandalf.pricing.rerate import Rerater
    from gandalf.pricing.resolve import price_table
    from gandalf.storage.rerating import rerate

    prices = None
    if not args.stored:
        try:
            config = load(args.config, os.environ)
            targets = targets_of(build_routes(config))
            prices = price_table(config, targets, now=0.0, every_model=True)
        except ConfigError as error:
            return _fail(str(error), MISUSED)

    async def run(database: Database) -> int:
        found = await rerate(database, args.since, Rerater(prices), apply=args.apply)
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
        _print_table(names.split(), rows)
        _say("kept" if args.apply else "nothing is changed yet; --apply keeps it")
        return OK

    return _with_database(args, run, reading=not args.apply)


def _raise_budget(args: argparse.Namespace) -> int:
    import time

    from gandalf.config import ConfigError, budgets_of, load
    from gandalf.domain.budgets import Raise, format_amount, parse_amount
    from gandalf.domain.ids import new_id
    from gandalf.storage.budgets import BudgetStore

    try:
        budgets = budgets_of(load(args.config, os.environ))
    except ConfigError as error:
        return _fail(str(error), MISUSED)
    found = next((budget for budget in budgets if budget.name == args.budget), None)
    if found is None:
        known = ", ".join(budget.name for budget in budgets) or "none"
        return _fail(f"there is no budget {args.budget!r}; configured: {known}")
    unit, now = found.rule.unit, time.time()
    try:
        amount = parse_amount(args.amount.removeprefix("+"), unit)
        until = _end_of(args.until, found.rule.period.zone)
    except ValueError as error:
        return _fail(str(error), MISUSED)
    if until <= now or amount == 0:
        return _fail("a raise needs an amount, and an end that is to come", MISUSED)
    one = Raise(new_id(), found.name, args.id, amount, until)

    async def add(database: Database) -> int:
        await BudgetStore(database).add_raise(one, now)
        end = found.rule.period.local_time(until)
        print(f"{found.name} has {format_amount(amount, unit)} more until {end}")
        return OK

    return _with_database(args, add, new=True)


def _end_of(text: str, zone: tzinfo) -> int:
    """Return the Unix time that a raise until ``text`` ends at.

    A date, or the name of the next such day of the week, means its end.

    Raises:
        ValueError: It is neither of these nor an ISO 8601 time.
    """
    today = datetime.now(zone).date()
    if text.lower() in _WEEKDAYS:
        ahead = (_WEEKDAYS.index(text.lower()) - today.weekday()) % 7
        day = today + timedelta(ahead)
    elif len(text) == len("2026-06-05"):
        day = date.fromisoformat(text)
    else:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=zone)).timestamp())
    following = day + timedelta(1)
    midnight = datetime(following.year, following.month, following.day, tzinfo=zone)
    return int(midnight.timestamp())


def _list_budgets(args: argparse.Namespace) -> int:
    import time

    from gandalf.config import ConfigError, budgets_of, load
    from gandalf.domain.budgets import format_amount
    from gandalf.storage.budgets import BudgetStore
    from gandalf.storage.usage import UsageTable

    try:
        budgets = budgets_of(load(args.config, os.environ))
    except ConfigError as error:
        return _fail(str(error), MISUSED)

    async def show(database: Database) -> int:
        from gandalf.actors.ledger import Ledger

        ledger = Ledger(budgets)
        ledger.set_raises(await BudgetStore(database).raises(int(time.time())))
        ledger.load(await UsageTable(database).balances())
        rows = [
            [
                state.budget.name,
                state.subject or "-",
                format_amount(state.spent, state.budget.rule.unit),
                format_amount(state.limit, state.budget.rule.unit),
                state.budget.rule.period.name,
            ]
            for state in ledger.all_states()
        ]
        _print_table(["BUDGET", "SUBJECT", "SPENT", "LIMIT", "WINDOW"], rows)
        return OK

    return _with_database(args, show, reading=True)


def _usage_summary(args: argparse.Namespace) -> int:
    async def show(database: Database) -> int:
        try:
            await usage_commands.summary(args, database, _print_table)
        except ValueError as error:
            return _fail(str(error), MISUSED)
        return OK

    return _with_database(args, show, reading=True)


def _rebuild_usage(args: argparse.Namespace) -> int:
    async def rebuild(database: Database) -> int:
        await usage_commands.rebuild(database)
        return OK

    return _with_database(args, rebuild)


def _audit_usage(args: argparse.Namespace) -> int:
    from gandalf.storage.usage import UsageTable

    async def audit(database: Database) -> int:
        try:
            right = await usage_commands.audit(args, database)
        except ValueError as error:
            return _fail(str(error), MISUSED)
        found = await UsageTable(database).audit()
        if not found:
            print("every balance is the sum of its records")
            return OK if right else FAILED
        names = "BALANCE SUBJECT WINDOW SPENT RECORDS FIRST_ROW"
        rows = [
            [
                one.rule,
                one.subject or "-",
                _time(one.window_start),
                str(one.spent),
                str(one.total),
                one.first_row or "-",
            ]
            for one in found
        ]
        _print_table(names.split(), rows)
        return FAILED

    return _with_database(args, audit, reading=True)


def _show_records(records: list[dict[str, Any]], *, as_json: bool) -> None:
    import json

    if as_json:
        for record in records:
            print(json.dumps(record))
        return
    names = "TIME REQUEST KEY ALIAS PROVIDER STATUS END IN OUT SECONDS CACHE USD"
    _print_table(names.split(), [_record_row(record) for record in records])


def _record_row(record: dict[str, Any]) -> list[str]:
    return [
        _time(record["received_at"]),
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
    shown["received_at"] = _time(record["received_at"])
    width = max(map(len, shown))
    for name, value in shown.items():
        text = "-" if value in (None, "") else _printable(str(value))
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
    _print_table(names.split(), rows)


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


def _is_meant(key: StoredKey, text: str) -> bool:
    if text == key.key_id:
        return True
    begins = key.key_id.startswith(text) or key.key_prefix.startswith(text)
    return begins and len(text) >= SHORTEST_PREFIX


def _key_row(key: StoredKey) -> list[str]:
    expired = key.expires_at is not None and key.expires_at <= _now()
    state = "revoked" if key.blocked else "expired" if expired else "active"
    return [
        key.key_id,
        key.key_prefix,
        state,
        key.role,
        key.org_id,
        key.name or "-",
        ",".join(key.allowed_models) or "all",
        _limit(key.rpm_limit),
        _limit(key.tpm_limit),
        _time(key.expires_at),
        _time(key.last_used_at),
    ]


def _with_database(
    args: argparse.Namespace,
    work: Callable[[Database], Awaitable[int]],
    *,
    new: bool = False,
    reading: bool = False,
) -> int:
    """Run ``work`` on the database, which must exist unless it may be ``new``.

    ``reading`` says that ``work`` changes nothing.
    """
    import trio

    from gandalf.config import ConfigError, load_database
    from gandalf.storage.database import Database
    from gandalf.storage.errors import StorageError

    async def run(path: Path) -> int:
        database = Database(path)
        await database.open()
        try:
            return await work(database)
        finally:
            database.close()

    try:
        path = Path(load_database(args.config, os.environ).dsn)
        if not new and not path.exists():
            return _fail(f"there is no database {path} yet")
        with _without_warnings() if reading else nullcontext():
            return trio.run(run, path)
    except ConfigError as error:
        return _fail(str(error), MISUSED)
    except StorageError as error:
        return _fail(str(error))


@contextmanager
def _without_warnings() -> Iterator[None]:
    # Storage warns of two processes that write; a gateway and a reader are not two.
    import logging

    log = logging.getLogger("gandalf.storage")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def _moment(text: str) -> float:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _duration(text: str) -> float:
    from gandalf.config.scalars import duration

    value = duration(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _print_table(names: list[str], rows: list[list[str]]) -> None:
    # What a key is called must not move a terminal's cursor.
    lines = [names, *([_printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _limit(value: int | None) -> str:
    return "default" if value is None else str(value) if value else "unlimited"


def _time(at: float | None) -> str:
    if at is None:
        return "never"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _fail(text: str, status: int = FAILED) -> int:
    _say(text)
    return status
