"""docs/translation.md is what the tables of the dialects say."""

import subprocess
import sys
from pathlib import Path

import pytest

from gandalf.dialects import reference
from gandalf.dialects.conversation import Feature
from gandalf.dialects.registry import UPSTREAM_DIALECTS

ROOT = Path(__file__).parent.parent.parent


def test_the_page_in_the_docs_is_the_generated_one():
    committed = (ROOT / "docs" / "translation.md").read_text()

    assert committed == reference.render(), (
        "run: python -m gandalf.dialects.reference > docs/translation.md"
    )


def test_the_page_can_be_written_by_hand():
    command = [sys.executable, "-m", "gandalf.dialects.reference"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout == reference.render()


@pytest.mark.parametrize("dialect", UPSTREAM_DIALECTS, ids=lambda d: d.NAME)
def test_a_dialect_says_what_becomes_of_every_feature(dialect):
    assert set(dialect.TREATMENTS) == set(Feature)


@pytest.mark.parametrize("feature", Feature)
def test_every_feature_has_its_row(feature):
    assert f"\n| `{feature.value}`" in reference.render()


@pytest.mark.parametrize("dialect", UPSTREAM_DIALECTS, ids=lambda d: d.NAME)
def test_every_dialect_is_told_of(dialect):
    assert f"\n**{dialect.NAME}**\n" in reference.render()
