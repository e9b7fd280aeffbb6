"""People whose data left: counted from ledger entries alone, by year and group, never from rows."""

import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.exports import Left, Tally, counted
from federation.ledger.entries import Entry, EntryKind
from policies.budget.events import Gaussian, dumps
from policies.contracts import DataContract, load_contract
from policies.exports import Outbound, count, declared, groups_of, person_groups, year_of
from policies.law.packs import packs
from policies.parties import Jurisdiction

EXPORT = packs()[Jurisdiction.CN].export
assert EXPORT is not None
CONTRACT = """
name = "{name}"
version = 1
table = "t.parquet"
subjects = "{subjects}"
{persons}
[unit]
kind = "{kind}"
columns = ["u"]
rows = 1
[limit]
epsilon = "1"
delta = "1e-6"
window = "w"
[[columns]]
name = "u"
type = "string"
grade = "S3"
"""
ALSO = """
[[also]]
kind = "{kind}"
columns = ["u"]
subjects = "{subjects}"
touches = 1
[also.limit]
epsilon = "1"
delta = "1e-6"
window = "w"
"""


def at(text: str) -> int:
    """Seconds since 1970 of a moment in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


NOON = at("2026-06-01T12:00")


def contract(
    subjects: str = "a", persons: int | None = None, kind: str = "customer", also: str = ""
) -> DataContract:
    said = "" if persons is None else f"persons = {persons}"
    name = f"t-{subjects}-{kind}-{persons}"
    text = CONTRACT.format(name=name, subjects=subjects, kind=kind, persons=said)
    return load_contract(text + also)


# -- the year --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "year"),
    [
        ("2026-12-31T15:59:59", 2026),
        ("2026-12-31T16:00:00", 2027),  # midnight in Beijing
        ("2026-01-01T00:00:00", 2026),
        ("2025-12-31T16:00:00", 2026),
        ("2025-12-31T15:59:59", 2025),
        ("1999-06-01T00:00:00", 1999),
    ],
)
def test_the_year_begins_at_midnight_in_beijing(moment: str, year: int) -> None:
    assert year_of(at(moment), EXPORT) == year


# -- groups ----------------------------------------------------------------------------------------


def test_orders_belong_to_their_customers_and_firms_to_nobody() -> None:
    assert person_groups([("a", "customer"), ("orders-of-a", "order")]) == {"a"}
    assert person_groups([("orders-of-a", "order")]) == {"orders-of-a"}
    assert person_groups([("retailers", "commercial")]) == frozenset()
    assert person_groups([("a", "customer"), ("b", "customer")]) == {"a", "b"}
    further = ALSO.format(kind="customer", subjects="buyers")
    assert groups_of(contract("retailers", kind="commercial", also=further)) == {"buyers"}


def test_a_group_has_the_greatest_size_that_a_contract_declares() -> None:
    sizes = declared([contract("a", 10), contract("a", 30), contract("a"), contract("b", 5)])
    assert sizes == {"a": 30, "b": 5}
    assert declared([contract("a"), contract("c", 7, kind="commercial")]) == {}


# -- the count -------------------------------------------------------------------------------------


def test_a_group_counts_once_a_year() -> None:
    left = [Outbound("a", NOON), Outbound("a", NOON + 9), Outbound("b", NOON)]
    found = count(left, {"a": 60_000, "b": 30_000}, NOON, EXPORT)
    assert (found.persons, found.groups, found.undeclared) == (90_000, ("a", "b"), ())
    assert (found.year, found.known) == (2026, 90_000)


def test_another_year_starts_anew() -> None:
    left = [Outbound("a", at("2025-06-01")), Outbound("b", NOON)]
    sizes = {"a": 60_000, "b": 30_000}
    assert count(left, sizes, NOON, EXPORT).persons == 30_000
    assert count(left, sizes, at("2025-07-01"), EXPORT).persons == 60_000
    assert count(left, sizes, at("2027-07-01"), EXPORT).persons == 0


def test_what_is_promised_may_leave_in_any_year() -> None:
    for year in ("2025-06-01", "2026-06-01", "2031-06-01"):
        assert count([Outbound("a", None)], {"a": 7}, at(year), EXPORT).persons == 7


def test_a_group_of_unknown_size_makes_the_count_unknown() -> None:
    found = count([Outbound("a", NOON), Outbound("b", NOON)], {"a": 1}, NOON, EXPORT)
    assert found.undeclared == ("b",)
    assert found.known is None
    assert found.is_near(EXPORT)


@pytest.mark.parametrize(
    ("persons", "percent", "near"),
    [
        (0, 0, False),
        (79_000, 79, False),
        (79_001, 80, True),
        (80_000, 80, True),
        (100_000, 100, True),
        (100_001, 101, True),
    ],
)
def test_the_warning_comes_at_four_fifths_rounded_up(
    persons: int, percent: int, near: bool
) -> None:
    found = count([Outbound("a", NOON)], {"a": persons}, NOON, EXPORT)
    assert found.percent_of(EXPORT) == percent
    assert found.is_near(EXPORT) is near


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from([None, 2024, 2025, 2026])), max_size=20
    ),
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 10**6)),
    st.sampled_from([2024, 2025, 2026]),
)
def test_the_count_is_that_of_a_plain_set(left, sizes, year) -> None:
    outbound = [Outbound(g, None if y is None else at(f"{y}-05-05")) for g, y in left]
    found = count(outbound, sizes, at(f"{year}-07-07"), EXPORT)
    groups = {group for group, when in left if when in {None, year}}
    assert found.persons == sum(sizes[group] for group in groups if group in sizes)
    assert found.undeclared == tuple(sorted(group for group in groups if group not in sizes))


# -- the ledger ------------------------------------------------------------------------------------


def reserved(order: str, *units: tuple[str, str, str], when: int = NOON) -> Entry:
    """An order set aside; units: (dataset, subjects, unit)."""
    charge = {
        "window": "w",
        "epsilon": "1",
        "delta": "0.000001",
        "failures": "0",
        "releases": 3,
        "spare": 0,
    }
    charges = [
        {
            "account": f"{subjects}\x1f{unit}\x1fw",
            "dataset": dataset,
            "subjects": subjects,
            "unit": unit,
            "event": dumps(Gaussian("2")),
            **charge,
        }
        for dataset, subjects, unit in units
    ]
    return Entry(EntryKind.RESERVED, when, order, {"charges": charges})


def settled(order: str, when: int = NOON) -> Entry:
    body = {"release": f"r-{when}"}
    return Entry(EntryKind.SETTLED, when, order, {**body, "masked": 0})


def _fields(kind: EntryKind) -> Iterable[str]:
    from federation.ledger.entries import FIELDS

    return FIELDS[kind]


def closed(order: str, when: int = NOON) -> Entry:
    return Entry(EntryKind.CLOSED, when, order)


def crossed(order: str, destination: str, kind: str = "sum.upload", origin: str = "CN") -> Entry:
    body = {
        "kind": kind,
        "recipient": "aggregator",
        "origin": origin,
        "destination": destination,
        "bytes": 9,
        "rule": "CN-T01",
    }
    return Entry(EntryKind.CROSSED, NOON, order, body)


def left(*entries: Entry, besides: str = "") -> set[tuple[str, int | None]]:
    tally = Tally()
    tally.fold(entries)
    return {(item.subjects, item.at) for item in tally.outbound(besides)}


A, B = ("orders", "a", "customer"), ("visits", "b", "customer")


def test_what_was_released_left_and_what_was_not_did_not() -> None:
    assert left(reserved("x", A), settled("x"), closed("x")) == {("a", NOON)}
    assert left(reserved("x", A), closed("x")) == set()


def test_an_open_order_counts_as_if_all_of_it_had_left() -> None:
    assert left(reserved("x", A)) == {("a", None)}
    assert left(reserved("x", A), settled("x")) == {("a", None), ("a", NOON)}
    assert left(reserved("x", A), besides="x") == set()
    assert left(reserved("x", A), reserved("y", A), besides="x") == {("a", None)}


def test_a_release_counts_in_the_year_in_which_it_left() -> None:
    next_year = at("2027-02-01")
    entries = (reserved("x", A), settled("x", next_year), closed("x", next_year))
    assert left(*entries) == {("a", next_year)}


def approved(order: str, *rules: str) -> Entry:
    return Entry(EntryKind.APPROVED, NOON, order, {"policy": "0" * 64, "reasons": [*rules]})


def released(order: str) -> Entry:
    body = {"recipients": ["analyst"], "rule": "CN-HOME"}
    return Entry(EntryKind.RELEASED, NOON, order, body)


def delivered(order: str, past: str, when: int = NOON) -> Entry:
    return Entry(EntryKind.DELIVERED, when, order, {"past": past, "recipients": ["analyst"]})


def test_what_was_judged_to_stay_does_not_count_and_silence_does() -> None:
    done = (reserved("x", A), settled("x"), closed("x"))
    assert left(*done, approved("x", "CN-HOME")) == set()
    assert left(*done, approved("x", "CN-HOME", "CN-T01")) == {("a", NOON)}
    assert left(*done, approved("x", "CN-T01")) == {("a", NOON)}
    assert left(*done, approved("x")) == {("a", NOON)}
    assert left(*done, approved("y", "CN-HOME")) == {("a", NOON)}


def test_a_letter_to_an_aggregator_at_home_brings_nothing_home() -> None:
    """The recipient is abroad, whatever the way of the sum under encryption."""
    done = (reserved("x", A), settled("x"), released("x"), closed("x"))
    assert left(*done, crossed("x", "CN")) == {("a", NOON)}
    assert left(*done, approved("x", "CN-HOME", "CN-T01"), crossed("x", "CN")) == {("a", NOON)}


def test_what_went_abroad_once_is_never_brought_home() -> None:
    done = (reserved("x", A), settled("x"), closed("x"))
    for first, second in (("CN-T01", "CN-HOME"), ("CN-HOME", "CN-T01")):
        assert left(*done, approved("x", first), approved("x", second)) == {("a", NOON)}
    home = approved("x", "CN-HOME")
    assert left(*done, home, crossed("x", "EU")) == {("a", NOON)}
    assert left(*done, home, crossed("x", "EU"), crossed("x", "CN")) == {("a", NOON)}
    assert left(*done, home, crossed("x", "EU", kind="order.accepted")) == set()
    assert left(*done, home, crossed("x", "US-CA", origin="US")) == set()


def test_what_is_given_out_once_more_counts_for_those_it_is_about() -> None:
    done = (reserved("x", A), settled("x"), closed("x"), approved("x", "CN-HOME"))
    later = at("2027-03-01")
    given = delivered("y", "x", later)
    assert left(*done, approved("y", "CN-HOME", "CN-T01"), given) == {("a", later)}
    assert left(*done, given) == {("a", later)}
    assert left(*done, approved("y", "CN-HOME"), given) == set()
    assert left(delivered("y", "nobody", later)) == set()


def test_firms_and_units_of_one_table_are_not_counted_as_people() -> None:
    firms = ("demand", "retailers", "commercial")
    assert left(reserved("x", firms)) == set()
    assert left(reserved("x", A, ("orders", "orders-of-a", "order"), firms)) == {("a", None)}
    assert left(reserved("x", A, B)) == {("a", None), ("b", None)}


def test_only_new_entries_are_read() -> None:
    class Book:
        def __init__(self) -> None:
            self.log: list[Entry] = [reserved("x", A)]
            self.asked: list[int] = []

        def entries(self, start: int = 0) -> list[Entry]:
            self.asked.append(start)
            return self.log[start:]

    book = Book()
    tally = Left(book)  # type: ignore[arg-type]
    assert tally().outbound() == (Outbound("a", None),)
    book.log += [settled("x"), closed("x")]
    assert tally().outbound() == (Outbound("a", NOON),)
    assert book.asked == [0, 1]


def test_an_order_adds_its_own_groups() -> None:
    tally = Tally()
    tally.fold([reserved("x", A), settled("x"), closed("x")])
    contracts = [contract("a", 60_000), contract("b", 50_000)]
    found = counted(Jurisdiction.CN, contracts, tally, NOON, wanted=["b"])
    assert found is not None and found[1].persons == 110_000
    found = counted(Jurisdiction.CN, contracts, tally, NOON, wanted=["a"])
    assert found is not None and found[1].persons == 60_000
    gone = counted(Jurisdiction.CN, contracts[1:], tally, NOON, wanted=["b"])
    assert gone is not None and gone[1].known is None  # whoever left is not forgotten


@pytest.mark.parametrize("node", [p for p in Jurisdiction if p is not Jurisdiction.CN])
def test_other_territories_do_not_count(node: Jurisdiction) -> None:
    assert counted(node, [contract("a")], Tally(), NOON, wanted=["a"]) is None


def test_the_number_is_the_packs_alone() -> None:
    assert (EXPORT.persons, EXPORT.warn_percent) == (100_000, 80)
    more = dataclasses.replace(EXPORT, persons=50_000)
    assert count([Outbound("a", NOON)], {"a": 40_000}, NOON, more).is_near(more)
