"""The dialects there are: the one place that lists them."""

from __future__ import annotations

from gandalf.dialects import openai_chat
from gandalf.dialects.base import Dialect

OPENAI: Dialect = openai_chat

DIALECTS: dict[str, Dialect] = {dialect.NAME: dialect for dialect in (OPENAI,)}
