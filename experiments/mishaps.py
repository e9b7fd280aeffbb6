"""The fault table's other part: what befalls a whole machine at a step of an order or a joining.

    fast clock   ten minutes ahead of everybody's until the order is over
    slow disk    every fsync takes 200 ms longer until the order is over
    cut          no byte to it or from it for a while
    away         it stands still while the world goes on by an hour; then it goes on where it was

The order has to end, done or abandoned with a reason, and nothing may be lost, released twice or
opened twice: see `faults`, which makes the table. Clocks and networks: `machines`.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final

import psutil

from experiments.home import Home
from experiments.local_fleet import wait_until
from experiments.machines import AGGREGATOR, WORLD, Machines

AHEAD: Final = 600
"""Seconds that a fast clock is ahead: more than parties bear from one another."""

HOUR: Final = 3600
CUT_SECONDS: Final = 10.0
"""How long a cut lasts: longer than a question's slots."""

AWAY_SECONDS: Final = 2.0
"""How long a machine really stands still while an hour goes by on every clock."""

_STILL: Final = {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE}
MACHINES: Final = {
    "aggregator": AGGREGATOR,
    "node": "merchant-uk",
    "keyholder": "keyholder-ch",
}
MISHAPS: Final = ("fast clock", "slow disk", "cut", "away")
_STEPS: Final = {
    "question": ("offered", "committed", "revealed"),
    "run": ("offered", "round 2"),
    "join": ("waiting",),
}


def places() -> list[tuple[str, str, str, str]]:
    """Return mishap, protocol, step and machine of every cell; who comes in comes last."""
    return [
        (mishap, protocol, step, machine)
        for protocol, steps in _STEPS.items()
        for mishap, step, machine in product(MISHAPS, steps, MACHINES)
        if protocol == "question" or machine != "keyholder"
    ]


@dataclass(slots=True)
class Mishaps:
    """Brings mishaps upon the machines of a federation."""

    home: Home
    machines: Machines
    _world: int = field(default=0)  # seconds that all clocks are ahead of this machine's

    @contextmanager
    def befalling(self, mishap: str, machine: str) -> Iterator[Callable[[], None]]:
        """Give what brings the mishap about once; whatever of it lasts is over at the end."""
        kinds: dict[str, Callable[[str], AbstractContextManager[None]]] = {
            "fast clock": self._fast_clock,
            "slow disk": self._slow_disk,
            "cut": self._cut,
            "away": self._away,
        }
        with ExitStack() as lasting:
            yield lambda: lasting.enter_context(kinds[mishap](MACHINES[machine]))

    @contextmanager
    def _fast_clock(self, name: str) -> Iterator[None]:
        self.machines.set_clock(name, self._world + AHEAD)
        try:
            yield
        finally:
            self.machines.set_clock(name, self._world)

    @contextmanager
    def _slow_disk(self, name: str) -> Iterator[None]:
        with self.machines.slow_disk(self._pids(name)):
            yield

    @contextmanager
    def _cut(self, name: str) -> Iterator[None]:
        self.machines.cut(name)
        time.sleep(CUT_SECONDS)
        self.machines.mend(name)
        yield

    @contextmanager
    def _away(self, name: str) -> Iterator[None]:
        pids = self._pids(name)
        _stop(pids)
        self._world += HOUR
        for each in (WORLD, *self.machines.names):
            self.machines.set_clock(each, self._world)
        time.sleep(AWAY_SECONDS)
        _send(pids, signal.SIGCONT)
        yield

    def _pids(self, name: str) -> list[int]:
        folder = self.home.aggregator if name == AGGREGATOR else self.home.folder / "nodes" / name
        return [_recorded(path) for path in sorted((folder / "run").glob("*.pid"))]


def _stop(pids: list[int]) -> None:
    _send(pids, signal.SIGSTOP)
    wait_until(lambda: not any(map(_runs, pids)))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in _STILL
    except psutil.NoSuchProcess:
        return False


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _recorded(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))
