"""Tells from an upstream's error what it refuses: the request, or the gateway itself.

A rule names a reason, the codes (or types) that tell it and a pattern for messages of
vendors that have no code for it. The first rule that matches counts. Rules that hold
for all dialects are here, with their sources; those of one dialect are in its
``errors.py`` and come first. Status codes alone are judged by
``gandalf.pipeline.failure_policy``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gandalf.domain.errors import Refusal

_CLIENT_ERRORS = frozenset(range(400, 500)) - {429}


class Rule(NamedTuple):
    """The signs of one reason."""

    refusal: Refusal
    codes: frozenset[str] = frozenset()
    """In lower case."""
    text: re.Pattern[str] | None = None
    statuses: frozenset[int] | None = None
    """The statuses that it holds for; None: every one, and errors without a status."""

    def matches(self, status: int | None, kinds: Iterable[str], message: str) -> bool:
        """Return True if an error has these signs."""
        if self.statuses is not None and status not in self.statuses:
            return False
        if not self.codes.isdisjoint(kinds):
            return True
        return self.text is not None and self.text.search(message) is not None


def _text(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


COMMON: tuple[Rule, ...] = (
    # A server of the client's own, which the upstream calls for it: OpenAI's 424 (and
    # 401) "Error retrieving tool list from MCP server: 'x'. Http status code: 401",
    # https://platform.openai.com/docs/guides/tools-remote-mcp; Anthropic's connector
    # has a 400 "Connection error while communicating with MCP server".
    Rule(
        Refusal.REQUEST,
        frozenset({"external_connector_error"}),
        _text(r"\bMCP server\b"),
        _CLIENT_ERRORS,
    ),
    # https://openrouter.ai/docs/api/reference/errors-and-debugging: a 402 that asks for
    # fewer max_tokens is about this request; one of the in-flight budget ends by itself
    # and has a Retry-After; a 403 of a spent limit is about the account.
    Rule(
        Refusal.REQUEST,
        frozenset({"weight_exceeds_budget"}),
        _text(r"fewer max_tokens", r"can only afford \d"),
        frozenset({400, 402, 403}),
    ),
    Rule(
        Refusal.RATE_LIMIT,
        frozenset({"openrouter_in_flight_budget", "in_flight_budget_exhausted"}),
        None,
        frozenset({402}),
    ),
    Rule(
        Refusal.ACCOUNT,
        frozenset(
            {
                "openrouter_guardrail_budget",
                "openrouter_workspace_budget",
                "openrouter_key_limit",
            }
        ),
        None,
        frozenset({402, 403}),
    ),
    # One request larger than the limit of a minute: waiting cannot help. OpenAI's 429
    # and Groq's 413 "Request too large for model ... on tokens per minute (TPM)".
    Rule(
        Refusal.REQUEST,
        text=_text(r"request too large for"),
        statuses=frozenset({413, 429}),
    ),
    # https://platform.openai.com/docs/guides/error-codes (context_length_exceeded),
    # llama.cpp's server/README.md (exceed_context_size_error), "prompt is too long"
    # (Anthropic), "Input is too long for requested model" (Bedrock), "The input token
    # count (n) exceeds the maximum number of tokens allowed" (Gemini), "This model's
    # maximum context length is" (vLLM, DeepSeek), "maximum prompt length" (xAI). Not
    # with 429: "too many tokens" is a rate there.
    Rule(
        Refusal.CONTEXT_LENGTH,
        frozenset(
            {
                "context_length_exceeded",
                "exceed_context_size_error",
                "model_context_window_exceeded",
            }
        ),
        _text(
            r"maximum (context|prompt) length",
            r"exceed\w*.{0,60}\bcontext (length|window|size|limit)",
            r"\bcontext (length|window|size|limit).{0,40}exceed",
            r"\b(prompt|input) is too long",
            r"input token count.{0,40}exceeds the maximum",
            r"too large for model with \d+ maximum context",
        ),
        frozenset(range(400, 600)) - {401, 402, 403, 429},
    ),
    # https://openrouter.ai/docs/api/reference/errors-and-debugging (403 moderation and
    # guardrails), https://learn.microsoft.com/azure/ai-foundry/openai/concepts/
    # content-filter (content_filter, ResponsibleAIPolicyViolation), OpenAI's
    # content_policy_violation and moderation_blocked, "Content Exists Risk" (DeepSeek),
    # https://help.aliyun.com/zh/model-studio/error-code (DataInspectionFailed),
    # "Output blocked by content filtering policy" (Anthropic).
    Rule(
        Refusal.CONTENT_POLICY,
        frozenset(
            {
                "content_filter",
                "content_policy_violation",
                "content_policy",
                "moderation_blocked",
                "responsibleaipolicyviolation",
                "datainspectionfailed",
                "data_inspection_failed",
            }
        ),
        _text(
            r"requires moderation",
            r"\binput was flagged",
            r"flagged as potentially violating",
            r"content management policy",
            r"content[_ ]filter(ing)? policy",
            r"\bblocked by (a |an |the |your )?(content|guardrail|safety|moderation)",
            r"rejected .{0,40}safety system",
            r"\bContent Exists Risk\b",
        ),
        frozenset(range(400, 600)) - {401, 429},
    ),
    # https://platform.openai.com/docs/guides/error-codes; Azure's DeploymentNotFound;
    # Anthropic's "model: claude-x" with not_found_error is in its own rules. Bedrock's
    # AccessDeniedException and FTUFormNotFilled are about one model as well.
    Rule(
        Refusal.MODEL,
        frozenset(
            {
                "model_not_found",
                "deploymentnotfound",
                "model_not_available",
                "modelnotfound",
                "accessdeniedexception",
                "ftuformnotfilled",
                "permission_error",
            }
        ),
        _text(
            r"\bmodel\b.{0,100}\b(does not exist|not exist|is not found|not found)",
            r"\b(don't|do not|does not) have access to (the|this) model",
            r"\bdeployment\b.{0,60}does not exist",
        ),
        frozenset({400, 403, 404, 410}),
    ),
    # The account: https://platform.openai.com/docs/guides/error-codes (a 429 with
    # insufficient_quota; 403 for the region), https://docs.claude.com/en/api/errors
    # (billing_error), "Your credit balance is too low to access the Anthropic API" (a
    # 400), "Insufficient Balance" (DeepSeek's 402), Groq's organization_restricted,
    # Google's reasons of https://cloud.google.com/php/docs/reference/common-protos/
    # latest/Api.ErrorReason. "You exceeded your current quota" alone is not a sign:
    # Gemini says so of a minute's requests.
    Rule(
        Refusal.ACCOUNT,
        frozenset(
            {
                "insufficient_quota",
                "credit_balance_exhausted",
                "billing_hard_limit_reached",
                "billing_not_active",
                "billing_error",
                "enforced_spend_limit_reached",
                "account_deactivated",
                "access_terminated",
                "organization_restricted",
                "unsupported_country_region_territory",
                "ip_not_authorized",
                "consumer_suspended",
                "consumer_invalid",
                "billing_disabled",
                "service_disabled",
                "location_policy_violated",
                "optinrequired",
            }
        ),
        _text(
            r"\bcredit balance is too low",
            r"\binsufficient (account )?(balance|credit|funds)",
            r"\bbilling hard limit",
            r"\b(account|organization|project) (is |has been |was )?"
            r"(not active|deactivated|suspended|disabled|locked)",
            r"country, region, or territory not supported",
            r"user location is not supported",
            r"reached your specified (workspace )?(API )?usage limits",
        ),
        frozenset({400, 401, 402, 403, 429}),
    ),
    # The key: Google's reasons as above, AWS's of https://docs.aws.amazon.com/bedrock/
    # latest/userguide/troubleshooting-api-error-codes.html, OpenAI's invalid_api_key.
    # Gemini answers 400 to a key that is none, AWS 403.
    Rule(
        Refusal.CREDENTIALS,
        frozenset(
            {
                "invalid_api_key",
                "api_key_invalid",
                "api_key_expired",
                "api_key_service_blocked",
                "api_key_http_referrer_blocked",
                "api_key_ip_address_blocked",
                "credentials_missing",
                "access_token_expired",
                "access_token_scope_insufficient",
                "account_state_invalid",
                "missing_scope",
                "missing_permissions",
                "unrecognizedclientexception",
                "invalidsignatureexception",
                "expiredtokenexception",
                "expiredtoken",
                "requestexpired",
                "invalidclienttokenid",
                "missingauthenticationtoken",
                "missingauthenticationtokenexception",
                "incompletesignature",
                "notauthorized",
            }
        ),
        _text(
            r"\b(incorrect|invalid|expired|revoked|missing) api[ -]?key",
            r"\bapi[ -]?key (is |was |has been |you provided )?(was |is |has )?"
            r"(invalid|not valid|expired|revoked|reported as leaked)",
            r"security token .{0,40}(invalid|expired)",
            r"missing scopes?:",
        ),
        frozenset({400, 401, 403}),
    ),
    # Bedrock and proxies name these with other statuses than 429 and 503.
    Rule(
        Refusal.RATE_LIMIT,
        frozenset(
            {
                "throttlingexception",
                "servicequotaexceededexception",
                "rate_limit_exceeded",
                "rate_limit_error",
                "resource_exhausted",
            }
        ),
        None,
        frozenset({400, 403}),
    ),
)


def refusal_of(
    own: Sequence[Rule], status: int | None, kinds: Iterable[str], message: str
) -> Refusal | None:
    """Return the reason that an error tells; None if it cannot be told.

    Args:
        own: The rules of the dialect, which come before the common ones.
        status: The HTTP status, or the one that an error inside an answer stands for.
        kinds: Its codes and types, in lower case.
        message: Its message.
    """
    # An error inside an answer of 200 often has no status: it is judged as a 400.
    judged = 400 if status is None else status
    for rule in (*own, *COMMON):
        if rule.matches(judged, kinds, message):
            return rule.refusal
    return None
