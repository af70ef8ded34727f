"""What becomes of each feature when a request goes to an OpenAI-compatible upstream.

What depends on the model or on the very request is found in ``request_renderer``.
"""

from __future__ import annotations

from collections.abc import Mapping

from gandalf.dialects.conversation import Feature, Treatment

_MAPPED = Treatment.MAPPED
_APPROXIMATED = Treatment.APPROXIMATED
_DROPPED = Treatment.DROPPED
_REFUSED = Treatment.REFUSED

TREATMENTS: Mapping[Feature, Treatment] = {
    Feature.SYSTEM: _MAPPED,
    Feature.DEVELOPER: _MAPPED,
    Feature.LATE_SYSTEM: _MAPPED,
    Feature.NAMES: _MAPPED,
    Feature.IMAGE_DATA: _MAPPED,
    Feature.IMAGE_URL: _MAPPED,
    Feature.IMAGE_DETAIL: _MAPPED,
    Feature.DOCUMENT_DATA: _MAPPED,
    # Chat Completions takes a file's bytes or its id at OpenAI; an id of another
    # provider's means nothing there.
    Feature.DOCUMENT_URL: _REFUSED,
    Feature.FILE_ID: _REFUSED,
    Feature.AUDIO_INPUT: _MAPPED,
    Feature.AUDIO_OUTPUT: _REFUSED,
    Feature.VIDEO_INPUT: _REFUSED,
    Feature.TOOLS: _MAPPED,
    Feature.TOOL_STRICT: _MAPPED,
    Feature.TOOL_REFERENCES: _APPROXIMATED,
    Feature.SERVER_TOOLS: _DROPPED,
    Feature.TOOL_CHOICE: _MAPPED,
    Feature.PARALLEL_TOOL_CALLS: _MAPPED,
    # Text only; what else there is follows in a message of the user's.
    Feature.TOOL_RESULT_PARTS: _APPROXIMATED,
    # There is no such field: the text says it.
    Feature.TOOL_RESULT_ERROR: _APPROXIMATED,
    Feature.THINKING: _MAPPED,
    Feature.THINKING_HISTORY: _DROPPED,
    Feature.JSON_MODE: _MAPPED,
    Feature.JSON_SCHEMA: _MAPPED,
    Feature.MAX_TOKENS: _MAPPED,
    Feature.TEMPERATURE: _MAPPED,
    Feature.TOP_P: _MAPPED,
    # OpenAI refuses a request with a field that it does not know.
    Feature.TOP_K: _DROPPED,
    Feature.MIN_P: _DROPPED,
    Feature.STOP: _MAPPED,
    Feature.SEED: _MAPPED,
    Feature.N: _MAPPED,
    Feature.PRESENCE_PENALTY: _MAPPED,
    Feature.FREQUENCY_PENALTY: _MAPPED,
    Feature.REPEAT_PENALTY: _DROPPED,
    Feature.LOGIT_BIAS: _MAPPED,
    Feature.LOGPROBS: _MAPPED,
    # OpenAI caches long prompts by itself; only some models know explicit marks.
    Feature.CACHE_MARKS: _DROPPED,
    Feature.CITATIONS: _DROPPED,
    Feature.USER: _MAPPED,
    # Refused by OpenAI unless the answer is stored there, which nobody asked for.
    Feature.METADATA: _DROPPED,
    Feature.SERVICE_TIER: _MAPPED,
    Feature.SAFETY_SETTINGS: _DROPPED,
    # A message of the assistant may be last, but a new one answers it.
    Feature.PREFILL: _APPROXIMATED,
}
