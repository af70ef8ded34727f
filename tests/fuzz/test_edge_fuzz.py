"""Whatever a client sends, in whatever pieces: the server stays, and stays clean.

Seeded, so that a failure can be had again; the seed is in the test's name.
"""

import random
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from tests.wire.edge_server import Client, EdgeServer, edge_server, eventually, get

SEEDS = range(6)
ROUNDS = 36
BODY_LIMIT = 4000
LIMITS = {
    "max_body_bytes": BODY_LIMIT,
    # Exactly one body of the largest size: a byte that is leaked would show.
    "max_body_bytes_total": BODY_LIMIT,
    "max_header_bytes": 4000,
}

WORDS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"\xff", b"%00"),
    *(b"0\r\n\r\n", b"ffffffffffffffff", b"-1", b"99999999999999999999"),
    *(b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"host: b\r\n"),
    *(b"connection: close\r\n", b"connection: upgrade\r\nupgrade: h2c\r\n"),
    *(b"expect: 100-continue\r\n", b"HTTP/2.0", b"HTTP/1.0", b"CONNECT ", b"HEAD "),
    *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET http://a/b HTTP/1.1\r\n"),
)


def chunked(dice: random.Random, body: bytes) -> bytes:
    parts = []
    for piece in cut(dice, body, 200):
        size = b"%x" % len(piece)
        if dice.random() < 0.2:
            size = size.upper().zfill(6) + b";name=value"
        parts.append(b"%b\r\n%b\r\n" % (size, piece))
    trailer = b"x-sum: 1\r\n" if dice.random() < 0.2 else b""
    return b"".join(parts) + b"0\r\n" + trailer + b"\r\n"


def a_request(dice: random.Random, body: bytes) -> bytes:
    """Return a valid request that carries ``body``, one of the many ways to do so."""
    fields = [b"host: gandalf", b"Content-Type: application/json"]
    fields += [
        b"x-%d: %b" % (n, b"v" * dice.randrange(40)) for n in range(dice.randrange(9))
    ]
    if dice.random() < 0.2:
        fields.append(b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c")
    if dice.random() < 0.5:
        fields.append(b"Content-Length: %d" % len(body))
    else:
        fields.append(b"Transfer-Encoding: chunked")
        body = chunked(dice, body)
    dice.shuffle(fields)
    head = b"\r\n".join([b"POST /v1/chat/completions HTTP/1.1", *fields])
    return b"\r\n" * dice.randrange(2) + head + b"\r\n\r\n" + body


def mutated(dice: random.Random, data: bytes) -> bytes:
    data = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(6):
            case 0:
                data[at:at] = dice.choice(WORDS)
            case 1:
                del data[at : at + dice.randint(1, 30)]
            case 2:
                data[at : at + 1] = dice.randbytes(1)
            case 3:
                end = at + dice.randrange(200)
                data[at:at] = data[at:end]
            case 4:
                data[at:at] = dice.randbytes(dice.randrange(50))
            case 5:
                data += dice.choice(WORDS) * dice.randint(1, 300)
    return bytes(data)


def cut(dice: random.Random, data: bytes, longest: int) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + dice.randint(1, longest)
        yield data[at:end]
        at = end


async def send_in_pieces(dice: random.Random, client: Client, data: bytes) -> None:
    for piece in cut(dice, data, dice.choice((3, 50, 5000))):
        try:
            client.sock.send(piece)
        except (BlockingIOError, ConnectionError):
            return
        if dice.random() < 0.5:
            await trio.lowlevel.checkpoint()
            client.pull()


def living_tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def expect_unharmed(edge: EdgeServer, tasks: int) -> None:
    """Wait until nothing is left of what was, and see a good request answered."""
    await eventually(lambda: edge.counters.open_connections == 0)
    await eventually(lambda: living_tasks() == tasks)
    assert not edge.gateway.in_flight
    assert edge.counters.crashes == 0

    client = edge.connect()
    body = b"x" * BODY_LIMIT
    length = b"content-length: %d\r\n" % len(body)
    await client.send(
        get("/v1/chat/completions", length).replace(b"GET", b"POST") + body
    )
    response = await client.response()
    assert (response.status, response.body) == (200, body)
    client.close()
    await eventually(lambda: edge.counters.open_connections == 0)


async def attack(seed: int, make: object) -> None:
    dice = random.Random(seed)
    async with edge_server(**LIMITS) as edge:
        await trio.testing.wait_all_tasks_blocked()
        tasks = living_tasks()
        for _ in range(ROUNDS):
            crowd = [edge.connect() for _ in range(dice.randint(1, 4))]
            for client in crowd:
                await send_in_pieces(dice, client, make(dice))
            if dice.random() < 0.3:
                await trio.testing.wait_all_tasks_blocked()
            for client in crowd:
                client.pull()
                assert not client.data or client.data.startswith(b"HTTP/1.1 ")
                client.close()
        await expect_unharmed(edge, tasks)


@pytest.mark.parametrize("seed", SEEDS)
async def test_random_bytes_do_no_harm(seed):
    await attack(seed, lambda dice: dice.randbytes(dice.randrange(1, 3000)))


@pytest.mark.parametrize("seed", SEEDS)
async def test_random_words_of_the_protocol_do_no_harm(seed):
    await attack(
        seed, lambda dice: b"".join(dice.choices(WORDS, k=dice.randint(1, 80)))
    )


@pytest.mark.parametrize("seed", SEEDS)
async def test_requests_damaged_at_random_do_no_harm(seed):
    def make(dice: random.Random) -> bytes:
        bodies = [
            dice.randbytes(dice.randrange(500)) for _ in range(dice.randint(1, 3))
        ]
        return mutated(dice, b"".join(a_request(dice, body) for body in bodies))

    await attack(seed, make)


@pytest.mark.parametrize("seed", SEEDS)
async def test_valid_requests_are_the_same_however_they_are_framed_and_cut(seed):
    dice = random.Random(seed)
    async with edge_server(**LIMITS) as edge:
        for _ in range(ROUNDS // 3):
            bodies = [
                dice.randbytes(dice.randrange(400)) for _ in range(dice.randint(1, 6))
            ]
            data = b"".join(a_request(dice, body) for body in bodies)
            client = edge.connect()
            longest = dice.choice((1, 7, 200, 5000))
            for piece in cut(dice, data, longest):
                await client.send(piece)
                if dice.random() < 0.3:
                    await trio.lowlevel.checkpoint()

            assert [(await client.response()).body for _ in bodies] == bodies
            client.close()
        await edge.is_idle()
        assert edge.counters.bad_requests == 0
