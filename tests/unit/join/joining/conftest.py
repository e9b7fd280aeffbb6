"""Fixtures of the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.joins import Harbour


@pytest.fixture
def harbour(tmp_path: Path) -> Iterator[Harbour]:
    made = Harbour(tmp_path)
    with made.open():
        yield made
