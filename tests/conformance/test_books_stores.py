"""The books keep their promises in a file and in a PostgreSQL database alike."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from clients.books import Books
from clients.errors import BrokenBooksError
from experiments.forks import Say, fork, heard
from policies.budget import accountant
from policies.budget.account import Charge
from policies.budget.events import Gaussian, Repeated
from policies.errors import (
    ChangedOrderError,
    ClosedOrderError,
    InsufficientBudgetError,
    OverdrawnError,
)
from secure_compute.primitives.signature import SigningKey
from tests.ledgers import KEYS, Party, named_key, ordinary
from tests.scopes import scope

EVENT = Gaussian("8")
SCOPES = (scope(), scope(subjects="shops", unit="commercial"))
Open = Callable[[], Books]


@pytest.fixture
def open_books(where: str) -> Iterator[Open]:
    opened: list[Books] = []

    def open_at() -> Books:
        place = where if "://" in where else Path(where)
        opened.append(Books(place, "entrepot/demo/cn", SigningKey(b"\7" * 32), lambda: 1000.0))
        return opened[-1]

    yield open_at
    for books in opened:
        books.disconnect()


def charges(releases: int) -> list[Charge]:
    return [Charge(each, EVENT, releases) for each in SCOPES]


def test_an_order_from_its_reservation_to_its_end(open_books: Open) -> None:
    books = open_books()
    assert books.open_window("customers", "2025") == 1
    first = books.reserve(charges(2), "a", abandoned=1)
    assert open_books().reserve(charges(2), "a", abandoned=1) == first
    with pytest.raises(ChangedOrderError):
        books.reserve(charges(2), "a")
    assert [books.settle("a", key) for key in ("k1", "k1", "k2", "k3")] == [
        True,
        False,
        True,
        True,
    ]
    with pytest.raises(OverdrawnError):
        books.settle("a", "k4")
    before = books.head()
    with pytest.raises(InsufficientBudgetError):
        books.reserve(charges(500), "b")
    assert books.head() == before
    books.close("a")
    with pytest.raises(ClosedOrderError):
        books.settle("a", "k4")
    again = open_books()
    price = accountant.epsilon([Repeated(EVENT, 3)], 1e-6)
    for told in again.statement():
        assert (told.epsilon_spent, told.epsilon_pending, told.releases) == (price, 0.0, 3)
    assert again.history(SCOPES[0].account) == [(1000, Repeated(EVENT, 3))]
    assert again.windows() == {"customers": ("2025",)}
    again.reconcile()


def test_witnesses_and_their_time(open_books: Open) -> None:
    books = open_books()
    books.reserve(charges(1), "a")
    request = books.request()
    assert open_books().request() == request
    books.keep_cosignatures(request.note, {"entrepot/demo/eu": "line"})
    eu = Party("eu", KEYS["eu"])
    eu.append(ordinary())
    books.vouch({"eu": (eu.request(), named_key("eu"))}, 7)
    books.witnessed_time(9.0)
    again = open_books()
    assert again.is_witnessed("a")
    assert not again.booked("a")
    last = again.last_seen("entrepot/demo/eu")
    assert last is not None
    assert last.note == eu.request().note
    assert again.highest_time() == 9.0
    again.reconcile()


def test_rows_are_never_changed_or_taken_away(open_books: Open) -> None:
    books = open_books()
    books.reserve(charges(1), "a")
    books.settle("a", "k")
    for table in ("reservations", "settlements", "tallies", "leaves"):
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET number = 9"):
            with (
                pytest.raises(sa.exc.DBAPIError, match="only ever added to"),
                books._engine.begin() as connection,
            ):
                connection.exec_driver_sql(statement)
    books.reconcile()


def test_rows_without_an_entry_are_found(open_books: Open) -> None:
    books = open_books()
    books.reserve(charges(2), "a")
    with books._engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO settlements VALUES ('a', 'k', 0, 0)")
    with pytest.raises(BrokenBooksError, match="settlements"):
        open_books().reconcile()


def test_an_entry_that_cannot_be_written_takes_its_rows_along(
    open_books: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = open_books()
    books.reserve(charges(2), "a")
    held = books.statement(), books.head()

    def fails(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("clients.books_accounts.write", fails)
    for step in (lambda: books.reserve(charges(2), "b"), lambda: books.settle("a", "k")):
        with pytest.raises(OSError, match="full"):
            step()
    assert (books.statement(), books.head()) == held
    assert not books.is_settled("a", "k")


def test_three_writers_at_once_never_overshoot(open_books: Open) -> None:
    open_books().disconnect()
    accountant.epsilon([EVENT], 1e-6)
    release, gate = os.pipe()

    def work(say: Say) -> None:
        os.close(gate)
        os.read(release, 1)  # all three start when the parent closes the gate
        books = open_books()
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
    books = open_books()
    assert books.open_orders() == sorted(admitted)
    together = accountant.epsilon([Repeated(EVENT, len(admitted))], 1e-6)
    assert [told.epsilon_pending for told in books.statement()] == [together] * 2
    assert together <= 3.0 < accountant.epsilon([Repeated(EVENT, len(admitted) + 1)], 1e-6)
    books.reconcile()
