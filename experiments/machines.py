"""Every process group of a federation as a machine of its own: its clock, its network, its disk.

    with machines_of(home) as machines, running(home, stay=False, around=machines.around) as fleet:
        machines.set_clock("merchant-uk", 600)
        machines.cut("merchant-uk")
        with machines.slow_disk([pid]): …

A clock is what Python's `time.time` says (`skewed`). A network is a namespace with one cable to the
bridge on which the aggregator listens. A disk is slow since strace delays what waits for it. This
takes Linux, root and the programs below; nothing outside the namespaces is changed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from experiments.errors import ExperimentError
from experiments.home import Home

AGGREGATOR: Final = "aggregator"
WORLD: Final = "world"
"""The clock of whoever sits at no machine of the federation: of this process itself."""

BRIDGE: Final = "10.77.0.1"
"""Where the aggregator listens, on a bridge that leads to the nodes' namespaces alone."""

DELAY_US: Final = 200_000
"""How long a slow disk takes over each fsync, microseconds."""

_SKEWED: Final = Path(__file__).parent / "skewed"
_PROGRAMS: Final = ("ip", "strace", "unshare")
_CLOCK: Final = "ENTREPOT_CLOCK"


class Machines:
    """The machines of one federation, by name: `aggregator`, and each node's party."""

    def __init__(self, home: Home) -> None:
        self.names = (AGGREGATOR, *sorted(path.name for path in (home.folder / "nodes").iterdir()))
        self._clocks = Path(os.environ[_CLOCK]).parent

    def around(self, name: str, argv: Sequence[str]) -> tuple[Sequence[str], dict[str, str]]:
        """Let a process live on its machine; see `running.Around`."""
        inside = [] if name == AGGREGATOR else ["ip", "netns", "exec", self._space(name)]
        return [*inside, *argv], {_CLOCK: str(self._clock(name))}

    def set_clock(self, name: str, seconds: int) -> None:
        """The clock of a machine is so far ahead of the world's."""
        draft = self._clock(name).with_suffix(".new")
        draft.write_text(str(seconds), encoding="utf-8")
        draft.replace(self._clock(name))

    def cut(self, name: str) -> None:
        """No byte comes to a machine or leaves it; the aggregator's cut is everybody's."""
        for cable in self._cables(name):
            _run("ip", "link", "set", cable, "down")

    def mend(self, name: str) -> None:
        """Bytes go to and fro again."""
        for cable in self._cables(name):
            _run("ip", "link", "set", cable, "up")

    @contextmanager
    def slow_disk(self, pids: Sequence[int]) -> Iterator[None]:
        """Let these processes wait for their disk, in the block."""
        delays = [f"inject=fsync,fdatasync:delay_exit={DELAY_US}", "trace=fsync,fdatasync"]
        words = ["strace", "-f", "-q", "-o", os.devnull]
        words += [word for delay in delays for word in ("-e", delay)]
        tracers = [subprocess.Popen([*words, "-p", str(pid)]) for pid in pids]
        try:
            yield
        finally:
            for tracer in tracers:
                tracer.terminate()
                tracer.wait()

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """The clocks are right and the cables lie, in the block."""
        for name in self.names:
            self.set_clock(name, 0)
        with ExitStack() as laid:
            _run("ip", "link", "add", "bridge0", "type", "bridge")
            laid.callback(_run, "ip", "link", "delete", "bridge0")
            _run("ip", "address", "add", f"{BRIDGE}/16", "dev", "bridge0")
            _run("ip", "link", "set", "bridge0", "up")
            for number, name in enumerate(self.names[1:], start=2):
                self._lay(name, f"10.77.0.{number}/16")
                laid.callback(_run, "ip", "netns", "delete", self._space(name))
            yield

    def _lay(self, name: str, address: str) -> None:
        space, (near,), far = self._space(name), self._cables(name), "eth0"
        _run("ip", "netns", "add", space)
        _run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
        _run("ip", "link", "set", near, "master", "bridge0", "up")
        _run("ip", "-n", space, "address", "add", address, "dev", far)
        for device in ("lo", far):
            _run("ip", "-n", space, "link", "set", device, "up")

    def _cables(self, name: str) -> list[str]:
        cut = self.names[1:] if name == AGGREGATOR else (name,)
        return [f"veth{self.names.index(each)}" for each in cut]

    def _space(self, name: str) -> str:
        return f"entrepot-{os.getpid()}-{name}"

    def _clock(self, name: str) -> Path:
        return self._clocks / name


def why_not() -> str:
    """Return why there can be no such machines here; "" where there can."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "ip", "link", "set", "lo", "up"],
        capture_output=True,
        check=False,
    )
    return "" if tried.returncode == 0 else "network namespaces are not permitted here"


def enter(argv: Sequence[str]) -> None:
    """Go on as `python ARGV` with a network and a clock of one's own, unless one has them."""
    if os.environ.get(_CLOCK):
        return
    clock = Path(tempfile.mkdtemp(prefix="entrepot-clocks-")) / WORLD
    clock.write_text("0", encoding="utf-8")
    paths = [str(_SKEWED), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ |= {_CLOCK: str(clock), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    inside = 'ip link set lo up && exec "$@"'
    words = ["unshare", "--net", "--mount", "sh", "-c", inside, "sh", sys.executable, *argv]
    os.execvp(words[0], words)  # noqa: S606  this very command, elsewhere


def _run(*words: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as why:
        raise ExperimentError(f"{' '.join(words)}: {why.stderr.strip()}") from why
