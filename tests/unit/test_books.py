"""The books on disk: idempotent, append-only, and kept across openings."""

import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from clients.books import Books, Reservation
from policies.budget import accountant
from policies.budget.account import Scope
from policies.budget.events import Gaussian, Repeated
from policies.errors import (
    ChangedOrderError,
    ClosedOrderError,
    ForeignBooksError,
    InsufficientBudgetError,
    OverdrawnError,
    UnknownReservationError,
)

EVENT = Gaussian("8")


def scope(dataset: str = "orders", epsilon: str = "3", **others: str) -> Scope:
    return Scope(
        dataset=dataset,
        subjects=others.get("subjects", "customers"),
        unit="customer",
        window=others.get("window", "2025"),
        epsilon=Decimal(epsilon),
        delta=Decimal("1e-6"),
    )


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path / "node" / "books.sqlite")


def spent(books: Books) -> tuple[float, float, int]:
    (told,) = books.statement()
    return told.epsilon_spent, told.epsilon_pending, told.releases


def price(count: int) -> float:
    return accountant.epsilon([Repeated(EVENT, count)], 1e-6)


def test_an_open_reservation_counts_then_becomes_spent(books: Books) -> None:
    books.reserve(scope(), "a", EVENT, 4)
    assert spent(books) == (0.0, price(4), 0)
    assert books.settle("a", "k1")
    assert books.settle("a", "k2")
    assert spent(books) == (price(2), pytest.approx(price(4) - price(2)), 2)
    assert books.open_orders() == ["a"]
    books.close("a")
    assert spent(books) == (price(2), 0.0, 2)
    assert books.open_orders() == []


def test_the_same_release_is_charged_once(books: Books) -> None:
    books.reserve(scope(), "a", EVENT, 2)
    assert [books.settle("a", "k") for _ in range(3)] == [True, False, False]
    books.close("a")
    assert not books.settle("a", "k")
    assert spent(books) == (price(1), 0.0, 1)


def test_a_reservation_is_idempotent_and_minted(books: Books) -> None:
    first = books.reserve(scope(), "a", EVENT, 2)
    assert books.reserve(scope(), "a", EVENT, 2) == first
    assert spent(books) == (0.0, price(2), 0)
    with pytest.raises(TypeError, match="minted"):
        Reservation("a", scope(), EVENT, 2)


def test_more_releases_than_reserved_are_refused(books: Books) -> None:
    books.reserve(scope(), "a", EVENT, 1)
    books.settle("a", "k1")
    with pytest.raises(OverdrawnError, match="new order"):
        books.settle("a", "k2")
    assert spent(books) == (price(1), 0.0, 1)


def test_an_order_cannot_come_back_changed(books: Books) -> None:
    books.reserve(scope(), "a", EVENT, 2)
    for event, releases in ((EVENT, 3), (Gaussian("9"), 2)):
        with pytest.raises(ChangedOrderError):
            books.reserve(scope(), "a", event, releases)


def test_a_closed_order_stays_closed(books: Books) -> None:
    books.reserve(scope(), "a", EVENT, 2)
    books.close("a")
    books.close("a")
    refused: list[Callable[[], object]] = [
        lambda: books.settle("a", "k"),
        lambda: books.reserve(scope(), "a", EVENT, 2),
        lambda: books.reserve(scope(window="2026"), "a", EVENT, 2),
    ]
    for attempt in refused:
        with pytest.raises(ClosedOrderError):
            attempt()


def test_nothing_leaves_without_a_reservation(books: Books) -> None:
    for attempt in (lambda: books.settle("ghost", "k"), lambda: books.close("ghost")):
        with pytest.raises(UnknownReservationError):
            attempt()


def test_a_refusal_changes_nothing(books: Books) -> None:
    books.reserve(scope(), "a", EVENT, 10)
    before = books.statement()
    with pytest.raises(InsufficientBudgetError) as caught:
        books.reserve(scope(), "b", EVENT, 100)
    assert caught.value.spent == price(10)
    assert books.statement() == before
    assert books.open_orders() == ["a"]


def test_a_renamed_contract_finds_the_same_account(books: Books) -> None:
    books.reserve(scope("orders"), "a", EVENT, 10)
    with pytest.raises(InsufficientBudgetError):
        books.reserve(scope("orders_v2"), "b", EVENT, 15)
    books.reserve(scope("orders_v2"), "c", EVENT, 1)
    (told,) = books.statement()
    assert told.dataset == "orders, orders_v2"


def test_the_smallest_limit_of_all_sharers_holds(books: Books) -> None:
    books.reserve(scope("orders", "3"), "a", EVENT, 1)
    books.reserve(scope("returns", "1.2"), "b", EVENT, 1)
    with pytest.raises(InsufficientBudgetError) as caught:
        books.reserve(scope("orders", "3"), "c", EVENT, 6)
    assert caught.value.limit == 1.2


def test_a_raised_limit_of_the_same_contract_is_used(books: Books) -> None:
    books.reserve(scope(epsilon="1.2"), "a", EVENT, 3)
    with pytest.raises(InsufficientBudgetError):
        books.reserve(scope(epsilon="1.2"), "b", EVENT, 3)
    books.reserve(scope(epsilon="3"), "b", EVENT, 3)


def test_books_survive_being_opened_again(books: Books, tmp_path: Path) -> None:
    books.reserve(scope(), "a", EVENT, 3)
    books.settle("a", "k")
    again = Books(tmp_path / "node" / "books.sqlite")
    assert again.statement() == books.statement()
    assert not again.settle("a", "k")


def test_an_untouched_account_has_a_statement_too(books: Books) -> None:
    (told,) = books.statement([scope()])
    assert (told.dataset, told.epsilon_spent, told.limit, told.releases) == ("orders", 0.0, 3.0, 0)
    books.reserve(scope(), "a", EVENT, 1)
    both = books.statement([scope(), scope(window="2026")])
    assert [item.window for item in both] == ["2025", "2026"]


def test_a_quote_sets_nothing_aside(books: Books) -> None:
    assert books.quote(scope(), EVENT, 5).total == price(5)
    with pytest.raises(InsufficientBudgetError):
        books.quote(scope(), EVENT, 500)
    assert books.statement() == []


@pytest.mark.parametrize("table", ["limits", "reservations", "settlements", "closings"])
def test_rows_are_never_changed_or_taken_away(books: Books, tmp_path: Path, table: str) -> None:
    books.reserve(scope(), "a", EVENT, 2)
    books.settle("a", "k")
    books.close("a")
    raw = sqlite3.connect(tmp_path / "node" / "books.sqlite")
    column = "account" if table == "limits" else "order_id"
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = 'x'"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
            raw.execute(statement)
    raw.close()


def test_only_the_owner_may_read_the_file(books: Books, tmp_path: Path) -> None:
    assert (tmp_path / "node" / "books.sqlite").stat().st_mode & 0o077 == 0
    assert books.open_orders() == []


def test_books_of_another_version_are_refused(books: Books, tmp_path: Path) -> None:
    path = tmp_path / "node" / "books.sqlite"
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 9")
    raw.close()
    with pytest.raises(ForeignBooksError, match="version 9"):
        Books(path)
    (tmp_path / "noise").write_bytes(b"no account book at all, but long enough to be one" * 40)
    with pytest.raises(ForeignBooksError, match="not readable"):
        Books(tmp_path / "noise")
    assert books.open_orders() == []


def test_an_order_over_two_accounts_pays_in_both(books: Books) -> None:
    books.reserve(scope(), "a", EVENT, 2)
    books.reserve(scope(subjects="shops"), "a", EVENT, 2)
    books.settle("a", "k")
    assert [told.releases for told in books.statement()] == [1, 1]
    with pytest.raises(ChangedOrderError):
        books.reserve(scope(window="2026"), "a", EVENT, 2)
