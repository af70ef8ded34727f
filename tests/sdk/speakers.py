"""Every kind of upstream: how it says what a test wants said, and what it heard.

A speaker answers as the real service would: as a stream if the request asks for one,
with 401 if the credentials are wrong, with 404 if the URL is not that of its API. Uses
nothing of gandalf.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from tests.fakes import anthropic_format as claude
from tests.fakes import bedrock_format as bedrock
from tests.fakes import bedrock_server
from tests.fakes import gemini_format as google
from tests.fakes import ollama_format as llama
from tests.fakes import openai_format as gpt
from tests.fakes.upstream import Answer, FakeUpstream, Request, respond, stream
from tests.sdk.said import SEALS, Calling, Heard, Item, Said

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


def _data_url(url: str) -> Item:
    head, _, data = url.partition(";base64,")
    return ("image", head.removeprefix("data:"), data)


# OpenAI.


class OpenAI(Speaker):
    kind = dialect = "openai"
    model = "gpt-5-mini"
    embedding_model = "text-embedding-3-small"
    closing = 3
    seals_thinking = False  # there is no field for it in what the vendor itself says
    config: ClassVar = {"type": "openai", "api_key": UPSTREAM_KEY}

    @property
    def base_url(self) -> str:
        return self.fake.url

    def paths(self, request: Request) -> tuple[str, ...]:
        return ("/v1/chat/completions", "/v1/embeddings")

    def body(self, said: Said) -> bytes:
        made = json.loads(
            gpt.completion(
                said.whole or None,
                model=self.model,
                finish_reason="tool_calls" if said.calls else "stop",
                tool_calls=[_openai_call(call) for call in said.calls],
                usage=_openai_usage(said),
            )
        )
        if said.thinking:
            made["choices"][0]["message"]["reasoning_content"] = said.thinking
        return json.dumps(made).encode()

    def events(self, said: Said) -> list[bytes]:
        chunks = [gpt.chunk(role="assistant")]
        for piece in filter(None, (said.thinking[:5], said.thinking[5:])):
            thought = gpt.chunk()
            thought["choices"][0]["delta"]["reasoning_content"] = piece
            chunks.append(thought)
        chunks += [gpt.chunk(text) for text in said.text if text]
        for index, call in enumerate(said.calls):
            begun = _openai_call(call) | {"index": index}
            arguments = begun["function"]["arguments"]
            begun["function"] |= {"arguments": ""}
            chunks.append(gpt.chunk(tool_calls=[begun]))
            chunks += [
                gpt.chunk(tool_calls=[{"index": index, "function": {"arguments": a}}])
                for a in (arguments[:4], arguments[4:])
            ]
        chunks.append(gpt.chunk(finish_reason="tool_calls" if said.calls else "stop"))
        chunks.append(gpt.usage_chunk(_openai_usage(said)))
        return [*map(gpt.event, chunks), gpt.DONE]

    def refusal(self, status: int, message: str) -> Answer:
        return respond(gpt.error(message, type="upstream_type"), status)

    def embeds(self, *vectors: tuple[float, ...]) -> None:
        self.script(respond(gpt.embeddings(*vectors)))

    def hear(self, request: Request) -> Heard:
        body = request.json()
        wanted = body.get("response_format") or {}
        heard = Heard(
            model=body.get("model", ""),
            stream=self.is_stream(request),
            schema=(wanted.get("json_schema") or {}).get("schema"),
            tools={
                tool["function"]["name"]: tool["function"]["parameters"]
                for tool in body.get("tools", ())
            },
            thinking=body.get("reasoning_effort"),
        )
        for message in body["messages"]:
            self._hear_message(heard, message)
        return heard

    def _hear_message(self, heard: Heard, message: dict[str, Any]) -> None:
        role, content = message["role"], message.get("content")
        if role in ("system", "developer"):
            heard.system += _openai_text(content)
        elif role == "tool":
            heard.add("user", heard.result(message["tool_call_id"], content))
        else:
            if thought := message.get("reasoning_content"):
                heard.add(role, ("thinking", thought, None))
            heard.add(role, *_openai_items(content))
            for call in message.get("tool_calls") or ():
                made = call["function"]
                arguments = json.loads(made["arguments"])
                heard.add(role, heard.call(call["id"], made["name"], arguments))


class Azure(OpenAI):
    kind = "azure"
    model = "deployed"
    config: ClassVar = {
        "type": "openai",
        "hosting": "azure",
        "api_version": "2024-10-21",
        "api_key": UPSTREAM_KEY,
    }
    key_header = "api-key"
    key = UPSTREAM_KEY

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.fake.port}"

    def paths(self, request: Request) -> tuple[str, ...]:
        assert urlsplit(request.target).query == "api-version=2024-10-21"
        deployment = "/openai/deployments/deployed"
        return (f"{deployment}/chat/completions", f"{deployment}/embeddings")

    def hear(self, request: Request) -> Heard:
        heard = super().hear(request)
        heard.model = self.model  # whatever the body says, the URL counts
        return heard


def _openai_call(call: Calling) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _openai_usage(said: Said) -> dict[str, Any]:
    counted = gpt.usage(
        said.prompt + said.cached, said.output + said.thought, said.cached
    )
    counted["completion_tokens_details"]["reasoning_tokens"] = said.thought
    return counted


def _openai_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content or ())


def _openai_items(content: Any) -> list[Item]:
    if isinstance(content, str):
        return [("text", content)] if content else []
    return [
        _data_url(part["image_url"]["url"])
        if part["type"] == "image_url"
        else ("text", part["text"])
        for part in content or ()
    ]


# Anthropic.


class Anthropic(Speaker):
    kind = dialect = "anthropic"
    model = "claude-sonnet-4-5-20250929"
    closing = 2
    config: ClassVar = {"type": "anthropic", "api_key": UPSTREAM_KEY}
    key_header = "x-api-key"
    key = UPSTREAM_KEY

    @property
    def base_url(self) -> str:
        return self.fake.url

    def why_not(self, request: Request) -> str:
        if not request.header("anthropic-version"):
            return "anthropic-version: header is required"
        return super().why_not(request)

    def paths(self, request: Request) -> tuple[str, ...]:
        return ("/v1/messages",)

    def body(self, said: Said) -> bytes:
        return claude.message(
            *_anthropic_blocks(said),
            stop_reason="tool_use" if said.calls else "end_turn",
            usage=_anthropic_usage(said),
        )

    def events(self, said: Said) -> list[bytes]:
        return claude.message_events(
            *_anthropic_blocks(said),
            stop_reason="tool_use" if said.calls else "end_turn",
            usage=_anthropic_usage(said),
            pieces=max(2, len(said.text)),
        )

    def refusal(self, status: int, message: str) -> Answer:
        return respond(claude.error(message, type=_ANTHROPIC_TYPES[status]), status)

    def hear(self, request: Request) -> Heard:
        body = request.json()
        heard = Heard(
            model=body.get("model", ""),
            stream=self.is_stream(request),
            system=_anthropic_text(body.get("system") or ""),
            tools={t["name"]: t["input_schema"] for t in body.get("tools", ())},
            schema=_anthropic_schema(body),
            thinking=body.get("thinking"),
        )
        assert body["max_tokens"] > 0
        for message in body["messages"]:
            content = message["content"]
            if isinstance(content, str):
                content = [claude.text(content)]
            for block in content:
                heard.add(message["role"], _anthropic_item(heard, block))
        return heard


_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def _anthropic_blocks(said: Said) -> list[dict[str, Any]]:
    blocks = [claude.thinking(said.thinking)] if said.thinking else []
    if said.whole:
        blocks.append(claude.text(said.whole))
    return blocks + [
        claude.tool_use(call.name, call.arguments, f"toolu_{call.id}")
        for call in said.calls
    ]


def _anthropic_usage(said: Said) -> dict[str, Any]:
    return claude.usage(
        said.prompt,
        said.output + said.thought,
        cached=said.cached,
        thinking=said.thought,
    )


def _anthropic_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block["text"] for block in content)


def _anthropic_schema(body: dict[str, Any]) -> Any:
    wanted = (body.get("output_config") or {}).get("format") or {}
    return (wanted or body.get("output_format") or {}).get("schema")


def _anthropic_item(heard: Heard, block: dict[str, Any]) -> Item:
    kind = block["type"]
    if kind == "text":
        return ("text", block["text"])
    if kind == "image":
        source = block["source"]
        return ("image", source["media_type"], source["data"])
    if kind == "thinking":
        heard.seals.append(block["signature"])
        return ("thinking", block["thinking"], block["signature"])
    if kind == "tool_use":
        return heard.call(block["id"], block["name"], block["input"])
    assert kind == "tool_result", block
    return heard.result(block["tool_use_id"], block.get("content", ""))


class VertexAnthropic(Anthropic):
    kind = "vertex-anthropic"
    model = "claude-sonnet-4-5@20250929"
    config: ClassVar = {
        "type": "anthropic",
        "hosting": "vertex",
        "region": "europe-west1",
        "project": "proj",
        "auth": {"type": "bearer", "api_key": UPSTREAM_KEY},
    }
    key_header = "authorization"
    key = f"Bearer {UPSTREAM_KEY}"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.fake.port}"

    def why_not(self, request: Request) -> str:
        if request.json().get("anthropic_version") != "vertex-2023-10-16":
            return "anthropic_version"
        return Speaker.why_not(self, request)

    def paths(self, request: Request) -> tuple[str, ...]:
        action = "streamRawPredict" if self.is_stream(request) else "rawPredict"
        place = "/v1/projects/proj/locations/europe-west1"
        return (f"{place}/publishers/anthropic/models/{self.model}:{action}",)

    def hear(self, request: Request) -> Heard:
        heard = super().hear(request)
        assert not heard.model, "the model is in the URL only"
        heard.model = self.model
        return heard


class BedrockAnthropic(Anthropic):
    kind = "bedrock-anthropic"
    model = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
    config: ClassVar = {
        "type": "anthropic",
        "hosting": "bedrock",
        "region": bedrock_server.REGION,
        "auth": {
            "type": "aws_sigv4",
            "access_key_id": bedrock_server.ACCESS_KEY,
            "secret_access_key": bedrock_server.SECRET_KEY,
        },
    }
    _actions = ("invoke", "invoke-with-response-stream")

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.fake.port}"

    def why_not(self, request: Request) -> str:
        body = request.json()
        if body.get("anthropic_version") != "bedrock-2023-05-31":
            return "anthropic_version"
        extra = {"model", "stream"} & set(body)
        if extra:
            return f"Extra inputs are not permitted: {extra}"
        return _why_not_signed(self, request)

    def paths(self, request: Request) -> tuple[str, ...]:
        return tuple(f"/model/{self.model}/{action}" for action in self._actions)

    def is_stream(self, request: Request) -> bool:
        return request.target.endswith("-stream")

    def streamed(self, said: Said, gap: float = 0.0) -> Answer:
        datas = [event.partition(b"data: ")[2].strip() for event in self.events(said)]
        # A last event tells of metrics, as those of Bedrock do.
        return bedrock_server.event_stream(*map(bedrock.chunk, datas), gap=gap)

    def refusal(self, status: int, message: str) -> Answer:
        return bedrock_server.refusal(status, message, _BEDROCK_TYPES[status])

    def hear(self, request: Request) -> Heard:
        heard = super().hear(request)
        heard.model = self.model
        return heard


_BEDROCK_TYPES = {
    400: "ValidationException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
}


def _why_not_signed(speaker: Speaker, request: Request) -> str:
    if speaker.path_of(request) not in speaker.paths(request):
        return f"no such URL: {request.target}"
    return bedrock_server.why_not(request)


# Converse.


class Converse(BedrockAnthropic):
    kind = "bedrock"
    dialect = "bedrock"
    model = "eu.amazon.nova-pro-v1:0"
    counts_reasoning = False
    config: ClassVar = BedrockAnthropic.config | {"type": "bedrock"}
    _actions = ("converse", "converse-stream")

    def why_not(self, request: Request) -> str:
        return _why_not_signed(self, request)

    def of(self, said: Said) -> Answer:
        blocks: list[Any] = [said.whole] if said.whole else []
        for call in said.calls:
            made = {"toolUseId": f"tooluse_{call.id}", "name": call.name}
            blocks.append({"toolUse": {**made, "input": call.arguments}})
        return respond(
            bedrock.converse_answer(
                *blocks,
                stopReason="tool_use" if said.calls else "end_turn",
                usage=_converse_usage(said),
            )
        )

    def streamed(self, said: Said, gap: float = 0.0) -> Answer:
        blocks = [bedrock.text_block(0, *said.text)] if said.whole else []
        for call in said.calls:
            arguments = json.dumps(call.arguments)
            pieces = (arguments[:4], arguments[4:])
            call_id = f"tooluse_{call.id}"
            blocks.append(bedrock.tool_block(len(blocks), call_id, call.name, *pieces))
        events = bedrock.converse_events(
            *blocks,
            stop_reason="tool_use" if said.calls else "end_turn",
            usage=_converse_usage(said),
        )
        return bedrock_server.event_stream(*events, gap=gap)

    def hear(self, request: Request) -> Heard:
        body = request.json()
        specs = [
            tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", ())
        ]
        heard = Heard(
            model=self.model,
            stream=self.is_stream(request),
            system="".join(block["text"] for block in body.get("system", ())),
            tools={spec["name"]: spec["inputSchema"]["json"] for spec in specs},
        )
        for message in body["messages"]:
            for block in message["content"]:
                heard.add(message["role"], _converse_item(heard, block))
        return heard


def _converse_usage(said: Said) -> dict[str, Any]:
    output = said.output + said.thought
    return {
        "inputTokens": said.prompt,
        "outputTokens": output,
        "totalTokens": said.prompt + said.cached + output,
        "cacheReadInputTokens": said.cached,
        "cacheWriteInputTokens": 0,
    }


def _converse_item(heard: Heard, block: dict[str, Any]) -> Item:
    ((kind, value),) = block.items()
    if kind == "text":
        return ("text", value)
    if kind == "toolUse":
        return heard.call(value["toolUseId"], value["name"], value["input"])
    assert kind == "toolResult", block
    return heard.result(value["toolUseId"], value["content"])


# Gemini.


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


# Ollama.


class Ollama(Speaker):
    kind = dialect = "ollama"
    model = "qwen3:8b"
    embedding_model = "embeddinggemma"
    seals_thinking = False
    counts_reasoning = False
    config: ClassVar = {"type": "ollama", "api_key": UPSTREAM_KEY}

    def paths(self, request: Request) -> tuple[str, ...]:
        return ("/api/chat", "/api/generate", "/api/embed")

    def is_stream(self, request: Request) -> bool:
        return bool(request.json().get("stream", True))

    def of(self, said: Said) -> Answer:
        body = llama.chat(
            said.whole,
            model=self.model,
            thinking=said.thinking,
            tool_calls=_ollama_calls(said),
            counts=_ollama_counts(said),
        )
        return respond(body, content_type=llama.WHOLE_TYPE)

    def streamed(self, said: Said, gap: float = 0.0) -> Answer:
        lines = llama.chat_lines(
            *filter(None, said.text),
            thinking=tuple(filter(None, (said.thinking[:5], said.thinking[5:]))),
            tool_calls=_ollama_calls(said),
            model=self.model,
            counts=_ollama_counts(said),
        )
        return stream(*lines, gap=gap, content_type=llama.STREAM_TYPE)

    def refusal(self, status: int, message: str) -> Answer:
        return respond(llama.error(message), status, content_type=llama.WHOLE_TYPE)

    def embeds(self, *vectors: tuple[float, ...]) -> None:
        self.script(respond(llama.embedded(*vectors)))

    def hear(self, request: Request) -> Heard:
        body = request.json()
        heard = Heard(
            model=body["model"],
            stream=self.is_stream(request),
            tools={
                tool["function"]["name"]: tool["function"]["parameters"]
                for tool in body.get("tools") or ()
            },
            schema=body.get("format") or None,
            thinking=body.get("think"),
        )
        for message in body["messages"]:
            _hear_ollama(heard, message)
        return heard


def _hear_ollama(heard: Heard, message: dict[str, Any]) -> None:
    role, content = message["role"], message.get("content") or ""
    if role == "system":
        heard.system += content
        return
    if role == "tool":
        name = message.get("tool_name", "")
        heard.add("user", heard.result(message.get("tool_call_id"), content, name))
        return
    if thought := message.get("thinking"):
        heard.add(role, ("thinking", thought, None))
    if content:
        heard.add(role, ("text", content))
    heard.add(role, *(("image", None, data) for data in message.get("images") or ()))
    for call in message.get("tool_calls") or ():
        made = call["function"]
        heard.add(role, heard.call(call.get("id"), made["name"], made["arguments"]))


def _ollama_calls(said: Said) -> list[dict[str, Any]]:
    return [
        llama.tool_call(call.name, call.arguments, id=call.id, index=number)
        for number, call in enumerate(said.calls)
    ]


def _ollama_counts(said: Said) -> dict[str, Any]:
    prompt = said.prompt + said.cached
    return llama.metrics(prompt, said.output + said.thought, said.cached)


DIRECT: tuple[type[Speaker], ...] = (OpenAI, Anthropic, Gemini, Ollama)
HOSTED: tuple[type[Speaker], ...] = (
    BedrockAnthropic,
    Converse,
    VertexAnthropic,
    VertexGemini,
    Azure,
)
SPEAKERS = {speaker.kind: speaker for speaker in (*DIRECT, *HOSTED)}
