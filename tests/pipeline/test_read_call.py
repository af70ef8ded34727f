import pytest

from gandalf.domain.errors import BadRequest
from gandalf.pipeline.read_call import ReadCall

from .builders import an_exchange

BODY = b'{"model":"fast","messages":[{"role":"user","content":"%b"}]}'


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"a" * 300_000 + b"\xe4"]
)
def test_a_body_that_is_no_utf8_is_refused(text):
    with pytest.raises(BadRequest, match="not UTF-8"):
        ReadCall().enter(an_exchange(body=BODY % text))


@pytest.mark.parametrize("padding", [0, 262_080, 262_082, 600_000])
def test_a_character_may_lie_across_the_pieces_that_are_checked(padding):
    exchange = an_exchange(body=BODY % (b"a" * padding + "\N{EURO SIGN}".encode() * 50))

    assert ReadCall().enter(exchange) is None
