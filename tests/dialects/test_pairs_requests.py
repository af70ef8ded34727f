"""Nothing that any client asks of any upstream is lost without its being told."""

import json
import re
from itertools import combinations

import pytest

from gandalf.dialects.conversation import Feature, Treatment
from gandalf.dialects.translation import translate_request
from gandalf.domain.errors import BadRequest
from gandalf.domain.model import Model

from .pairs_clients import CLIENTS, UPSTREAMS
from .pairs_features import MODELS, PROBES, UNSAID

clients = pytest.mark.parametrize("client", CLIENTS)
upstreams = pytest.mark.parametrize("upstream", UPSTREAMS)


def a_call(client, body):
    if client == "gemini":
        return CLIENTS[client].read_call("chat", json.dumps(body).encode(), "alias")
    sent = json.dumps({"model": "alias", **body}).encode()
    return CLIENTS[client].read_call("chat", sent)


def translated(client, upstream, model, body, *, strict=False):
    return translate_request(
        a_call(client, body),
        UPSTREAMS[upstream],
        Model(name=model),
        source=CLIENTS[client],
        strict=strict,
    )


def parsed(client, body):
    return CLIENTS[client].parse_request(a_call(client, body))


def every_case(client, upstream):
    for feature, probe in PROBES[client].items():
        for model in MODELS[upstream]:
            yield feature, probe, model


@clients
def test_there_is_a_request_for_every_feature_that_a_client_can_use(client):
    assert PROBES[client].keys().isdisjoint(UNSAID[client])
    assert {*PROBES[client], *UNSAID[client]} == set(Feature)


@clients
def test_every_feature_is_noted_by_the_name_that_the_client_gives_it(client):
    for feature, probe in PROBES[client].items():
        used = parsed(client, probe.asked).used
        without = parsed(client, probe.without).used

        assert feature in used
        assert feature not in without or feature is Feature.MAX_TOKENS
        assert re.split(r"[.\[]", used[feature])[0] in probe.asked, feature


def possible(client, upstream, model, body):
    """The request in the upstream's words; None if it is refused."""
    try:
        return translated(client, upstream, model, body)
    except BadRequest:
        return None


@clients
@upstreams
def test_what_is_asked_is_said_or_told_to_be_lost_or_refused(client, upstream):
    for feature, probe, model in every_case(client, upstream):
        case = (feature, model)
        name = parsed(client, probe.asked).used[feature]
        treatment = UPSTREAMS[upstream].TREATMENTS[feature]
        made = possible(client, upstream, model, probe.asked)
        if made is None:
            continue

        assert treatment is not Treatment.REFUSED, case
        if treatment is Treatment.DROPPED:
            assert name in made.dropped, case
        elif treatment is Treatment.APPROXIMATED:
            assert name in (*made.approximated, *made.dropped), case
        if name in made.dropped or name in made.approximated:
            continue
        without = translated(client, upstream, model, probe.without).body
        assert made.body != without, case
        assert missing(probe, made) == [], case


def missing(probe, made):
    body = made.body.decode()
    return [mark for mark in probe.marks if mark not in body]


@clients
@upstreams
def test_only_what_cannot_be_said_is_refused(client, upstream):
    for feature, probe, model in every_case(client, upstream):
        if possible(client, upstream, model, probe.asked) is not None:
            continue

        used = parsed(client, probe.asked).used
        treatments = {UPSTREAMS[upstream].TREATMENTS[each] for each in used}
        foreign = feature is Feature.FILE_ID and upstream != client
        assert Treatment.REFUSED in treatments or foreign, (feature, model)


@clients
@upstreams
def test_what_is_said_to_be_dropped_is_not_there(client, upstream):
    for feature, probe, model in every_case(client, upstream):
        name = parsed(client, probe.asked).used[feature]
        made = possible(client, upstream, model, probe.asked)
        if made is not None and name in made.dropped and probe.marks:
            assert missing(probe, made), (feature, model)


@clients
@upstreams
def test_a_strict_request_is_refused_just_when_something_is_lost(client, upstream):
    for feature, probe, model in every_case(client, upstream):
        made = possible(client, upstream, model, probe.asked)
        lost = made is None or [*made.dropped, *made.approximated]
        if not lost:
            strict = translated(client, upstream, model, probe.asked, strict=True)
            assert strict == made, (feature, model)
            continue
        with pytest.raises(BadRequest) as refused:
            translated(client, upstream, model, probe.asked, strict=True)
        assert made is None or refused.value.param in lost


def merged(one, other):
    """The members of both, in one object."""
    if isinstance(one, dict) and isinstance(other, dict):
        both = {name: merged(one[name], other[name]) for name in one if name in other}
        return {**one, **other, **both}
    return other


def wishes(client):
    """The probes that leave the messages as they are, and what each adds to them."""
    for feature, probe in PROBES[client].items():
        added = {
            name: value
            for name, value in probe.asked.items()
            if value != probe.without.get(name)
        }
        if added.keys().isdisjoint({"messages", "contents"}):
            yield feature, probe, added


def _ways(one, other):
    return (one, other), (other, one)


EXCLUSIVE = (
    {Feature.JSON_MODE, Feature.JSON_SCHEMA},
    {Feature.TOOL_CHOICE, Feature.PARALLEL_TOOL_CALLS},
)
"""What some say in one field, so that the second takes the place of the first."""


@clients
@upstreams
def test_no_two_wishes_lose_each_other_silently(client, upstream):
    for one, other in combinations(wishes(client), 2):
        # There is but one list of tools, and it is in the base of who needs it.
        if any("tools" in a[2] and "tools" in b[1].asked for a, b in _ways(one, other)):
            continue
        base = {**one[1].without, **other[1].without}
        lesser = (merged(base, other[2]), merged(base, one[2]))
        body = merged(lesser[1], other[2])
        used = parsed(client, body).used
        if not {one[0], other[0]} <= used.keys():
            assert {one[0], other[0]} in EXCLUSIVE
            continue
        for model in MODELS[upstream]:
            made = possible(client, upstream, model, body)
            if made is None:
                continue
            told = (*made.dropped, *made.approximated)
            for (feature, probe, _), less in zip((one, other), lesser, strict=True):
                case = (one[0], other[0], feature, model)
                if used[feature] in told:
                    continue
                assert missing(probe, made) == [], case
                without = possible(client, upstream, model, less)
                assert without is None or without.body != made.body, case
