"""What becomes of each feature in a request to Ollama."""

from __future__ import annotations

from collections.abc import Mapping

from gandalf.dialects.conversation import Feature, Treatment

_MAPPED = (
    Feature.SYSTEM,
    Feature.LATE_SYSTEM,
    Feature.IMAGE_DATA,
    Feature.TOOLS,
    # How well these fare depends on what is asked for, and on the model.
    Feature.TOOL_CHOICE,
    Feature.PARALLEL_TOOL_CALLS,
    Feature.THINKING,
    Feature.THINKING_HISTORY,
    Feature.JSON_MODE,
    Feature.JSON_SCHEMA,
    Feature.MAX_TOKENS,
    Feature.TEMPERATURE,
    Feature.TOP_P,
    Feature.TOP_K,
    Feature.MIN_P,
    Feature.STOP,
    Feature.SEED,
    Feature.PRESENCE_PENALTY,
    Feature.FREQUENCY_PENALTY,
    Feature.REPEAT_PENALTY,
    Feature.LOGPROBS,
)
_APPROXIMATED = (
    Feature.TOOL_REFERENCES,
    # A system message is all there is.
    Feature.DEVELOPER,
    # Text and images are apart, so their order among each other is lost.
    Feature.TOOL_RESULT_PARTS,
    # The result says in words that it is one.
    Feature.TOOL_RESULT_ERROR,
    # Whether the answer goes on where it ends is up to the model's template.
    Feature.PREFILL,
)
_REFUSED = (
    # Nobody but the client may say what the gateway fetches, and it fetches nothing.
    Feature.IMAGE_URL,
    Feature.DOCUMENT_DATA,
    Feature.DOCUMENT_URL,
    Feature.FILE_ID,
    Feature.AUDIO_INPUT,
    Feature.AUDIO_OUTPUT,
    Feature.VIDEO_INPUT,
    Feature.N,
)


def _table() -> Mapping[Feature, Treatment]:
    return {
        **dict.fromkeys(Feature, Treatment.DROPPED),
        **dict.fromkeys(_MAPPED, Treatment.MAPPED),
        **dict.fromkeys(_APPROXIMATED, Treatment.APPROXIMATED),
        **dict.fromkeys(_REFUSED, Treatment.REFUSED),
    }


TREATMENTS = _table()
