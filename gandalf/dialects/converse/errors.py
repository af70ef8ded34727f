"""Errors of Bedrock, in the body of a response.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/
troubleshooting-api-error-codes.html. The kind of error is in a header,
``x-amzn-errortype``; the body has a message, and from other AWS services ``__type``.
"""

from __future__ import annotations

from gandalf.dialects.error_details import read_error as read_error
from gandalf.dialects.refusal_rules import Rule
from gandalf.domain.errors import Refusal

REFUSALS: tuple[Rule, ...] = (
    # A 424: "The request failed due to an error while processing the model". Another
    # target may do better; that the model cannot be used is not said of other requests.
    Rule(Refusal.MODEL, frozenset({"modelerrorexception"})),
    # A 429: the model is still being loaded.
    Rule(Refusal.RATE_LIMIT, frozenset({"modelnotreadyexception"})),
)
"""Those of AWS itself are among the common ones: Bedrock serves other dialects too."""
