"""Answers of every provider, and what an invoice would say of them, calculated by hand.

The bodies are as the providers document or sent them, cut down to what matters here. A
calculation is a list of counts and prices: USD for a million tokens (or for one unit,
where the price is a string).
"""

from dataclasses import dataclass, field

NOON = "2026-12-01T12:00"


@dataclass
class Invoice:
    """One answer, what it costs, and the target that gave it."""

    name: str
    """As in the table of docs/money.md."""
    model: str
    body: dict | list
    """The answer; a list of events if it is streamed."""
    lines: list
    """Count and price of each unit that is charged."""
    provider: dict = field(default_factory=lambda: {"type": "openai"})
    operation: str = "chat"
    at: str = NOON


def chat(**usage):
    rest = {key: usage.pop(key) for key in ("service_tier",) if key in usage}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi"},
                "finish_reason": "stop",
            }
        ],
        "usage": usage,
        **rest,
    }


def message(**usage):
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": usage,
    }


def generated(model, usage, **candidate):
    content = {"role": "model", "parts": [{"text": "Hi"}]}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", **candidate}],
        "usageMetadata": usage,
        "modelVersion": model,
    }


def conversed(**usage):
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
        "stopReason": "end_turn",
        "usage": usage,
    }


ANTHROPIC = {"type": "anthropic"}
GEMINI = {"type": "gemini"}

INVOICES = [
    # OpenAI: cached tokens are among the prompt's, reasoning among the completion's.
    Invoice(
        "openai-cached",
        "gpt-4o",
        chat(
            prompt_tokens=2000,
            completion_tokens=300,
            total_tokens=2300,
            prompt_tokens_details={"cached_tokens": 1500, "audio_tokens": 0},
            completion_tokens_details={"reasoning_tokens": 0, "audio_tokens": 0},
            service_tier="default",
        ),
        [(500, 2.5), (1500, 1.25), (300, 10)],
    ),
    Invoice(
        "openai-long-reasoning",
        "gpt-5.6-sol",
        chat(
            prompt_tokens=300_000,
            completion_tokens=5000,
            total_tokens=305_000,
            prompt_tokens_details={
                "cached_tokens": 100_000,
                "cache_write_tokens": 50_000,
            },
            completion_tokens_details={"reasoning_tokens": 4000},
        ),
        # All at the prices of prompts above 272,000 tokens.
        [(150_000, 8), (100_000, 0.8), (50_000, 10), (1000, 30), (4000, 30)],
    ),
    Invoice(
        "openai-priority",
        "gpt-4o",
        chat(prompt_tokens=1000, completion_tokens=100, service_tier="priority"),
        [(1000, 4.25), (100, 17)],
    ),
    Invoice(
        "openai-flex",
        "gpt-5.6-sol",
        chat(prompt_tokens=1000, completion_tokens=100, service_tier="flex"),
        [(1000, 2), (100, 10)],
    ),
    Invoice(
        "openai-streamed",
        "gpt-4o",
        [
            {"choices": [{"index": 0, "delta": {"content": "Hi"}}], "usage": None},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {
                "choices": [],
                "service_tier": "default",
                "usage": {"prompt_tokens": 19, "completion_tokens": 9},
            },
        ],
        [(19, 2.5), (9, 10)],
    ),
    Invoice(
        "openai-audio",
        "gpt-audio",
        chat(
            prompt_tokens=300,
            completion_tokens=150,
            prompt_tokens_details={"cached_tokens": 0, "audio_tokens": 200},
            completion_tokens_details={"reasoning_tokens": 0, "audio_tokens": 100},
        ),
        [(100, 2.5), (200, 32), (50, 10), (100, 64)],
    ),
    Invoice(
        "openai-responses-search",
        "gpt-4o",
        {
            "id": "resp_1",
            "object": "response",
            "status": "completed",
            "model": "gpt-4o-2024-08-06",
            "service_tier": "default",
            "output": [
                {"type": "web_search_call", "id": "ws_1", "status": "completed"},
                {"type": "message", "id": "msg_1", "content": []},
            ],
            "usage": {
                "input_tokens": 328,
                "input_tokens_details": {"cached_tokens": 128},
                "output_tokens": 356,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 684,
            },
        },
        [(200, 2.5), (128, 1.25), (356, 10), (1, "0.01")],
        operation="responses",
    ),
    Invoice(
        "openai-batch",
        "gpt-4o",
        {
            "id": "batch_1",
            "object": "batch",
            "status": "completed",
            "model": "gpt-4o-2024-08-06",
            "usage": {
                "input_tokens": 100_000,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 20_000,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 120_000,
            },
        },
        [(100_000, 1.25), (20_000, 5)],
        operation="batches",
        provider={"type": "openai", "allow_batches": True},
    ),
    Invoice(
        "openai-embeddings",
        "text-embedding-3-small",
        {"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}},
        [(8, 0.02)],
        operation="embeddings",
    ),
    Invoice(
        "openai-image",
        "gpt-image-1",
        {
            "data": [],
            "usage": {
                "input_tokens": 50,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
                "output_tokens": 4160,
                "total_tokens": 4210,
            },
        },
        [(10, 5), (40, 10), (4160, 40)],
        operation="images",
    ),
    Invoice(
        "openai-transcription",
        "whisper-1",
        {"text": "Hi", "usage": {"type": "duration", "seconds": 61}},
        [(61, "0.0001")],
        operation="audio",
    ),
    Invoice(
        "azure-cached",
        "gpt-4o",
        chat(
            prompt_tokens=1200,
            completion_tokens=10,
            prompt_tokens_details={"cached_tokens": 1024},
        ),
        [(176, 2.5), (1024, 1.25), (10, 10)],
        provider={
            "type": "openai",
            "hosting": "azure",
            "base_url": "https://x.openai.azure.com",
        },
    ),
    # Anthropic: cached tokens are beside the input's.
    Invoice(
        "anthropic-cache-1h",
        "claude-sonnet-4-5",
        message(
            input_tokens=100,
            cache_read_input_tokens=2000,
            cache_creation_input_tokens=800,
            cache_creation={
                "ephemeral_5m_input_tokens": 300,
                "ephemeral_1h_input_tokens": 500,
            },
            output_tokens=400,
            server_tool_use={"web_search_requests": 2},
            service_tier="standard",
        ),
        [(100, 3), (2000, 0.3), (300, 3.75), (500, 6), (400, 15), (2, "0.01")],
        provider=ANTHROPIC,
    ),
    Invoice(
        "anthropic-streamed",
        "claude-sonnet-4-5",
        [
            {
                "type": "message_start",
                "message": message(
                    input_tokens=25,
                    cache_read_input_tokens=100,
                    cache_creation_input_tokens=0,
                    output_tokens=1,
                ),
            },
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "Hi"},
            },
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 15},
            },
            {"type": "message_stop"},
        ],
        [(25, 3), (100, 0.3), (15, 15)],
        provider=ANTHROPIC,
    ),
    Invoice(
        "anthropic-batch-long",
        "claude-haiku-5-5",
        message(
            input_tokens=1000,
            cache_read_input_tokens=100_000,
            output_tokens=500,
            output_tokens_details={"thinking_tokens": 200},
            service_tier="batch",
        ),
        [(1000, 0.25), (100_000, 0.025), (300, 1.25), (200, 1.25)],
        provider=ANTHROPIC,
    ),
    Invoice(
        "anthropic-fast",
        "claude-opus-5",
        message(
            input_tokens=1000, output_tokens=200, service_tier="standard", speed="fast"
        ),
        [(1000, 10), (200, 50)],
        provider=ANTHROPIC,
    ),
    Invoice(
        "vertex-anthropic",
        "claude-sonnet-4-5@20250929",
        message(input_tokens=1000, cache_creation_input_tokens=200, output_tokens=100),
        [(1000, 3), (200, 3.75), (100, 15)],
        provider={"type": "anthropic", "hosting": "vertex", "region": "global"},
    ),
    # Bedrock's Converse: as Anthropic. A region's inference costs a tenth more.
    Invoice(
        "bedrock-converse",
        "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        conversed(
            inputTokens=1000,
            cacheReadInputTokens=500,
            cacheWriteInputTokens=300,
            cacheDetails=[
                {"ttl": "5m", "inputTokens": 100},
                {"ttl": "1h", "inputTokens": 200},
            ],
            outputTokens=50,
            totalTokens=1850,
        ),
        [(1000, 3.3), (500, 0.33), (100, 4.125), (200, 6.6), (50, 16.5)],
        provider={"type": "bedrock", "region": "eu-central-1"},
    ),
    # Gemini: cached tokens among the prompt's, tools' and thoughts beside.
    Invoice(
        "gemini-audio-cached-thoughts",
        "gemini-2.5-flash",
        generated(
            "gemini-2.5-flash",
            {
                "promptTokenCount": 1000,
                "cachedContentTokenCount": 400,
                "candidatesTokenCount": 50,
                "thoughtsTokenCount": 70,
                "toolUsePromptTokenCount": 30,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 700},
                    {"modality": "AUDIO", "tokenCount": 300},
                ],
                "cacheTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 300},
                    {"modality": "AUDIO", "tokenCount": 100},
                ],
            },
            groundingMetadata={"webSearchQueries": ["a", "b"]},
        ),
        [
            (400 + 30, 0.3),
            (200, 1),
            (300, 0.03),
            (100, 0.1),
            (50, 2.5),
            (70, 2.5),
            (1, "0.035"),
        ],
        provider=GEMINI,
    ),
    Invoice(
        "gemini-long",
        "gemini-2.5-pro",
        generated(
            "gemini-2.5-pro",
            {
                "promptTokenCount": 200_001,
                "candidatesTokenCount": 100,
                "thoughtsTokenCount": 900,
            },
        ),
        [(200_001, 2.5), (100, 15), (900, 15)],
        provider=GEMINI,
    ),
    Invoice(
        "gemini-image",
        "gemini-2.5-flash-image",
        generated(
            "gemini-2.5-flash-image",
            {
                "promptTokenCount": 12,
                "candidatesTokenCount": 1300,
                "candidatesTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 10},
                    {"modality": "IMAGE", "tokenCount": 1290},
                ],
            },
        ),
        [(12, 0.3), (10, 2.5), (1290, 30)],
        provider=GEMINI,
    ),
    # Others that speak OpenAI's dialect, and count in their own way.
    Invoice(
        "deepseek-peak",
        "deepseek-chat",
        chat(
            prompt_tokens=1000,
            completion_tokens=50,
            prompt_cache_hit_tokens=896,
            prompt_cache_miss_tokens=104,
        ),
        [(104, 0.27), (896, 0.07), (50, 1.1)],
        provider={"type": "deepseek"},
    ),
    Invoice(
        "deepseek-off-peak",
        "deepseek-chat",
        chat(prompt_tokens=1000, completion_tokens=50, prompt_cache_hit_tokens=896),
        [(104, 0.135), (896, 0.035), (50, 0.55)],
        provider={"type": "deepseek"},
        at="2026-12-01T20:00",
    ),
    Invoice(
        "kimi-cached",
        "kimi-k2-0905-preview",
        chat(prompt_tokens=500, completion_tokens=20, cached_tokens=256),
        [(244, 0.6), (256, 0.15), (20, 2.5)],
        provider={"type": "moonshot"},
    ),
    Invoice(
        "xai-reasoning-beside",
        "grok-4",
        chat(
            prompt_tokens=100,
            completion_tokens=20,
            total_tokens=420,
            prompt_tokens_details={"cached_tokens": 64},
            completion_tokens_details={"reasoning_tokens": 300},
        ),
        [(36, 3), (64, 0.75), (20, 15), (300, 15)],
        provider={"type": "xai"},
    ),
    Invoice(
        "xai-reported",
        "grok-4",
        chat(prompt_tokens=100, completion_tokens=20, cost_in_usd_ticks=37_756_000),
        [(1, "0.0037756")],
        provider={"type": "xai", "cost_source": "provider"},
    ),
    Invoice(
        "openrouter-reported",
        "openai/gpt-4o",
        chat(prompt_tokens=194, completion_tokens=2, cost=0.00014249999999999998),
        [(1, "0.0001425")],
        provider={"type": "openrouter", "cost_source": "provider"},
    ),
    Invoice(
        "openrouter-own-key",
        "openai/gpt-4o",
        chat(
            prompt_tokens=194,
            completion_tokens=2,
            cost=0.0001,
            is_byok=True,
            cost_details={"upstream_inference_cost": 0.002},
        ),
        [(1, "0.0021")],
        provider={"type": "openrouter", "cost_source": "provider"},
    ),
    Invoice(
        "perplexity-request",
        "sonar-pro",
        chat(prompt_tokens=14, completion_tokens=200, total_tokens=214),
        [(14, 3), (200, 15), (1, "0.014")],
        provider={"type": "perplexity"},
    ),
    Invoice(
        "perplexity-reported",
        "sonar-pro",
        chat(prompt_tokens=14, completion_tokens=200, cost={"total_cost": 0.017042}),
        [(1, "0.017042")],
        provider={"type": "perplexity", "cost_source": "provider"},
    ),
]
