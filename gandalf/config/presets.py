"""Well-known vendors that speak OpenAI's dialect, by the provider type that names them.

The addresses are those of models.dev (https://models.dev/api.json, field ``api``) and,
where it has none because the vendor has an SDK of its own, of the page that stands
above the line.
"""

from __future__ import annotations

from typing import NamedTuple


class Preset(NamedTuple):
    """One vendor."""

    base_url: str
    catalogue_id: str = ""
    """What the model catalogue calls the vendor; "" if it does not know it."""
    local: bool = False
    """A server of one's own, which usually asks for no key."""
    stream_options: bool = True
    """Whether it takes them; the others report the usage of a stream unasked."""


PRESETS: dict[str, Preset] = {
    "alibaba": Preset(
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "alibaba"
    ),
    "baseten": Preset("https://inference.baseten.co/v1", "baseten"),
    # https://inference-docs.cerebras.ai/resources/openai
    "cerebras": Preset("https://api.cerebras.ai/v1", "cerebras"),
    "chutes": Preset("https://llm.chutes.ai/v1", "chutes"),
    # https://docs.cohere.com/docs/compatibility-api
    # and https://strandsagents.com/docs/user-guide/concepts/model-providers/cohere
    "cohere": Preset(
        "https://api.cohere.ai/compatibility/v1", "cohere", stream_options=False
    ),
    # https://deepinfra.com/docs/advanced/openai_api
    "deepinfra": Preset("https://api.deepinfra.com/v1/openai", "deepinfra"),
    "deepseek": Preset("https://api.deepseek.com", "deepseek"),
    "digitalocean": Preset("https://inference.do-ai.run/v1", "digitalocean"),
    "fireworks": Preset("https://api.fireworks.ai/inference/v1", "fireworks-ai"),
    "friendli": Preset("https://api.friendli.ai/serverless/v1", "friendli"),
    "github-models": Preset("https://models.github.ai/inference", "github-models"),
    # https://console.groq.com/docs/openai
    "groq": Preset("https://api.groq.com/openai/v1", "groq"),
    "huggingface": Preset("https://router.huggingface.co/v1", "huggingface"),
    # https://docs.hyperbolic.xyz/docs/rest-api
    "hyperbolic": Preset("https://api.hyperbolic.xyz/v1"),
    "inception": Preset("https://api.inceptionlabs.ai/v1", "inception"),
    # https://github.com/ggml-org/llama.cpp/tree/master/tools/server
    "llamacpp": Preset("http://127.0.0.1:8080/v1", local=True),
    "lmstudio": Preset("http://127.0.0.1:1234/v1", "lmstudio", local=True),
    # https://docs.mistral.ai/api
    # and https://github.com/openai/openai-agents-python/issues/442
    "mistral": Preset("https://api.mistral.ai/v1", "mistral", stream_options=False),
    "moonshot": Preset("https://api.moonshot.ai/v1", "moonshotai"),
    "nebius": Preset("https://api.tokenfactory.nebius.com/v1", "nebius"),
    "novita": Preset("https://api.novita.ai/openai", "novita-ai"),
    "nvidia": Preset("https://integrate.api.nvidia.com/v1", "nvidia"),
    "openrouter": Preset("https://openrouter.ai/api/v1", "openrouter"),
    "ovhcloud": Preset("https://oai.endpoints.kepler.ai.cloud.ovh.net/v1", "ovhcloud"),
    # https://docs.perplexity.ai/guides/chat-completions-guide
    "perplexity": Preset("https://api.perplexity.ai", "perplexity"),
    "requesty": Preset("https://router.requesty.ai/v1", "requesty"),
    # https://docs.sambanova.ai/cloud/docs/get-started/overview
    "sambanova": Preset("https://api.sambanova.ai/v1"),
    "scaleway": Preset("https://api.scaleway.ai/v1", "scaleway"),
    "siliconflow": Preset("https://api.siliconflow.com/v1", "siliconflow"),
    # https://docs.together.ai/docs/inference/openai-compatibility
    "together": Preset("https://api.together.ai/v1", "togetherai"),
    "upstage": Preset("https://api.upstage.ai/v1/solar", "upstage"),
    # https://docs.venice.ai/api-reference/api-spec
    "venice": Preset("https://api.venice.ai/api/v1", "venice"),
    # https://vercel.com/docs/ai-gateway/openai-compat
    "vercel": Preset("https://ai-gateway.vercel.sh/v1", "vercel"),
    # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    "vllm": Preset("http://127.0.0.1:8000/v1", local=True),
    "wandb": Preset("https://api.inference.wandb.ai/v1", "wandb"),
    # https://docs.x.ai/docs/api-reference
    "xai": Preset("https://api.x.ai/v1", "xai"),
    "zai": Preset("https://api.z.ai/api/paas/v4", "zai"),
}
