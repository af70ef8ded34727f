"""Well-known vendors that speak OpenAI's dialect: one row per provider type.

The addresses are those of models.dev (https://models.dev/api.json, field ``api``) and,
where it has none because the vendor has an SDK of its own, of the row's source. Each
row names the vendor's documentation that its rules are from. docs/vendors.md is made
from this table.

Hosts of open models apply the chat templates of those models. Many templates (Qwen,
Llama, Gemma, Mistral) take a system message only at the beginning, know no role
``developer`` and want text as a string: these rules (``_OPEN``) hold for all such
hosts, for the other templates take the same.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gandalf.domain.compat import Compat


class Preset(NamedTuple):
    """One vendor."""

    base_url: str
    catalogue_id: str
    """Name of the vendor in the model catalogue; "" if it is not there."""
    source: str
    """Documentation of the vendor that the row is from."""
    compat: Compat
    local: bool = False
    """Whether it is a server of one's own, which usually asks for no key."""


_OPEN = Compat(
    text_content="string",
    allowed_tools=False,
    developer_role=False,
    late_system=False,
    limit_field="max_tokens",
)
"""Hosts of open models."""

_ROUTER = Compat(allowed_tools=False, developer_role=False, late_system=False)
"""Routers to models of many vendors."""

_OPENAI_ONLY = ("store", "service_tier", "prediction", "web_search_options")
"""Fields of OpenAI's own platform."""


def _open(**rules: object) -> Compat:
    return msgspec.structs.replace(_OPEN, **rules)


PRESETS: dict[str, Preset] = {
    "alibaba": Preset(
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "alibaba",
        "https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
        _open(
            reasoning_history="reasoning_content",
            thinking_switch="enable_thinking",
            efforts=(),
            refused_fields=_OPENAI_ONLY,
        ),
    ),
    "baseten": Preset(
        "https://inference.baseten.co/v1",
        "baseten",
        "https://docs.baseten.co/development/model-apis/overview",
        _OPEN,
    ),
    "cerebras": Preset(
        "https://api.cerebras.ai/v1",
        "cerebras",
        "https://inference-docs.cerebras.ai/resources/openai",
        _open(
            limit_field="max_completion_tokens",
            refused_fields=(
                "frequency_penalty",
                "logit_bias",
                "presence_penalty",
                "parallel_tool_calls",
                *_OPENAI_ONLY,
            ),
        ),
    ),
    "chutes": Preset(
        "https://llm.chutes.ai/v1",
        "chutes",
        "https://chutes.ai/docs/api-reference/overview",
        _OPEN,
    ),
    "cohere": Preset(
        "https://api.cohere.ai/compatibility/v1",
        "cohere",
        "https://docs.cohere.com/docs/compatibility-api",
        _open(
            refused_fields=(
                "stream_options",
                "logit_bias",
                "top_logprobs",
                "n",
                "user",
                "metadata",
                "parallel_tool_calls",
                *_OPENAI_ONLY,
            ),
        ),
    ),
    "deepinfra": Preset(
        "https://api.deepinfra.com/v1/openai",
        "deepinfra",
        "https://deepinfra.com/docs/advanced/openai_api",
        _OPEN,
    ),
    "deepseek": Preset(
        "https://api.deepseek.com",
        "deepseek",
        "https://api-docs.deepseek.com/guides/thinking_mode",
        _open(
            reasoning_history="reasoning_content",
            reasoning_required=True,
            thinking_switch="thinking",
            efforts=("high", "max"),
            late_system=True,
            refused_fields=("parallel_tool_calls", *_OPENAI_ONLY),
        ),
    ),
    "digitalocean": Preset(
        "https://inference.do-ai.run/v1",
        "digitalocean",
        "https://docs.digitalocean.com/products/gradient-ai-platform/reference/api/serverless-inference/",
        _OPEN,
    ),
    "fireworks": Preset(
        "https://api.fireworks.ai/inference/v1",
        "fireworks-ai",
        "https://docs.fireworks.ai/tools-sdks/openai-compatibility",
        _open(reasoning_history="reasoning_content"),
    ),
    "friendli": Preset(
        "https://api.friendli.ai/serverless/v1",
        "friendli",
        "https://friendli.ai/docs/guides/openai-compatibility",
        _OPEN,
    ),
    "github-models": Preset(
        "https://models.github.ai/inference",
        "github-models",
        "https://docs.github.com/en/rest/models/inference",
        Compat(),
    ),
    "groq": Preset(
        "https://api.groq.com/openai/v1",
        "groq",
        "https://console.groq.com/docs/openai",
        _open(
            reasoning_history="reasoning",
            limit_field="max_completion_tokens",
            refused_fields=("logprobs", "logit_bias", "top_logprobs", "name"),
        ),
    ),
    "huggingface": Preset(
        "https://router.huggingface.co/v1",
        "huggingface",
        "https://huggingface.co/docs/inference-providers/tasks/chat-completion",
        _OPEN,
    ),
    "hyperbolic": Preset(
        "https://api.hyperbolic.xyz/v1",
        "",
        "https://docs.hyperbolic.xyz/docs/rest-api",
        _OPEN,
    ),
    "inception": Preset(
        "https://api.inceptionlabs.ai/v1",
        "inception",
        "https://docs.inceptionlabs.ai/get-started/get-started",
        _OPEN,
    ),
    "llamacpp": Preset(
        "http://127.0.0.1:8080/v1",
        "",
        "https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
        _open(
            reasoning_history="reasoning_content",
            thinking_switch="chat_template_kwargs",
        ),
        local=True,
    ),
    "lmstudio": Preset(
        "http://127.0.0.1:1234/v1",
        "lmstudio",
        "https://lmstudio.ai/docs/developer/openai-compat",
        _OPEN,
        local=True,
    ),
    "mistral": Preset(
        "https://api.mistral.ai/v1",
        "mistral",
        "https://docs.mistral.ai/api/endpoint/chat",
        _open(
            tool_call_ids="alphanumeric9",
            seed_field="random_seed",
            prefill_field="prefix",
            user_after_tool=False,
            refused_fields=(
                "stream_options",
                "user",
                "logit_bias",
                "logprobs",
                "top_logprobs",
                *_OPENAI_ONLY,
            ),
        ),
    ),
    "moonshot": Preset(
        "https://api.moonshot.ai/v1",
        "moonshotai",
        "https://platform.kimi.ai/docs/api/chat",
        _open(
            reasoning_history="reasoning_content",
            reasoning_required=True,
            thinking_switch="thinking",
            efforts=(),
            prefill_field="partial",
            late_system=True,
            refused_fields=("parallel_tool_calls", "logit_bias", *_OPENAI_ONLY),
        ),
    ),
    "nebius": Preset(
        "https://api.tokenfactory.nebius.com/v1",
        "nebius",
        "https://docs.tokenfactory.nebius.com/api-reference/inference/create-chat-completion",
        _OPEN,
    ),
    "novita": Preset(
        "https://api.novita.ai/openai",
        "novita-ai",
        "https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion",
        _OPEN,
    ),
    "nvidia": Preset(
        "https://integrate.api.nvidia.com/v1",
        "nvidia",
        "https://docs.api.nvidia.com/nim/reference/llm-apis",
        _OPEN,
    ),
    "openrouter": Preset(
        "https://openrouter.ai/api/v1",
        "openrouter",
        "https://openrouter.ai/docs/api-reference/parameters",
        msgspec.structs.replace(_ROUTER, reasoning_history="reasoning"),
    ),
    "ovhcloud": Preset(
        "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
        "ovhcloud",
        "https://help.ovhcloud.com/csm/en-public-cloud-ai-endpoints-capabilities",
        _OPEN,
    ),
    "perplexity": Preset(
        "https://api.perplexity.ai",
        "perplexity",
        "https://docs.perplexity.ai/guides/chat-completions-guide",
        _open(
            refused_fields=("parallel_tool_calls", "seed", "user", *_OPENAI_ONLY),
        ),
    ),
    "requesty": Preset(
        "https://router.requesty.ai/v1",
        "requesty",
        "https://docs.requesty.ai/api-reference/endpoint/chat-completions-create",
        _ROUTER,
    ),
    "sambanova": Preset(
        "https://api.sambanova.ai/v1",
        "",
        "https://docs.sambanova.ai/docs/en/features/openai-compatibility",
        _OPEN,
    ),
    "scaleway": Preset(
        "https://api.scaleway.ai/v1",
        "scaleway",
        "https://www.scaleway.com/en/docs/generative-apis/api-cli/using-chat-api/",
        _OPEN,
    ),
    "siliconflow": Preset(
        "https://api.siliconflow.com/v1",
        "siliconflow",
        "https://docs.siliconflow.com/en/api-reference/chat-completions/chat-completions",
        _open(
            reasoning_history="reasoning_content",
            thinking_switch="enable_thinking",
            efforts=(),
        ),
    ),
    "together": Preset(
        "https://api.together.ai/v1",
        "togetherai",
        "https://docs.together.ai/docs/inference/openai-compatibility",
        _OPEN,
    ),
    "upstage": Preset(
        "https://api.upstage.ai/v1/solar",
        "upstage",
        "https://console.upstage.ai/api/chat",
        _OPEN,
    ),
    "venice": Preset(
        "https://api.venice.ai/api/v1",
        "venice",
        "https://docs.venice.ai/api-reference/api-spec",
        _OPEN,
    ),
    "vercel": Preset(
        "https://ai-gateway.vercel.sh/v1",
        "vercel",
        "https://vercel.com/docs/ai-gateway/openai-compat",
        _ROUTER,
    ),
    "vllm": Preset(
        "http://127.0.0.1:8000/v1",
        "",
        "https://docs.vllm.ai/en/stable/features/reasoning_outputs/",
        _open(
            reasoning_history="reasoning",
            thinking_switch="chat_template_kwargs",
        ),
        local=True,
    ),
    "wandb": Preset(
        "https://api.inference.wandb.ai/v1",
        "wandb",
        "https://docs.wandb.ai/inference/api-reference",
        _OPEN,
    ),
    "xai": Preset(
        "https://api.x.ai/v1",
        "xai",
        "https://docs.x.ai/docs/api-reference",
        _open(late_system=True, developer_role=True, refused_fields=("store",)),
    ),
    "zai": Preset(
        "https://api.z.ai/api/paas/v4",
        "zai",
        "https://docs.z.ai/guides/capabilities/thinking-mode",
        _open(
            reasoning_history="reasoning_content",
            thinking_switch="thinking",
            efforts=(),
            refused_fields=(
                "stream_options",
                "frequency_penalty",
                "presence_penalty",
                "parallel_tool_calls",
                "name",
                "strict",
                *_OPENAI_ONLY,
            ),
        ),
    ),
}
