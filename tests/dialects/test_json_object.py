import json
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.dialects import json_object
from gandalf.dialects.json_object import Span, splice, value_end
from gandalf.dialects.openai.calls import GOVERNED
from gandalf.domain.errors import BadRequest


def value_of(body, name):
    start = GOVERNED.members(body)[name].start
    value = body[start : value_end(body, start)]
    GOVERNED.check(body)
    place = GOVERNED.place(body, name)
    assert body[slice(*place)] == value
    return value


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","messages":[]}',
        b'{ "model" :\t"a" , "messages": [] }',
        b'{"tools":[{"model":1,"n":{}}],"model":"a"}',
        b'{"x":"\\"model\\":\\"b\\"","model":"a"}',
        b'{"x\\"model":"b","model":"a"}',
        b'{"text":"\\u0041","model":"a"}',
    ],
)
def test_finds_the_governing_member_wherever_it_stands(body):
    assert value_of(body, "model") == b'"a"'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"cheap","model":"dear"}',
        b'{"model":"cheap","mod\\u0065l":"dear"}',
        b'{"mod\\u0065l":"cheap","model":"dear"}',
        b'{"model":"cheap","Model":"dear"}',
        b'{"MODEL":"cheap","model":"dear"}',
        b'{"model":"a","stream":false,"x":[{"stream":1}],"stream":true}',
        b'{"model":"a","stream_options":{},"stream_options":null}',
    ],
)
@pytest.mark.parametrize("look", [GOVERNED.members, GOVERNED.check])
def test_a_governed_name_that_occurs_twice_is_refused(body, look):
    with pytest.raises(BadRequest) as refused:
        look(body)
    assert refused.value.code == "duplicate_key"


def test_a_name_that_is_not_in_the_body_has_no_place():
    body = b'{"model":"stream","x":{"n":1}}'

    assert GOVERNED.place(b'{"model":"a"}', "stream_options") is None
    assert GOVERNED.place(body, "stream") is None


def test_a_body_that_needs_too_long_a_look_is_refused():
    body = b'{"model":"a","x":{"model":[%b]}}' % b",".join([b"[]"] * 60_000)

    with pytest.raises(BadRequest) as refused:
        GOVERNED.members(body)
    assert refused.value.code == "ambiguous_body"


NAMES = st.sampled_from([*sorted(GOVERNED.names), "Model", "x", 'a"model', "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=8),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.sampled_from([0, json_object.SMALL]),
)
def test_agrees_with_a_parser_that_keeps_every_pair(pairs, indent, escape, small):
    # Small bodies are looked through in another way than large ones.
    with patch.object(json_object, "SMALL", small):
        check(pairs, indent, escape)


def check(pairs, indent, escape):
    members = [
        f"{json.dumps(name, ensure_ascii=escape)}: "
        f"{json.dumps(value, indent=indent, ensure_ascii=escape)}"
        for name, value in pairs
    ]
    body = ("{" + " , ".join(members) + "}").encode()
    governed = [n.lower() for n, _ in pairs if n.lower() in GOVERNED.names]

    if len(set(governed)) < len(governed):
        for look in (GOVERNED.members, GOVERNED.check):
            with pytest.raises(BadRequest):
                look(body)
        return
    for name, value in pairs:
        if name in GOVERNED.names:
            assert json.loads(value_of(body, name)) == value


def test_splice_changes_only_what_it_is_told_to():
    body = b'{"a": 1,  "b":2}'

    edited = splice(body, [(Span(14, 15), b"3"), (Span(1, 1), b'"c":0,')])

    assert edited == b'{"c":0,"a": 1,  "b":3}'
