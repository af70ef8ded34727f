"""The tree of commands.

Commands that need no table of endpoints are made without it.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gandalf import __version__
from gandalf.cli import arguments
from gandalf.cli.output import MISUSED

DEFAULT_CONFIG = Path("configs/gandalf.yaml")
DEMO_CONFIG = Path("configs/demo.yaml")

Run = Callable[[argparse.Namespace], int]
Group = argparse._SubParsersAction

_DEFAULT_ACTIONS = {"usage": "recent", "prices": "show", "secrets": "check"}
"""Actions of hand-made groups if none is named."""
_LIGHT = frozenset({"serve", "check", "init", "--version"})
"""Commands for which the table of endpoints is not loaded."""


class Parser(argparse.ArgumentParser):
    """Reports errors with the usage of the command that they belong to."""

    def __init__(self, **how: Any) -> None:  # noqa: ANN401 - argparse's own
        how.setdefault("allow_abbrev", False)
        how.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**how)

    def parse_known_args(  # type: ignore[override] # the same, more narrowly
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse ``args``, and refuse what no argument here is for."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown))
        return found, []

    def error(self, message: str) -> NoReturn:
        """Print the usage and ``message``; exit."""
        self.print_usage(_stderr())
        self.exit(MISUSED, f"{self.prog}: {message}\n")

    def _unknown(self, unknown: list[str]) -> str:
        name = unknown[0].partition("=")[0]
        known = [flag for action in self._actions for flag in action.option_strings]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        kind = "option" if name.startswith("-") else "argument"
        return f"unknown {kind} {name}{hint}"


def _stderr() -> Any:  # noqa: ANN401 - a text file
    import sys

    return sys.stderr


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of a command line; exit if they are wrong."""
    words = list(argv)
    light = bool(words) and words[0] in _LIGHT
    helped = not {"-h", "--help"}.isdisjoint(words)
    parser = build(table=not light, texts=helped)
    return parser.parse_args(_with_default_action(parser, words))


def build(*, table: bool = True, texts: bool = True) -> Parser:
    """Return the parser of all commands.

    Args:
        table: Whether to make the commands of the admin API's table as well.
        texts: Whether the help of their options is wanted.
    """
    parser = Parser(
        prog="gandalf",
        description="An LLM gateway.",
        epilog="gandalf COMMAND --help describes a command. Documentation: docs/cli.md",
    )
    parser.add_argument("--version", action="version", version=f"gandalf {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _process_commands(commands)
    groups: dict[str, Group[Any]] = {
        "keys": _keys(commands),
        "prices": _prices(commands),
        "usage": _usage(commands),
        "budgets": _budgets(commands),
    }
    _secrets(commands)
    _declarative(commands)
    _live(commands)
    if table:
        _resources(commands, groups, texts=texts)
    return parser


def _with_default_action(parser: Parser, words: list[str]) -> list[str]:
    """Return ``words`` with the action that is meant where none is named."""
    if not words:
        return words
    command = _choices(parser).get(words[0])
    default = command and command.get_default("default_action")
    if not command or not default:
        return words
    following = words[1] if len(words) > 1 else ""
    if following in _choices(command) or following in ("-h", "--help"):
        return words
    takes_words = any(
        not action.option_strings for action in _choices(command)[default]._actions
    )
    if following and not following.startswith("-") and not takes_words:
        return words  # a misspelt action
    return [words[0], default, *words[1:]]


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the sub-commands of a parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def walk(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Yield every command with its path, groups included."""
    seen: set[int] = set()
    for name, sub in _choices(parser).items():
        if id(sub) not in seen:  # an alias
            seen.add(id(sub))
            yield (*path, name), sub
            yield from walk(sub, (*path, name))


def add(
    group: Group[Any],
    name: str,
    run: Run | None,
    text: str,
    example: str,
    *,
    aliases: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """Add a command with its help and an example."""
    added: argparse.ArgumentParser = group.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example:\n  {example}",
        aliases=list(aliases),
    )
    if run is not None:
        added.set_defaults(run=run)
    added.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"configuration file (default: {DEFAULT_CONFIG})",
    )
    return added


def _reaching(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--url", help="gateway to call (default: GANDALF_URL, or the one of --config)"
    )
    return parser


def _group(
    commands: Group[Any],
    name: str,
    text: str,
    default: str = "",
    aliases: Sequence[str] = (),
) -> Group[Any]:
    words = f"gandalf {name} {default}".rstrip()
    parser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example:\n  {words}",
        aliases=list(aliases),
    )
    if default:
        parser.set_defaults(default_action=default)
    group: Group[Any] = parser.add_subparsers(metavar="ACTION", required=True)
    return group


# Commands about the process.


def _process_commands(commands: Group[Any]) -> None:
    add(
        commands,
        "serve",
        _later("serve", "serve"),
        "Run the gateway. Without a configuration file it starts from the provider"
        " keys in the environment.",
        "OPENAI_API_KEY=sk-... gandalf serve",
    )
    check = add(
        commands,
        "check",
        _later("serve", "check"),
        "Tell whether a configuration file is valid.",
        "gandalf check gandalf.yaml --format json",
    )
    check.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="the same as --config"
    )
    check.add_argument(
        "--format",
        choices=("text", "json", "schema"),
        default="text",
        help="json: one problem a line; schema: JSON schema of the file, for editors",
    )
    init = add(
        commands,
        "init",
        _later("serve", "init"),
        "Write a commented configuration file from the provider keys in the"
        " environment.",
        "gandalf init --config gandalf.yaml",
    )
    init.add_argument("--force", action="store_true", help="replace a file")
    init.add_argument("--stdout", action="store_true", help="print it instead")
    completion = add(
        commands,
        "completion",
        _later("completion", "run"),
        "Print a script that completes commands in a shell.",
        "source <(gandalf completion bash)",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))


# Commands that work on the database, or on a running gateway.


def _keys(commands: Group[Any]) -> Group[Any]:
    actions = _group(commands, "keys", "API keys.", "list")
    listed = add(
        actions,
        "list",
        _later("keys", "list_all"),
        "List API keys, oldest first.",
        "gandalf keys list --org acme",
    )
    listed.add_argument("--json", action="store_true", help="one JSON object a line")
    listed.add_argument("--org-id", "--org", dest="field_org_id", metavar="ID")
    listed.add_argument("--team-id", "--team", dest="field_team_id", metavar="ID")
    revoke = add(
        actions,
        "revoke",
        _later("keys", "revoke"),
        "Revoke a key for good.",
        "gandalf keys revoke gnd_Xk3v9Qz1",
        aliases=("delete",),
    )
    revoke.add_argument(
        "key", metavar="KEY", help="its id, at least 8 characters of it, or its text"
    )
    revoke.add_argument(
        "--cut", action="store_true", help="end its running requests with an error"
    )
    for parser in (listed, revoke):
        _reaching(parser)
    return actions


def _usage(commands: Group[Any]) -> Group[Any]:
    from gandalf.cli import usage_sums

    actions = _group(commands, "usage", "What past requests used.", "recent")
    recent = add(
        actions,
        "recent",
        _later("usage", "recent"),
        "Show the latest requests, or one request in detail.",
        "gandalf usage --limit 50",
    )
    recent.add_argument(
        "--limit", type=arguments.count, default=20, metavar="N", help="how many (20)"
    )
    recent.add_argument("--request-id", metavar="ID", help="one request, in detail")
    recent.add_argument("--json", action="store_true", help="one JSON object a line")
    usage_sums.add_filters(recent)
    summary = add(
        actions,
        "summary",
        _later("usage", "summary"),
        "Sum usage up by bucket and group.",
        "gandalf usage summary --by model,team_id --period daily",
    )
    usage_sums.add_summary(summary)
    for parser in (recent, summary):
        _reaching(parser)
    add(
        actions,
        "rebuild",
        _later("usage", "rebuild"),
        "Make the roll-ups anew from the rows. Meanwhile a running gateway keeps its"
        " records in its journal.",
        "gandalf usage rebuild",
    )
    audit = add(
        actions,
        "audit",
        _later("usage", "audit"),
        "Check that every roll-up and every balance is the sum of its records.",
        "gandalf usage audit --since 2026-12-01",
    )
    usage_sums.add_filters(audit)
    rerate = add(
        actions,
        "rerate",
        _later("usage", "rerate"),
        "Compute the costs of past requests again, and show what differs.",
        "gandalf usage rerate --since 2026-12-01",
    )
    rerate.add_argument(
        "--since",
        type=arguments.moment,
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
    return actions


def _budgets(commands: Group[Any]) -> Group[Any]:
    actions = _group(commands, "budgets", "Spend limits.", "list")
    listed = add(
        actions,
        "list",
        _later("budgets", "list_all"),
        "Show what budgets have spent so far.",
        "gandalf budgets",
    )
    more = add(
        actions,
        "raise",
        _later("budgets", "more"),
        "Raise a budget for a time; a running gateway knows it in a second.",
        "gandalf budgets raise team-month +20 --until friday",
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
    for parser in (listed, more):
        _reaching(parser)
    return actions


def _prices(commands: Group[Any]) -> Group[Any]:
    actions = _group(commands, "prices", "What targets cost.", "show")
    prices = add(
        actions,
        "show",
        _later("prices", "show"),
        "Show what each target costs, and why.",
        "gandalf prices fast",
    )
    prices.add_argument("alias", nargs="?", metavar="ALIAS", help="of one route only")
    prices.add_argument("--json", action="store_true", help="one JSON object a line")
    prices.add_argument(
        "--vendors", action="store_true", help="the vendors of the price list instead"
    )
    return actions


def _secrets(commands: Group[Any]) -> None:
    actions = _group(commands, "secrets", "Secrets sealed in the database.", "check")
    add(
        actions,
        "check",
        _later("secrets", "check"),
        "Show the sealed secrets, and whether GANDALF_MASTER_KEY opens them.",
        "gandalf secrets check",
    )
    add(
        actions,
        "rotate",
        _later("secrets", "rotate"),
        "Seal all secrets anew with the first key of GANDALF_MASTER_KEY. A running"
        " gateway must know that key before.",
        "gandalf secrets rotate",
    )


def _declarative(commands: Group[Any]) -> None:
    apply = add(
        commands,
        "apply",
        _later("declarative", "apply"),
        "Change managed objects until they are as files say: shows the differences,"
        " then makes all of them or none.",
        "gandalf apply -f objects/ --dry-run",
    )
    apply.add_argument(
        "-f",
        "--file",
        dest="files",
        type=Path,
        action="append",
        required=True,
        metavar="FILE",
        help="YAML or JSON, or a folder of such files; - is stdin; may be repeated",
    )
    apply.add_argument(
        "--dry-run", action="store_true", help="show the differences only"
    )
    apply.add_argument(
        "--prune",
        action="store_true",
        help="delete objects that the files' sections do not name; revoke keys",
    )
    apply.add_argument("--json", action="store_true", help="the answer as JSON")
    export = add(
        commands,
        "export",
        _later("declarative", "export"),
        "Write the managed objects as a document for apply.",
        "gandalf export -o objects.yaml",
    )
    export.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="file to write to"
    )
    export.add_argument(
        "--key-hashes",
        action="store_true",
        help="with the hashes of keys, by which apply restores them",
    )
    for parser in (apply, export):
        _reaching(parser)


def _live(commands: Group[Any]) -> None:
    status = add(
        commands,
        "status",
        _later("status", "run"),
        "Show whether a gateway runs, and the health of its targets.",
        "gandalf status --url http://127.0.0.1:8080",
    )
    status.add_argument("--json", action="store_true", help="as JSON")
    top = add(
        commands,
        "top",
        _later("top", "run"),
        "Show live traffic; Ctrl-C ends it.",
        "gandalf top --interval 1",
    )
    top.add_argument(
        "--interval",
        type=arguments.seconds,
        default=2.0,
        metavar="TIME",
        help="between two looks (2s)",
    )
    top.add_argument(
        "--count",
        type=arguments.count,
        default=0,
        metavar="N",
        help="end after N looks",
    )
    for parser in (status, top):
        _reaching(parser)


# Commands of the table.


def _resources(
    commands: Group[Any], groups: dict[str, Group[Any]], *, texts: bool
) -> None:
    from gandalf.cli import resources
    from gandalf.http.admin.api import described

    for name, found in resources.resources(described()).items():
        if list(found.actions) == ["run"]:
            row = found.actions["run"]
            text = resources.example(name, "", row)
            parser = _reaching(add(commands, name, None, row.summary, text))
            resources.configure(parser, row, texts=texts)
            continue
        group = groups.get(name)
        if group is None:
            group = _group(
                commands,
                name,
                _about(name, found.actions),
                found.default,
                aliases=found.aliases,
            )
        for action, row in found.actions.items():
            if action in group.choices:
                continue
            text = resources.example(name, action, row)
            parser = _reaching(add(group, action, None, row.summary, text))
            resources.configure(parser, row, texts=texts)
            if (name, action) == ("keys", "create"):
                parser.set_defaults(run=_later("keys", "create"))
                if "--max-budget" not in parser._option_string_actions:
                    parser.add_argument(
                        "--max-budget", metavar="USD", help="lifetime budget"
                    )


def _about(name: str, actions: dict[str, Any]) -> str:
    """Return the description of a group of commands."""
    if len(actions) > 1:
        return f"{', '.join(actions).capitalize()} {name}."
    summary: str = next(iter(actions.values())).summary
    return summary


def _later(module: str, name: str) -> Run:
    """Return a command whose module is imported when it runs."""

    def run(args: argparse.Namespace) -> int:
        import importlib

        found: Run = getattr(importlib.import_module(f"gandalf.cli.{module}"), name)
        return found(args)

    return run
