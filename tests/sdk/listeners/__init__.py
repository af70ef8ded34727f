"""The official clients, with one manner of asking: what their users do with each.

A conversation is a list of the client's own messages; what a model answered goes back
into it as that client's documentation says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.sdk.listeners.anthropic import Anthropic
from tests.sdk.listeners.base import City as City
from tests.sdk.listeners.base import Listener as Listener
from tests.sdk.listeners.base import Reply as Reply
from tests.sdk.listeners.base import Wishes as Wishes
from tests.sdk.listeners.gemini import Gemini
from tests.sdk.listeners.ollama import Ollama
from tests.sdk.listeners.openai import AzureOpenAI as AzureOpenAI
from tests.sdk.listeners.openai import OpenAI

LISTENERS: tuple[type[Listener[Any]], ...] = (OpenAI, Anthropic, Gemini, Ollama)


@contextmanager
def listening(
    make: Callable[[str, str], Listener[Any]], url: str, key: str
) -> Iterator[Listener[Any]]:
    """A client of the gateway at ``url``, closed at the end."""
    listener = make(url, key)
    try:
        yield listener
    finally:
        listener.close()
