"""Header fields as lines, and back."""

import pytest

from gandalf.http.channel import field_lines, fields_of


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"a", b"1")],
        [(b"a", b"1"), (b"b", b""), (b"a", b"2: 3")],
    ],
)
def test_lines_tell_the_fields_they_were_made_of(headers):
    assert fields_of(field_lines(headers)) == headers


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\0", b"a\rb"])
def test_no_value_begins_a_line_of_its_own(value):
    lines = field_lines([(b"a", value), (b"z", b"1")])

    assert lines.count(b"\n") == lines.count(b"\r") == 2
    assert b"\0" not in lines
    assert [name for name, _ in fields_of(lines)] == [b"a", b"z"]
