"""Every kind of upstream: how it says what a test wants said, and what it heard.

A speaker answers as the real service would: as a stream if the request asks for one,
with 401 if the credentials are wrong, with 404 if the URL is not that of its API. Uses
nothing of gandalf.
"""

from __future__ import annotations

from tests.sdk.speakers.anthropic import Anthropic, VertexAnthropic
from tests.sdk.speakers.base import GAP as GAP
from tests.sdk.speakers.base import Speaker as Speaker
from tests.sdk.speakers.bedrock import BedrockAnthropic, Converse
from tests.sdk.speakers.gemini import NO_SEAL as NO_SEAL
from tests.sdk.speakers.gemini import Gemini, VertexGemini
from tests.sdk.speakers.ollama import Ollama
from tests.sdk.speakers.openai import Azure, OpenAI

DIRECT: tuple[type[Speaker], ...] = (OpenAI, Anthropic, Gemini, Ollama)
HOSTED: tuple[type[Speaker], ...] = (
    BedrockAnthropic,
    Converse,
    VertexAnthropic,
    VertexGemini,
    Azure,
)
SPEAKERS = {speaker.kind: speaker for speaker in (*DIRECT, *HOSTED)}
