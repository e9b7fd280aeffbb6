"""The books on disk: idempotent, append-only, told to the log, and kept across openings."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from clients.books import Books, Reservation
from clients.errors import GivenBackError, SilentBooksError
from federation.ledger.entries import EntryKind
from federation.ledger.withheld import GiveBack
from policies.budget import accountant
from policies.budget.account import Charge, Scope
from policies.budget.events import Approximate, Event, Gaussian, Repeated
from policies.errors import (
    ChangedOrderError,
    ClosedOrderError,
    ForeignBooksError,
    InsufficientBudgetError,
    OverdrawnError,
    UnknownReservationError,
)
from secure_compute.primitives.signature import SigningKey
from tests.scopes import scope

EVENT = Gaussian("8")
ORIGIN = "entrepot/demo/warehouse-cn"
KEY = SigningKey(b"\x07" * 32)
TWO = (scope(), scope(subjects="shops", unit="commercial"))


def open_at(path: Path | str, now: Callable[[], float] = lambda: 1000.0) -> Books:
    return Books(path, ORIGIN, KEY, now)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node" / "books.sqlite"


@pytest.fixture
def books(path: Path) -> Books:
    return open_at(path)


def paid(
    releases: int, event: Event = EVENT, scopes: Sequence[Scope] = (scope(),)
) -> tuple[Charge, ...]:
    return tuple(Charge(each, event, releases) for each in scopes)


def spent(books: Books) -> tuple[float, float, int]:
    (told,) = books.statement()
    return told.epsilon_spent, told.epsilon_pending, told.releases


def price(count: int) -> float:
    return accountant.epsilon([Repeated(EVENT, count)], 1e-6)


def kinds(books: Books) -> list[str]:
    return [entry.kind.value for entry in books.entries()]


# -- one account -----------------------------------------------------------------------------------


def test_an_open_reservation_counts_then_becomes_spent(books: Books) -> None:
    books.reserve(paid(4), "a")
    assert spent(books) == (0.0, price(4), 0)
    assert books.settle("a", "k1")
    assert books.settle("a", "k2")
    assert spent(books) == (price(2), pytest.approx(price(4) - price(2)), 2)
    assert books.open_orders() == ["a"]
    books.close("a")
    assert spent(books) == (price(2), 0.0, 2)
    assert books.open_orders() == []
    books.reconcile()


def test_the_same_release_is_charged_once(books: Books) -> None:
    books.reserve(paid(2), "a")
    assert [books.settle("a", "k") for _ in range(3)] == [True, False, False]
    assert books.is_settled("a", "k")
    assert not books.is_settled("a", "other")
    books.close("a")
    assert not books.settle("a", "k")
    assert spent(books) == (price(1), 0.0, 1)


def test_a_reservation_is_idempotent_and_minted(books: Books) -> None:
    first = books.reserve(paid(2), "a")
    assert books.reserve(paid(2), "a") == first
    assert spent(books) == (0.0, price(2), 0)
    assert kinds(books) == ["reserved"]
    with pytest.raises(TypeError, match="minted"):
        Reservation("a", paid(2))


def test_abandoned_rounds_are_set_aside_too(books: Books) -> None:
    reservation = books.reserve(paid(2), "a", abandoned=3)
    assert [charge.releases for charge in reservation.charges] == [5]
    assert spent(books) == (0.0, price(5), 0)
    assert all(books.settle("a", f"k{number}") for number in range(5))
    with pytest.raises(OverdrawnError):
        books.settle("a", "k5")
    with pytest.raises(ChangedOrderError):
        books.reserve(paid(2), "a", abandoned=2)


def test_a_plan_was_fixed_if_one_run_made_all_that_it_planned(books: Books) -> None:
    def fixed() -> bool:
        (told,) = books.statement()
        return told.fixed

    books.reserve(paid(2), "a", abandoned=3)
    books.settle("a", "k1")
    assert fixed()  # it may still go on
    books.settle("a", "k2")
    books.close("a")
    assert fixed()  # the spare releases were never planned
    books.reserve(paid(1), "b")
    assert not fixed()  # asked once the first had been answered


def test_a_run_that_ended_early_was_no_fixed_plan(books: Books) -> None:
    books.reserve(paid(3), "a", abandoned=3)
    books.settle("a", "k1")
    books.settle("a", "k2")
    books.close("a")
    (told,) = books.statement()
    assert (told.releases, told.fixed) == (2, False)


def test_more_releases_than_reserved_are_refused(books: Books) -> None:
    books.reserve(paid(1), "a")
    books.settle("a", "k1")
    with pytest.raises(OverdrawnError, match="new order"):
        books.settle("a", "k2")
    assert spent(books) == (price(1), 0.0, 1)


def test_an_order_cannot_come_back_changed(books: Books) -> None:
    books.reserve(paid(2), "a")
    others = (
        paid(3),
        paid(2, Gaussian("9")),
        paid(2, scopes=[scope(window="2026")]),
        paid(2, scopes=TWO),
    )
    for changed in others:
        with pytest.raises(ChangedOrderError):
            books.reserve(changed, "a")
    assert kinds(books) == ["reserved"]


def test_a_closed_order_stays_closed(books: Books) -> None:
    books.reserve(paid(2), "a")
    books.close("a")
    books.close("a")
    refused: list[Callable[[], object]] = [
        lambda: books.settle("a", "k"),
        lambda: books.reserve(paid(2), "a"),
        lambda: books.reserve(paid(2, scopes=[scope(window="2026")]), "a"),
    ]
    for attempt in refused:
        with pytest.raises(ClosedOrderError):
            attempt()
    assert kinds(books) == ["reserved", "closed"]


def test_nothing_leaves_without_a_reservation(books: Books) -> None:
    for attempt in (lambda: books.settle("ghost", "k"), lambda: books.close("ghost")):
        with pytest.raises(UnknownReservationError):
            attempt()
    assert kinds(books) == []


def test_a_refusal_changes_nothing(books: Books) -> None:
    books.reserve(paid(10), "a")
    before = books.statement(), books.head()
    with pytest.raises(InsufficientBudgetError) as caught:
        books.reserve(paid(100), "b")
    assert caught.value.spent == price(10)
    assert (books.statement(), books.head()) == before
    assert books.open_orders() == ["a"]


def test_a_renamed_contract_finds_the_same_account(books: Books) -> None:
    books.reserve(paid(10), "a")
    renamed = [scope(dataset="orders_v2")]
    with pytest.raises(InsufficientBudgetError):
        books.reserve(paid(15, scopes=renamed), "b")
    books.reserve(paid(1, scopes=renamed), "c")
    (told,) = books.statement()
    assert told.dataset == "orders, orders_v2"


def test_the_smallest_limit_of_all_sharers_holds(books: Books) -> None:
    books.reserve(paid(1), "a")
    books.reserve(paid(1, scopes=[scope("1.2", dataset="returns")]), "b")
    with pytest.raises(InsufficientBudgetError) as caught:
        books.reserve(paid(6), "c")
    assert caught.value.limit == 1.2


def test_a_raised_limit_of_the_same_contract_is_used(books: Books) -> None:
    books.reserve(paid(3, scopes=[scope("1.2")]), "a")
    with pytest.raises(InsufficientBudgetError):
        books.reserve(paid(3, scopes=[scope("1.2")]), "b")
    books.reserve(paid(3), "b")
    books.reconcile()


def test_books_survive_being_opened_again(books: Books, path: Path) -> None:
    books.reserve(paid(3), "a")
    books.settle("a", "k")
    again = open_at(path)
    assert again.statement() == books.statement()
    assert again.head() == books.head()
    assert not again.settle("a", "k")


def test_an_untouched_account_has_a_statement_too(books: Books) -> None:
    (told,) = books.statement([scope()])
    assert (told.dataset, told.epsilon_spent, told.limit, told.releases) == ("orders", 0.0, 3.0, 0)
    books.reserve(paid(1), "a")
    both = books.statement([scope(), scope(window="2026")])
    assert [item.window for item in both] == ["2025", "2026"]


def test_a_quote_sets_nothing_aside(books: Books) -> None:
    (told,) = books.quote(paid(5))
    assert told.total == price(5)
    with pytest.raises(InsufficientBudgetError):
        books.quote(paid(500))
    assert books.statement() == []
    assert kinds(books) == []


# -- several accounts ------------------------------------------------------------------------------


def test_an_order_pays_in_all_accounts_or_in_none(books: Books) -> None:
    books.reserve(paid(2, scopes=TWO), "a")
    books.settle("a", "k")
    assert [told.releases for told in books.statement()] == [1, 1]
    before = books.statement()
    poor = (scope(), scope("0.5", subjects="shops", unit="commercial"))
    for order in (poor, poor[::-1]):
        with pytest.raises(InsufficientBudgetError, match="shops"):
            books.reserve(paid(2, scopes=order), "b")
    assert books.statement() == before
    assert kinds(books) == ["reserved", "settled"]


def test_every_account_that_cannot_pay_is_named(books: Books) -> None:
    with pytest.raises(InsufficientBudgetError) as caught:
        books.reserve(paid(200, scopes=TWO), "a")
    assert [why.scope.split(" ")[0] for why in caught.value.every] == ["customers", "shops"]


def test_an_order_is_charged_once_to_each_account(books: Books) -> None:
    for charges in ((), paid(1, scopes=[scope(), scope(dataset="other")])):
        with pytest.raises(ValueError, match="once"):
            books.reserve(charges, "a")


def test_the_purse_of_failures_refuses_too(books: Books) -> None:
    event = Approximate(Gaussian("80"), "1e-10")
    purse = [scope(failures="5e-10")]
    books.reserve(paid(3, event, purse), "a")
    with pytest.raises(InsufficientBudgetError) as caught:
        books.reserve(paid(3, event, purse), "b")
    assert caught.value.purse == "failures"
    books.reserve(paid(2, event, purse), "c")
    (told,) = books.statement()
    assert str(told.failures_pending) == "5E-10"
    books.reconcile()


def test_the_history_tells_when_and_how_much(path: Path) -> None:
    clock = iter(range(1000, 10_000, 100))
    books = open_at(path, lambda: next(clock))
    for name in ("a", "b", "c"):
        books.reserve(paid(3), name)
    books.settle("a", "k")
    books.close("a")
    books.close("b")
    told = books.history(scope().account)
    assert told == [(1100, Repeated(EVENT, 1)), (1300, Repeated(EVENT, 3))]
    assert books.history(scope(window="2026").account) == []


def test_a_lifetime_spans_windows_and_counts_an_order_once(books: Books) -> None:
    both = [scope(), scope(window="2026")]
    books.reserve(paid(2, scopes=both), "a")
    books.reserve(paid(1, scopes=both[1:]), "b")
    told = {row.window: row for row in books.statement()}
    assert (told["2025"].epsilon_pending, told["2026"].epsilon_pending) == (price(2), price(3))
    assert told["2025"].lifetime == told["2026"].lifetime == price(3)


# -- giving back -----------------------------------------------------------------------------------


def withheld(release: str = "k") -> GiveBack:
    return GiveBack._mint("a", release, ("0" * 64, "1" * 64))


def test_a_release_that_nobody_can_open_is_given_back(books: Books) -> None:
    books.reserve(paid(2), "a")
    books.settle("a", "k", masked=True)
    books.give_back("a", "k", withheld())
    books.give_back("a", "k", withheld())
    assert spent(books) == (0.0, price(2), 0)
    with pytest.raises(GivenBackError, match="never leaves again"):
        books.settle("a", "k")
    assert books.settle("a", "k2")
    assert books.settle("a", "k3")
    books.close("a")
    assert spent(books) == (price(2), 0.0, 2)
    assert kinds(books).count("given_back") == 1
    books.reconcile()


def test_after_the_end_of_its_order_nothing_takes_its_place(books: Books) -> None:
    books.reserve(paid(2), "a")
    books.settle("a", "k", masked=True)
    books.close("a")
    books.give_back("a", "k", withheld())
    assert spent(books) == (0.0, 0.0, 0)
    books.reconcile()


def test_what_could_be_read_stays_spent(books: Books) -> None:
    books.reserve(paid(2), "a")
    books.settle("a", "k")
    for release in ("k", "never made"):
        with pytest.raises(GivenBackError, match="stays spent"):
            books.give_back("a", release, withheld(release))
    with pytest.raises(GivenBackError, match="no release of order"):
        books.give_back("a", "k", withheld("other"))
    assert spent(books) == (price(1), pytest.approx(price(2) - price(1)), 1)


# -- the file --------------------------------------------------------------------------------------

TABLES = ("limits", "reservations", "settlements", "returns", "closings", "lines", "tallies")


@pytest.mark.parametrize("table", [*TABLES, "windows", "times", "leaves"])
def test_rows_are_never_changed_or_taken_away(books: Books, path: Path, table: str) -> None:
    books.reserve(paid(2), "a")
    books.settle("a", "k", masked=True)
    books.give_back("a", "k", withheld())
    books.close("a")
    books.open_window("customers", "2026")
    books.witnessed_time(5.0)
    raw = sqlite3.connect(path)
    column = raw.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchone()[0]
    assert raw.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = {column}"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
            raw.execute(statement)
    raw.close()


def test_only_the_owner_may_read_the_file(books: Books, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
    assert books.open_orders() == []


def test_what_is_acknowledged_is_on_the_disk(books: Books) -> None:
    """Write-ahead log and full synchronisation, as the connection that commits says itself."""
    with books._engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous")
        ]
    assert pragmas == ["wal", 2]


def test_books_of_another_version_are_refused(books: Books, path: Path, tmp_path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 9")
    raw.close()
    with pytest.raises(ForeignBooksError, match="version 9"):
        open_at(path)
    (tmp_path / "noise").write_bytes(b"no account book at all, but long enough to be one" * 40)
    with pytest.raises(ForeignBooksError, match="account book"):
        open_at(tmp_path / "noise")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE replies (id TEXT)")
    other.close()
    with pytest.raises(ForeignBooksError, match="account book"):
        open_at(tmp_path / "other")
    assert books.open_orders() == []


# -- the log ---------------------------------------------------------------------------------------


def test_every_change_is_an_entry_and_nothing_else_is(books: Books) -> None:
    books.open_window("customers", "2025")
    books.reserve(paid(2, scopes=TWO), "a")
    books.settle("a", "k")
    books.settle("a", "k")
    books.close("a")
    told = books.entries()
    assert [entry.kind for entry in told] == [
        EntryKind.WINDOW_OPENED,
        EntryKind.RESERVED,
        EntryKind.SETTLED,
        EntryKind.CLOSED,
    ]
    assert [entry.at for entry in told] == [1000] * 4
    reserved: Any = told[1].body["charges"]
    assert [charge["account"] for charge in reserved] == [each.account for each in TWO]
    assert {charge["releases"] for charge in reserved} == {2}
    assert told[2].body == {"release": "k", "masked": 0}
    assert books.entries(3) == told[3:]


def test_an_entry_that_cannot_be_written_takes_its_rows_along(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.reserve(paid(2), "a")
    held = books.statement(), books.head(), books.open_orders()

    def fails(*_: object) -> int:
        raise OSError("the disk is full")

    monkeypatch.setattr(books._log, "append", fails)
    steps: list[Callable[[], object]] = [
        lambda: books.reserve(paid(2), "b"),
        lambda: books.settle("a", "k"),
        lambda: books.close("a"),
        lambda: books.open_window("customers", "2026"),
    ]
    for step in steps:
        with pytest.raises(OSError, match="full"):
            step()
    assert (books.statement(), books.head(), books.open_orders()) == held
    assert not books.is_settled("a", "k")
    assert books.windows() == {}


def test_rows_that_cannot_be_written_take_their_entry_along(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.reserve(paid(2), "a")
    held = books.statement(), books.head(), books.open_orders()

    def fails(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("clients.books_accounts.write", fails)
    for step in (lambda: books.reserve(paid(2), "b"), lambda: books.settle("a", "k")):
        with pytest.raises(OSError, match="full"):
            step()
    assert (books.statement(), books.head(), books.open_orders()) == held
    assert not books.is_settled("a", "k")


def test_a_database_that_does_not_answer_is_an_error_of_this_package(
    books: Books, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.reserve(paid(2), "a")
    head = books.head()
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")  # another program holds the file for longer than anybody waits
    books.disconnect()
    monkeypatch.setattr("federation.sqlite_files.WAIT", 0.0)
    impatient = open_at(path)
    for step in (lambda: impatient.reserve(paid(2), "b"), lambda: impatient.settle("a", "k")):
        with pytest.raises(SilentBooksError, match="nothing was changed"):
            step()
    assert impatient.head() == head
    raw.execute("ROLLBACK")
    raw.close()
    assert impatient.settle("a", "k")


# -- windows ---------------------------------------------------------------------------------------


def test_windows_stand_in_the_order_they_were_opened(books: Books) -> None:
    assert books.windows() == {}
    assert books.open_window("customers", "2031") == 1
    assert books.open_window("customers", "2025") == 2
    assert books.open_window("customers", "2031") == 1
    assert books.open_window("shops", "2025") == 1
    assert books.windows() == {"customers": ("2031", "2025"), "shops": ("2025",)}
    books.reconcile()


def test_an_order_sees_the_windows_of_its_own_time(books: Books) -> None:
    books.open_window("customers", "2025")
    books.reserve(paid(1), "a")
    books.open_window("customers", "2026")
    assert books.windows("a") == {"customers": ("2025",)}
    assert books.windows("not yet") == books.windows() == {"customers": ("2025", "2026")}
