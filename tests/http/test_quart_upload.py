"""A request body that is passed on while it arrives, behind Quart."""

import pytest
from quart import request
from quart_trio import QuartTrio

from gandalf.domain.errors import PayloadTooLarge, RequestTimeout
from gandalf.http.quart_exchange import QuartUpload


@pytest.fixture
def client():
    app = QuartTrio("test")

    @app.post("/<int:limit>")
    async def page(limit):
        upload = QuartUpload(request, limit, 30.0)
        size = 0
        try:
            while piece := await upload.receive():
                size += len(piece)
        except PayloadTooLarge as error:
            return error.message, 413
        except RequestTimeout as error:
            return error.message, 408
        return f"{size} of {upload.length}"

    return app.test_client()


async def test_a_body_is_read_to_its_end(client):
    response = await client.post(
        "/100", data=b"x" * 60, headers={"content-length": "60"}
    )

    assert await response.get_data() == b"60 of 60"


async def test_pieces_are_read_as_they_come(client):
    async with client.request("/100", method="POST") as connection:
        for _ in range(3):
            await connection.send(b"x" * 20)
        await connection.send_complete()
        response = await connection.as_response()

    assert await response.get_data() == b"60 of None"


async def test_more_than_the_limit_is_refused(client):
    response = await client.post("/59", data=b"x" * 60)

    assert response.status_code == 413


async def test_a_client_that_sends_no_more_is_not_waited_for(autojump_clock, client):
    async with client.request("/100", method="POST") as connection:
        await connection.send(b"x" * 20)
        response = await connection.as_response()

    assert response.status_code == 408
