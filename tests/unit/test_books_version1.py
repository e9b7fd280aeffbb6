"""Books of version 1 are carried over whole, once, and by a process that may be killed at it."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from clients.books import Books
from experiments.forks import fork, heard
from policies.budget import accountant
from policies.budget.account import Charge
from policies.budget.events import Gaussian, Repeated, dumps
from policies.errors import ChangedOrderError, ClosedOrderError, InsufficientBudgetError
from secure_compute.primitives.signature import SigningKey
from tests.scopes import scope

VERSION_1 = """
CREATE TABLE limits (
    seq INTEGER PRIMARY KEY, account TEXT NOT NULL, dataset TEXT NOT NULL,
    subjects TEXT NOT NULL, unit TEXT NOT NULL, time_window TEXT NOT NULL,
    epsilon TEXT NOT NULL, delta TEXT NOT NULL) STRICT;
CREATE INDEX limits_account ON limits (account, dataset, seq);
CREATE TABLE reservations (
    order_id TEXT NOT NULL, account TEXT NOT NULL, event TEXT NOT NULL,
    releases INTEGER NOT NULL CHECK (releases > 0),
    PRIMARY KEY (order_id, account)) STRICT, WITHOUT ROWID;
CREATE INDEX reservations_account ON reservations (account);
CREATE TABLE settlements (
    order_id TEXT NOT NULL, release_key TEXT NOT NULL,
    PRIMARY KEY (order_id, release_key)) STRICT, WITHOUT ROWID;
CREATE TABLE closings (order_id TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
"""
TABLES = ("limits", "reservations", "settlements", "closings")
KEY = SigningKey(b"\x07" * 32)
EVENT, OTHER = Gaussian("8"), Gaussian("9.5")
CUSTOMERS, SHOPS = scope(), scope(subjects="shops", unit="commercial", dataset="demand")
RAISED = scope("5")


def write_version_1(path: Path) -> None:
    """Write what version 1 wrote: an order under way, two that ended, one that paid twice."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.executescript(VERSION_1)
        for table in TABLES:
            for verb in ("UPDATE", "DELETE"):
                raw.execute(
                    f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, 'the books are only ever added to'); END"
                )
        raw.execute("PRAGMA user_version = 1")
        for one in (CUSTOMERS, RAISED, SHOPS):
            row = (one.account, one.dataset, one.subjects, one.unit, one.window)
            raw.execute(
                "INSERT INTO limits (account, dataset, subjects, unit, time_window, epsilon, delta)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*row, str(one.epsilon), str(one.delta)),
            )
        held = [
            ("open", CUSTOMERS, EVENT, 3),
            ("ended", CUSTOMERS, EVENT, 4),
            ("unused", CUSTOMERS, OTHER, 2),
            ("twice", CUSTOMERS, OTHER, 2),
            ("twice", SHOPS, OTHER, 3),
        ]
        for order, account, event, releases in held:
            raw.execute(
                "INSERT INTO reservations VALUES (?, ?, ?, ?)",
                (order, account.account, dumps(event), releases),
            )
        for order, key in (("open", "k1"), ("ended", "k1"), ("ended", "k2"), ("twice", "k1")):
            raw.execute("INSERT INTO settlements VALUES (?, ?)", (order, key))
        raw.executemany("INSERT INTO closings VALUES (?)", [("ended",), ("unused",)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_version_1(tmp_path / "books.sqlite")
    return tmp_path / "books.sqlite"


def open_at(path: Path) -> Books:
    return Books(path, "entrepot/demo/cn", KEY, lambda: 1000.0)


def require_carried_over(books: Books) -> None:
    told = {row.subjects: row for row in books.statement()}
    customers, shops = told["customers"], told["shops"]
    spent = [Repeated(EVENT, 3), OTHER]
    pending = [Repeated(EVENT, 2), OTHER]
    assert (customers.releases, shops.releases) == (4, 1)
    assert customers.epsilon_spent == accountant.epsilon(spent, 1e-6)
    both = accountant.epsilon([*spent, *pending], 1e-6)
    assert customers.epsilon_spent + customers.epsilon_pending == pytest.approx(both)
    assert shops.epsilon_spent == accountant.epsilon([OTHER], 1e-6)
    assert (customers.limit, shops.limit) == (5.0, 3.0)
    assert books.open_orders() == ["open", "twice"]
    assert books.windows() == {"customers": ("2025",), "shops": ("2025",)}
    assert books.history(CUSTOMERS.account) == []
    books.reconcile()


def test_everything_is_carried_over_into_rows_and_entries(path: Path) -> None:
    books = open_at(path)
    require_carried_over(books)
    assert {entry.at for entry in books.entries()} == {1000}
    head = books.head()
    assert open_at(path).head() == head
    require_carried_over(open_at(path))


def test_orders_go_on_where_they_stood(path: Path) -> None:
    books = open_at(path)
    again = [Charge(RAISED, EVENT, 3)]
    books.reserve(again, "open")
    assert not books.settle("open", "k1")
    assert books.settle("open", "k2")
    assert not books.settle("ended", "k2")
    with pytest.raises(ClosedOrderError):
        books.settle("ended", "k3")
    with pytest.raises(ClosedOrderError):
        books.reserve([Charge(RAISED, EVENT, 4)], "ended")
    with pytest.raises(ChangedOrderError):
        books.reserve([Charge(RAISED, EVENT, 4)], "open")
    with pytest.raises(InsufficientBudgetError):
        books.reserve([Charge(RAISED, EVENT, 80)], "new")
    books.close("twice")
    assert books.open_orders() == ["open"]
    books.reconcile()


def test_limits_lowered_since_do_not_keep_old_books_from_opening(path: Path) -> None:
    """The account holds more than it may now; nothing is forgotten, nothing more is admitted."""
    lowered = scope("0.5")
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        row = (lowered.account, "orders", "customers", "customer", "2025", "0.5", "0.000001")
        raw.execute(
            "INSERT INTO limits (account, dataset, subjects, unit, time_window, epsilon, delta)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        )
    books = open_at(path)
    books.reconcile()
    told = books.statement()[0]
    assert told.limit == 0.5 < told.epsilon_spent
    with pytest.raises(InsufficientBudgetError):
        books.reserve([Charge(lowered, Gaussian("1000"), 1)], "new")


def test_the_old_rows_stay_and_stay_unchanged(path: Path) -> None:
    open_at(path)
    with closing(sqlite3.connect(path)) as raw:
        for table in TABLES:
            assert raw.execute(f"SELECT COUNT(*) FROM version1_{table}").fetchone()[0] >= 2
            column = raw.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchone()[0]
            for kept in (table, f"version1_{table}"):
                for wish in (f"DELETE FROM {kept}", f"UPDATE {kept} SET {column} = {column}"):
                    with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
                        raw.execute(wish)
        assert raw.execute("PRAGMA user_version").fetchone()[0] == 2


def test_a_process_killed_on_the_way_leaves_the_old_books_or_the_new(
    path: Path, tmp_path: Path
) -> None:
    """It dies at the start of its n-th SQL statement, for every n."""
    killed = 0
    for fuse in range(1, 1000, 13):
        copy = tmp_path / str(fuse) / "books.sqlite"
        copy.parent.mkdir()
        write_version_1(copy)
        left = [fuse]

        def burn(*_: object, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def work(_: object, copy: Path = copy, burn: object = burn) -> None:
            sa.event.listen(sa.Engine, "before_cursor_execute", burn)  # type: ignore[arg-type]
            open_at(copy)

        _, status = heard(*fork(work))
        with closing(sqlite3.connect(copy)) as raw:
            version = raw.execute("PRAGMA user_version").fetchone()[0]
            tables = {row[0] for row in raw.execute("SELECT name FROM sqlite_master")}
        assert version in {1, 2}
        assert ("leaves" in tables) == (version == 2)
        require_carried_over(open_at(copy))
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        killed += 1
    else:
        pytest.fail("the process never lived to the end")
    assert killed >= 10
