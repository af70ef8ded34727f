"""The models that a key may use, as each dialect lists them. Pure: values to JSON.

Sources: https://platform.openai.com/docs/api-reference/models,
https://docs.anthropic.com/en/api/models-list, https://ai.google.dev/api/models.
Ollama's pages are in ``gandalf.dialects.ollama``.
"""

from __future__ import annotations

from collections.abc import Sequence

from gandalf.domain.model import Model

Json = dict[str, object]

# When a model came out is not known here; the APIs want something to stand there.
_EPOCH = "1970-01-01T00:00:00Z"
_ACTIONS = [
    "generateContent",
    "streamGenerateContent",
    "countTokens",
    "embedContent",
    "batchEmbedContents",
]


def openai_model(model: Model) -> Json:
    """Return ``model`` as OpenAI shows one."""
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "gandalf"}


def openai_list(models: Sequence[Model]) -> Json:
    """Return ``models`` as OpenAI lists them."""
    return {"object": "list", "data": list(map(openai_model, models))}


def anthropic_model(model: Model) -> Json:
    """Return ``model`` as Anthropic shows one."""
    shown: Json = {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": _EPOCH,
        "lifecycle": "active",
    }
    _add(shown, "max_input_tokens", model.context_window)
    _add(shown, "max_tokens", model.output_limit)
    return shown


def anthropic_list(models: Sequence[Model]) -> Json:
    """Return ``models`` as Anthropic lists them: all on one page."""
    return {
        "data": list(map(anthropic_model, models)),
        "has_more": False,
        "first_id": models[0].name if models else None,
        "last_id": models[-1].name if models else None,
    }


def gemini_model(model: Model) -> Json:
    """Return ``model`` as Gemini shows one."""
    shown: Json = {
        "name": f"models/{model.name}",
        "version": "1",
        "displayName": model.name,
        "supportedGenerationMethods": _ACTIONS,
    }
    _add(shown, "inputTokenLimit", model.context_window)
    _add(shown, "outputTokenLimit", model.output_limit)
    _add(shown, "thinking", model.thinking)
    return shown


def gemini_list(models: Sequence[Model]) -> Json:
    """Return ``models`` as Gemini lists them: all on one page."""
    return {"models": list(map(gemini_model, models))}


def _add(shown: Json, name: str, value: object) -> None:
    if value is not None:
        shown[name] = value
