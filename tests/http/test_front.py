"""The application behind the front is loaded once, when it is asked for, and in peace."""

import threading

import pytest
import trio
import trio.testing

from gandalf.domain.errors import NotFound
from gandalf.http.front import Front
from gandalf.http.page import Page
from tests.wire.edge_server import edge_server, eventually, get, post, telling_page


class SystemPages:
    """Pages of a test, and what was counted of them."""

    def __init__(self, **views):
        self.views = {f"/{name}": view for name, view in views.items()}
        self.observed = []

    def observe(self, method, path, status, duration):
        self.observed.append((method, path, status))


async def ok(asked):
    return Page(200, b"text/plain", b"%b" % asked.query, [(b"x-own", b"1")])


async def missing(asked):
    raise NotFound("not there")


async def broken(asked):
    raise KeyError("a secret")


def never():
    raise AssertionError("the application was loaded")


class Loading:
    """Loads an application when the test lets it."""

    def __init__(self, *failures):
        self.may_end = threading.Event()
        self.failures = list(failures)
        self.threads = []

    def __call__(self):
        self.threads.append(threading.current_thread())
        assert self.may_end.wait(5)
        if self.failures:
            raise self.failures.pop()
        return telling_page


@pytest.fixture
def loading():
    made = Loading()
    yield made
    made.may_end.set()


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_system_page_is_answered_without_loading_anything(method):
    system = SystemPages(page=ok)
    async with edge_server(app=Front(system, {}, never)) as edge:
        client = edge.connect()
        await client.send(get("/page?a=b").replace(b"GET", method, 1))
        response = await client.response(head_only=method == b"HEAD")

    assert response.status == 200
    assert response.headers[b"content-length"] == b"3"
    assert response.headers[b"x-own"] == b"1"
    assert response.headers[b"x-frame-options"] == b"DENY"
    assert response.body == (b"a=b" if method == b"GET" else b"")
    assert system.observed == [(method.decode(), "/page", 200)]


async def test_an_error_of_a_system_page_is_told_in_the_clients_dialect():
    system = SystemPages(page=missing)
    async with edge_server(app=Front(system, {}, never)) as edge:
        response = await edge.ask(get("/page"))
        other = await edge.ask(get("/page", b"anthropic-version: 1\r\n"))

    assert response.status == other.status == 404
    assert response.error["message"] == "not there"
    assert other.body.startswith(b'{"type":"error"')
    assert system.observed == [("GET", "/page", 404)] * 2


async def test_a_bug_in_a_system_page_is_a_500_that_tells_nothing(caplog):
    system = SystemPages(page=broken)
    async with edge_server(app=Front(system, {}, never)) as edge:
        response = await edge.ask(get("/page"))

    assert response.status == 500
    assert b"secret" not in response.body
    assert "page /page failed" in caplog.text


async def test_a_repeated_field_of_any_server_counts_with_all_its_values():
    seen = []

    async def page(asked):
        seen.append(asked.headers)
        return Page(200, b"text/plain", b"")

    scope = {"type": "http", "method": "GET", "path": "/page", "query_string": b""}
    sent = []

    async def send(message):
        sent.append(message["type"])

    front = Front(SystemPages(page=page), {}, never)
    await front(scope | {"headers": [(b"A", b"1"), (b"a", b"2")]}, None, send)

    assert seen == [{b"a": b"1, 2"}]
    assert sent == ["http.response.start", "http.response.body"]


async def test_the_application_is_loaded_once_and_in_a_thread(loading):
    front = Front(SystemPages(page=ok), {}, loading)
    async with edge_server(app=front) as edge:
        clients = [edge.connect() for _ in range(3)]
        for client in clients:
            await client.send(get("/v1/other"))
        await eventually(lambda: loading.threads)
        # Nobody else waits for it.
        assert (await edge.ask(get("/page"))).status == 200
        assert not front.loaded
        loading.may_end.set()

        for client in clients:
            assert (await client.response()).body == b"GET /v1/other? "
        assert (await edge.ask(post("/page", b"x"))).body == b"POST /page? x"
    assert front.loaded
    assert len(loading.threads) == 1
    assert loading.threads[0] is not threading.current_thread()


async def test_what_cannot_be_loaded_is_tried_again_and_costs_that_page_only():
    loading = Loading(ImportError("no such thing"))
    loading.may_end.set()
    async with edge_server(app=Front(SystemPages(), {}, loading)) as edge:
        first = await edge.ask(get("/v1/other"))
        second = await edge.ask(get("/v1/other"))

    assert first.status == 500
    assert second.body == b"GET /v1/other? "


async def test_a_client_that_leaves_while_it_is_loaded_spoils_it_for_nobody(loading):
    front = Front(SystemPages(), {}, loading)
    async with edge_server(app=front) as edge:
        client = edge.connect()
        await client.send(get("/v1/other"))
        await eventually(lambda: loading.threads)
        client.close()
        await trio.testing.wait_all_tasks_blocked()
        loading.may_end.set()

        assert (await edge.ask(get("/v1/other"))).body == b"GET /v1/other? "
    assert len(loading.threads) == 1


async def test_stopping_while_it_is_loaded_waits_for_the_thread(loading):
    async with edge_server(
        app=Front(SystemPages(), {}, loading), shutdown_timeout=0.01
    ) as edge:
        client = edge.connect()
        await client.send(get("/v1/other"))
        await eventually(lambda: loading.threads)
        edge.stop.set()
        await trio.sleep(0.05)
        assert not edge.stopped.is_set()
        loading.may_end.set()
        await eventually(edge.stopped.is_set)


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/.env", "/v2/models", "/%2e"])
async def test_where_nothing_has_ever_been_nothing_is_loaded(path):
    system = SystemPages(page=ok)
    async with edge_server(app=Front(system, {}, never)) as edge:
        for method in (b"GET", b"POST"):
            asked = get(path, b"x-request-id: mine\r\n").replace(b"GET", method, 1)
            response = await edge.ask(asked)
            assert response.status == 404
            assert response.headers[b"x-request-id"] == b"mine"
            assert response.error["code"] == "not_found"
    assert system.observed == [("GET", "unmatched", 404), ("POST", "unmatched", 404)]


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/admin/v1/x", "/page/"])
async def test_where_there_may_be_something_the_application_is_asked(path):
    async with edge_server(
        app=Front(SystemPages(page=ok), {}, lambda: telling_page)
    ) as e:
        assert (await e.ask(get(path))).body == f"GET {path}? ".encode()


async def test_below_a_path_of_another_server_the_application_is_asked():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["path"])

    front = Front(SystemPages(), {}, lambda: app)
    scope = {"type": "http", "method": "GET", "query_string": b"", "headers": []}
    await front(scope | {"path": "/ours/v1", "root_path": "/ours"}, None, None)

    assert seen == ["/ours/v1"]


async def test_another_page_carries_the_id_of_its_request():
    front = Front(SystemPages(page=ok), {"/v1/list": ok}, never)
    async with edge_server(app=front) as edge:
        system = await edge.ask(get("/page", b"x-request-id: mine\r\n"))
        other = await edge.ask(get("/v1/list", b"x-request-id: mine\r\n"))

    assert b"x-request-id" not in system.headers
    assert other.headers[b"x-request-id"] == b"mine"
