"""What becomes of each feature when a request is rendered for Anthropic.

``MAPPED`` also where only some requests or models get less than they asked for: the
renderers report those one by one. Source: https://platform.claude.com/docs/en/api/messages/create
(2023-06-01, which older models' sampling parameters need) and, for what OpenAI's
parameters become, https://platform.claude.com/docs/en/cli-sdks-libraries/libraries/openai-sdk.
"""

from __future__ import annotations

from collections.abc import Mapping

from gandalf.dialects.conversation import Feature, Treatment

_MAPPED = (
    Feature.SYSTEM,
    Feature.DEVELOPER,
    Feature.LATE_SYSTEM,
    Feature.IMAGE_DATA,
    Feature.IMAGE_URL,
    Feature.DOCUMENT_DATA,
    Feature.DOCUMENT_URL,
    Feature.TOOLS,
    Feature.TOOL_STRICT,
    Feature.TOOL_CHOICE,
    Feature.PARALLEL_TOOL_CALLS,
    Feature.TOOL_RESULT_PARTS,
    Feature.TOOL_RESULT_ERROR,
    Feature.THINKING,
    Feature.THINKING_HISTORY,
    Feature.JSON_SCHEMA,
    Feature.MAX_TOKENS,
    Feature.TEMPERATURE,
    Feature.TOP_P,
    Feature.TOP_K,
    Feature.STOP,
    Feature.CACHE_MARKS,
    Feature.USER,
    Feature.SERVICE_TIER,
    Feature.PREFILL,
)
_APPROXIMATED = (Feature.JSON_MODE, Feature.TOOL_REFERENCES)
_DROPPED = (
    Feature.NAMES,
    Feature.IMAGE_DETAIL,
    Feature.MIN_P,
    Feature.SEED,
    Feature.PRESENCE_PENALTY,
    Feature.FREQUENCY_PENALTY,
    Feature.REPEAT_PENALTY,
    Feature.LOGIT_BIAS,
    Feature.LOGPROBS,
    Feature.CITATIONS,
    Feature.METADATA,
    Feature.SAFETY_SETTINGS,
    Feature.SERVER_TOOLS,
)
_REFUSED = (
    # Without them the answer would be to another question.
    Feature.FILE_ID,
    Feature.AUDIO_INPUT,
    Feature.AUDIO_OUTPUT,
    Feature.VIDEO_INPUT,
    Feature.N,
)

TREATMENTS: Mapping[Feature, Treatment] = {
    **dict.fromkeys(_MAPPED, Treatment.MAPPED),
    **dict.fromkeys(_APPROXIMATED, Treatment.APPROXIMATED),
    **dict.fromkeys(_DROPPED, Treatment.DROPPED),
    **dict.fromkeys(_REFUSED, Treatment.REFUSED),
}
