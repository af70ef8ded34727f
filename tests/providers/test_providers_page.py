"""The table of docs/adding-a-provider.md is what can be configured."""

import re
from pathlib import Path

import pytest

from gandalf.config.hostings import AUTHS
from gandalf.config.presets import PRESETS
from gandalf.providers.registry import make_provider
from tests.providers.test_registry import Keeper, section

PAGE = (Path(__file__).parent.parent.parent / "docs/adding-a-provider.md").read_text()
ROW = re.compile(
    r"^\| `(\w+)` \| (?:`(\w+)` )?\| `(\w+)` \| (`[^|]*`) \|", re.MULTILINE
)
DOCUMENTED = {
    (kind, hosting): (dialect, tuple(re.findall(r"`(\w+)`", auths)))
    for kind, hosting, dialect, auths in ROW.findall(PAGE)
}


def test_the_table_lists_every_type_at_every_hosting_with_its_credentials():
    accepted = {place: ways for place, ways in AUTHS.items() if place[0] not in PRESETS}

    assert {place: ways for place, (_, ways) in DOCUMENTED.items()} == accepted


@pytest.mark.parametrize(("kind", "hosting"), DOCUMENTED)
def test_the_table_says_what_is_spoken_there(kind, hosting):
    provider = make_provider(section(kind, hosting), Keeper())

    assert DOCUMENTED[kind, hosting][0] == provider.dialect.NAME
