import pytest

from gandalf.actors.routes import (
    MAX_MATCHED,
    RouteTable,
    Snapshot,
    build_routes,
    without_unpriced,
)
from gandalf.config import Config, Provider, Route, RouteTarget
from gandalf.domain.identity import Identity
from gandalf.pricing.price import Price
from gandalf.pricing.table import PriceTable
from tests.pricing.builders import a_price


def a_config(routes=(), providers=()):
    return Config(
        routes=tuple(routes),
        providers=tuple(
            Provider(name=p) if isinstance(p, str) else p for p in providers
        ),
    )


def a_route(alias, *targets, **changes):
    return Route(
        model_alias=alias,
        targets=tuple(
            RouteTarget(provider=provider, model=model, priority=priority)
            for provider, model, priority in targets
        ),
        **changes,
    )


def a_snapshot(config, version=1):
    return Snapshot(
        config=config,
        routes=build_routes(config),
        providers={},
        upstreams={},
        version=version,
    )


def names(route):
    return [target.name for target in route.targets]


def test_a_configured_route_is_found_with_its_targets_by_priority():
    config = a_config([a_route("fast", ("b", "y", 1), ("a", "x", 0))], ["a", "b"])

    route = RouteTable(a_snapshot(config)).find("fast")

    assert names(route) == ["a/x", "b/y"]
    assert route.cache_ttl is None


def test_a_routes_own_cache_time_is_kept_however_long():
    config = a_config([a_route("fast", ("a", "x", 0), cache_ttl_s=86400)], ["a"])
    assert build_routes(config)["fast"].cache_ttl == 86400


def test_a_routes_refusals_that_fall_back_are_kept():
    config = a_config(
        [a_route("fast", ("a", "x", 0), fallback_on=("context_length",))], ["a"]
    )
    assert build_routes(config)["fast"].fallback_on == ("context_length",)


def test_an_unknown_alias_is_not_found():
    assert RouteTable(a_snapshot(a_config())).find("nothing") is None


def test_listed_models_are_routes_of_their_own_names_by_provider_priority():
    config = a_config(
        providers=[
            Provider(name="b", models=("m", "only-b"), priority=1, weight=7),
            Provider(name="a", models=("m", "m"), priority=0),
        ]
    )

    routes = build_routes(config)

    assert names(routes["m"]) == ["a/m", "b/m"]
    assert routes["m"].targets[1].weight == 7
    assert names(routes["only-b"]) == ["b/only-b"]


def test_a_configured_route_stands_before_a_listed_model():
    config = a_config(
        [a_route("m", ("b", "other", 0))], [Provider(name="a", models=("m",)), "b"]
    )
    assert names(build_routes(config)["m"]) == ["b/other"]


def test_disabled_providers_serve_nothing():
    config = a_config(
        [
            a_route("fast", ("off", "x", 0), ("a", "x", 1)),
            a_route("dead", ("off", "x", 0)),
        ],
        [Provider(name="off", enabled=False, models=("listed",)), "a"],
    )

    table = RouteTable(a_snapshot(config))

    assert names(table.find("fast")) == ["a/x"]
    assert table.find("listed") is None
    assert table.models_for(Identity(key_id="k")) == ["fast"]


@pytest.mark.parametrize(
    ("allowed", "models"),
    [
        ((), ["a-1", "a-2", "b-1"]),
        (("a-*",), ["a-1", "a-2"]),
        (("b-1", "nothing"), ["b-1"]),
    ],
)
def test_a_key_sees_the_models_it_may_use_sorted(allowed, models):
    config = a_config(
        [a_route(alias, ("p", "x", 0)) for alias in ("b-1", "a-2", "a-1")], ["p"]
    )
    table = RouteTable(a_snapshot(config))
    assert table.models_for(Identity(key_id="k", allowed_models=allowed)) == models


# Versions.

BASE = a_config([a_route("fast", ("a", "x", 0))], ["a", "b"])


@pytest.mark.parametrize(
    "changed",
    [
        a_config([a_route("fast", ("a", "y", 0))], ["a", "b"]),
        a_config([a_route("fast", ("b", "x", 0))], ["a", "b"]),
        a_config([a_route("fast", ("a", "x", 1))], ["a", "b"]),
        a_config([a_route("fast", ("a", "x", 0), ("b", "x", 0))], ["a", "b"]),
        a_config([a_route("fast", ("a", "x", 0), cache_ttl_s=5)], ["a", "b"]),
        a_config(
            [a_route("fast", ("a", "x", 0))],
            [Provider(name="a", base_url="http://elsewhere"), "b"],
        ),
    ],
    ids=["model", "provider", "priority", "one more", "cache", "address"],
)
def test_a_changed_route_has_another_version(changed):
    assert build_routes(changed)["fast"].version != build_routes(BASE)["fast"].version


def test_what_does_not_concern_a_route_leaves_its_version():
    changed = a_config(
        [a_route("other", ("b", "z", 0)), a_route("fast", ("a", "x", 0))],
        [Provider(name="b", base_url="http://elsewhere"), Provider(name="a")],
    )
    version = build_routes(BASE)["fast"].version
    assert build_routes(changed)["fast"].version == version
    assert version


# Swapping.


def test_a_swap_is_seen_at_once_and_returns_the_former_snapshot():
    first, second = a_snapshot(BASE), a_snapshot(a_config(), version=2)
    table = RouteTable(first)

    assert table.swap(second) is first

    assert table.current is second
    assert table.config() is second.config
    assert table.find("fast") is None


# Prices.


def test_a_route_goes_without_targets_that_must_have_a_price_and_have_none(caplog):
    config = a_config([a_route("fast", ("a", "x", 0), ("b", "y", 1))], ["a", "b"])
    route = build_routes(config)["fast"]
    prices = PriceTable(
        {"a/x": Price("a/x", refuse=True), "b/y": Price("b/y", refuse=False)}
    )

    left = without_unpriced(route, prices)

    assert (names(left), left.unpriced) == (["b/y"], ("a/x",))
    assert caplog.messages == ["the route fast goes without a/x: no price is known"]


def test_a_route_whose_prices_are_known_stays_as_it_is():
    config = a_config([a_route("fast", ("a", "x", 0))], ["a"])
    route = build_routes(config)["fast"]
    priced = a_price("a/x", input=1)

    assert without_unpriced(route, PriceTable({"a/x": priced})) is route
    assert without_unpriced(route, PriceTable()) is route


# Wildcards.


def a_wildcard_table(*routes):
    providers = (Provider(name="openai"),)
    config = Config(
        providers=providers,
        routes=tuple(
            Route(
                model_alias=alias,
                targets=(RouteTarget(provider="openai", model=model),),
            )
            for alias, model in routes
        ),
    )
    return RouteTable(
        Snapshot(
            config=config,
            routes=build_routes(config),
            providers={},
            upstreams={},
            version=1,
        )
    )


def asked(table, alias):
    route = table.find(alias)
    return None if route is None else (route.alias, route.targets[0].model)


def test_a_wildcard_stands_for_all_names_that_begin_so():
    table = a_wildcard_table(("claude-*", "*"), ("claude-3", "gpt-4o"))

    assert asked(table, "claude-opus-9") == ("claude-opus-9", "claude-opus-9")
    assert asked(table, "claude-3") == ("claude-3", "gpt-4o")
    assert asked(table, "gpt-5") is None
    assert asked(table, "claude-*") is None


def test_the_longest_wildcard_wins_and_the_shortest_is_the_default():
    table = a_wildcard_table(
        ("*", "gpt-4o"), ("claude-opus-*", "o3"), ("claude-*", "*")
    )

    assert asked(table, "claude-opus-9") == ("claude-opus-9", "o3")
    assert asked(table, "claude-x") == ("claude-x", "claude-x")
    assert asked(table, "anything") == ("anything", "gpt-4o")


def test_names_that_clients_make_up_are_bounded():
    table = a_wildcard_table(("*", "*"))

    found = [table.find(f"model-{n}") for n in range(MAX_MATCHED + 5)]

    assert None not in found[:MAX_MATCHED]
    assert found[MAX_MATCHED:] == [None] * 5
    assert table.find("model-3") is found[3]
    assert a_wildcard_table(("*", "*")).find("a b\n") is None


def test_wildcards_are_not_listed_as_models():
    table = a_wildcard_table(("claude-*", "*"), ("fast", "gpt-4o"))

    assert table.models_for(Identity(key_id="k")) == ["fast"]
