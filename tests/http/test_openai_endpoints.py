import pytest

from gandalf.dialects.openai.passthrough import OPERATIONS, Action, read_path
from gandalf.http.openai_endpoints import PASSED


@pytest.mark.parametrize(
    "passed", PASSED, ids=lambda p: f"{p.method.decode()} {p.path}"
)
def test_an_endpoint_is_one_that_calls_are_read_of(passed):
    path = passed.path.replace("{id}", "obj-1").encode()

    action, object_id = read_path(passed.method, path)

    assert passed.operation in OPERATIONS
    assert object_id == ("obj-1" if "{id}" in passed.path else "")
    assert (action in (Action.CREATE, Action.COUNT)) == (
        passed.method == b"POST" and not object_id
    )
    assert not passed.upload or action is Action.CREATE


def test_there_is_one_of_each():
    assert len({(passed.method, passed.path) for passed in PASSED}) == len(PASSED)
