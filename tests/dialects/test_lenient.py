"""Reading of JSON that a strict decoder refuses."""

import math

import msgspec
import pytest

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.lenient import Reader, loads


class Inner(msgspec.Struct):
    count: int | None = None


class View(msgspec.Struct, rename="camel"):
    text: str | None = None
    index: int = 0
    ratio: float | None = None
    flag: bool = False
    parts: list[str | Inner] = []
    raw: msgspec.Raw = msgspec.Raw(b"")
    call_id: str | None = None
    usage: Inner | None = None


ASIDE = ("callId", "usage")
view = Reader(View, ASIDE).view


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"a\ude00b", "a\ufffdb"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\\ud83d", r"\ud83d"),
        (rb"\\\ud83d", "\\\ufffd"),
    ],
)
def test_half_a_surrogate_pair_is_a_replacement_character(said, text):
    assert view(b'{"text":"%b"}' % said).text == text


def test_what_is_no_number_is_null():
    assert loads(b'{"a":[NaN,-Infinity,Infinity]}') == {"a": [None] * 3}


def test_a_byte_order_mark_is_left_out():
    assert view(b'\xef\xbb\xbf{"index":"1"}').index == 1


@pytest.mark.parametrize(
    ("said", "index"),
    [
        ("2", 2),
        ('"2"', 2),
        ("2.0", 2),
        ('"2.0"', 2),
        ("1.6", 2),
        ("null", 0),
        ('""', 0),
    ],
)
def test_a_whole_number_is_read_in_any_form(said, index):
    assert view(b'{"index":%b}' % said.encode()).index == index


@pytest.mark.parametrize("said", ['"x"', "true", "[1]", "1e999", '{"a":1}', '"nan"'])
def test_what_is_no_whole_number_is_an_error(said):
    with pytest.raises(UNREADABLE):
        view(b'{"index":%b}' % said.encode())


def test_what_is_aside_is_read_or_left_out_and_named():
    reader = Reader(View, ASIDE)

    assert reader(b'{"callId":7,"usage":{"count":"12"}}') == (
        View(call_id="7", usage=Inner(12)),
        [],
    )
    assert reader(b'{"callId":[1],"usage":"many","text":"a"}') == (
        View(text="a"),
        ["callId", "usage"],
    )
    assert reader(b'{"usage":{"count":"many"}}') == (View(usage=Inner()), ["count"])


@pytest.mark.parametrize("said", ["12", "true", '["a"]', '{"a":1}'])
def test_text_of_another_type_may_be_a_part_of_the_answer(said):
    with pytest.raises(UNREADABLE):
        view(b'{"text":%b}' % said.encode())


def test_the_rest_is_read_by_its_type():
    read = view(
        b'{"parts":["a",{"count":"1"}],"flag":"true","ratio":"0.5","raw":{"b":NaN}}'
    )

    assert (read.parts, read.flag, read.ratio) == (["a", Inner(1)], True, 0.5)
    assert bytes(read.raw) == b'{"b": null}'


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"12",
        b'{"text":"\xff"}',
        b'{"text":"a\tb"}',
        b"[" * 99_999,
    ],
)
def test_what_is_no_object_is_an_error(said):
    with pytest.raises(UNREADABLE):
        view(said)


def test_a_number_too_long_to_be_read_is_an_error():
    with pytest.raises(UNREADABLE):
        view(b'{"index":%b}' % (b"9" * 9999))


def test_fractions_of_counts_are_never_infinite():
    assert math.isfinite(view(b'{"ratio":1e300}').ratio)
