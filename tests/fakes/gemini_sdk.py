"""Google's own SDK as the reader of a stream, without a network. Nothing of gandalf."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import httpx
from google import genai
from google.genai import types


class SdkStream:
    """What ``google-genai`` makes of the bytes of one stream.

    Attributes:
        chunks: The responses it yields.
        error: What it raises at last, if it does.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.chunks: list[types.GenerateContentResponse] = []
        self.error: Exception | None = None
        with _client(b"".join(pieces)) as client:
            try:
                self.chunks.extend(
                    client.models.generate_content_stream(model="m", contents="hi")
                )
            except Exception as error:  # noqa: BLE001 - whatever the SDK raises
                self.error = error

    @property
    def text(self) -> str:
        """The visible text of the first candidate."""
        return "".join(chunk.text or "" for chunk in self.chunks)

    @property
    def parts(self) -> list[types.Part]:
        """The parts of the first candidate."""
        return [
            part
            for chunk in self.chunks
            if chunk.candidates and chunk.candidates[0].content
            for part in chunk.candidates[0].content.parts or []
        ]


def sdk_chat_history(stream: bytes) -> list[types.Content]:
    """What a chat takes for its history after a turn that was answered by ``stream``."""
    with _client(stream) as client:
        chat = client.chats.create(model="m")
        for _ in chat.send_message_stream("hi"):
            pass
        return chat.get_history(curated=True)


@contextmanager
def _client(answer: bytes) -> Iterator[genai.Client]:
    headers = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, headers=headers, content=answer)
    )
    with httpx.Client(transport=transport) as http:
        options = types.HttpOptions(httpx_client=http)
        yield genai.Client(api_key="key", http_options=options)
