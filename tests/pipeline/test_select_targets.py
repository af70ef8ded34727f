from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from gandalf.actors.routes import RouteTable
from gandalf.config import Provider
from gandalf.domain.errors import NotFound, PermissionDenied, UpstreamUnavailable
from gandalf.domain.routing import Route
from gandalf.pipeline.select_targets import SelectTargets

from .builders import (
    a_chat_body,
    a_config,
    a_route_table,
    a_snapshot,
    a_target,
    an_exchange,
    an_identity,
)


def a_stage(*routes, seed=1, **sections):
    return SelectTargets(a_route_table(a_config(*routes, **sections)), Random(seed))


async def ordered(stage, model="fast"):
    exchange = an_exchange(a_chat_body(model=model))
    assert stage.enter(exchange) is None
    return [target.name for target in exchange.targets]


async def refusal(stage, model, identity=None):
    with pytest.raises(NotFound) as refused:
        stage.enter(an_exchange(a_chat_body(model=model), identity=identity))
    assert refused.value.code == "model_not_found"
    return refused.value.message


# The order.


async def test_the_route_is_found_by_its_alias():
    exchange = an_exchange(a_chat_body(model="fast"))

    a_stage(("fast", "a/x"), ("slow", "b/y")).enter(exchange)

    assert exchange.route.alias == "fast"
    assert exchange.targets == (a_target("a/x"),)


async def test_lower_priorities_come_first_whatever_their_weight():
    stage = a_stage(
        (
            "fast",
            a_target("c/x", priority=2, weight=100),
            a_target("a/x", priority=0),
            a_target("b/x", priority=1, weight=50),
        )
    )
    for _ in range(50):
        assert await ordered(stage) == ["a/x", "b/x", "c/x"]


async def test_within_a_priority_the_first_is_drawn_by_weight():
    stage = a_stage(("fast", a_target("a/x", weight=3), a_target("b/x", weight=1)))

    first = Counter([(await ordered(stage))[0] for _ in range(4000)])

    assert first["a/x"] / 4000 == pytest.approx(0.75, abs=0.03)


async def test_the_second_is_drawn_by_weight_too():
    stage = a_stage(
        (
            "fast",
            a_target("a/x", weight=2),
            a_target("b/x", weight=3),
            a_target("c/x", weight=1),
        )
    )

    orders = [await ordered(stage) for _ in range(6000)]

    after_a = Counter(order[1] for order in orders if order[0] == "a/x")
    assert after_a["b/x"] / after_a.total() == pytest.approx(0.75, abs=0.04)


async def test_weight_0_is_the_last_resort_of_its_priority():
    stage = a_stage(
        (
            "fast",
            a_target("spare/x", weight=0),
            a_target("spare/y", weight=0),
            a_target("a/x", weight=1),
            a_target("next/x", priority=1),
        )
    )
    for _ in range(50):
        assert await ordered(stage) == ["a/x", "spare/x", "spare/y", "next/x"]


async def test_the_same_seed_gives_the_same_order():
    routes = ("fast", *(a_target(f"p{n}/x") for n in range(6)))
    one = [await ordered(stage) for stage in [a_stage(routes, seed=5)] * 10]
    two = [await ordered(stage) for stage in [a_stage(routes, seed=5)] * 10]
    assert one == two
    assert len({tuple(order) for order in one}) > 1


# What is not there.


async def test_an_unknown_model_is_told_what_was_meant():
    message = await refusal(a_stage(("gpt-4o", "a/x"), ("mistral", "b/y")), "gpt4o")
    assert message == "the model 'gpt4o' does not exist; did you mean 'gpt-4o'?"


async def test_among_many_models_those_that_begin_alike_are_compared():
    names = [f"model-{n:04}" for n in range(1000)]
    stage = a_stage(*((name, "a/x") for name in names))

    for model, meant in (("model-0500-", "model-0500"), ("mode-0000", "model-0000")):
        assert repr(meant) in await refusal(stage, model)
    # Not because all of them were looked at.
    assert "model-0500" not in await refusal(stage, "odel-0500")


async def test_only_models_that_the_key_may_use_are_suggested():
    stage = a_stage(("gpt-4o", "a/x"), ("gpt-4o-secret", "a/y"), ("other", "a/z"))

    message = await refusal(
        stage, "gpt-4o-secre", an_identity(allowed_models=("gpt-4o", "other"))
    )

    assert "secret" not in message
    assert "'gpt-4o'" in message


async def test_an_unknown_model_like_no_other_is_sent_to_the_list():
    message = await refusal(a_stage(("fast", "a/x")), "zzz")
    assert "GET /v1/models" in message


async def test_a_key_without_any_model_is_told_so():
    stage = a_stage(("fast", "a/x"))
    message = await refusal(stage, "fsat", an_identity(allowed_models=("nothing",)))
    assert "none that this key may use" in message


async def test_a_monstrous_model_name_is_neither_echoed_nor_compared_whole():
    message = await refusal(a_stage(("fast", "a/x")), "f" * 1_000_000)
    assert len(message) < 300


async def test_a_route_whose_providers_are_all_disabled_is_unavailable():
    stage = a_stage(("fast", "a/x"), providers=(Provider(name="a", enabled=False),))
    with pytest.raises(UpstreamUnavailable, match="disabled"):
        stage.enter(an_exchange())


async def test_a_model_that_may_not_be_used_without_a_price_is_refused_saying_why():
    config = a_config(("fast", "a/x"))
    route = Route(alias="fast", targets=(), unpriced=("a/x",))
    snapshot = replace(a_snapshot(config), routes={"fast": route})
    stage = SelectTargets(RouteTable(snapshot), Random(1))

    with pytest.raises(PermissionDenied, match="price of the model 'fast'") as refused:
        stage.enter(an_exchange(a_chat_body(model="fast")))

    assert refused.value.code == "price_unknown"
