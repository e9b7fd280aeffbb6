"""The supervisor: children live as long as it does, and no longer."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from federation.control import supervise as module
from federation.control.supervise import supervise
from federation.errors import AlreadyRunsError, NoLocksError, OrphanedError
from tests.processes import wait_until

ROOT = Path(__file__).parents[3]
CHILD = """
import os, signal, sys
from pathlib import Path
from federation.control.supervise import exit_with_parent
exit_with_parent()
with Path(sys.argv[1]).open("a") as log:
    log.write(f"{os.getpid()}\\n")
signal.pause()
"""


def until(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, 30.0, what)


def ended(thread: threading.Thread) -> None:
    until(lambda: not thread.is_alive(), "the supervisor ends")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What processes are started with; none of them outlives the test, however it ends."""
    yield {**os.environ, "PYTHONPATH": str(ROOT)}
    for log in tmp_path.glob("*.txt"):
        for child in map(int, log.read_text().split()):
            if alive(child):
                os.kill(child, signal.SIGKILL)


@pytest.fixture
def halt(environment: dict[str, str]) -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def start(
    folder: Path, environment: dict[str, str], halt: threading.Event, **children: list[str]
) -> "tuple[threading.Thread, list[int]]":
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(
            supervise(children, logs=folder, pids=folder, env=environment, stop=halt)
        )
    )
    thread.start()
    return thread, codes


@contextmanager
def started(script: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A supervisor of its own, which is dead in the end."""
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as supervisor:
        try:
            yield supervisor
        finally:
            supervisor.kill()


def pid(folder: Path, name: str) -> int:
    file = folder / f"{name}.pid"
    until(lambda: file.exists() and bool(file.read_text()), f"{name} is started")
    return int(file.read_text())


def test_a_killed_child_is_started_again_and_its_neighbour_is_not(
    tmp_path: Path, environment: dict[str, str], halt: threading.Event
) -> None:
    children = {
        name: [sys.executable, "-c", CHILD, str(tmp_path / f"{name}.txt")] for name in ("a", "b")
    }
    thread, codes = start(tmp_path, environment, halt, **children)
    first, neighbour = pid(tmp_path, "a"), pid(tmp_path, "b")
    os.kill(first, signal.SIGKILL)
    until(lambda: pid(tmp_path, "a") != first, "the killed child is started again")
    until((tmp_path / "a.txt").exists, "the child runs")
    assert pid(tmp_path, "b") == neighbour
    second = pid(tmp_path, "a")
    halt.set()
    ended(thread)
    assert codes == [0]
    assert not alive(second)
    assert not alive(neighbour)
    assert not (tmp_path / "a.pid").exists()


def test_two_in_one_folder_are_one_and_the_first_is_left_alone(
    tmp_path: Path, environment: dict[str, str], halt: threading.Event
) -> None:
    child = [sys.executable, "-c", CHILD, str(tmp_path / "child.txt")]
    thread, codes = start(tmp_path, environment, halt, child=child)
    first = pid(tmp_path, "child")
    with pytest.raises(AlreadyRunsError, match="runs already"):
        supervise({"child": child}, logs=tmp_path, pids=tmp_path, env=environment, stop=halt)
    assert alive(first) and pid(tmp_path, "child") == first
    halt.set()
    ended(thread)
    assert codes == [0]
    done = [sys.executable, "-c", "import sys; sys.exit(2)"]
    assert supervise({"next": done}, logs=tmp_path, pids=tmp_path, env=environment) == 2


def test_where_an_orphan_still_works_no_other_begins(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children end some seconds after a supervisor that was killed; this one does not at all."""
    lasting = CHILD.replace("exit_with_parent()\n", "\n", 1)
    script = f"""
from pathlib import Path
import sys
from federation.control.supervise import supervise
folder = Path({str(tmp_path)!r})
child = [sys.executable, "-c", {lasting!r}, str(folder / "child.txt")]
supervise({{"child": child}}, logs=folder, pids=folder)
"""
    with started(script, environment) as supervisor:
        until((tmp_path / "child.txt").exists, "the child runs")
        supervisor.kill()
    orphan = pid(tmp_path, "child")
    done = {"child": [sys.executable, "-c", "import sys; sys.exit(2)"]}
    with monkeypatch.context() as patched:
        patched.setattr(module, "_ORPHANED", 0.0)
        with pytest.raises(OrphanedError, match="do not end"):
            supervise(done, logs=tmp_path, pids=tmp_path, env=environment)
    told = threading.Event()
    told.set()
    assert supervise(done, logs=tmp_path, pids=tmp_path, env=environment, stop=told) == 0
    assert alive(orphan) and pid(tmp_path, "child") == orphan  # by which an operator finds it
    os.kill(orphan, signal.SIGKILL)
    assert supervise(done, logs=tmp_path, pids=tmp_path, env=environment) == 2


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(module.fcntl, "flock", refused)
    child = [sys.executable, "-c", "import sys; sys.exit(2)"]
    with pytest.raises(NoLocksError, match="keeps no locks"):
        supervise({"child": child}, logs=tmp_path, pids=tmp_path, env=environment)


@pytest.mark.parametrize("code", [2, 10, 30])
def test_a_child_that_cannot_be_helped_ends_the_supervisor(
    tmp_path: Path,
    environment: dict[str, str],
    halt: threading.Event,
    capsys: pytest.CaptureFixture[str],
    code: int,
) -> None:
    script = f"import sys; print('noise'); print('Choose another port.'); sys.exit({code})"
    thread, codes = start(tmp_path, environment, halt, child=[sys.executable, "-c", script])
    ended(thread)
    assert codes == [code]
    assert capsys.readouterr().err == "Choose another port.\n"


def test_children_die_with_a_killed_supervisor(tmp_path: Path, environment: dict[str, str]) -> None:
    script = f"""
import sys
from pathlib import Path
from federation.control.supervise import supervise
folder = Path({str(tmp_path)!r})
child = [sys.executable, "-c", {CHILD!r}, str(folder / "child.txt")]
supervise({{"child": child}}, logs=folder, pids=folder)
"""
    with started(script, environment) as supervisor:
        until((tmp_path / "child.txt").exists, "the child runs")
        child = pid(tmp_path, "child")
        supervisor.kill()
        supervisor.wait()
        until(lambda: not alive(child), "the child dies")


def test_sigterm_reaches_the_children(tmp_path: Path, environment: dict[str, str]) -> None:
    script = f"""
import sys
from pathlib import Path
from federation.control.supervise import supervise
folder = Path({str(tmp_path)!r})
child = [sys.executable, "-c", {CHILD!r}, str(folder / "child.txt")]
sys.exit(supervise({{"child": child}}, logs=folder, pids=folder))
"""
    with started(script, environment) as supervisor:
        until((tmp_path / "child.txt").exists, "the child runs")
        child = pid(tmp_path, "child")
        supervisor.terminate()
        until(lambda: supervisor.poll() is not None, "the supervisor ends")
    assert supervisor.returncode == 0
    assert not alive(child)


def test_the_supervisor_is_small() -> None:
    script = (
        "import sys; import federation.control.supervise;"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in"
        " ('flwr', 'numpy', 'torch', 'pandas', 'asyncio', 'cryptography')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
