"""Google's Gemini API, and its models at Vertex."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tests.fakes import gemini_format as google
from tests.fakes.upstream import Answer, Request, respond
from tests.sdk.said import SEALS, Heard, Item, Said
from tests.sdk.speakers.anthropic import VertexAnthropic
from tests.sdk.speakers.base import UPSTREAM_KEY, Speaker


class Gemini(Speaker):
    kind = dialect = "gemini"
    model = "gemini-2.5-flash"
    embedding_model = "gemini-embedding-001"
    config: ClassVar = {"type": "gemini", "api_key": UPSTREAM_KEY}
    key_header = "x-goog-api-key"
    key = UPSTREAM_KEY

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.fake.port}/v1beta"

    def paths(self, request: Request) -> tuple[str, ...]:
        action = (
            "streamGenerateContent" if self.is_stream(request) else "generateContent"
        )
        return (f"{self._place}/models/{self.model}:{action}",)

    _place = "/v1beta"

    def is_stream(self, request: Request) -> bool:
        url = urlsplit(request.target)
        if not url.path.endswith(":streamGenerateContent"):
            return False
        assert "alt=sse" in url.query.split("&")
        return True

    def body(self, said: Said) -> bytes:
        made = google.candidate(*_gemini_parts(said))
        return google.body(google.response(made, usage=_gemini_usage(said)))

    def events(self, said: Said) -> list[bytes]:
        # What is one part of a whole answer comes as several.
        parts = [part for part in _gemini_parts(said) if "functionCall" not in part]
        parts = [part for part in parts if part.get("thought")]
        parts += [google.text(text) for text in said.text if text]
        parts += [part for part in _gemini_parts(said) if "functionCall" in part]
        return google.stream_events(*parts, usage=_gemini_usage(said))

    def refusal(self, status: int, message: str) -> Answer:
        kind = _GEMINI_STATUS[status]
        return respond(google.body(google.error(status, message, status=kind)), status)

    def embeds(self, *vectors: tuple[float, ...]) -> None:
        def answer(request: Request) -> Answer:
            one = request.target.endswith(":embedContent")
            made = google.embedding if one else google.batch_embeddings
            return respond(made(*vectors))

        self.script(answer)

    def hear(self, request: Request) -> Heard:
        body = request.json()
        config = body.get("generationConfig") or {}
        declared = [
            each
            for tool in body.get("tools", ())
            for each in tool["functionDeclarations"]
        ]
        heard = Heard(
            model=self.model if f"/{self.model}:" in request.target else request.target,
            stream=self.is_stream(request),
            system="".join(
                part["text"]
                for part in body.get("systemInstruction", _NO_PARTS)["parts"]
            ),
            tools={
                each["name"]: _either(each, "parametersJsonSchema", "parameters")
                for each in declared
            },
            schema=_either(config, "responseJsonSchema", "responseSchema"),
            thinking=config.get("thinkingConfig"),
        )
        for content in body["contents"]:
            role = "assistant" if content.get("role") == "model" else "user"
            for part in content["parts"]:
                heard.add(role, *_gemini_item(heard, part))
        return heard


def _either(values: dict[str, Any], *names: str) -> Any:
    """The value of the first of ``names`` that there is; proto JSON has two of each."""
    for name in names:
        for spelt in (name, re.sub("([A-Z])", lambda m: f"_{m[1].lower()}", name)):
            if spelt in values:
                return values[spelt]
    return None


NO_SEAL = "skip_thought_signature_validator"
"""What Google takes for calls that its models have not made."""

# Google's client writes the other base64.
_TO_USUAL = str.maketrans("-_", "+/")
_NO_PARTS: dict[str, Any] = {"parts": []}
_GEMINI_STATUS = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}


class VertexGemini(Gemini):
    kind = "vertex-gemini"
    config: ClassVar = VertexAnthropic.config | {"type": "gemini"}
    key_header = "authorization"
    key = f"Bearer {UPSTREAM_KEY}"
    _place = "/v1/projects/proj/locations/europe-west1/publishers/google"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.fake.port}"


def _gemini_parts(said: Said) -> list[dict[str, Any]]:
    """As the API signs them: the first call, if the model has thought."""
    parts = [google.text(said.thinking, thought=True)] if said.thinking else []
    if said.whole:
        parts.append(google.text(said.whole))
    seal = SEALS["gemini"] if said.thinking else None
    for number, call in enumerate(said.calls):
        parts.append(
            google.function_call(
                call.name, call.arguments, signature=None if number else seal
            )
        )
    return parts


def _gemini_usage(said: Said) -> dict[str, Any]:
    return google.usage(
        said.prompt + said.cached,
        said.output,
        thoughts=said.thought or None,
        cached=said.cached or None,
    )


def _gemini_item(heard: Heard, part: dict[str, Any]) -> list[Item]:
    if seal := part.get("thoughtSignature"):
        given = seal if seal == NO_SEAL else seal.translate(_TO_USUAL)
        heard.seals.append(given)
    if call := part.get("functionCall"):
        return [heard.call(call.get("id"), call["name"], call.get("args") or {})]
    if result := part.get("functionResponse"):
        told = result["response"]
        return [heard.result(result.get("id"), told, result["name"])]
    if data := part.get("inlineData"):
        return [("image", _either(data, "mimeType"), data["data"])]
    if part.get("thought"):
        return [("thinking", part["text"], seal)]
    return [("text", part["text"])] if part["text"] else []
