"""What the tests of this folder that need every upstream have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sdk import place as place_module


@pytest.fixture(scope="session")
def everything(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[place_module.Place]:
    with place_module.everything(tmp_path_factory.mktemp("everything")) as running:
        yield running


@pytest.fixture
def place(everything: place_module.Place) -> place_module.Place:
    """Everything, with nothing left to say of what a test that failed has not used."""
    everything.forget()
    return everything
