"""Compiles what every request passes through, with mypyc, where that is asked for.

``GANDALF_COMPILE=1`` asks. It takes a C compiler, and an environment that has what the
gateway imports, for mypyc looks at its types: ``pip install --no-build-isolation``. The
sources are the same, and the tests run on both. What a compiled module has to keep to
is told in CONTRIBUTING.md.
"""

from __future__ import annotations

import os
import sys

from setuptools import Extension, setup

COMPILED = """
    actors/breakers actors/credentials_ejection actors/key_table actors/limiter
    actors/rate_limit_waits actors/response_cache
    actors/retry_budget actors/routes actors/usage_journal actors/watches actors/window
    actors/accounts actors/ledger pipeline/bounds pipeline/meter pipeline/reserve
    dialects/estimate dialects/json_object dialects/openai/answers
    dialects/openai/calls dialects/openai/operations dialects/openai/references
    dialects/openai/streams dialects/sse
    domain/ids
    http/client_wire http/connection http/endpoints http/gateway http/outbox
    http/parser http/poller http/responder http/response http/response_parser
    http/upstream http/upstream_connection http/wire
    pipeline/attempt pipeline/authenticate pipeline/authorize pipeline/cache_lookup
    pipeline/cost pipeline/dispatch pipeline/exchange pipeline/locate
    pipeline/rate_limit pipeline/read_call pipeline/record_usage
    pipeline/select_targets pipeline/stage pipeline/stream_body
    pricing/amounts pricing/price pricing/rates
    providers/fields providers/forwarding providers/watch
    telemetry/access_log telemetry/log_lines telemetry/metrics
    telemetry/series
"""


def extensions() -> list[Extension]:
    """Return what is to be compiled."""
    if os.environ.get("GANDALF_COMPILE") != "1":
        return []
    try:
        import trio  # noqa: F401 - stands for all that is imported
        from mypyc.build import mypycify
    except ImportError as error:
        sys.exit(f"{error}: compile where the gateway can run, without isolation")
    return mypycify(
        [f"gandalf/{name}.py" for name in COMPILED.split()],
        debug_level="0",  # no symbols: they are nine tenths of the file
        group_name="gandalf",
        target_dir="build/mypyc",
    )


setup(ext_modules=extensions())
