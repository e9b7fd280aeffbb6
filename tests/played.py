"""A small federation that has worked: a run, a question, a refused one, and all of it witnessed."""

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from experiments.home import Home, open_home
from federation.orders import WorkOrder
from tests.simulator import Simulation


@dataclass(frozen=True)
class Played:
    """Its folder, which tests leave as it is, and its orders."""

    home: Home
    trained: WorkOrder
    asked: WorkOrder
    refused: WorkOrder

    @property
    def keys(self) -> Path:
        """The keys that were printed at join."""
        return self.home.folder / "trust.txt"

    def copy(self, folder: Path) -> Home:
        """Return a copy that a test may change."""
        shutil.copytree(self.home.folder, folder)
        return open_home(folder)


@cache
def played() -> Played:
    """Return the federation; it is played once per process."""
    place = Path(tempfile.mkdtemp(prefix="played-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    simulation = Simulation(place / "federation")
    for member in simulation.home.holders():
        simulation.folder(member.party)
    trained = simulation.training(rounds=2)
    assert simulation.run(trained).status == "done"
    asked = simulation.query()
    assert simulation.run(asked).status == "done"
    refused = simulation.query(purpose="marketing", minimum=8)
    assert simulation.run(refused).status == "refused"
    simulation.coordinator().have_witnessed()
    return Played(simulation.home, trained, asked, refused)
