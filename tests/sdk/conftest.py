"""What the tests of this folder that need every upstream have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sdk import place


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[place.Place]:
    with place.everything(tmp_path_factory.mktemp("everything")) as running:
        yield running
