"""The dialects there are: the one place that lists them."""

from __future__ import annotations

from gandalf.dialects import openai
from gandalf.dialects.base import Dialect

OPENAI: Dialect = openai

DIALECTS: dict[str, Dialect] = {dialect.NAME: dialect for dialect in (OPENAI,)}
