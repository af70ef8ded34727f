"""What all kinds of upstream have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from tests.fakes.upstream import Answer, FakeUpstream, Request, respond, stream
from tests.sdk.said import Heard, Said

UPSTREAM_KEY = "key-of-the-gateway"
GAP = 0.03
"""Seconds between the events of a slow stream."""


class Speaker:
    """One kind of upstream.

    Args:
        fake: Where it listens.
    """

    kind = ""
    """What a provider of it is called, and its alias."""
    dialect = ""
    model = ""
    embedding_model = ""
    closing = 1
    """The events of a stream behind the last of its text."""
    seals_thinking = True
    counts_reasoning = True
    config: ClassVar[dict[str, Any]] = {}
    """Of the provider, beside its name and its address."""

    def __init__(self, fake: FakeUpstream) -> None:
        self.fake = fake

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.fake.port}"

    @property
    def provider(self) -> dict[str, Any]:
        """The section that configures the gateway for it."""
        return {"name": self.kind, "base_url": self.base_url, **self.config}

    # What it says.

    def says(self, *said: Said, gap: float = 0.0, cut: int | None = None) -> None:
        """What the next requests are answered with; all but the first ``cut`` bytes."""
        for each in said:
            self.script(self._answering(each, gap, cut))

    def refuses(self, status: int, message: str) -> None:
        """Answer the next request with an error."""
        self.script(self.refusal(status, message))

    def script(self, answering: Answer | Callable[[Request], Answer]) -> None:
        self.fake.script(answering)

    def _answering(
        self, said: Said, gap: float, cut: int | None
    ) -> Callable[[Request], Answer]:
        def answer(request: Request) -> Answer:
            wrong = self.why_not(request)
            if wrong:
                return self.refusal(404, wrong)
            made = (
                self.streamed(said, gap) if self.is_stream(request) else self.of(said)
            )
            return made if cut is None else made.cut(cut)

        return answer

    def of(self, said: Said) -> Answer:
        """A whole answer."""
        return respond(self.body(said))

    def streamed(self, said: Said, gap: float = 0.0) -> Answer:
        """A stream."""
        return stream(*self.events(said), gap=gap)

    def body(self, said: Said) -> bytes:
        raise NotImplementedError

    def events(self, said: Said) -> list[bytes]:
        raise NotImplementedError

    def refusal(self, status: int, message: str) -> Answer:
        raise NotImplementedError

    def embeds(self, *vectors: tuple[float, ...]) -> None:
        """Answer the next request with ``vectors``."""
        raise NotImplementedError

    def tokens(self, said: Said) -> dict[str, int | None]:
        """What is to be on record for ``said``, by column; the classes are disjoint."""
        apart = said.thought if self.counts_reasoning else 0
        return {
            "input_tokens": said.prompt,
            "cache_read_tokens": said.cached,
            "output_tokens": said.output + said.thought - apart,
            "reasoning_tokens": apart,
        }

    # What it heard.

    def heard(self) -> Heard:
        """The last request."""
        return self.hear(self.fake.requests[-1])

    def hear(self, request: Request) -> Heard:
        raise NotImplementedError

    def is_stream(self, request: Request) -> bool:
        """Whether the answer is to be a stream."""
        return bool(request.json().get("stream"))

    def why_not(self, request: Request) -> str:
        """What is wrong with URL or credentials; "" if nothing is."""
        if self.path_of(request) not in self.paths(request):
            return f"no such URL: {request.target}"
        if request.header(self.key_header) != self.key:
            return f"wrong key: {request.headers}"
        return ""

    key_header = "authorization"
    key = f"Bearer {UPSTREAM_KEY}"

    def paths(self, request: Request) -> tuple[str, ...]:
        """What a request to the model may have as its path."""
        raise NotImplementedError

    def path_of(self, request: Request) -> str:
        return unquote(urlsplit(request.target).path)
