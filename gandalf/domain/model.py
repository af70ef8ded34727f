"""What is known of a model: how much it takes in and puts out, and what it can do."""

from __future__ import annotations

import msgspec

from gandalf.domain.compat import OPENAI, Compat


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model at a provider. None everywhere means that nobody here knows.

    What is not known is never taken for "cannot": the request is sent, and the
    upstream is the judge.
    """

    name: str
    """What the provider calls it."""
    context_window: int | None = None
    """Tokens, prompt and answer together."""
    output_limit: int | None = None
    """Tokens that one answer may have."""
    images: bool | None = None
    documents: bool | None = None
    """Whether it reads PDF files."""
    audio: bool | None = None
    video: bool | None = None
    tools: bool | None = None
    thinking: bool | None = None
    structured_output: bool | None = None
    """Whether the provider holds its answer to a JSON schema."""
    temperature: bool | None = None
    """Whether sampling parameters may be set."""
    compat: Compat = OPENAI
    """Rules of the vendor, for providers that speak OpenAI's dialect."""
