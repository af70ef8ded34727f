import pytest

from gandalf.http.openai_endpoints import EXACT, find, methods_at


@pytest.mark.parametrize(
    ("method", "path", "operation", "upload"),
    [
        (b"POST", b"/v1/responses", "responses", False),
        (b"POST", b"/v1/images/edits", "images", True),
        (b"POST", b"/v1/files", "files", True),
        (b"GET", b"/v1/files", "files", False),
        (b"GET", b"/v1/responses/resp_68a~b", "responses", False),
        (b"POST", b"/v1/responses/resp_1/cancel", "responses", False),
        (b"GET", b"/v1/files/file-1/content", "files", False),
        (b"DELETE", b"/v1/files/file-1", "files", False),
    ],
)
def test_an_endpoint_is_found_with_its_path(method, path, operation, upload):
    endpoint = find(method, path)

    assert (endpoint.operation, endpoint.upload) == (operation, upload)
    assert (endpoint.method, endpoint.path) == (method, path.removeprefix(b"/v1"))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (b"GET", b"/v1/responses"),
        (b"GET", b"/v1/responses/"),
        (b"GET", b"/v1/responses/.."),
        (b"GET", b"/v1/files/../responses"),
        (b"GET", b"/v1/files/a%2fb"),
        (b"GET", b"/v1/files/a b"),
        (b"GET", b"/v1/files/\xc3\xa9"),
        (b"GET", b"/v1/files/a/content/b"),
        (b"GET", b"/v1/files/a//content"),
        (b"GET", b"/v1/files/" + b"a" * 201),
        (b"POST", b"/v1/files/a/cancel"),
        (b"DELETE", b"/v1/batches/a"),
        (b"GET", b"/v2/files/a"),
        (b"GET", b"/files/a"),
    ],
)
def test_there_is_nothing_else(method, path):
    assert find(method, path) is None


def test_the_methods_of_a_path_are_known():
    assert methods_at(b"/v1/files/file-1") == [b"GET", b"DELETE"]
    assert methods_at(b"/v1/files") == [b"POST", b"GET"]
    assert methods_at(b"/v1/unknown") == []
    assert (b"POST", b"/v1/rerank") in EXACT
