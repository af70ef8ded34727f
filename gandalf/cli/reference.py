"""docs/cli.md, made from the parser.

``python -m gandalf.cli.reference > docs/cli.md`` makes the page.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from gandalf.cli.output import EXIT_CODES
from gandalf.cli.parser import build, walk

_INTRODUCTION = """\
# Command line

For operators and for scripts. `gandalf COMMAND --help` shows the same as this page,
which is made from the parser (`python -m gandalf.cli.reference > docs/cli.md`).

## Where a command goes

Commands about objects go to a running gateway if there is one: the one of `--url` or
`GANDALF_URL`, or else the one that answers at `server.addr` of the configuration file.
They call it with the key in `GANDALF_ADMIN_KEY`, and its changes are in force on the
next request. Where no gateway runs, or no key is set, they work on the database that
the configuration file names; a gateway on the same database notices such a change
within a second. `prices show`, `secrets` and `usage rerate`, `rebuild` and `audit`
always work on the configuration file and the database.

The configuration file is `--config FILE`, by default `configs/gandalf.yaml`. Without
one there, `gandalf serve` starts from the provider keys in the environment
(`OPENAI_API_KEY`, `ANTHROPIC_API_KEY`, ...), and `gandalf init` writes them down as a
file.

Output is a table for people, or with `--json` one JSON object a line. Errors are on
stderr: the reason, then each invalid field.

## Objects in files

`gandalf apply -f FILE` takes a document with sections `providers`, `routes`, `budgets`,
`organizations`, `teams`, `users` and `keys`, each a list. It shows the differences and
then makes all of them in one transaction, or none. If another change came in between,
nothing is changed and the exit code is 3: run it again. Objects that the configuration
file declares are refused. `gandalf export` writes such a document; to apply an export
changes nothing.

```yml
organizations:
  - {id: acme, tpm_limit: 1000000}
teams:
  - {id: research, org_id: acme, rpm_limit: 600}
keys:
  - {name: web-app, org_id: acme, team_id: research, allowed_models: [fast]}
routes:
  - model_alias: fast
    targets:
      - {provider: openai, model: gpt-5-mini}
```

A key is known by its `id`, or else by its name within its organisation. The text of a
new key is printed once. An export with `--key-hashes` restores keys whose text clients
have.

## Exit codes
"""


def markdown() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _INTRODUCTION
    yield "| code | meaning |"
    yield "|---|---|"
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    for path, parser in walk(build()):
        if _is_group(parser):
            yield f"\n## gandalf {' '.join(path)}\n"
            yield parser.description or ""
            if default := parser.get_default("default_action"):
                yield f"\nWithout an action: `{default}`."
        else:
            level = "##" if len(path) == 1 else "###"
            yield f"\n{level} gandalf {' '.join(path)}\n"
            yield from _command(parser)
    yield "\nNext: [admin-api.md](admin-api.md), [configuration.md](configuration.md)."


def _is_group(parser: argparse.ArgumentParser) -> bool:
    return any(
        isinstance(action, argparse._SubParsersAction) for action in parser._actions
    )


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield parser.description or ""
    yield f"\n```sh\n{example_of(parser)}\n```\n"
    for action in parser._actions:
        if action.dest in ("help", "config", "url", "json"):
            continue
        name = ", ".join(f"`{flag}`" for flag in action.option_strings)
        name = name or f"`{action.metavar or action.dest}`"
        if action.option_strings and action.nargs != 0:
            shown = (
                action.metavar or "{" + ",".join(map(str, action.choices or ())) + "}"
            )
            name += f" `{shown}`" if shown != "{}" else ""
        yield f"- {name}: {action.help or ''}".rstrip(": ")


def example_of(parser: argparse.ArgumentParser) -> str:
    """Return the example of a command's help."""
    return (parser.epilog or "").partition("example:\n")[2].strip()


if __name__ == "__main__":
    print(markdown(), end="")
