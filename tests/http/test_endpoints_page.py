"""docs/native-endpoints.md lists every endpoint there is, and no other."""

import itertools
import re
from pathlib import Path

import pytest

from gandalf.dialects.registry import DIALECTS
from gandalf.http.endpoints import RULES
from gandalf.http.spoken import spoken_at
from tests.http.test_application import gateway  # noqa: F401

PAGE = (Path(__file__).parent.parent.parent / "docs/native-endpoints.md").read_text()
ROW = re.compile(r"^\| `([A-Z]+) (/\S*)` \| (?:`(\w+)` \|)?", re.MULTILINE)


def alternatives(pattern):
    """The paths that ``/{a,b}/c`` stands for; ``{id}`` stands for itself."""
    pieces = [
        piece[1:-1].split(",") if "," in piece else [piece]
        for piece in re.split(r"(\{[^}]*\})", pattern)
    ]
    return ["".join(chosen) for chosen in itertools.product(*pieces)]


def documented():
    """Every endpoint of the page, with its operation; "" for a page of ours."""
    return [
        (method, path, operation)
        for method, pattern, operation in ROW.findall(PAGE)
        for path in alternatives(pattern)
    ]


def test_an_alternative_is_each_of_its_words():
    assert alternatives("/{v1,x/v1}/a/{id}") == ["/v1/a/{id}", "/x/v1/a/{id}"]


def test_the_page_lists_what_runs_the_pipeline_with_its_operation():
    rules = {(rule.method.decode(), rule.pattern, rule.operation) for rule in RULES}

    assert {row for row in documented() if row[2]} == rules


async def test_the_page_lists_every_endpoint_of_the_application(gateway):  # noqa: F811
    served = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in gateway.application().url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if not rule.rule.startswith("/admin/v1")  # has a page of its own
    }

    assert {(method, path) for method, path, _ in documented()} == served


def test_no_endpoint_is_listed_twice():
    listed = [(method, path) for method, path, _ in documented()]

    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.NAME)
def test_the_page_says_where_a_key_may_stand(dialect):
    if dialect.KEY_HEADER:
        assert f"| `{dialect.KEY_HEADER.decode()}`" in PAGE
    assert f"| `{spoken_at('/openai/v1/models', {}).key_header.decode()}` |" in PAGE
