"""No second account through the kind of unit: the same people are charged in one kind for good."""

from pathlib import Path

import pytest

from clients.books import Books
from policies.budget import accountant
from policies.budget.account import charges, scopes_of
from policies.budget.events import Gaussian, Repeated
from policies.contracts import DataContract, load_contract
from policies.errors import InsufficientBudgetError, UnitMismatchError
from tests.unit.test_books import kinds, open_at

NOISE = Gaussian("2")
CONTRACT = """
name = "{name}"
version = {version}
table = "{name}.parquet"
subjects = "people"
[unit]
kind = "{kind}"
columns = ["{column}"]
rows = 3
[limit]
epsilon = "3"
delta = "1e-6"
window = "w"
{also}
[[columns]]
name = "order_id"
type = "integer"
grade = "S3"
[[columns]]
name = "customer_id"
type = "integer"
grade = "S3"
"""
ALSO = """
[[also]]
kind = "{kind}"
columns = ["customer_id"]
subjects = "people"
touches = 2
whole = true
[also.limit]
epsilon = "3"
delta = "1e-6"
window = "w"
"""
COLUMNS = {"order": "order_id", "customer": "customer_id", "commercial": "customer_id"}


def contract(
    kind: str = "order", *, name: str = "orders", version: int = 1, also: str = ""
) -> DataContract:
    further = ALSO.format(kind=also) if also else ""
    return load_contract(
        CONTRACT.format(name=name, version=version, kind=kind, column=COLUMNS[kind], also=further)
    )


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Books in which an order has spent most of what its people have."""
    books = open_at(tmp_path / "node" / "books.sqlite")
    books.open_window("people", "w")
    first = contract()
    books.reserve(charges(first, [first], books.windows(), NOISE, 1), "a")
    books.settle("a", "k")
    books.close("a")
    with pytest.raises(InsufficientBudgetError):
        books.reserve(charges(first, [first], books.windows(), NOISE, 1), "b")
    return books


CHANGED = {
    "a coarser kind": [contract("customer", version=2)],
    "a finer kind": [contract("commercial", version=2)],
    "a coarser further unit": [contract("order", version=2, also="customer")],
    "another contract of a coarser kind": [
        contract("customer", name="visits"),
        contract("order", version=2, also="customer"),
    ],
}


@pytest.mark.parametrize("contracts", CHANGED.values(), ids=CHANGED.keys())
def test_the_same_people_are_never_charged_in_another_kind(
    books: Books, contracts: list[DataContract]
) -> None:
    before = books.statement()
    wanted = charges(contracts[0], contracts, books.windows(), NOISE, 1)
    for refuses in (
        lambda: books.reserve(wanted, "b"),
        lambda: books.quote(wanted),
        lambda: books.require_kinds(scopes_of(contracts[0].name, contracts, books.windows())),
    ):
        with pytest.raises(UnitMismatchError, match="keep order as the unit of people"):
            refuses()
    assert books.statement() == before
    assert kinds(books) == ["window_opened", "reserved", "settled", "closed"]


def test_what_was_only_set_aside_counts_until_it_is_given_back(tmp_path: Path) -> None:
    books = open_at(tmp_path / "node" / "books.sqlite")
    first, second = contract(), contract("customer", version=2)
    books.reserve(charges(first, [first], {}, NOISE, 1), "a")
    wanted = charges(second, [second], {}, NOISE, 1)
    with pytest.raises(UnitMismatchError):
        books.reserve(wanted, "b")
    books.close("a")
    books.reserve(wanted, "b")


def test_other_people_may_have_another_kind(books: Books) -> None:
    text = CONTRACT.format(name="shops", version=1, kind="commercial", column="order_id", also="")
    shops = load_contract(text.replace('"people"', '"shops"'))
    books.reserve(charges(shops, [shops], books.windows(), NOISE, 1), "b")


def test_a_lifetime_spans_all_kinds_of_the_same_people(tmp_path: Path) -> None:
    """Books of before kinds were held together may hold two; nothing of either is forgotten."""
    books = open_at(tmp_path / "node" / "books.sqlite")
    first, second = contract(), contract("customer", version=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clients.books.books_accounts.require_kinds", lambda *_: None)
        for name, one in (("a", first), ("b", second)):
            books.reserve(charges(one, [one], {}, NOISE, 1), name)
            books.settle(name, "k")
            books.close(name)
    both = accountant.epsilon([Repeated(NOISE, 2)], 1e-6)
    assert [told.lifetime for told in books.statement()] == [both, both]
