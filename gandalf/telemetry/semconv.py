"""Names of OpenTelemetry's conventions for generative AI, and our own beside them.

Source: https://github.com/open-telemetry/semantic-conventions-genai, v0.1.0, which is
still in development. An attempt is a client span named ``{operation} {model}``. The
conventions have no names for costs and for what a gateway decides: ``gandalf.*``.
"""

from __future__ import annotations

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_SEED = "gen_ai.request.seed"
REQUEST_CHOICES = "gen_ai.request.choice.count"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"

COST_USD = "gandalf.cost_usd"
"""A float, as spans have no exact decimals; the usage record has the integer."""
REQUEST_ID = "gandalf.request_id"
KEY_ID = "gandalf.key_id"
ORG_ID = "gandalf.org_id"
ALIAS = "gandalf.alias"
TARGET = "gandalf.target"
CACHE = "gandalf.cache"
END_REASON = "gandalf.end_reason"
ERROR_CODE = "gandalf.error_code"
ATTEMPTS = "gandalf.attempts"
CONFIGURED_PROVIDER = "gandalf.provider"
ATTEMPT_NUMBER = "gandalf.attempt.number"
ATTEMPT_OUTCOME = "gandalf.attempt.outcome"
ATTEMPT_DECISION = "gandalf.attempt.decision"

_OPERATIONS = {
    "completions": "text_completion",
    "generate": "text_completion",
    "batch_embeddings": "embeddings",
    "legacy_embeddings": "embeddings",
}


def operation_name(operation: str) -> str:
    """Return the conventions' name of an operation; its own where they have none."""
    return _OPERATIONS.get(operation, operation)
