"""``gandalf apply`` and ``gandalf export``: managed objects as files."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

from gandalf.cli.gateway import api_for
from gandalf.cli.output import OK, print_json, printable, say

_SIGNS = {"create": "+", "update": "~", "delete": "-", "revoke": "-"}
_DONE = {
    "create": "created",
    "update": "changed",
    "delete": "deleted",
    "revoke": "revoked",
}


def apply(args: argparse.Namespace) -> int:
    """Show the differences, then make all of them or none."""
    from gandalf.config.plain import read_documents

    document = read_documents(args.files)
    api = api_for(args, "apply")
    prune = {"prune": args.prune}
    shown = api.call("POST", "/apply", query=prune | {"dry_run": True}, body=document)
    changes = shown.data["changes"]
    if not args.json:
        print_changes(changes)
    if args.dry_run or not changes:
        if args.json:
            print_json(shown.data)
        return OK
    # What was shown is what is done: 412 if anything has changed since.
    done = api.call(
        "POST", "/apply", query=prune, body=document, if_match=shown.data["version"]
    ).data
    if args.json:
        print_json(done)
        return OK
    say(_summary(changes, _DONE))
    if done["made_keys"]:
        say("Keep these keys now, they are not shown again:")
    for made in done["made_keys"]:
        print(f"{made['key']}  {printable(made['name'] or made['id'])}")
    return OK


def export(args: argparse.Namespace) -> int:
    """Write the managed objects as YAML."""
    from gandalf.config.plain import dump

    api = api_for(args, "export")
    document = api.call("GET", "/export", query={"key_hashes": args.key_hashes}).data
    text = f"# Managed objects of {api.where}, for `gandalf apply -f`.\n"
    text += dump(document)
    if args.output is None:
        print(text, end="")
    else:
        args.output.write_text(text)
        say(f"{args.output}: {sum(map(len, document.values()))} objects")
    return OK


def print_changes(changes: list[dict[str, Any]]) -> None:
    """Print the differences between the document and the present state."""
    if not changes:
        print("nothing to change")
    for change in changes:
        name = printable(change["id"])
        print(f"{_SIGNS[change['action']]} {change['kind']}/{name}")
        if change["action"] in ("delete", "revoke"):
            continue
        for field in change.get("fields", ()):
            _print_field(change["action"], field)
    if changes:
        print(_summary(changes, {name: f"to {name}" for name in _SIGNS}))


def _print_field(action: str, field: dict[str, Any]) -> None:
    after = _short(field["after"])
    if action == "create":
        if field["after"] not in (None, "", [], {}, False):
            print(f"    {field['field']}: {after}")
    else:
        print(f"    {field['field']}: {_short(field['before'])} -> {after}")


def _short(value: Any) -> str:  # noqa: ANN401 - any JSON
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text)


def _summary(changes: list[dict[str, Any]], words: dict[str, str]) -> str:
    counts = Counter(change["action"] for change in changes)
    return ", ".join(f"{counts[name]} {words[name]}" for name in words if counts[name])
