"""Fixtures of the tests of this folder."""

from pathlib import Path

import pytest

from tests.people import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
