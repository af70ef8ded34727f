"""The table of vendors: every row has its source, and the page shows them all."""

from pathlib import Path

import msgspec
import pytest

from gandalf.config import vendors
from gandalf.config.presets import PRESETS
from gandalf.config.settings import Compat as CompatSection
from gandalf.config.settings import Provider as ProviderConfig
from gandalf.domain.compat import Compat
from gandalf.providers.registry import make_provider

ROOT = Path(__file__).parent.parent


def test_the_page_in_the_docs_is_the_generated_one():
    committed = (ROOT / "docs" / "vendors.md").read_text()

    assert committed == vendors.render(), (
        "run: python -m gandalf.config.vendors > docs/vendors.md"
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_the_documentation_it_is_from(name):
    assert PRESETS[name].source.startswith("https://")


def test_every_rule_of_a_vendor_can_be_configured():
    assert CompatSection.__struct_fields__ == Compat.__struct_fields__


def test_a_provider_knows_the_rules_of_its_vendor():
    provider = make_provider(ProviderConfig(name="deepseek", type="deepseek"))

    assert provider.model("any").compat == PRESETS["deepseek"].compat


def test_a_section_corrects_the_rules_of_its_vendor():
    section = CompatSection(late_system=False, refused_fields=())
    provider = make_provider(
        ProviderConfig(name="d", type="deepseek", compat=section),
    )

    expected = msgspec.structs.replace(
        PRESETS["deepseek"].compat, late_system=False, refused_fields=()
    )
    assert provider.model("any").compat == expected
