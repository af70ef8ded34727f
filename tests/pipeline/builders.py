"""Exchanges, routes and a responder for tests of single stages."""

import json
from inspect import isawaitable

from gandalf.actors.routes import RouteTable, Snapshot, build_routes
from gandalf.config import Config, Provider, Route, RouteTarget
from gandalf.dialects import openai
from gandalf.domain.identity import Identity
from gandalf.domain.routing import Target
from gandalf.pipeline.endpoint import Endpoint
from gandalf.pipeline.exchange import Exchange


def an_identity(key_id="k", **changes):
    return Identity(key_id=key_id, **changes)


def a_chat_body(**fields):
    fields = {
        "model": "fast",
        "messages": [{"role": "user", "content": "hi"}],
        **fields,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def an_endpoint(operation="chat", **changes):
    path = {"chat": "/v1/chat/completions"}.get(operation, f"/v1/{operation}")
    fields = {"operation": operation, "dialect": openai, "rule": path, **changes}
    return Endpoint(**fields)


def an_exchange(body=None, *, operation="chat", identity=None, headers=None):
    """An exchange that has been authenticated and read."""
    body = a_chat_body() if body is None else body
    exchange = Exchange(
        endpoint=an_endpoint(operation),
        headers=headers or {},
        body=body,
        request_id="r",
        received_at=0.0,
    )
    exchange.identity = identity or an_identity()
    exchange.call = exchange.dialect.read_call(operation, body)
    return exchange


def a_target(name="openai/gpt-4o", **changes):
    provider, _, model = name.partition("/")
    return Target(provider=provider, model=model, **changes)


def a_config(*routes, **sections):
    """A configuration with the ``routes``, given as alias and its targets."""
    providers = {}
    built = []
    for alias, *names in routes or [("fast", "openai/gpt-4o")]:
        targets = []
        for name in names:
            target = a_target(name) if isinstance(name, str) else name
            providers[target.provider] = Provider(name=target.provider)
            targets.append(
                RouteTarget(
                    provider=target.provider,
                    model=target.model,
                    priority=target.priority,
                    weight=target.weight,
                )
            )
        built.append(Route(model_alias=alias, targets=tuple(targets)))
    sections.setdefault("providers", tuple(providers.values()))
    sections.setdefault("routes", tuple(built))
    return Config(**sections)


def a_snapshot(config, version=1):
    return Snapshot(
        config=config,
        routes=build_routes(config),
        providers={},
        upstreams={},
        version=version,
    )


def a_route_table(config=None):
    return RouteTable(a_snapshot(config or a_config()))


async def enter(stage, exchange):
    """Enter ``stage`` as the pipeline does, and wait if it has to."""
    entered = stage.enter(exchange)
    return await entered if isawaitable(entered) else entered


class FakeResponder:
    """Takes an answer as the HTTP layer does."""

    def __init__(self):
        self.started = False
        self.received = b""
        self.complete = False

    async def begin(self, reply):
        if isinstance(reply.body, bytes):
            return
        while data := await reply.body.receive():
            self.started = True
            self.received += data

    async def finish(self, reply):
        body = reply.body
        self.received += body if isinstance(body, bytes) else body.ending
        self.complete = True


def header(exchange, name):
    """The values of one of the reply's header fields, joined."""
    lines = [line.partition(b": ") for line in exchange.reply_lines.split(b"\r\n")]
    fields = [(field, value) for field, _, value in lines] + exchange.reply_headers
    values = [value for field, value in fields if field == name]
    return b", ".join(values).decode() if values else None
