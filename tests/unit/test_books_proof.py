"""Books that do not say what their log says are found at the next start."""

import sqlite3
from pathlib import Path

import pytest

from clients.books import Books
from clients.errors import BrokenBooksError
from federation.ledger.entries import Entry, EntryKind, encode
from policies.budget.account import Charge
from policies.budget.events import Gaussian, dumps
from secure_compute.primitives.signature import SigningKey
from tests.scopes import scope

KEY = SigningKey(b"\x07" * 32)
EVENT = Gaussian("8")
SCOPES = (scope(), scope(subjects="shops", unit="commercial"))


def open_at(path: Path) -> Books:
    return Books(path, "entrepot/demo/cn", KEY, lambda: 1000.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Books in which everything has happened once."""
    path = tmp_path / "books.sqlite"
    books = open_at(path)
    books.open_window("customers", "2025")
    books.reserve([Charge(each, EVENT, 3) for each in SCOPES], "a")
    books.settle("a", "k1")
    books.settle("a", "k2")
    books.close("a")
    books.reserve([Charge(scope("2", dataset="returns"), Gaussian("9"), 2)], "b")
    books.settle("b", "k1")
    books.request()
    return path


def tampered(path: Path, *statements: str) -> Books:
    """What somebody does who owns the file and drops its triggers."""
    raw = sqlite3.connect(path, isolation_level=None)
    for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        raw.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        assert raw.execute(statement).rowcount > 0, statement
    raw.close()
    return open_at(path)


def test_what_was_written_by_the_books_is_what_the_log_says(path: Path) -> None:
    open_at(path).reconcile()
    tampered(path).reconcile()


ROWS = {
    "a settlement is forgotten": ("DELETE FROM settlements WHERE release_key = 'k2'",),
    "a settlement is invented": ("INSERT INTO settlements VALUES ('b', 'k9', 3, 0)",),
    "a reservation is forgotten": ("DELETE FROM reservations WHERE order_id = 'b'",),
    "one account of a reservation is forgotten": (
        "DELETE FROM reservations WHERE account LIKE 'shops%'",
    ),
    "an order reserves more": ("UPDATE reservations SET releases = 9 WHERE order_id = 'b'",),
    "an order is reopened": ("DELETE FROM closings",),
    "an order is closed": ("INSERT INTO closings VALUES ('b', 5)",),
    "an account holds less": ("UPDATE tallies SET spent = 0 WHERE spent = 2",),
    "an account has less pending": ("UPDATE tallies SET pending = 0 WHERE pending = 1",),
    "a kind of event is made cheaper": (
        f"UPDATE lines SET event = '{dumps(Gaussian('800'))}' WHERE account LIKE 'shops%'",
    ),
    "a limit is raised": ("UPDATE limits SET epsilon = '9' WHERE dataset = 'returns'",),
    "a limit is forgotten": ("DELETE FROM limits WHERE dataset = 'returns'",),
    "a window is opened": ("INSERT INTO windows VALUES ('customers', '2026', 2, 1)",),
    "a window is forgotten": ("DELETE FROM windows",),
    "a release is given back": (
        "INSERT INTO returns VALUES ('a', 'k1', 5)",
        "UPDATE tallies SET spent = spent - 1 WHERE spent = 2",
    ),
}


@pytest.mark.parametrize("statements", ROWS.values(), ids=ROWS)
def test_rows_that_the_log_does_not_say_are_found(path: Path, statements: tuple[str, ...]) -> None:
    books = tampered(path, *statements)
    with pytest.raises(BrokenBooksError, match="restore the newest copy") as caught:
        books.reconcile()
    assert caught.value.exit_code == 30


LEAVES = {
    "the last entry is cut off": ("DELETE FROM leaves WHERE number = 6",),
    "an entry in between is taken out": ("DELETE FROM leaves WHERE number = 3",),
    "the tail is cut off with its rows": (
        "DELETE FROM leaves WHERE number = 6",
        "DELETE FROM settlements WHERE number = 6",
        "DELETE FROM tallies WHERE number = 6",
    ),
    "an entry is rewritten with its row": (
        "UPDATE leaves SET entry = CAST(REPLACE(CAST(entry AS TEXT), 'k2', 'k8') AS BLOB)",
        "UPDATE settlements SET release_key = 'k8' WHERE release_key = 'k2'",
    ),
    "an entry is no entry": ("UPDATE leaves SET entry = x'00' WHERE number = 3",),
}


@pytest.mark.parametrize("statements", LEAVES.values(), ids=LEAVES)
def test_a_log_that_is_not_the_signed_one_is_found(path: Path, statements: tuple[str, ...]) -> None:
    with pytest.raises(BrokenBooksError, match="log"):
        tampered(path, *statements).reconcile()


def test_a_head_signed_by_another_key_is_found(path: Path) -> None:
    """The whole log is written anew by somebody who does not have this party's key."""
    forger = Books(path.with_name("forged"), "entrepot/demo/cn", SigningKey(b"\x08" * 32), float)
    forger.note(*open_at(path).entries())
    note = forger.request().note
    with pytest.raises(BrokenBooksError, match="not signed"):
        tampered(path, f"UPDATE heads SET note = '{note}'").reconcile()


def test_an_entry_without_its_row_is_found(path: Path) -> None:
    """Also one that was written after the last head was signed."""
    entry = encode(Entry(EntryKind.SETTLED, 1000, "b", {"release": "k2", "masked": 0})).hex()
    books = tampered(path, f"INSERT INTO leaves VALUES (7, x'{entry}')")
    with pytest.raises(BrokenBooksError, match="settlements"):
        books.reconcile()


def test_a_log_in_which_more_left_than_was_reserved_is_found(path: Path) -> None:
    settled = [
        encode(Entry(EntryKind.SETTLED, 1000, "b", {"release": f"k{n}", "masked": 0}))
        for n in (2, 3)
    ]
    rows = [f"INSERT INTO leaves VALUES ({n}, x'{e.hex()}')" for n, e in enumerate(settled, 7)]
    with pytest.raises(BrokenBooksError, match="entry 8"):
        tampered(path, *rows).reconcile()
