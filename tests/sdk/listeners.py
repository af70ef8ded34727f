"""The official clients, with one manner of asking: what their users do with each.

A conversation is a list of the client's own messages; what a model answered goes back
into it as that client's documentation says.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anthropic
import httpx
import ollama
import openai
from google import genai
from google.genai import errors as google_errors
from google.genai import types
from pydantic import BaseModel

TIMEOUT = 10.0
Messages = list[Any]


class City(BaseModel):
    """What structured answers are about."""

    name: str
    people: int


@dataclass
class Reply:
    """An answer, as far as a client shows it."""

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    ids: list[str | None] = field(default_factory=list)
    """Of the calls."""
    finish: Any = None
    """In the client's words."""
    prompt: int | None = None
    """All tokens of the prompt, cached or not."""
    output: int | None = None
    """All tokens of the answer, thinking or not."""
    parsed: Any = None
    native: Any = None
    """What goes back into the conversation."""


@dataclass(kw_only=True)
class Wishes:
    """What a request asks for beside an answer."""

    system: str = ""
    tools: dict[str, Any] = field(default_factory=dict)
    """Schemas by name."""
    schema: type[BaseModel] | None = None
    thinking: bool = False


NOTHING = Wishes()
C = TypeVar("C")


class Listener(Generic[C]):
    """One client.

    Args:
        url: Of the gateway.
        key: The client's.
    """

    name = ""
    dialect = ""
    shows_thinking = True
    returns_seals = True
    """Whether its types have a place for what seals the thinking."""
    ends: tuple[Any, Any] = ("stop", "tool_calls")
    """How an answer ends that is complete, and one that calls tools."""
    broken: tuple[type[Exception], ...] = ()
    """What it raises for an answer that broke off."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self.headers: Any = {}
        """Of the last response."""
        self.client = self.connect()

    def connect(self) -> C:
        raise NotImplementedError

    def close(self) -> None:
        self.client.close()  # type: ignore[attr-defined]

    @property
    def request_id(self) -> str:
        return str(self.headers["x-request-id"])

    def _http(self) -> dict[str, Any]:
        """What every one of their HTTP clients is made with."""

        def note(response: Any) -> None:
            self.headers = response.headers

        return {"trust_env": False, "event_hooks": {"response": [note]}}

    # A conversation.

    def user(self, text: str, image: str = "") -> Messages:
        """A turn of the user's, with a PNG in base64 if there is one."""
        raise NotImplementedError

    def results(self, reply: Reply, texts: Sequence[str]) -> Messages:
        """What the tools returned that ``reply`` calls, in their order."""
        raise NotImplementedError

    def ask(
        self,
        model: str,
        messages: Messages,
        wishes: Wishes = NOTHING,
        *,
        stream: bool = False,
    ) -> Reply:
        """Ask for the next turn, and read all of it."""
        raise NotImplementedError

    def pieces(self, model: str, messages: Messages) -> Iterator[str]:
        """The text of a streamed answer, piece by piece; closing it hangs up."""
        raise NotImplementedError

    def listed(self) -> list[str]:
        """The names of the models."""
        raise NotImplementedError

    # Errors.

    def refused(self, status: int) -> type[Exception]:
        """What it raises for a status."""
        raise NotImplementedError

    def status_of(self, error: Exception) -> int:
        raise NotImplementedError


# OpenAI.


class OpenAI(Listener[openai.OpenAI]):
    name = dialect = "openai"
    broken = (openai.APIError, httpx.RemoteProtocolError)

    def connect(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=self.key, **self._options()
        )

    def _options(self) -> dict[str, Any]:
        http = openai.DefaultHttpxClient(**self._http())
        return {"http_client": http, "max_retries": 0, "timeout": TIMEOUT}

    def user(self, text: str, image: str = "") -> Messages:
        if not image:
            return [{"role": "user", "content": text}]
        url = {"url": f"data:image/png;base64,{image}"}
        parts = [
            {"type": "text", "text": text},
            {"type": "image_url", "image_url": url},
        ]
        return [{"role": "user", "content": parts}]

    def results(self, reply: Reply, texts: Sequence[str]) -> Messages:
        return [
            {"role": "tool", "tool_call_id": call_id, "content": text}
            for call_id, text in zip(reply.ids, texts, strict=True)
        ]

    def ask(
        self,
        model: str,
        messages: Messages,
        wishes: Wishes = NOTHING,
        *,
        stream: bool = False,
    ) -> Reply:
        asked = self._asked(model, messages, wishes)
        chats = self.client.chat.completions
        if stream:
            asked["stream_options"] = {"include_usage": True}
            with chats.stream(**asked) as events:
                for _ in events:
                    pass
                return _openai_reply(events.get_final_completion())
        if wishes.schema:
            return _openai_reply(chats.parse(**asked))
        return _openai_reply(chats.create(**asked))

    def _asked(self, model: str, messages: Messages, wishes: Wishes) -> Any:
        asked: dict[str, Any] = {"model": model, "messages": messages}
        if wishes.system:
            system = {"role": "system", "content": wishes.system}
            asked["messages"] = [system, *messages]
        if wishes.tools:
            asked["tools"] = [
                {"type": "function", "function": {"name": name, "parameters": schema}}
                for name, schema in wishes.tools.items()
            ]
        if wishes.schema:
            asked["response_format"] = wishes.schema
        if wishes.thinking:
            asked["reasoning_effort"] = "high"
        return asked

    def pieces(self, model: str, messages: Messages) -> Iterator[str]:
        with self.client.chat.completions.create(
            model=model, messages=messages, stream=True
        ) as chunks:
            for chunk in chunks:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content

    def listed(self) -> list[str]:
        return [model.id for model in self.client.models.list()]

    def refused(self, status: int) -> type[Exception]:
        return {
            400: openai.BadRequestError,
            401: openai.AuthenticationError,
            404: openai.NotFoundError,
            429: openai.RateLimitError,
        }.get(status, openai.InternalServerError)

    def status_of(self, error: Exception) -> int:
        assert isinstance(error, openai.APIStatusError)
        return error.status_code


def _openai_reply(completion: Any) -> Reply:
    choice = completion.choices[0]
    message = choice.message
    calls = list(message.tool_calls or ())
    usage = completion.usage
    return Reply(
        text=message.content or "",
        thinking=getattr(message, "reasoning_content", None) or "",
        calls=[(c.function.name, json.loads(c.function.arguments)) for c in calls],
        ids=[call.id for call in calls],
        finish=choice.finish_reason,
        prompt=usage.prompt_tokens,
        output=usage.completion_tokens,
        parsed=getattr(message, "parsed", None),
        native=[message],
    )


class AzureOpenAI(OpenAI):
    """The same package's client for Azure: another URL, another header for the key."""

    name = "azure-openai"

    def connect(self) -> openai.OpenAI:
        return openai.AzureOpenAI(
            azure_endpoint=self.url,
            api_key=self.key,
            api_version="2024-10-21",
            **self._options(),
        )


# Anthropic.


class Anthropic(Listener[anthropic.Anthropic]):
    name = dialect = "anthropic"
    ends = ("end_turn", "tool_use")
    broken = (anthropic.APIError,)

    def connect(self) -> anthropic.Anthropic:
        return anthropic.Anthropic(
            base_url=self.url,
            api_key=self.key,
            http_client=anthropic.DefaultHttpxClient(**self._http()),
            max_retries=0,
            timeout=TIMEOUT,
        )

    def user(self, text: str, image: str = "") -> Messages:
        if not image:
            return [{"role": "user", "content": text}]
        source = {"type": "base64", "media_type": "image/png", "data": image}
        parts = [{"type": "text", "text": text}, {"type": "image", "source": source}]
        return [{"role": "user", "content": parts}]

    def results(self, reply: Reply, texts: Sequence[str]) -> Messages:
        blocks = [
            {"type": "tool_result", "tool_use_id": call_id, "content": text}
            for call_id, text in zip(reply.ids, texts, strict=True)
        ]
        return [{"role": "user", "content": blocks}]

    def ask(
        self,
        model: str,
        messages: Messages,
        wishes: Wishes = NOTHING,
        *,
        stream: bool = False,
    ) -> Reply:
        asked = self._asked(model, messages, wishes)
        if stream:
            with self.client.messages.stream(**asked) as events:
                for _ in events:
                    pass
                return _anthropic_reply(events.get_final_message())
        if wishes.schema:
            return _anthropic_reply(self.client.messages.parse(**asked))
        return _anthropic_reply(self.client.messages.create(**asked))

    def _asked(self, model: str, messages: Messages, wishes: Wishes) -> Any:
        asked: dict[str, Any] = {
            "model": model,
            "max_tokens": 4096,
            "messages": messages,
        }
        if wishes.system:
            asked["system"] = wishes.system
        if wishes.tools:
            asked["tools"] = [
                {"name": name, "input_schema": schema}
                for name, schema in wishes.tools.items()
            ]
        if wishes.schema:
            asked["output_format"] = wishes.schema
        if wishes.thinking:
            asked["thinking"] = {"type": "enabled", "budget_tokens": 2048}
        return asked

    def pieces(self, model: str, messages: Messages) -> Iterator[str]:
        asked = self._asked(model, messages, NOTHING)
        with self.client.messages.stream(**asked) as events:
            yield from events.text_stream

    def listed(self) -> list[str]:
        return [model.id for model in self.client.models.list()]

    def refused(self, status: int) -> type[Exception]:
        return {
            400: anthropic.BadRequestError,
            401: anthropic.AuthenticationError,
            404: anthropic.NotFoundError,
            429: anthropic.RateLimitError,
        }.get(status, anthropic.InternalServerError)

    def status_of(self, error: Exception) -> int:
        assert isinstance(error, anthropic.APIStatusError)
        return error.status_code


def _anthropic_reply(message: Any) -> Reply:
    calls = [block for block in message.content if block.type == "tool_use"]
    usage = message.usage
    cached = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    return Reply(
        text="".join(block.text for block in message.content if block.type == "text"),
        thinking="".join(b.thinking for b in message.content if b.type == "thinking"),
        calls=[(call.name, call.input) for call in calls],
        ids=[call.id for call in calls],
        finish=message.stop_reason,
        prompt=usage.input_tokens + cached + written,
        output=usage.output_tokens,
        parsed=getattr(message, "parsed_output", None),
        native=[{"role": "assistant", "content": message.content}],
    )


# Gemini.


class Gemini(Listener[genai.Client]):
    name = "google-genai"
    dialect = "gemini"
    ends = ("STOP", "STOP")
    broken = (google_errors.APIError, httpx.RemoteProtocolError)

    def connect(self) -> genai.Client:
        self.http = httpx.Client(**self._http())
        options = types.HttpOptions(
            base_url=self.url, httpx_client=self.http, timeout=int(TIMEOUT * 1000)
        )
        return genai.Client(api_key=self.key, http_options=options)

    def close(self) -> None:
        # The client leaves alone what it was given, streams that were left included.
        self.client.close()
        self.http.close()

    def user(self, text: str, image: str = "") -> Messages:
        parts = [types.Part.from_text(text=text)]
        if image:
            data = base64.b64decode(image)
            parts.append(types.Part.from_bytes(data=data, mime_type="image/png"))
        return [types.Content(role="user", parts=parts)]

    def results(self, reply: Reply, texts: Sequence[str]) -> Messages:
        parts = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=call_id, name=name, response={"result": text}
                )
            )
            for (name, _), call_id, text in zip(
                reply.calls, reply.ids, texts, strict=True
            )
        ]
        return [types.Content(role="user", parts=parts)]

    def ask(
        self,
        model: str,
        messages: Messages,
        wishes: Wishes = NOTHING,
        *,
        stream: bool = False,
    ) -> Reply:
        asked: Any = {"model": model, "contents": messages, "config": _config(wishes)}
        if stream:
            return _gemini_reply(
                list(self.client.models.generate_content_stream(**asked))
            )
        return _gemini_reply([self.client.models.generate_content(**asked)])

    def pieces(self, model: str, messages: Messages) -> Iterator[str]:
        chunks = self.client.models.generate_content_stream(
            model=model, contents=messages
        )
        try:
            for chunk in chunks:
                if chunk.text:
                    yield chunk.text
        except GeneratorExit:
            self.close()
            raise

    def listed(self) -> list[str]:
        return [
            (model.name or "").removeprefix("models/")
            for model in self.client.models.list()
        ]

    def refused(self, status: int) -> type[Exception]:
        return google_errors.ClientError if status < 500 else google_errors.ServerError

    def status_of(self, error: Exception) -> int:
        assert isinstance(error, google_errors.APIError)
        return error.code


def _config(wishes: Wishes) -> types.GenerateContentConfig:
    config = types.GenerateContentConfig()
    if wishes.system:
        config.system_instruction = wishes.system
    if wishes.tools:
        declared = [
            types.FunctionDeclaration(name=name, parameters_json_schema=schema)
            for name, schema in wishes.tools.items()
        ]
        config.tools = [types.Tool(function_declarations=declared)]
    if wishes.schema:
        config.response_mime_type = "application/json"
        config.response_schema = wishes.schema
    if wishes.thinking:
        config.thinking_config = types.ThinkingConfig(
            include_thoughts=True, thinking_budget=2048
        )
    return config


def _gemini_reply(chunks: list[types.GenerateContentResponse]) -> Reply:
    parts = [
        part
        for chunk in chunks
        for candidate in (chunk.candidates or [])[:1]
        if candidate.content
        for part in candidate.content.parts or ()
    ]
    calls = [part.function_call for part in parts if part.function_call]
    last = chunks[-1]
    assert last.candidates and last.usage_metadata  # noqa: PT018
    usage = last.usage_metadata
    finish = last.candidates[0].finish_reason
    return Reply(
        text="".join(p.text for p in parts if p.text and not p.thought),
        thinking="".join(p.text for p in parts if p.text and p.thought),
        calls=[(call.name or "", call.args) for call in calls],
        ids=[call.id for call in calls],
        finish=finish.value if finish else None,
        prompt=usage.prompt_token_count,
        output=(usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        parsed=last.parsed,
        native=[types.Content(role="model", parts=parts)],
    )


# Ollama.


class Ollama(Listener[ollama.Client]):
    name = dialect = "ollama"
    ends = ("stop", "stop")
    returns_seals = False
    broken = (ollama.ResponseError, httpx.RemoteProtocolError)

    def connect(self) -> ollama.Client:
        return ollama.Client(
            self.url,
            headers={"authorization": f"Bearer {self.key}"},
            timeout=TIMEOUT,
            **self._http(),
        )

    def user(self, text: str, image: str = "") -> Messages:
        images = [ollama.Image(value=base64.b64decode(image))] if image else None
        return [ollama.Message(role="user", content=text, images=images)]

    def results(self, reply: Reply, texts: Sequence[str]) -> Messages:
        return [
            {"role": "tool", "tool_name": name, "content": text}
            for (name, _), text in zip(reply.calls, texts, strict=True)
        ]

    def ask(
        self,
        model: str,
        messages: Messages,
        wishes: Wishes = NOTHING,
        *,
        stream: bool = False,
    ) -> Reply:
        asked: dict[str, Any] = {"model": model, "messages": messages}
        if wishes.system:
            system = {"role": "system", "content": wishes.system}
            asked["messages"] = [system, *messages]
        if wishes.tools:
            asked["tools"] = [
                {"type": "function", "function": {"name": name, "parameters": schema}}
                for name, schema in wishes.tools.items()
            ]
        if wishes.schema:
            asked["format"] = wishes.schema.model_json_schema()
        if wishes.thinking:
            asked["think"] = "high"
        if stream:
            chunks = list(self.client.chat(**asked, stream=True))
        else:
            chunks = [self.client.chat(**asked)]
        return _ollama_reply(chunks, wishes.schema)

    def pieces(self, model: str, messages: Messages) -> Iterator[str]:
        for chunk in self.client.chat(model, messages, stream=True):
            if chunk.message.content:
                yield chunk.message.content

    def listed(self) -> list[str]:
        return [model.model or "" for model in self.client.list().models]

    def refused(self, status: int) -> type[Exception]:
        return ollama.ResponseError

    def status_of(self, error: Exception) -> int:
        assert isinstance(error, ollama.ResponseError)
        return error.status_code


def _ollama_reply(
    chunks: list[ollama.ChatResponse], schema: type[BaseModel] | None
) -> Reply:
    text = "".join(chunk.message.content or "" for chunk in chunks)
    thinking = "".join(chunk.message.thinking or "" for chunk in chunks)
    calls = [call for chunk in chunks for call in chunk.message.tool_calls or ()]
    last = chunks[-1]
    assert last.done
    message = ollama.Message(
        role="assistant",
        content=text,
        thinking=thinking or None,
        tool_calls=calls or None,
    )
    return Reply(
        text=text,
        thinking=thinking,
        calls=[(call.function.name, call.function.arguments) for call in calls],
        ids=[None] * len(calls),
        finish=last.done_reason,
        prompt=last.prompt_eval_count,
        output=last.eval_count,
        parsed=schema.model_validate_json(text) if schema else None,
        native=[message],
    )


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
