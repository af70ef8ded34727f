import pytest

from gandalf.dialects.anthropic.models import rules_of
from gandalf.dialects.converse.models import Family, kind_of, without_region
from gandalf.domain.model import Model

ARN = "arn:aws:bedrock:us-east-1"


# https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html and
# .../inference-profiles-support.html
@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("anthropic.claude-v2:1", Family.CLAUDE),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Family.CLAUDE),
        ("us-gov.anthropic.claude-opus-4-20250514-v1:0", Family.CLAUDE),
        (
            f"{ARN}::foundation-model/anthropic.claude-haiku-4-5-20251001-v1:0",
            Family.CLAUDE,
        ),
        (
            f"{ARN}:123456789012:inference-profile/us.amazon.nova-2-lite-v1:0",
            Family.NOVA_2,
        ),
        ("amazon.nova-pro-v1:0:300k", Family.NOVA),
        ("amazon.titan-text-express-v1", Family.OTHER),
        ("openai.gpt-oss-120b-1:0", Family.GPT_OSS),
        ("us.openai.gpt-5.6-terra", Family.GPT),
        ("xai.grok-4.6", Family.GROK),
        ("us.cohere.command-r-v1:0", Family.COHERE),
        ("deepseek.v3.1", Family.OTHER),
        ("us.meta.llama3-1-70b-instruct-v1:0", Family.OTHER),
        (f"{ARN}:123456789012:application-inference-profile/abc", Family.OPAQUE),
        (f"{ARN}:123456789012:provisioned-model/abc", Family.OPAQUE),
    ],
)
def test_a_models_id_says_what_it_is_like(model, family):
    assert kind_of(Model(name=model)).family is family


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", "claude-3-7-sonnet-20250219"),
        ("us.anthropic.claude-opus-4-20250514-v1:0", "claude-opus-4-20250514"),
        ("global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("anthropic.claude-sonnet-5", "claude-sonnet-5"),
        ("anthropic.claude-mythos-preview", "claude-mythos-preview"),
        (
            f"{ARN}::foundation-model/anthropic.claude-haiku-4-5-20251001-v1:0",
            "claude-haiku-4-5-20251001",
        ),
    ],
)
def test_a_claude_accepts_here_what_it_accepts_at_anthropic(model, name):
    assert kind_of(Model(name=model)).claude == rules_of(Model(name=name))


@pytest.mark.parametrize(
    ("model", "plain"),
    [
        ("us.anthropic.claude-sonnet-5", "anthropic.claude-sonnet-5"),
        ("anthropic.claude-sonnet-5", "anthropic.claude-sonnet-5"),
        ("deepseek.v3.1", "deepseek.v3.1"),
        (f"{ARN}:1:provisioned-model/abc", f"{ARN}:1:provisioned-model/abc"),
    ],
)
def test_a_region_is_taken_off_where_a_model_is_wanted(model, plain):
    assert without_region(model) == plain
