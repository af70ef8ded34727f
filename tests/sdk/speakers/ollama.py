"""Ollama."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.fakes import ollama_format as llama
from tests.fakes.upstream import Answer, Request, respond, stream
from tests.sdk.said import Heard, Said
from tests.sdk.speakers.base import UPSTREAM_KEY, Speaker


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
