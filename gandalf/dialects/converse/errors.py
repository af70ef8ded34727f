"""Errors of Bedrock, in the body of a response.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/
troubleshooting-api-error-codes.html. What kind of error it is stands in a header,
``x-amzn-errortype``; the body has no more than a message.
"""

from __future__ import annotations

import msgspec

from gandalf.dialects.base import UNREADABLE


class _ErrorView(msgspec.Struct):
    message: str | None = None
    # What stands in front of the service writes it so.
    capital: str | None = msgspec.field(name="Message", default=None)


_decode_error = msgspec.json.Decoder(_ErrorView).decode


def read_error(body: bytes) -> tuple[str, str | None, str | None]:
    """Return message, code and param of an upstream's error body; "" if unreadable."""
    try:
        view = _decode_error(body)
    except UNREADABLE:
        return "", None, None
    return view.message or view.capital or "", None, None
