"""The dialects there are: the one place that lists them."""

from __future__ import annotations

from gandalf.dialects import anthropic, converse, gemini, ollama, openai
from gandalf.dialects.base import Dialect, UpstreamDialect

OPENAI: Dialect = openai
ANTHROPIC: Dialect = anthropic
GEMINI: Dialect = gemini
OLLAMA: Dialect = ollama
CONVERSE: UpstreamDialect = converse

DIALECTS: dict[str, Dialect] = {
    dialect.NAME: dialect for dialect in (OPENAI, ANTHROPIC, GEMINI, OLLAMA)
}
"""What clients can speak."""

UPSTREAM_DIALECTS: tuple[UpstreamDialect, ...] = (*DIALECTS.values(), CONVERSE)
"""What upstreams can speak."""
