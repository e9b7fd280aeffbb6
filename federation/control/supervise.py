"""Keeps child processes alive.

    supervise({"superlink": [sys.executable, "-m", "aggregator.superlink", …],
               "coordinator": [sys.executable, "-m", "aggregator.coordinator", …]},
              logs=folder / "logs", pids=folder / "run")

blocks, starts a child again whenever it dies, passes SIGTERM and SIGINT on, and returns the exit
code for the caller. One supervisor works in a folder: two would be one party twice, on one account.
A child that calls `exit_with_parent()` ends when its supervisor does, even when the supervisor was
killed: it holds the reading end of a pipe whose writing end only the supervisor has. Until it has
ended it holds the folder, by a lock that it was born with, and the next supervisor waits.
"""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from federation.errors import AlreadyRunsError, NoLocksError, OrphanedError

FINAL = frozenset({2, 10, 30})
"""Exit codes after which a child is not started again: nothing would change."""
_MARK = "ENTREPOT_SUPERVISED"
_SLOWEST = 2.0
_HEALTHY = 10.0
_LEAVE = 8.0
_ORPHANED = _LEAVE + 4.0
"""Seconds that children of a supervisor that was killed are waited for."""


def exit_with_parent() -> None:
    """This process ends when its supervisor does; nothing changes without a supervisor."""
    if os.environ.pop(_MARK, None) is not None:
        threading.Thread(target=_exit_on_eof, daemon=True, name="supervisor").start()


def _exit_on_eof() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LEAVE)
    os._exit(1)


@dataclass(slots=True)
class _Child:
    name: str
    argv: Sequence[str]
    log: Path
    pid_file: Path
    process: "subprocess.Popen[bytes] | None" = None
    since: float = 0.0
    start_at: float = 0.0
    delay: float = 0.1
    starts: int = field(default=0)

    def start(self, env: Mapping[str, str], now: float, lock: int) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**env, _MARK: "1"},
                pass_fds=(lock,),
            )
        self.since, self.starts = now, self.starts + 1
        self.pid_file.write_text(str(self.process.pid))

    def ended(self, now: float) -> int | None:
        """The exit code of the process, once: the next start is planned with the answer."""
        code = None if self.process is None else self.process.poll()
        if code is None:
            return None
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None
        self.delay = 0.1 if now - self.since > _HEALTHY else min(self.delay * 2, _SLOWEST)
        self.start_at = now + self.delay
        return code

    def last_line(self) -> str:
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 4096))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def supervise(
    children: Mapping[str, Sequence[str]],
    *,
    logs: Path,
    pids: Path,
    env: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
) -> int:
    """The children have run until told to stop (0), or until one gave up (its exit code).

    Args:
        children: the command line of each child, by name.
        logs: the folder of the log files `NAME.log`, appended to.
        pids: the folder of the files `NAME.pid`, removed at the end.
        env: the children's environment; this process's own when not given.
        stop: set it to end the children from another thread.

    Raises:
        AlreadyRunsError: another supervisor has children in `pids`.
        OrphanedError: one was killed, and its children do not end.
        NoLocksError: the file system cannot say whether one has.
    """
    for folder in (logs, pids):
        folder.mkdir(parents=True, exist_ok=True)
    halt = stop or threading.Event()
    _on_signals(halt)
    running = [
        _Child(name, argv, logs / f"{name}.log", pids / f"{name}.pid")
        for name, argv in children.items()
    ]
    with _alone(pids, halt) as lock:
        try:
            return _watch(running, halt, os.environ if env is None else env, lock)
        finally:
            _end(running)


@contextmanager
def _alone(pids: Path, halt: threading.Event) -> Iterator[int]:
    """Hold the folder; give what its children hold it with until the last of them is gone.

    What is held is let go with the processes that hold it, however those end.
    """
    with _opened(pids / ".supervisor") as own, _opened(pids / ".children") as theirs:
        if not _is_locked(own, pids):
            raise AlreadyRunsError(
                f"{pids.parent} runs already, from another terminal or as a service; end that first"
            )
        if not _is_let_go(theirs, pids, halt):
            raise OrphanedError(
                f"{pids.parent} is worked in by processes whose supervisor was killed, and they do "
                f"not end; end those that {pids} names, and start it again"
            )
        yield theirs


@contextmanager
def _opened(lock: Path) -> Iterator[int]:
    held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield held
    finally:
        os.close(held)


def _is_let_go(lock: int, folder: Path, halt: threading.Event) -> bool:
    """Whether no orphan works there any more, or nothing is to be started there."""
    until = time.monotonic() + _ORPHANED
    while not _is_locked(lock, folder):
        if halt.wait(0.1):
            return True
        if time.monotonic() >= until:
            return False
    return True


def _is_locked(lock: int, folder: Path) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as why:
        raise NoLocksError(
            f"the file system of {folder} keeps no locks ({why.strerror}), so that two could run "
            "there as one; put the folder on a disk of this machine"
        ) from why
    return True


def _watch(
    children: Sequence[_Child], halt: threading.Event, env: Mapping[str, str], lock: int
) -> int:
    while not halt.is_set():
        now = time.monotonic()
        for child in children:
            code = child.ended(now)
            if code in FINAL:
                sys.stderr.write(child.last_line() + "\n")
                return int(code or 0)
            if child.process is None and now >= child.start_at:
                child.start(env, now, lock)
        halt.wait(0.1)
    return 0


def _end(children: Sequence[_Child]) -> None:
    processes = [child.process for child in children if child.process is not None]
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _LEAVE
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for child in children:
        if child.starts:  # else the file, if there is one, names an orphan
            child.pid_file.unlink(missing_ok=True)


def _on_signals(halt: threading.Event) -> None:
    def handler(_number: int, _frame: FrameType | None) -> None:
        halt.set()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handler)
