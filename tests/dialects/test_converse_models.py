import pytest

from gandalf.dialects.converse.models import Family, Kind, kind_of, without_region

ARN = "arn:aws:bedrock:us-east-1"


# https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html and
# .../inference-profiles-support.html
@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("anthropic.claude-v2:1", Kind(Family.CLAUDE, (2, 0))),
        ("anthropic.claude-instant-v1", Kind(Family.CLAUDE, (2, 0))),
        (
            "anthropic.claude-3-haiku-20240307-v1:0",
            Kind(Family.CLAUDE, (3, 0), "haiku"),
        ),
        (
            "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
            Kind(Family.CLAUDE, (3, 7), "sonnet"),
        ),
        (
            "us-gov.anthropic.claude-opus-4-20250514-v1:0",
            Kind(Family.CLAUDE, (4, 0), "opus"),
        ),
        ("global.anthropic.claude-opus-4-6-v1", Kind(Family.CLAUDE, (4, 6), "opus")),
        ("anthropic.claude-sonnet-5", Kind(Family.CLAUDE, (5, 0), "sonnet")),
        ("anthropic.claude-mythos-preview", Kind(Family.CLAUDE, (4, 6), "mythos")),
        ("anthropic.claude-something-new", Kind(Family.CLAUDE, (99, 0))),
        (
            f"{ARN}::foundation-model/anthropic.claude-haiku-4-5-20251001-v1:0",
            Kind(Family.CLAUDE, (4, 5), "haiku"),
        ),
        (
            f"{ARN}:123456789012:inference-profile/us.amazon.nova-2-lite-v1:0",
            Kind(Family.NOVA_2),
        ),
        ("amazon.nova-pro-v1:0:300k", Kind(Family.NOVA)),
        ("amazon.titan-text-express-v1", Kind(Family.OTHER)),
        ("openai.gpt-oss-120b-1:0", Kind(Family.GPT_OSS)),
        ("us.openai.gpt-5.6-terra", Kind(Family.GPT)),
        ("xai.grok-4.6", Kind(Family.GROK)),
        ("us.cohere.command-r-v1:0", Kind(Family.COHERE)),
        ("deepseek.v3.1", Kind(Family.OTHER)),
        ("us.meta.llama3-1-70b-instruct-v1:0", Kind(Family.OTHER)),
        (f"{ARN}:123456789012:application-inference-profile/abc", Kind(Family.OPAQUE)),
        (f"{ARN}:123456789012:provisioned-model/abc", Kind(Family.OPAQUE)),
    ],
)
def test_a_models_id_says_what_it_is_like(model, kind):
    assert kind_of(model) == kind


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
