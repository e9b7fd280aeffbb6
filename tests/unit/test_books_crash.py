"""A writer is killed anywhere: no acknowledged spend is lost, none is charged twice."""

import os
import random
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from clients.books import Books
from experiments import crashes
from experiments.crashes import Crashes
from experiments.forks import Say, fork, heard
from policies.budget import accountant
from policies.budget.account import Charge
from policies.budget.events import Gaussian, Repeated
from policies.errors import InsufficientBudgetError
from secure_compute.primitives.signature import SigningKey
from tests.scopes import scope

EVENT = Gaussian("8")
SCOPES = (scope(), scope(subjects="shops", unit="commercial"))


def open_at(path: Path) -> Books:
    return Books(path, "entrepot/demo/cn", SigningKey(b"\x07" * 32), lambda: 1000.0)


def charges(releases: int) -> list[Charge]:
    return [Charge(each, EVENT, releases) for each in SCOPES]


STEPS: tuple[tuple[str, Callable[[Books], object]], ...] = (
    ("reserved", lambda books: books.reserve(charges(3), "a")),
    ("k1", lambda books: books.settle("a", "k1")),
    ("k2", lambda books: books.settle("a", "k2")),
    ("closed", lambda books: books.close("a")),
)
NAMES = [name for name, _ in STEPS]


def run_steps(books: Books, say: Say) -> None:
    for name, step in STEPS:
        try:
            step(books)
        except Exception as refusal:
            if "closed" not in str(refusal):
                raise
        say(name)


def rows_on_disk(path: Path) -> list[str]:
    raw = sqlite3.connect(path)
    found = ["reserved"] * len(raw.execute("SELECT DISTINCT order_id FROM reservations").fetchall())
    found += [row[0] for row in raw.execute("SELECT release_key FROM settlements ORDER BY 1")]
    found += ["closed"] * len(raw.execute("SELECT 1 FROM closings").fetchall())
    accounts = raw.execute("SELECT COUNT(*) FROM reservations").fetchone()[0]
    raw.close()
    assert accounts in {0, len(SCOPES)}
    return found


def entries_on_disk(books: Books) -> list[str]:
    return [str(entry.body.get("release", entry.kind.value)) for entry in books.entries()]


def test_death_at_every_statement_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    killed = 0
    for fuse in range(1, 400, 3):
        path = tmp_path / str(fuse) / "books.sqlite"
        open_at(path).disconnect()
        left = [fuse]

        def burn(*_: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def work(say: Say, path: Path = path, burn: Callable[..., None] = burn) -> None:
            books = open_at(path)
            for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
                sa.event.listen(books._engine, moment, burn)
            run_steps(books, say)

        acknowledged, status = heard(*fork(work))
        books = open_at(path)
        found = rows_on_disk(path)
        assert found == entries_on_disk(books)
        assert found[: len(acknowledged)] == acknowledged
        assert found in (acknowledged, NAMES[: len(acknowledged) + 1])
        books.reconcile()
        run_steps(books, lambda _: None)
        assert rows_on_disk(path) == entries_on_disk(books) == NAMES
        for told in books.statement():
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


def test_fifty_writers_killed_anywhere(tmp_path: Path) -> None:
    assert crashes.crash(tmp_path / "books.sqlite", 50, seed=11) == Crashes(50, 0, 0)


def test_a_killed_writer_leaves_all_it_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(7)
    path = tmp_path / "books.sqlite"
    books = open_at(path)
    books.reserve([Charge(SCOPES[0], Gaussian("400"), 5000)], "a")
    books.disconnect()
    acknowledged: set[str] = set()

    def work(say: Say) -> None:
        own = open_at(path)
        for number in range(10_000):
            key = f"{os.getpid()}.{number}"
            assert own.settle("a", key)
            say(key)

    for _ in range(8):
        child, pipe = fork(work)
        seen = b""
        while seen.count(b"\n") < chance.randint(1, 12):
            seen += os.read(pipe, 4096)
        os.kill(child, signal.SIGKILL)
        words, _ = heard(child, pipe)
        acknowledged |= set(f"{seen.decode()}{' '.join(words)}".split())
    (told,) = open_at(path).statement()
    found = set(rows_on_disk_of_one(path))
    assert acknowledged <= found
    assert len(found - acknowledged) <= 8  # at most the one in flight of each writer
    assert told.releases == len(found)


def rows_on_disk_of_one(path: Path) -> list[str]:
    raw = sqlite3.connect(path)
    found = [row[0] for row in raw.execute("SELECT release_key FROM settlements")]
    raw.close()
    return found


def test_three_writers_at_once_never_overshoot(tmp_path: Path) -> None:
    path = tmp_path / "books.sqlite"
    open_at(path).disconnect()
    accountant.epsilon([EVENT], 1e-6)
    release, gate = os.pipe()

    def work(say: Say) -> None:
        os.close(gate)
        os.read(release, 1)  # all three start when the parent closes the gate
        books = open_at(path)
        for number in range(1000):
            order = f"{os.getpid()}.{number}"
            try:
                books.reserve(charges(1), order)
            except InsufficientBudgetError:
                return
            say(order)

    children = [fork(work) for _ in range(3)]
    os.close(gate)
    os.close(release)
    ends = [heard(*child) for child in children]
    assert [status for _, status in ends] == [0, 0, 0]
    admitted = [word for words, _ in ends for word in words]
    books = open_at(path)
    assert books.open_orders() == sorted(admitted)
    together = accountant.epsilon([Repeated(EVENT, len(admitted))], 1e-6)
    assert [told.epsilon_pending for told in books.statement()] == [together] * 2
    assert together <= 3.0 < accountant.epsilon([Repeated(EVENT, len(admitted) + 1)], 1e-6)
    books.reconcile()


def test_the_measured_overshoot_is_none(tmp_path: Path) -> None:
    assert crashes.overshoot(tmp_path / "books.sqlite") == 0.0
