"""Fixtures that more than one kind of test needs.

What they are made with is loaded when one is asked for: most tests need neither, and a mutant's
tests begin sooner.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from experiments.commerce.write import Manifest
    from tests.simulator import Simulation


@pytest.fixture(scope="session")
def commerce(tmp_path_factory: pytest.TempPathFactory) -> "Manifest":
    """The tiny generated commerce, made once."""
    from experiments.commerce.write import generate

    return generate("tiny", 7, tmp_path_factory.mktemp("commerce"))


@pytest.fixture
def simulation(tmp_path: Path) -> "Simulation":
    """A federation with made-up rows."""
    from tests.simulator import Simulation

    return Simulation(tmp_path / "federation")
