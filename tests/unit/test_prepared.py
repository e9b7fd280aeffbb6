"""A prepared copy: the sums of the rows themselves, a fresh draw, and nothing that is out of date.

Which rows stayed is read off the copy and the draw. Today's statement over these rows alone, none
of whose units is over the bound then, is the independent model of the sums.
"""

import datetime
import math
import random
import re
from dataclasses import replace

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.ingestion import Readable, stamp_of
from clients.queries import choosing, partial, prepared, preparing
from clients.queries.choosing import chosen
from clients.queries.compile_prepared import PreparedCompiler, is_plain
from clients.queries.prepared import Prepared, found
from clients.queries.relations import Table, promised
from federation.queries.parse import parse
from tests.orders_table import COHORT, contract, frame
from tests.seeded import SeededEntropy

CONTRACT = contract(3)
PLAIN = [
    "SELECT COUNT(*) FROM orders",
    "SELECT category, COUNT(*), SUM(LEAST(amount, 150)) FROM orders GROUP BY category",
    "SELECT category, SUM(amount) FROM orders WHERE hour = 0 AND gift GROUP BY category",
    "SELECT AVG(GREATEST(LEAST(amount, 20.005), 10)) FROM orders WHERE note <> 'row 1'",
    "SELECT hour, COUNT(DISTINCT customer_id), SUM(balance) FROM orders GROUP BY hour",
    "SELECT SUM(LEAST(amount * 2, 100)), COUNT(note), COUNT(amount) FROM orders WHERE NOT gift",
    "SELECT VAR_POP(balance), CORR(balance, amount), SUM(amount) FROM orders",
    (
        "SELECT category, QUANTILE(amount, 0.5) FROM orders WHERE amount IS NULL OR amount < 300"
        " GROUP BY category"
    ),
    "SELECT hour, COUNT(*), SUM(COALESCE(balance, 3)) FROM orders GROUP BY hour",
    (
        "SELECT CASE WHEN gift THEN 'a' ELSE 'b' END AS kind, SUM(LEAST(amount, 7)) FROM orders"
        " GROUP BY kind"
    ),
    (
        "WITH few AS (SELECT * FROM orders WHERE balance > 0) SELECT category, COUNT(*) FROM few"
        " WHERE day < '2025-01-03' GROUP BY category"
    ),
    "SELECT SUM(GREATEST(LEAST(balance, 5), 0) * 3) FROM orders WHERE category IN ('home', 'toys')",
]
OTHER = [
    (
        "WITH seen AS (SELECT *, row_number() OVER (PARTITION BY customer_id ORDER BY day) AS n"
        " FROM orders) SELECT category, COUNT(*), SUM(amount) FROM seen WHERE n <= 5"
        " GROUP BY category"
    ),
    "SELECT COUNT(*) FROM orders a JOIN orders b USING (customer_id)",
]
VALUES = {
    "customer_id": [None, 1, 1, 1, 2, 2, 3, 4, 5],
    "amount": [None, -5.0, -0.0, 0.005, 12.345, 20.0049999, 499.995, 1e9, math.nan, math.inf],
    "balance": [None, -20, -3, 0, 4, 10, 99],
    "category": ["home", "toys", "garden", "unknown", None],
    "hour": [0, 0, 1, 7, None],
    "gift": [True, True, False, None],
    "day": [datetime.date(2025, 1, day) for day in (1, 2, 3)],
    "merchant_id": [1, 2, 3],
}
ROW = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()})


def plan_of(text):
    return parse(text, {"orders": CONTRACT}, COHORT)


def written(rows, folder):
    """Write rows whose note says which row it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "orders.parquet"
    frame([{**row, "note": f"row {at}"} for at, row in enumerate(rows)]).to_parquet(path)
    return path


def copied(path, agreed=CONTRACT):
    folder = path.parent / f"copy-{agreed.unit.rows}"
    folder.mkdir()
    preparing.prepare(agreed, path, folder)
    return found(folder)


def noted(path, more=""):
    """Return which rows a file of a copy holds, in its order, with their owners."""
    name = promised(CONTRACT, CONTRACT.column("note"))
    return duckdb.sql(f"SELECT {name}, owner{more} FROM read_parquet('{path}')").fetchall()


def drawn(copy, plan, seed):
    """Return the notes of the rows that one draw lets through, of all that the copy has."""
    light, heavy, _ = copy.paths
    with duckdb.connect(":memory:") as connection:
        stays = copy._drawn(connection, plan, CONTRACT, SeededEntropy(seed))
    kept = [note for (note, _), stay in zip(noted(heavy), stays, strict=True) if stay]
    return {note for note, _ in noted(light)} | set(kept)


def restricted(rows, notes, folder):
    folder.mkdir()
    whole = frame([{**row, "note": f"row {at}"} for at, row in enumerate(rows)])
    path = folder / "orders.parquet"
    whole[whole["note"].isin(notes)].reset_index(drop=True).to_parquet(path)
    return path


def counted(rows, plan, path):
    """Return by unit which notes a plan counts, asked of today's statement row by row."""
    made = partial.compile_joined(
        plan, {"orders": CONTRACT}, {"orders": Table(frozenset(frame(rows[:1]).columns))}
    )
    text = made.text.partition("), heavy AS")[0] + ") SELECT u0, position FROM known"
    values = {**made.parameters, "data": str(path)}
    used = {name: values[name] for name in re.findall(r"\$(\w+)", text)}
    places = duckdb.execute(text, used).fetchall()
    units = {}
    for unit, place in places:
        units.setdefault(unit, set()).add(f"row {place}")
    return units


def require_equal(folder, text, rows, seed):
    plan, path = plan_of(text), written(rows, folder)
    copy = copied(path)
    source = partial.Source(CONTRACT, path, prepared=copy)
    ours = partial._from_copy(plan, (source,), SeededEntropy(seed), 1)
    notes = drawn(copy, plan, seed)
    for those in counted(rows, plan, path).values():
        assert len(those & notes) == min(3, len(those))
    left = restricted(rows, notes, folder / "left")
    assert ours.values == partial.evaluate(plan, CONTRACT, left, SeededEntropy(0)).values


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(PLAIN), st.lists(ROW, max_size=30), st.integers(0, 1000))
def test_the_sums_of_a_copy_are_todays_over_the_rows_that_stayed(
    tmp_path_factory, text, rows, seed
):
    require_equal(tmp_path_factory.mktemp("rows"), text, rows, seed)


@pytest.mark.parametrize("text", PLAIN)
def test_so_they_are_for_every_kind_of_question(tmp_path, text):
    draw = random.Random(len(text))
    rows = [{name: draw.choice(values) for name, values in VALUES.items()} for _ in range(60)]
    require_equal(tmp_path, text, rows, seed=len(text))


def test_the_copy_is_what_was_asked(tmp_path, monkeypatch):
    path = written(some(), tmp_path)
    copy, plan = copied(path), plan_of(PLAIN[0])
    monkeypatch.setattr(partial, "_from_files", None)
    assert partial.evaluate(plan, CONTRACT, path, SeededEntropy(1), prepared=copy).values == (9,)


@pytest.mark.parametrize("text", OTHER)
def test_a_question_that_does_more_than_choose_reads_the_rows(tmp_path, text):
    path = written(some(), tmp_path)
    copy, plan = copied(path), plan_of(text)
    with_copy, without = (
        partial.evaluate(plan, CONTRACT, path, SeededEntropy(5), prepared=one)
        for one in (copy, None)
    )
    assert not is_plain(plan, CONTRACT)
    assert with_copy.values == without.values and any(without.values)


def test_a_plan_with_another_bound_or_unit_is_not_plain():
    plan = plan_of(PLAIN[0])
    assert is_plain(plan, CONTRACT)
    assert not is_plain(plan, contract(4))
    other = replace(CONTRACT, unit=replace(CONTRACT.unit, columns=("merchant_id",)))
    assert not is_plain(plan, other)


def test_rows_that_are_not_all_paid_for_are_read_themselves(tmp_path):
    path = written([{"customer_id": n} for n in range(6)], tmp_path)
    places = np.array([0, 2, 5])
    made = partial.evaluate(
        plan_of(PLAIN[0]), CONTRACT, path, SeededEntropy(1), 1, places, copied(path)
    )
    assert made.values == (3,)


def some():
    """Customers of 7, 4 and 3 rows, and rows of nobody."""
    sizes = {1: 7, 2: 4, 3: 3, None: 5}
    return [
        {"customer_id": unit, "amount": 10.0 * turn, "balance": turn, "hour": turn % 2}
        for turn in range(7)
        for unit, size in sizes.items()
        if turn < size
    ]


def test_the_draw_is_anew_for_every_question(tmp_path):
    path = written(some(), tmp_path)
    copy, plan = copied(path), plan_of("SELECT SUM(amount) FROM orders")
    found_sums = {
        partial.evaluate(plan, CONTRACT, path, SeededEntropy(seed), prepared=copy).values
        for seed in range(12)
    }
    assert len(found_sums) > 3


def test_a_bound_comes_after_the_filter(tmp_path):
    path = written(some(), tmp_path)
    plan = plan_of("SELECT COUNT(*) FROM orders WHERE hour = 1")
    for seed in range(5):  # of 7 rows 3 are in that hour, of 4 rows 2, of 3 rows 1: all may stay
        made = partial.evaluate(
            plan, CONTRACT, path, SeededEntropy(seed), prepared=copied_once(path)
        )
        assert made.values == (6,)


def copied_once(path):
    folder = path.parent / "copy-3"
    return found(folder) or copied(path)


# -- what is spared -------------------------------------------------------------------------------


def text_of(text, rows=100):
    plan = plan_of(text)
    table = Table(frozenset(), "t", "0", prepared.OWNER)
    return PreparedCompiler(plan, CONTRACT, table, rows).summing().text


@pytest.mark.parametrize(
    ("text", "clipped"),
    [
        ("SELECT SUM(amount) FROM orders", False),
        ("SELECT SUM(GREATEST(LEAST(amount, 150), 3)) FROM orders", False),
        ("SELECT SUM(amount + 1) FROM orders", True),
        ("SELECT SUM(COALESCE(amount, 0)) FROM orders", True),
    ],
)
def test_only_what_is_one_of_its_parts_is_not_clipped(text, clipped):
    assert ("CASE WHEN round(" in text_of(text)) is clipped


def test_bounds_of_a_plan_that_are_tighter_than_its_column_clip(tmp_path):
    plan = plan_of("SELECT SUM(amount) FROM orders")
    (total,) = plan.child.aggregates
    tight = replace(total, values=(replace(total.values[0], low=100, high=1000),))
    plan = replace(plan, child=replace(plan.child, aggregates=(tight,)))
    path = written([{"customer_id": n, "amount": a} for n, a in enumerate([0, 5, 400])], tmp_path)
    sums = [
        partial.evaluate(plan, CONTRACT, path, SeededEntropy(1), prepared=one).values
        for one in (copied(path), None)
    ]
    assert sums == [(100 + 500 + 1000,)] * 2


def test_sums_that_doubles_cannot_hold_are_added_as_whole_numbers():
    text = "SELECT SUM(amount) FROM orders"
    assert "BIGINT" not in text_of(text, rows=(1 << 53) // 50_000)
    assert "BIGINT" in text_of(text, rows=(1 << 53) // 50_000 + 1)
    assert "BIGINT" in text_of("SELECT SUM(amount), VAR_POP(amount) FROM orders")


# -- which rows stay ------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 12), st.integers(0, 99))
def test_of_every_unit_as_many_rows_stay_as_the_bound_allows(sizes, most, seed):
    stays = chosen(np.array(sizes, np.int64), most, SeededEntropy(seed))
    parts = np.split(stays, np.cumsum(sizes)[:-1]) if sizes else []
    assert len(stays) == sum(sizes)
    assert [int(part.sum()) for part in parts] == [min(size, most) for size in sizes]


@pytest.mark.parametrize(("size", "most"), [(5, 2), (5, 3), (6, 1), (6, 5)])
def test_every_choice_is_as_likely(size, most):
    draws, ways = 40_000, math.comb(size, most)
    stays = chosen(np.full(draws, size), most, SeededEntropy(3)).reshape(draws, size)
    names, counts = np.unique(stays @ (1 << np.arange(size)), return_counts=True)
    assert len(names) == ways
    expected = draws / ways
    # the square of a deviation has mean (1 - 1/ways) expected; 6 standard deviations of chi-square
    assert ((counts - expected) ** 2 / expected).sum() < ways - 1 + 6 * math.sqrt(2 * (ways - 1))


class Words:
    def __init__(self, *words):
        self._words = list(words)

    def bytes(self, count):
        made, self._words = self._words[: count // 8], self._words[count // 8 :]
        return b"".join(word.to_bytes(8, "little") for word in made)


def test_a_word_that_would_make_the_first_places_likelier_is_drawn_again():
    drawn_places = np.zeros(3, np.bool_)
    one, of = np.array([0]), np.array([3])
    choosing._draw(drawn_places, one, of, np.array([1]), Words((1 << 64) - 1, 2 << 1))
    assert drawn_places.tolist() == [False, False, True]


# -- what is no copy ------------------------------------------------------------------------------


def test_a_copy_is_its_owners_alone_and_holds_no_row_of_nobody(tmp_path):
    copy = copied(written(some(), tmp_path))
    assert {path.name for path in copy.folder.iterdir()} == {*prepared.FILES, prepared.MANIFEST}
    assert {path.stat().st_mode & 0o777 for path in copy.folder.iterdir()} == {0o600}
    assert (copy.light, copy.heavy) == (3, 11)
    light, heavy, _ = copy.paths
    owners = [owner for _, owner in noted(heavy)]
    assert owners == sorted(owners) and set(owners) == {0, 1}
    assert {owner for _, owner in noted(light)} == {2}


def spoil(path):
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def garble(path):
    path.write_text("{")


@pytest.mark.parametrize("name", [*prepared.FILES, prepared.MANIFEST])
@pytest.mark.parametrize("how", [spoil, garble, lambda path: path.unlink()])
def test_a_copy_that_is_not_as_it_was_left_is_none(tmp_path, name, how):
    copy = copied(written(some(), tmp_path))
    how(copy.folder / name)
    assert found(copy.folder) is None


def test_a_copy_that_cannot_be_read_costs_no_answer(tmp_path):
    path, plan = written(some(), tmp_path), plan_of(PLAIN[1])
    copy = copied(path)
    copy.paths[0].write_bytes(b"no table")
    with_copy, without = (
        partial.evaluate(plan, CONTRACT, path, SeededEntropy(5), prepared=one)
        for one in (copy, None)
    )
    assert sum(with_copy.values[:3]) == sum(without.values[:3]) == 9


def test_a_partial_asks_for_the_copy_of_the_state_that_is_paid_for(tmp_path, monkeypatch):
    from tests.unit import test_query_flow as flow

    path, asked = written([{"customer_id": 1, "category": "home"}], tmp_path), []
    monkeypatch.setattr(partial, "_from_copy", lambda _, sources, *__: asked.append(sources[0]))
    event = flow.pricing.price(flow.PLAN, "2")
    copy = Prepared(tmp_path, 1, 0)
    partial.noisy_partial(
        flow.PLAN,
        "2",
        contracts=(flow.CONTRACT,),
        readables=(Readable._mint(path, stamp_of(path), None),),
        permit=flow.Permit._mint(None, "law"),
        reservation=flow.Reservation._mint(
            "q", (flow.Charge(flow.scope_of("orders", [flow.CONTRACT]), event, 1),)
        ),
        entropy=SeededEntropy(1),
        prepared=lambda *of: copy if of == (flow.CONTRACT, path, stamp_of(path)) else None,
    )
    assert [source.prepared for source in asked] == [copy]
