"""What a body is by its first bytes."""

import pytest

from gandalf.dialects.unread import Kind, kind_of
from tests.fakes import bedrock_format

MESSAGE = bedrock_format.event("messageStart", {"role": "assistant"})


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b"data: {", Kind.EVENTS),
        (b"\xef\xbb\xbf: comment", Kind.EVENTS),
        (b"da", Kind.UNDECIDED),
        (b"\n {", Kind.JSON),
        (b"<html>", Kind.OTHER),
        (MESSAGE, Kind.MESSAGES),
        (MESSAGE[:11], Kind.UNDECIDED),
        (b"\0" * 12, Kind.OTHER),
    ],
)
def test_the_first_bytes_tell_what_a_body_is(beginning, kind):
    assert kind_of(beginning) is kind
