"""A configuration made from the provider keys that the environment holds.

``gandalf init`` writes it to a file. ``gandalf serve`` without a file reads it from
here, under the path ``ENVIRONMENT``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from gandalf.config.presets import PRESETS

ENVIRONMENT = Path("(environment)")
"""Stands for the path of a configuration file where there is none."""

_VARIABLES: dict[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "alibaba": ("DASHSCOPE_API_KEY",),
    "huggingface": ("HF_TOKEN",),
    "vercel": ("AI_GATEWAY_API_KEY",),
}
"""Variables that the vendors' own SDKs read, where they are not ``NAME_API_KEY``."""

_MODELS: dict[str, tuple[str, ...]] = {
    "openai": ("gpt-5", "gpt-5-mini", "text-embedding-3-small"),
    "anthropic": ("claude-sonnet-4-5", "claude-haiku-4-5"),
    "gemini": ("gemini-2.5-pro", "gemini-2.5-flash"),
    "mistral": ("mistral-large-latest", "mistral-small-latest"),
    "deepseek": ("deepseek-chat", "deepseek-reasoner"),
    "groq": ("llama-3.3-70b-versatile",),
    "xai": ("grok-4",),
}
"""Models to begin with; everything else is one line in the file."""

_HEAD = """\
# Made by `gandalf init` from the provider keys in the environment.
#
# `gandalf check FILE` tells what is wrong with this file and where; SIGHUP reloads it.
# ${NAME} is replaced by the environment variable NAME. Every key, its default and its
# unit: docs/configuration.md.

server:
  addr: 127.0.0.1:8080

database:
  # Relative to the folder of this file. The usage journal stands beside it.
  dsn: gandalf.db

auth:
  # Made at the first start and printed once. Or set GANDALF_ADMIN_KEY.
  generate_admin_key: true
"""

_ROUTES = """
# The models above can be asked for by their names. A route gives one a name of your
# own, and the next target answers when the first fails:
#
# routes:
#   - model_alias: fast
#     targets:
#       - {{provider: {provider}, model: {model}}}
#       - {{provider: another, model: its-model, priority: 1}}
"""


def providers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the providers that the environment has a key of, with its variable."""
    names = ("openai", "anthropic", "gemini", *sorted(PRESETS))
    return {
        name: variable
        for name in names
        for variable in _variables(name)
        if environ.get(variable)
        and not any(environ.get(v) for v in _before(name, variable))
        and not (name in PRESETS and PRESETS[name].local)
    }


def _variables(name: str) -> tuple[str, ...]:
    usual = (f"{name.upper().replace('-', '_')}_API_KEY",)
    return _VARIABLES.get(name, usual)


def _before(name: str, variable: str) -> tuple[str, ...]:
    variables = _variables(name)
    return variables[: variables.index(variable)]


def starter(environ: Mapping[str, str]) -> str:
    """Return the text of a configuration file."""
    found = providers(environ)
    return "".join([_HEAD, "\nproviders:\n", *_providers(found), *_routes(found)])


def _providers(found: Mapping[str, str]) -> Iterator[str]:
    if not found:
        yield "  # No provider key was found, so this one answers by itself.\n"
        yield "  - name: simulated\n    models: [demo]\n"
    for name, variable in found.items():
        yield f"  - name: {name}\n    api_key: ${{{variable}}}\n"
        models = _MODELS.get(name, ())
        if models:
            yield "    models:\n"
            yield from (f"      - {model}\n" for model in models)
        else:
            yield "    models: [] # those to serve by their own names\n"


def _routes(found: Mapping[str, str]) -> Iterator[str]:
    provider = next(iter(found), "simulated")
    model = _MODELS.get(provider, ("demo",))[0]
    yield _ROUTES.format(provider=provider, model=model)
