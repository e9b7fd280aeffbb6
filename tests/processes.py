"""Runs the command line as people do, watches its processes, and ends every one it started."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("aggregator.superlink", "aggregator.executor", "clients")


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str
    seconds: float


def environment(path: Sequence[Path] = (), home: Path | None = None) -> dict[str, str]:
    """Return an environment in which this checkout runs, whatever is installed."""
    mine = {name: value for name, value in os.environ.items() if name != "ENTREPOT_HOME"}
    mine["PYTHONPATH"] = os.pathsep.join(map(str, (*path, ROOT)))
    if home is not None:
        mine["ENTREPOT_HOME"] = str(home)
    return mine


@contextmanager
def started(
    *words: str, cwd: Path, env: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Give a running command; at the end neither it nor a child of it is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", *words],
        cwd=cwd,
        env=env or environment(),
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            end([process.pid, *(child.pid for child in _tree(process.pid))])
        process.communicate()


def entrepot(
    *words: str, cwd: Path, env: dict[str, str] | None = None, seconds: float = 600.0
) -> Said:
    """Run a command to its end."""
    with started(*words, cwd=cwd, env=env) as process:
        return finish(process, seconds)


def finish(process: "subprocess.Popen[str]", seconds: float = 600.0) -> Said:
    """Wait for a started command."""
    begun = time.monotonic()
    out, err = process.communicate(timeout=seconds)
    return Said(process.returncode, out, err, time.monotonic() - begun)


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Return how long it took until `condition` held; fail when it takes too long.

    The limit is for an idle machine: one with more to do than it has cores gets more time.
    """
    begun = time.monotonic()
    while not condition():
        waited = time.monotonic() - begun
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        assert waited < seconds * busy, f"not within {waited:.0f} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - begun


def alive(pid: int) -> bool:
    """Whether the process runs; a dead one that nobody has buried does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end(pids: Iterable[int]) -> None:
    """Kill these processes, as long as they are Python's."""
    for pid in pids:
        with suppress(psutil.Error, ProcessLookupError):
            if "python" in " ".join(psutil.Process(pid).cmdline()[:1]):
                os.kill(pid, signal.SIGKILL)


def recorded(path: Path) -> int:
    """Return the process id that stands in a file, or 0."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def _tree(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@dataclass
class Watch:
    """What was seen of a process and all its descendants, about twice a second.

    peak:     most resident memory of all of them together, bytes.
    together: most of our modules' processes seen at the same moment, by module.
    folders:  per process id of a node's worker, the name of its folder.
    """

    peak: int = 0
    together: dict[str, int] = field(default_factory=dict)
    folders: dict[int, str] = field(default_factory=dict)
    pids: set[int] = field(default_factory=set)

    @contextmanager
    def watching(self, pid: int) -> Iterator["Watch"]:
        """Look until the end of the block."""
        over = threading.Event()
        thread = threading.Thread(target=self._look, args=(pid, over), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()

    def _look(self, pid: int, over: threading.Event) -> None:
        while not over.wait(0.5):
            total, seen = 0, set[tuple[str, str]]()
            for process in _tree(pid):
                with suppress(psutil.Error):
                    total += process.memory_info().rss
                    self._note(process.pid, process.cmdline(), seen)
            self.peak = max(self.peak, total)
            counts = dict(Counter(module for module, _ in seen))
            if sum(counts.values()) > sum(self.together.values()):
                self.together = counts

    def _note(self, pid: int, words: list[str], seen: set[tuple[str, str]]) -> None:
        # A child that is about to become another program still has its parent's words.
        self.pids.add(pid)
        seen |= {
            (module, words[words.index("--folder") + 1]) for module in MODULES if module in words
        }
        if "clients" in words:
            self.folders[pid] = Path(words[-1]).name
