"""The endpoints that run the pipeline: which operation, in which dialect.

A rule's ``{model}`` and ``{id}`` stand for something of the client's: a model name may
hold slashes, an id may not. The edge asks ``find`` for every request, so it remembers
what it found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote

from gandalf.dialects import gemini
from gandalf.dialects.base import Dialect
from gandalf.dialects.registry import ANTHROPIC, GEMINI, OLLAMA, OPENAI
from gandalf.http.openai_endpoints import PASSED
from gandalf.pipeline.endpoint import Endpoint
from gandalf.pipeline.exchange import StreamFormat

MAX_KNOWN = 1000
"""Paths remembered: one for each model name in a URL. Whoever sends more pays more."""

AZURE_KEY = b"api-key"


class Rule(NamedTuple):
    """One kind of URL."""

    method: bytes
    pattern: str
    operation: str
    dialect: Dialect
    stream: bool = False
    upload: bool = False
    below: bytes = b""
    """What of the path is not part of where the provider has it. Empty: the operation
    alone tells where that is."""
    key_header: bytes = b""
    key_in_query: bool = False
    model_prefix: str = ""
    """What a model's name begins with that the URL has elsewhere."""

    def endpoint(self, path: bytes = b"", model: str = "") -> Endpoint:
        """Return the endpoint at ``path``, which matches, for ``model``."""
        return Endpoint(
            operation=self.operation,
            dialect=self.dialect,
            rule=self.pattern,
            model=f"{self.model_prefix}{model}" if model else "",
            stream=self.stream,
            upload=self.upload,
            method=self.method,
            path=path.removeprefix(self.below) if self.below else b"",
            key_header=self.key_header or self.dialect.KEY_HEADER,
            key_in_query=self.key_in_query,
        )

    @property
    def quart_rule(self) -> str:
        """The pattern as Quart writes it."""
        return self.pattern.replace("{model}", "<path:model>").replace("{id}", "<id>")

    @property
    def expression(self) -> re.Pattern[bytes]:
        """What matches the paths of this rule."""
        escaped = re.escape(self.pattern)
        escaped = escaped.replace(r"\{model\}", "(?P<model>[^/].*)")
        return re.compile(escaped.replace(r"\{id\}", "[^/]+").encode(), re.DOTALL)


def _openai() -> Iterator[Rule]:
    for prefix, key_header in (("/v1", b""), ("/openai/v1", AZURE_KEY)):
        for path, operation in (
            ("/chat/completions", "chat"),
            ("/completions", "completions"),
            ("/embeddings", "embeddings"),
        ):
            yield Rule(b"POST", prefix + path, operation, OPENAI, key_header=key_header)
        for passed in PASSED:
            yield Rule(
                passed.method,
                prefix + passed.path,
                passed.operation,
                OPENAI,
                upload=passed.upload,
                below=prefix.encode(),
                key_header=key_header,
            )


def _azure() -> Iterator[Rule]:
    for path, operation in (
        ("/chat/completions", "chat"),
        ("/completions", "completions"),
        ("/embeddings", "embeddings"),
    ):
        pattern = "/openai/deployments/{model}" + path
        yield Rule(b"POST", pattern, operation, OPENAI, key_header=AZURE_KEY)


def _anthropic() -> Iterator[Rule]:
    yield Rule(b"POST", "/v1/messages", "chat", ANTHROPIC)
    yield Rule(b"POST", "/v1/messages/count_tokens", "count_tokens", ANTHROPIC)


# By what follows the model's name, and whether that asks for a stream.
_GEMINI_ACTIONS = (
    ("generateContent", "chat", False),
    ("streamGenerateContent", "chat", True),
    ("countTokens", "count_tokens", False),
    ("embedContent", "embeddings", False),
    ("batchEmbedContents", "batch_embeddings", False),
)


def _gemini() -> Iterator[Rule]:
    for version in ("v1beta", "v1"):
        for action, operation, stream in _GEMINI_ACTIONS:
            for collection, prefix in (("models", ""), ("tunedModels", "tunedModels/")):
                yield Rule(
                    b"POST",
                    f"/{version}/{collection}/{{model}}:{action}",
                    operation,
                    GEMINI,
                    stream=stream,
                    key_in_query=True,
                    model_prefix=prefix,
                )


def _ollama() -> Iterator[Rule]:
    for path, operation in (
        ("/api/chat", "chat"),
        ("/api/generate", "generate"),
        ("/api/embed", "embeddings"),
        ("/api/embeddings", "legacy_embeddings"),
    ):
        yield Rule(b"POST", path, operation, OLLAMA)


RULES: tuple[Rule, ...] = (
    *_openai(),
    *_azure(),
    *_anthropic(),
    *_gemini(),
    *_ollama(),
)
"""All of them; the first that matches counts."""

_EXACT = {
    (rule.method, rule.pattern.encode()): rule.endpoint(rule.pattern.encode())
    for rule in RULES
    if "{" not in rule.pattern
}
_PATTERNS = [(rule, rule.expression) for rule in RULES if "{" in rule.pattern]

UPLOADS = frozenset(asked for asked, endpoint in _EXACT.items() if endpoint.upload)
"""Method and path of what takes its body while it arrives. None is a pattern."""

_known: dict[tuple[bytes, bytes], Endpoint] = {}


def find(method: bytes, path: bytes) -> Endpoint | None:
    """Return the endpoint that a request asks for; None if it is none of these.

    Args:
        method: The request's.
        path: Ditto, as it stands in the request line, without the query.
    """
    asked = (method, path)
    endpoint = _EXACT.get(asked) or _known.get(asked)
    if endpoint is None:
        endpoint = _match(method, path)
        # Of ids there are too many to remember.
        if endpoint is not None and endpoint.model and len(_known) < MAX_KNOWN:
            _known[asked] = endpoint
    return endpoint


def _match(method: bytes, path: bytes) -> Endpoint | None:
    for rule, expression in _PATTERNS:
        if rule.method != method:
            continue
        found = expression.fullmatch(path)
        if found is not None:
            model = found.groupdict().get("model", b"")
            return rule.endpoint(path, unquote(model.decode("latin-1")))
    return None


def stream_format(endpoint: Endpoint, query: bytes) -> StreamFormat | None:
    """Return how a streamed answer is to be framed; None: as the dialect has it.

    Gemini streams a JSON array to whoever does not ask for events (``alt=sse``).
    """
    if not endpoint.stream or endpoint.dialect is not GEMINI or b"alt=sse" in query:
        return None
    return StreamFormat(
        gemini.ARRAY_CONTENT_TYPE, gemini.array_error, wrap=gemini.ArrayFollower
    )


def take_key(query: bytes) -> tuple[bytes, bytes]:
    """Return ``query`` without its parameters ``key``, and the value of the first.

    A key in a URL goes no further than here: not upstream, not into a log.
    """
    if b"k" not in query and b"%" not in query:
        return query, b""
    kept, keys = [], []
    for parameter in query.split(b"&"):
        name, _, value = parameter.partition(b"=")
        if unquote(name.decode("latin-1")) == "key":
            keys.append(unquote(value.decode("latin-1")).encode())
        else:
            kept.append(parameter)
    return b"&".join(kept), keys[0] if len(set(keys)) == 1 else b""
