import contextlib
import random

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gandalf.dialects import multipart
from gandalf.dialects.multipart import Field, Scanner, boundary_of
from gandalf.domain.errors import BadRequest

GOVERNED = frozenset({"model", "n", "stream"})
B = "b0undary"


def part(disposition, value, *headers):
    lines = [f"Content-Disposition: {disposition}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + value


def a_field(name, value):
    return part(f'form-data; name="{name}"', value)


def a_file(value, name="file", filename="a.wav"):
    return part(
        f'form-data; name="{name}"; filename="{filename}"',
        value,
        "Content-Type: audio/wav",
    )


def form(*parts, boundary=B, start=b"", end=b"--\r\n"):
    mark = b"--" + boundary.encode()
    return start + b"".join(mark + b"\r\n" + p + b"\r\n" for p in parts) + mark + end


def scan(body, *cuts, boundary=B):
    scanner = Scanner(boundary.encode(), GOVERNED)
    for start, end in zip((0, *cuts), (*cuts, len(body)), strict=True):
        scanner.feed(body[start:end])
    scanner.close()
    return scanner.fields


def refusal(body, boundary=B):
    """The code of the error that ``body`` gives, whole and byte by byte."""
    codes = []
    for cuts in ((), range(1, len(body))):
        with pytest.raises(BadRequest) as caught:
            scan(body, *cuts, boundary=boundary)
        codes.append(caught.value.code)
    assert codes[0] == codes[1]
    return codes[0]


# Finding fields.


def test_a_governed_field_is_found_with_its_place():
    body = form(
        a_field("language", b"en"), a_field("model", b"whisper-1"), a_file(b"x")
    )

    fields = scan(body)

    start = body.index(b"whisper-1")
    assert fields == {"model": Field("model", b"whisper-1", start, start + 9)}


def test_what_httpx_encodes_is_read():
    request = httpx.Request(
        "POST",
        "http://x/",
        data={"model": "gpt-4o-transcribe", "timestamp_granularities[]": ["word"]},
        files={"file": ('a "b".wav', b"\x00\r\n--\r\n\xff", "audio/wav")},
    )
    boundary = boundary_of(request.headers["content-type"].encode())

    scanner = Scanner(boundary, GOVERNED)
    scanner.feed(request.read())
    scanner.close()

    assert scanner.fields["model"].value == b"gpt-4o-transcribe"


def test_a_field_is_found_however_the_body_is_cut():
    body = form(
        a_field("n", b"2"), a_file(b"\r\n--b0undar\r\n-"), a_field("model", b"m")
    )

    whole = scan(body)

    assert {name: f.value for name, f in whole.items()} == {"n": b"2", "model": b"m"}
    assert scan(body, *range(1, len(body))) == whole
    for cut in range(len(body)):
        assert scan(body, cut) == whole


def test_a_body_that_ends_early_is_not_whole():
    body = form(a_field("model", b"m"), a_file(b"data"))

    for end in range(len(body) - 4):
        with pytest.raises(BadRequest):
            scan(body[:end])


def test_an_empty_value_is_a_value():
    assert scan(form(a_field("model", b"")))["model"].value == b""


def test_an_empty_line_before_the_form_is_passed_over():
    body = form(a_field("model", b"m"), start=b"\r\n")

    field = scan(body)["model"]

    assert body[field.start : field.end] == b"m"


def test_spaces_after_a_boundary_are_part_of_the_delimiter():
    body = form(a_field("model", b"m")).replace(b"--b0undary\r\n", b"--b0undary \t\r\n")

    assert scan(body)["model"].value == b"m"


def test_a_file_of_ten_megabytes_is_read_in_linear_time_and_not_kept():
    scanner = Scanner(B.encode(), GOVERNED)
    body = form(a_file(b"\r\n-" * 3_500_000), a_field("model", b"m"))

    for start in range(0, len(body), 65536):
        scanner.feed(body[start : start + 65536])
        assert len(scanner._rest) < 70_000
    scanner.close()

    assert scanner.fields["model"].value == b"m"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["model", "n", "prompt", "x"]), st.binary(max_size=60)
        ),
        max_size=5,
        unique_by=lambda pair: pair[0],
    ),
    st.text("0123456789abcdefXYZ'()+_,-./:=?", min_size=6, max_size=70),
    st.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_any_form_is_read_the_same_in_any_pieces(parts, boundary, rng: random.Random):
    mark = b"--" + boundary.encode()
    parts = [(name, value.replace(mark, b"")) for name, value in parts]
    if not all(mark not in value + b"\r\n--" for _, value in parts):
        return
    body = form(*(a_field(n, v) for n, v in parts), boundary=boundary)
    if body.count(mark) != len(parts) + 1:
        return  # the boundary occurs by chance

    cuts = sorted(rng.sample(range(len(body)), min(len(body), rng.randint(0, 20))))
    fields = scan(body, *cuts, boundary=boundary)

    wanted = {name: value for name, value in parts if name in GOVERNED}
    assert {name: field.value for name, field in fields.items()} == wanted


@given(st.binary(max_size=300), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_nothing_but_a_bad_request_comes_of_any_bytes(noise, rng):
    body = bytearray(form(a_field("model", b"m"), a_file(noise)))
    for _ in range(rng.randint(0, 4)):
        body[rng.randrange(len(body))] = rng.randrange(256)

    with contextlib.suppress(BadRequest):
        scan(bytes(body), *sorted(rng.sample(range(len(body)), 5)))


# What could be read in two ways.


def test_a_second_model_is_refused():
    twice = form(a_field("model", b"a"), a_file(b"x"), a_field("model", b"b"))

    assert refusal(twice) == "duplicate_key"


@pytest.mark.parametrize("name", ["Model", "MODEL"])
def test_a_model_by_another_case_is_refused(name):
    assert refusal(form(a_field(name, b"a"))) == "invalid_request"


@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; name="x"; name="model"',
        "form-data; name*=utf-8''model",
        "form-data; name*0=mo; name*1=del",
        'form-data; name="mod\\el"',
        'form-data; name="%6dodel"',
        'form-data; name=" model"',
        'form-data; name="model "',
        'form-data; filename="a\\"; name="model"',
        'form-data; filename="a\\"; name=\\"model"; name="x"',
        'form-data; name="x" name="model"',
        'attachment; name="model"',
        "form-data",
        'form-data; name=""',
        'form-data; name="x',
    ],
)
def test_a_strange_disposition_is_refused(disposition):
    assert refusal(form(part(disposition, b"v"))) == "invalid_multipart"


def test_a_name_needs_no_quotes():
    assert scan(form(part("form-data;name=model", b"m")))["model"].value == b"m"


def test_a_filename_may_be_encoded_and_hold_backslashes():
    disposition = 'form-data; name="file"; filename="C:\\a.wav"; filename*=utf-8\'\'a'

    assert scan(form(part(disposition, b"x"), a_field("n", b"1")))["n"].value == b"1"


@pytest.mark.parametrize(
    "headers",
    [
        ['Content-Disposition: form-data; name="n"'],
        [" folded"],
        ["X-A: b", "\tContent-Disposition: c"],
        ["no colon"],
        ["X-A : b"],
        ["X-A: a\nContent-Disposition: b"],
        ["X-A: a\rb"],
        ["X-A: \0"],
    ],
)
def test_a_strange_header_section_is_refused(headers):
    body = form(part('form-data; name="x"', b"v", *headers))

    assert refusal(body) == "invalid_multipart"


@pytest.mark.parametrize(
    "header",
    [
        "Content-Transfer-Encoding: base64",
        "Content-Type: text/plain; charset=utf-16",
        "Content-Type: application/json",
    ],
)
def test_an_encoded_model_is_refused(header):
    body = form(part('form-data; name="model"', b"bQ==", header))

    assert refusal(body) == "invalid_request"


def test_a_model_that_is_a_file_is_refused():
    assert refusal(form(a_file(b"m", name="model"))) == "invalid_request"


def test_a_plain_content_type_changes_nothing():
    body = form(
        part(
            'form-data; name="model"', b"m", 'Content-Type: text/plain; charset="UTF-8"'
        )
    )

    assert scan(body)["model"].value == b"m"


@pytest.mark.parametrize(
    "value",
    [
        b"x\n--b0undary\r\nContent-Disposition: form-data; name=model\r\n\r\nb",
        b"x--b0undary\r\n",
        b"x\r\n--b0undaryy\r\n",
        b"x\r\n--b0undary\nContent-Disposition: form-data; name=model\n\nb",
        b"x\r\n--b0undary-\r\n",
    ],
)
def test_a_delimiter_to_some_and_text_to_others_is_refused(value):
    assert refusal(form(a_field("x", value))) == "invalid_multipart"


@pytest.mark.parametrize(
    ("start", "end"), [(b"hello\r\n", b"--"), (b"", b"--\r\nhello"), (b"\n", b"--")]
)
def test_text_around_the_form_is_refused(start, end):
    body = form(a_field("model", b"m"), start=start, end=end)

    assert refusal(body) == "invalid_multipart"


def test_a_part_that_follows_the_end_is_refused():
    body = form(a_field("model", b"a")) + form(a_field("model", b"b"))

    assert refusal(body) == "invalid_multipart"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (form(a_field("model", b"m" * 2000)), "invalid_request"),
        (
            form(part('form-data; name="x"', b"", "X-A: " + "b" * 9000)),
            "invalid_multipart",
        ),
        (b"--b0undary" + b" " * 9000, "invalid_multipart"),
    ],
)
def test_what_must_be_held_is_bounded(body, code):
    assert refusal(body) == code


# The boundary.


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data; boundary=b0undary",
        b'Multipart/Form-Data;boundary="b0undary"',
        b"multipart/form-data ; charset=utf-8; BOUNDARY=b0undary;",
    ],
)
def test_a_boundary_is_found(content_type):
    assert boundary_of(content_type) == b"b0undary"


@pytest.mark.parametrize(
    "content_type",
    [
        b"",
        b"application/json",
        b"multipart/mixed; boundary=x",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=a; boundary=b",
        b"multipart/form-data; boundary=a, multipart/form-data; boundary=b",
        b'multipart/form-data; boundary="a',
        b'multipart/form-data; boundary="a "',
        b"multipart/form-data; boundary=" + b"a" * 71,
        b"multipart/form-data; boundary=a\x00b",
    ],
)
def test_a_content_type_without_one_valid_boundary_is_refused(content_type):
    with pytest.raises(BadRequest):
        boundary_of(content_type)


def test_a_value_is_not_longer_than_its_bound():
    longest = b"m" * multipart.MAX_VALUE_BYTES

    assert scan(form(a_field("model", longest)))["model"].value == longest
