"""A writer is killed anywhere: no acknowledged spend is lost, none is charged twice."""

import os
import random
import signal
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from clients.books import Books
from policies.budget import accountant
from policies.budget.account import Scope
from policies.budget.events import Gaussian, Repeated
from policies.errors import InsufficientBudgetError

EVENT = Gaussian("8")
SCOPE = Scope(
    dataset="orders",
    subjects="customers",
    unit="customer",
    window="2025",
    epsilon=Decimal(3),
    delta=Decimal("1e-6"),
)

Say = Callable[[str], None]


def fork(work: Callable[[Say], None]) -> tuple[int, int]:
    """Run `work` in a child; it says what was acknowledged through the pipe that is returned."""
    accountant.epsilon([EVENT], 1e-6)  # the child finds the library already imported
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    status = 1
    try:
        os.close(read)
        work(lambda word: os.write(write, f"{word}\n".encode()) and None)
        status = 0
    finally:
        os._exit(status)


def heard(child: int, pipe: int) -> tuple[list[str], int]:
    """Wait for the child's end; return what it had acknowledged, and how it ended."""
    with os.fdopen(pipe) as lines:
        words = lines.read().split()
    return words, os.waitpid(child, 0)[1]


class Doomed(Books):
    """Books whose process dies at the start of its n-th SQL statement."""

    fuse = 0

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.set_trace_callback(self._burn)
        return connection

    def _burn(self, _: str) -> None:
        self.fuse -= 1
        if self.fuse == 0:
            os.kill(os.getpid(), signal.SIGKILL)


STEPS: tuple[tuple[str, Callable[[Books], object]], ...] = (
    ("reserve", lambda books: books.reserve(SCOPE, "a", EVENT, 3)),
    ("k1", lambda books: books.settle("a", "k1")),
    ("k2", lambda books: books.settle("a", "k2")),
    ("close", lambda books: books.close("a")),
)


def run_steps(books: Books, say: Say) -> None:
    for name, step in STEPS:
        try:
            step(books)
        except Exception as refusal:
            if "closed" not in str(refusal):
                raise
        say(name)


def on_disk(path: Path) -> list[str]:
    raw = sqlite3.connect(path)
    found = ["reserve"] * len(raw.execute("SELECT 1 FROM reservations").fetchall())
    found += [row[0] for row in raw.execute("SELECT release_key FROM settlements ORDER BY 1")]
    found += ["close"] * len(raw.execute("SELECT 1 FROM closings").fetchall())
    raw.close()
    return found


def test_death_at_every_statement_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    killed = 0
    for fuse in range(1, 200):
        path = tmp_path / str(fuse) / "books.sqlite"
        Books(path)

        def work(say: Say, path: Path = path, fuse: int = fuse) -> None:
            books = Doomed(path)
            books.fuse = fuse
            run_steps(books, say)

        acknowledged, status = heard(*fork(work))
        found = on_disk(path)
        names = [name for name, _ in STEPS]
        assert found[: len(acknowledged)] == acknowledged
        assert found in (acknowledged, names[: len(acknowledged) + 1])
        run_steps(Books(path), lambda _: None)
        (told,) = Books(path).statement()
        assert told.releases == 2
        assert told.epsilon_spent == accountant.epsilon([Repeated(EVENT, 2)], 1e-6)
        assert told.epsilon_pending == 0.0
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        killed += 1
    else:
        pytest.fail("the writer never lived to the end")
    assert killed >= 20


def test_a_killed_writer_leaves_all_it_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(7)
    path = tmp_path / "books.sqlite"
    Books(path).reserve(SCOPE, "a", Gaussian("400"), 5000)
    acknowledged: set[str] = set()

    def work(say: Say) -> None:
        books = Books(path)
        for number in range(10_000):
            key = f"{os.getpid()}.{number}"
            assert books.settle("a", key)
            say(key)

    for _ in range(8):
        child, pipe = fork(work)
        seen = b""
        while seen.count(b"\n") < chance.randint(1, 12):
            seen += os.read(pipe, 4096)
        os.kill(child, signal.SIGKILL)
        words, _ = heard(child, pipe)
        acknowledged |= set(f"{seen.decode()}{' '.join(words)}".split())
    (told,) = Books(path).statement()
    found = set(on_disk(path)) - {"reserve"}
    assert acknowledged <= found
    assert len(found - acknowledged) <= 8  # at most the one in flight of each writer
    assert told.releases == len(found)


def test_three_writers_at_once_never_overshoot(tmp_path: Path) -> None:
    path = tmp_path / "books.sqlite"
    release, gate = os.pipe()

    def work(say: Say) -> None:
        os.close(gate)
        os.read(release, 1)  # all three start when the parent closes the gate
        books = Books(path)
        for number in range(1000):
            order = f"{os.getpid()}.{number}"
            try:
                books.reserve(SCOPE, order, EVENT, 1)
            except InsufficientBudgetError:
                return
            say(order)

    children = [fork(work) for _ in range(3)]
    os.close(gate)
    os.close(release)
    ends = [heard(*child) for child in children]
    assert [status for _, status in ends] == [0, 0, 0]
    admitted = sum(len(words) for words, _ in ends)
    (told,) = Books(path).statement()
    together = accountant.epsilon([Repeated(EVENT, admitted)], 1e-6)
    assert told.epsilon_pending == together <= 3.0
    assert accountant.epsilon([Repeated(EVENT, admitted + 1)], 1e-6) > 3.0
