"""Starts and ends the processes of a federation on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from experiments.errors import UnreachableError
from experiments.home import Home
from policies.parties import DATA_ROLES, PartyId, Role

JOIN_SECONDS: Final = 90.0
STOP_SECONDS: Final = 20.0


def pid_file(home: Home) -> Path:
    """Return where the process ids of a running federation stand, one a line."""
    return home.folder / "running.pids"


Around = Callable[[str, Sequence[str]], tuple[Sequence[str], Mapping[str, str]]]
"""A process's name and command line become those it is started with, and what is added to its
environment."""


def _plainly(_: str, argv: Sequence[str]) -> tuple[Sequence[str], Mapping[str, str]]:
    return argv, {}


class Fleet:
    """The supervisors of one federation: the aggregator's and one per node."""

    def __init__(self, home: Home, around: Around = _plainly) -> None:
        self.home = home
        self._around = around
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start_aggregator(self) -> None:
        """Start the server and the executor."""
        self._start("aggregator", "run", "--federation", str(self.home.folder))

    def start_nodes(self) -> None:
        """Start every node of the roster; keyholders are among them."""
        for member in self.home.roster().active(*DATA_ROLES, Role.KEYHOLDER):
            self.start_node(member.party)

    def start_node(self, party: PartyId) -> None:
        """Start one node."""
        folder = self.home.node(party)
        (folder / "node_id").unlink(missing_ok=True)
        self._start("node", "run", str(folder))

    def kill_node(self, party: PartyId) -> None:
        """Kill a node where it stands, as a power cut would, and its supervisor with it."""
        supervisor, noted = self._children[str(party)], self.home.node(party) / "run" / "node.pid"
        worker = int(noted.read_text(encoding="utf-8"))
        supervisor.kill()  # the first to go, so that it starts no other
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        supervisor.wait()
        noted.unlink(missing_ok=True)

    def wait_joined(self, tell: Callable[[int, int], None], seconds: float = JOIN_SECONDS) -> None:
        """Wait until every node has joined, so long at most.

        Raises:
            UnreachableError: a process ended, or a node did not join in time.
        """
        parties = [m.party for m in self.home.roster().active(*DATA_ROLES, Role.KEYHOLDER)]
        give_up = time.monotonic() + seconds
        while missing := [party for party in parties if not self._joined(party)]:
            tell(len(parties) - len(missing), len(parties))
            self._require_alive()
            if time.monotonic() > give_up:
                raise UnreachableError(
                    f"{', '.join(missing)} did not join within {seconds:.0f} s; "
                    f"see {self.home.node(missing[0]) / 'logs' / 'node.log'}"
                )
            time.sleep(0.1)

    def leave_running(self) -> None:
        """Write down the process ids and let go of them."""
        pids = "\n".join(str(child.pid) for child in self._children.values())
        pid_file(self.home).write_text(pids + "\n", encoding="utf-8")

    def stop(self) -> None:
        """End every process that this fleet started."""
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        give_up = time.monotonic() + STOP_SECONDS
        for child in self._children.values():
            try:
                child.wait(max(0.1, give_up - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()

    def _start(self, *words: str) -> None:
        name = words[-1].rsplit("/", 1)[-1] if words[0] == "node" else "aggregator"
        logs = self.home.folder / "logs"
        logs.mkdir(exist_ok=True)
        argv, added = self._around(name, [sys.executable, "-m", "experiments.cli", *words])
        with (logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                argv,
                env={**os.environ, **added},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children[name] = child

    def _joined(self, party: PartyId) -> bool:
        return (self.home.node(party) / "node_id").exists()

    def _require_alive(self) -> None:
        for child in self._children.values():
            if child.poll() is not None:
                raise UnreachableError(_last_words(self.home.folder / "logs", child))


def _last_words(logs: Path, child: "subprocess.Popen[bytes]") -> str:
    words = str(child.args[-1]) if isinstance(child.args, Sequence) else "a process"
    name = words.rsplit("/", 1)[-1]
    lines = [
        line
        for path in sorted(logs.glob("*.log"))
        for line in path.read_text(errors="replace").splitlines()[-1:]
        if line
    ]
    said = "; ".join(lines) or "it said nothing"
    return f"the process for {name} ended with code {child.returncode}: {said}"


@contextmanager
def running(home: Home, *, stay: bool, around: Around = _plainly) -> Iterator[Fleet]:
    """Give a fleet; it is stopped at the end unless it should stay and nothing went wrong."""
    fleet = Fleet(home, around)
    try:
        yield fleet
    except BaseException:
        fleet.stop()
        raise
    if stay:
        fleet.leave_running()
    else:
        fleet.stop()


@contextmanager
def up(home: Home, seconds: float = JOIN_SECONDS, around: Around = _plainly) -> Iterator[Fleet]:
    """Give a fleet of which every node has joined; it is stopped at the end."""
    with running(home, stay=False, around=around) as fleet:
        fleet.start_aggregator()
        fleet.start_nodes()
        fleet.wait_joined(lambda *_: None, seconds)
        yield fleet


def stop_left(home: Home) -> int:
    """End a federation that was left running; return how many supervisors were told."""
    path = pid_file(home)
    if not path.exists():
        return 0
    told = 0
    for pid in map(int, path.read_text(encoding="utf-8").split()):
        if _is_ours(pid):
            os.kill(pid, signal.SIGTERM)
            told += 1
    path.unlink()
    return told


def is_running(home: Home) -> bool:
    """Return whether a federation that was left running still is."""
    path = pid_file(home)
    return path.exists() and any(
        _is_ours(int(pid)) for pid in path.read_text(encoding="utf-8").split()
    )


def _is_ours(pid: int) -> bool:
    import psutil

    try:
        return any("experiments.cli" in word for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
