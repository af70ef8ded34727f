"""The baseline: the proxy as anybody would write it with quart-trio and httpx.

Key check, limiter, a look at the JSON, usage and metrics, as the gateway has them, but
no stages, journal, failover or settlement; and it reads usage only of answers that are
not streamed. So it does less work than the gateway for each request, not more.

``python -m bench.baseline PORT UPSTREAM_URL``
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import AsyncIterator

import httpx
import msgspec
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from prometheus_client import Counter, Histogram
from quart import Response, request
from quart_trio import QuartTrio

from bench import traffic

KEYS = {hashlib.sha256(traffic.CLIENT_KEY.encode()).hexdigest(): "bench"}
REQUESTS = Counter("requests", "Requests", ["model", "status"])
TOKENS = Counter("tokens", "Tokens", ["model"])
DURATION = Histogram("duration", "Seconds", ["model"])


class Call(msgspec.Struct):
    model: str
    stream: bool = False


class Usage(msgspec.Struct):
    total_tokens: int = 0


class Answer(msgspec.Struct):
    usage: Usage | None = None


class Bucket:
    """A bucket that refills every minute."""

    def __init__(self, capacity: float) -> None:
        self._capacity = self._level = capacity
        self._at = time.monotonic()

    def take(self, amount: float) -> bool:
        now = time.monotonic()
        refill = (now - self._at) * self._capacity / 60
        self._level = min(self._capacity, self._level + refill)
        self._at = now
        if self._level < amount:
            return False
        self._level -= amount
        return True


class Proxy(QuartTrio):
    client: httpx.AsyncClient


app = Proxy(__name__)
requests_left, tokens_left = Bucket(1e12), Bucket(1e15)


@app.before_serving
async def connect() -> None:
    app.client = httpx.AsyncClient(
        base_url=sys.argv[2],
        headers={"authorization": f"Bearer {traffic.UPSTREAM_KEY}"},
        limits=httpx.Limits(max_connections=1000, max_keepalive_connections=1000),
        timeout=60,
    )


@app.post("/v1/chat/completions")
async def chat() -> Response | tuple[dict[str, str], int]:
    began = time.perf_counter()
    key = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if hashlib.sha256(key.encode()).hexdigest() not in KEYS:
        return {"error": "unknown key"}, 401
    body = await request.get_data()
    call = msgspec.json.decode(body, type=Call)
    if not (requests_left.take(1) and tokens_left.take(len(body) // 4)):
        return {"error": "limited"}, 429
    sent = app.client.build_request(
        "POST",
        "/chat/completions",
        content=body,
        headers={"content-type": "application/json"},
    )
    upstream = await app.client.send(sent, stream=call.stream)
    REQUESTS.labels(call.model, str(upstream.status_code)).inc()
    kind = upstream.headers["content-type"]
    if call.stream:
        return Response(relay(upstream), upstream.status_code, content_type=kind)
    usage = msgspec.json.decode(upstream.content, type=Answer).usage
    TOKENS.labels(call.model).inc(usage.total_tokens if usage else 0)
    DURATION.labels(call.model).observe(time.perf_counter() - began)
    return Response(upstream.content, upstream.status_code, content_type=kind)


async def relay(upstream: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for data in upstream.aiter_raw():
            yield data
    finally:
        await upstream.aclose()


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.backlog = 4096
    config.keep_alive_max_requests = 10**9
    trio.run(serve, app, config)
