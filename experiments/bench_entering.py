"""How long a party waits until it is in and its node is up, besides reading and being let in.

The commands of the entrant are timed, as processes: `node join` with its token until it waits for
two members, `node join` once they have let it in, and `node run` until the server knows the node.
What the two members take is a figure of its own: people compare words meanwhile.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from experiments import faults
from experiments.exits import DONE, WAITING_FOR_APPROVAL
from experiments.fault_joins import MEMBERS, Joining
from experiments.running import up


@dataclass(frozen=True, slots=True)
class Entering:
    """Seconds. own: of the entrant's commands; let_in: of both members' commands."""

    own: float
    let_in: float


def measured() -> Entering:
    """Return how long one party takes to come into a federation that is up."""
    with tempfile.TemporaryDirectory(prefix="entrepot-entering-") as folder:
        home = faults.founded(Path(folder) / "federation")
        with up(home, faults.UP_SECONDS):
            party = Joining(home, 0)
            asked = _seconds(lambda: party.come(WAITING_FOR_APPROVAL))
            let_in = sum(_seconds(partial(party.let_in, member)) for member in MEMBERS)
            own = asked + _seconds(lambda: party.come(DONE)) + _seconds(party.start)
            return Entering(own, let_in)


def _seconds(done: Callable[[], object]) -> float:
    begun = time.perf_counter()
    done()
    return time.perf_counter() - begun
