"""The requests of each client dialect, and strict readers of what comes back.

The readers share nothing with the gateway. They accept what the dialect's official SDK
accepts and note everything else, so that a test can tell an answer from half of one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

_ASKED = [{"role": "user", "content": "hi"}]


@dataclass
class Seen:
    """What a client has understood."""

    text: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    """Names and arguments of the calls of tools."""
    ended: bool = False
    """The end marker was seen, and a finish reason of every choice."""
    marker: bool = False
    """The end marker was seen."""
    error: str | None = None
    """The message of an error in the client's own protocol."""
    odd: list[bytes] = field(default_factory=list)
    """Events that are not what the protocol says."""
    behind: bytes = b""
    """What came after the end marker or the error."""


class Client:
    """A client of one dialect."""

    name: ClassVar[str]
    path: ClassVar[bytes]
    query: ClassVar[bytes] = b""
    stream_path: ClassVar[bytes] = b""

    def request(self, *, stream: bool) -> tuple[bytes, bytes, bytes]:
        """Return path, query and body."""
        raise NotImplementedError

    def whole(self, body: bytes) -> Seen:
        """Read a whole answer. Raises if it is none."""
        raise NotImplementedError

    def error(self, body: bytes) -> str:
        """Return the message of an error body. Raises if it is none."""
        raise NotImplementedError

    def events(self, body: bytes) -> list[bytes]:
        """Return the events of a stream with what separates them."""
        return _events(body)

    def stream(self, body: bytes) -> Seen:
        """Read a stream from its beginning to where it ends."""
        seen = Seen()
        events = self.events(body)
        for at, event in enumerate(events):
            if seen.marker or seen.error is not None:
                seen.behind = b"".join(events[at:])
                break
            self.take(event, seen)
        return seen

    def take(self, event: bytes, seen: Seen) -> None:
        raise NotImplementedError

    def json_of(self, event: bytes, seen: Seen) -> Any:
        """Return the JSON of an event; None if it has none."""
        data = _data(event)
        if data is None or data.strip() in (b"", b"ping"):
            return None
        try:
            return json.loads(data)
        except ValueError:
            seen.odd.append(event)
            return None


def _is_reason(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _events(body: bytes) -> list[bytes]:
    events, lines = [], b""
    for line in body.splitlines(keepends=True):
        lines += line
        if not line.strip(b"\r\n"):
            events.append(lines)
            lines = b""
    return [*events, lines] if lines else events


def _data(event: bytes) -> bytes | None:
    lines = [
        line[5:].removeprefix(b" ")
        for line in event.removeprefix(b"\xef\xbb\xbf").splitlines()
        if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None


class OpenAI(Client):
    name = "openai"

    def request(self, *, stream):
        body = {"model": "alias", "messages": _ASKED}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return b"/v1/chat/completions", b"", json.dumps(body).encode()

    def whole(self, body):
        said = json.loads(body.removeprefix(b"\xef\xbb\xbf"))
        [choice] = said["choices"]
        seen = Seen(ended=_is_reason(choice["finish_reason"]))
        self._read(choice["message"], seen)
        return seen

    def error(self, body):
        return json.loads(body)["error"]["message"]

    def stream(self, body):
        self._finished: set[Any] = set()
        self._begun: set[Any] = set()
        self._calls: dict[Any, int] = {}
        seen = super().stream(body)
        # A stream of nothing at all says that the model had nothing to say.
        seen.ended = seen.marker and self._begun <= self._finished != set()
        seen.calls = [(name, _arguments(pieces)) for name, pieces in seen.calls]
        return seen

    def take(self, event, seen):
        data = _data(event)
        if data is not None and data.strip() == b"[DONE]":
            seen.marker = True
            return
        said = self.json_of(event, seen)
        if said is None:
            return
        if not isinstance(said, dict):
            seen.odd.append(event)
            return
        if said.get("error"):
            error = said["error"]
            seen.error = error["message"] if isinstance(error, dict) else error
            return
        choices = said.get("choices")
        if not isinstance(choices, list):
            seen.odd.append(event)
            return
        for choice in choices:
            index = int(choice.get("index") or 0)
            self._begun.add(index)
            if isinstance(choice.get("delta"), dict) and index == 0:
                self._read(choice["delta"], seen)
            if _is_reason(choice.get("finish_reason")):
                self._finished.add(index)

    def _read(self, message: dict[str, Any], seen: Seen) -> None:
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        if isinstance(content, str | int):
            seen.text += str(content)
        elif content is not None:
            seen.odd.append(repr(content).encode())
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            if "index" not in call:
                arguments = function["arguments"]
                seen.calls.append((function["name"], _arguments(arguments)))
                continue
            place = self._calls.setdefault(call["index"], len(seen.calls))
            if place == len(seen.calls):
                seen.calls.append((function.get("name") or "", ""))
            name, pieces = seen.calls[place]
            pieces = _added(pieces, function.get("arguments"))
            seen.calls[place] = (name or function.get("name") or "", pieces)


def _added(pieces: Any, more: Any) -> Any:
    return more if isinstance(more, dict) else pieces + (more or "")


def _arguments(pieces: Any) -> Any:
    if not isinstance(pieces, str):
        return pieces
    try:
        return json.loads(pieces or "{}")
    except ValueError:
        return pieces


class Anthropic(Client):
    name = "anthropic"

    def request(self, *, stream):
        body = {"model": "alias", "max_tokens": 100, "messages": _ASKED}
        return b"/v1/messages", b"", json.dumps(body | {"stream": stream}).encode()

    def whole(self, body):
        said = json.loads(body.removeprefix(b"\xef\xbb\xbf"))
        assert said["type"] == "message"
        assert said["role"] == "assistant"
        seen = Seen(ended=_is_reason(said["stop_reason"]))
        for block in said["content"]:
            if block["type"] == "text":
                seen.text += str(block["text"])
            elif block["type"] == "tool_use":
                seen.calls.append((block["name"], block["input"]))
        return seen

    def error(self, body):
        said = json.loads(body)
        assert said["type"] == "error"
        return said["error"]["message"]

    def stream(self, body):
        self._open: dict[Any, int] = {}
        self._stopped = False
        seen = super().stream(body)
        seen.ended = seen.marker and self._stopped
        seen.calls = [(name, _arguments(pieces)) for name, pieces in seen.calls]
        return seen

    def take(self, event, seen):
        said = self.json_of(event, seen)
        if said is None:
            return
        kind = said.get("type") if isinstance(said, dict) else None
        if kind == "message_stop":
            seen.marker = True
        elif kind == "error":
            seen.error = said["error"]["message"]
        elif kind == "content_block_start":
            block = said["content_block"]
            self._open[said.get("index")] = len(seen.calls)
            if block["type"] == "tool_use":
                seen.calls.append((block["name"], ""))
            elif block["type"] == "text":
                seen.text += block.get("text") or ""
        elif kind == "content_block_delta":
            self._delta(said, event, seen)
        elif kind == "content_block_stop":
            self._open.pop(said.get("index"), None)
        elif kind == "message_delta":
            reason = said["delta"].get("stop_reason")
            self._stopped = self._stopped or _is_reason(reason)
        elif kind not in ("message_start", "ping"):
            seen.odd.append(event)

    def _delta(self, said: Any, event: bytes, seen: Seen) -> None:
        delta = said.get("delta") or {}
        if delta.get("type") == "text_delta" and isinstance(
            delta.get("text"), str | int
        ):
            seen.text += str(delta["text"])
        elif delta.get("type") == "input_json_delta":
            place = self._open[said["index"]]
            name, pieces = seen.calls[place]
            seen.calls[place] = (name, pieces + delta["partial_json"])
        elif delta.get("type") not in ("thinking_delta", "signature_delta"):
            seen.odd.append(event)


class Gemini(Client):
    name = "gemini"

    def request(self, *, stream):
        body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
        action = b"streamGenerateContent" if stream else b"generateContent"
        query = b"alt=sse" if stream else b""
        return b"/v1beta/models/alias:" + action, query, json.dumps(body).encode()

    def whole(self, body):
        seen = Seen()
        self._begun, self._finished = set(), set()
        self._read(json.loads(body.removeprefix(b"\xef\xbb\xbf")), seen)
        return seen

    def error(self, body):
        said = json.loads(body)
        said = said[0] if isinstance(said, list) else said
        assert isinstance(said["error"]["code"], int)
        return said["error"]["message"]

    def stream(self, body):
        self._begun: set[Any] = set()
        self._finished: set[Any] = set()
        return super().stream(body)

    def take(self, event, seen):
        stripped = event.strip()
        if stripped.startswith(b"{"):
            # Google's own SDKs read an error that stands outside of any event.
            seen.error = self.error(stripped)
            return
        said = self.json_of(event, seen)
        if said is None:
            return
        if not isinstance(said, dict):
            seen.odd.append(event)
        elif "error" in said:
            seen.error = said["error"]["message"]
        else:
            self._read(said, seen)

    def events(self, body):
        # There is no end marker: what follows the finish reason counts, too.
        return _events(body)

    def _read(self, said: dict[str, Any], seen: Seen) -> None:
        candidates = said.get("candidates") or ()
        if not isinstance(candidates, list | tuple):
            seen.odd.append(repr(candidates).encode())
            return
        for candidate in candidates:
            index = candidate.get("index") or 0
            self._begun.add(index)
            if _is_reason(candidate.get("finishReason")):
                self._finished.add(index)
            if index == 0:
                self._read_parts(candidate, seen)
        seen.ended = self._begun == self._finished != set()

    def _read_parts(self, candidate: dict[str, Any], seen: Seen) -> None:
        content = candidate.get("content") or {}
        for part in content.get("parts") or ():
            if "functionCall" in part:
                call = part["functionCall"]
                seen.calls.append((call["name"], call.get("args") or {}))
            elif not isinstance(part.get("text"), str | int):
                seen.odd.append(repr(part).encode())
            elif not part.get("thought"):
                seen.text += str(part["text"])


class Ollama(Client):
    name = "ollama"

    def request(self, *, stream):
        body = {"model": "alias", "messages": _ASKED, "stream": stream}
        return b"/api/chat", b"", json.dumps(body).encode()

    def whole(self, body):
        said = json.loads(body.removeprefix(b"\xef\xbb\xbf"))
        seen = Seen(ended=said["done"] is True)
        self._read(said["message"], seen)
        return seen

    def error(self, body):
        said = json.loads(body)
        error = said["error"]
        return error if isinstance(error, str) else error["message"]

    def events(self, body):
        return body.splitlines(keepends=True)

    def take(self, event, seen):
        if not event.strip():
            return
        try:
            said = json.loads(event.removeprefix(b"\xef\xbb\xbf"))
        except ValueError:
            seen.odd.append(event)
            return
        if not isinstance(said, dict):
            seen.odd.append(event)
        elif "error" in said:
            seen.error = self.error(event)
        elif isinstance(said.get("message"), dict):
            self._read(said["message"], seen)
            seen.ended = seen.marker = said.get("done") is True
        else:
            seen.odd.append(event)

    def _read(self, message: dict[str, Any], seen: Seen) -> None:
        content = message.get("content")
        if isinstance(content, str | int):
            seen.text += str(content)
        elif content is not None:
            seen.odd.append(repr(content).encode())
        for call in message.get("tool_calls") or ():
            function = call["function"]
            seen.calls.append((function["name"], function["arguments"]))


CLIENTS = {each.name: each() for each in (OpenAI, Anthropic, Gemini, Ollama)}
