"""Header fields as bytes: nothing becomes more than the line that it is."""

import pytest

from gandalf.config import Provider
from gandalf.domain.secret import Secret
from gandalf.providers.base import Ask
from gandalf.providers.fields import names, parse, render
from gandalf.providers.forwarding import forwarded
from gandalf.providers.registry import make_provider
from gandalf.providers.watch import UpstreamBroken

POISON = [b"sk\n", b"sk\r\nx-admin: 1", b"sk\rx: y"]


def test_fields_are_what_they_were_rendered_from():
    pairs = [(b"x-a", b"1: 2"), (b"x-b", b""), (b"x-c", b"\xff")]

    assert render(pairs) == b"x-a: 1: 2\r\nx-b: \r\nx-c: \xff\r\n"
    assert parse(render(pairs)) == pairs
    assert parse(b"") == []


def test_a_field_is_found_by_its_whole_name_only():
    fields = render([(b"x-a", b"b: c"), (b"x-d", b"e")])

    assert names(fields, b"x-a")
    assert names(fields, b"x-d")
    assert not any(names(fields, name) for name in (b"b", b"a", b"x", b"x-"))


@pytest.mark.parametrize("poison", POISON)
def test_a_line_break_in_a_field_is_refused(poison):
    with pytest.raises(UpstreamBroken, match="line break") as broken:
        render([(b"x-a", b"b"), (b"authorization", poison)])

    assert not broken.value.sent
    assert "sk" not in str(broken.value)


@pytest.mark.parametrize("poison", POISON)
def test_a_line_break_in_a_clients_field_is_not_forwarded(poison):
    with pytest.raises(UpstreamBroken, match="line break"):
        forwarded({b"x-a": poison})


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "ollama"])
async def test_a_key_with_a_line_break_fails_each_request_and_not_the_start(kind):
    provider = make_provider(
        Provider(name="up", type=kind, base_url="http://x.test", api_key=Secret("k\n"))
    )

    for _ in range(2):
        with pytest.raises(UpstreamBroken, match="line break"):
            await provider.request(Ask(operation="chat", model="m", body=b"{}"))
