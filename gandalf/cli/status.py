"""``gandalf status``: whether a gateway runs, and the health of its targets."""

from __future__ import annotations

import argparse
from typing import Any

from gandalf.cli.gateway import api_for
from gandalf.cli.output import OK, print_fields, print_json, print_objects
from gandalf.http.admin.client import Refused


def run(args: argparse.Namespace) -> int:
    """Show the state of a running gateway."""
    api = api_for(args, "breakers")
    config = api.call("GET", "/config").data
    targets = api.call("GET", "/breakers").data
    state: dict[str, Any] = {"url": api.where, "ready": True}
    try:
        api.call("GET", "//readyz")
    except Refused as error:
        state["ready"] = error.status
    state |= {
        "configuration": config["version"],
        "providers": len(config["config"]["providers"]),
        "routes": len(config["config"]["routes"]),
    }
    if args.json:
        print_json(state | {"targets": targets})
        return OK
    print_fields(state)
    if targets:
        print()
        print_objects(targets)
    return OK
