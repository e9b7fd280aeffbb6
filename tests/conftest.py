"""Fixtures that more than one kind of test needs."""

from pathlib import Path

import pytest

from experiments.commerce.write import Manifest, generate
from tests.simulator import Simulation


@pytest.fixture(scope="session")
def commerce(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The tiny generated commerce, made once."""
    return generate("tiny", 7, tmp_path_factory.mktemp("commerce"))


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    """A federation with made-up rows."""
    return Simulation(tmp_path / "federation")
