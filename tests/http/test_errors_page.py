"""docs/errors.md explains every code that the gateway can tell, and no other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/errors.md").read_text()
FIRST_CELL = re.compile(r"^\| (`.*?) \| ", re.MULTILINE)
# In classes and in calls.
CODE = re.compile(r'\bcode(?:: str)? ?= ?"([a-z_]+)"')
SOURCES = [
    path
    for path in (ROOT / "gandalf").rglob("*.py")
    # It tells the errors of another API.
    if path.name != "simulated" and "simulated" not in path.parts
]


def told():
    in_sources = {code for path in SOURCES for code in CODE.findall(path.read_text())}
    return in_sources | {"api_key_revoked", "api_key_blocked"}


def documented():
    return {
        name
        for cell in FIRST_CELL.findall(PAGE)
        for name in re.findall(r"`(\w+)`", cell)
    }


def test_every_code_is_explained():
    assert told() - documented() == set()


@pytest.mark.parametrize("code", sorted(documented()))
def test_no_code_is_explained_that_does_not_exist(code):
    quoted = f'"{code}"'

    assert any(quoted in path.read_text() for path in SOURCES)
