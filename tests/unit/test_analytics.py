"""A node's partial: bounded, clipped, total, and equal to an independent computation."""

import datetime
import math
import pickle
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest

from clients.errors import ComputeError
from clients.queries import partial
from federation.queries import parse, pricing
from federation.queries.sensitivity import change, measures
from tests.orders_table import COHORT, contract, frame, write
from tests.seeded import SeededEntropy

GROUPED = "SELECT category, COUNT(*), SUM(amount), AVG(balance) FROM orders GROUP BY category"


def plan_of(text, rows=3):
    return parse.parse(text, {"orders": contract(rows)}, COHORT)


def exact(text, rows, folder, bound=3, seed=1):
    plan = plan_of(text, bound)
    path = write(rows, folder)
    return partial.evaluate(plan, contract(bound), path, SeededEntropy(seed)).values


def some_rows(count=200):
    categories = ["home", "toys", "garden", "unknown", None]
    return [
        {
            "customer_id": number % 90,
            "amount": (number * 7919 % 60_000) / 100,
            "balance": number % 50 - 30,
            "category": categories[number % 5],
            "hour": number % 3,
            "note": ["a", "b", "it's"][number % 3],
            "gift": [True, False, None][number % 3],
            "day": datetime.date(2025, 1, 1 + number % 28),
        }
        for number in range(count)
    ]


def by_pandas(table: pd.DataFrame) -> tuple[int, ...]:
    """The answer to GROUPED, computed another way."""
    numbers = defaultdict(int)
    for row in table.to_dict("records"):
        if not isinstance(row["category"], str):
            continue
        numbers["rows", row["category"]] += 1
        numbers["amount", row["category"]] += min(50_000, max(0, round(row["amount"] * 100)))
        numbers["balance", row["category"]] += min(10, max(-20, row["balance"]))
    order = ["rows", "amount", "rows", "balance"]
    return tuple(numbers[kind, cell] for kind in order for cell in ("home", "toys", "garden"))


def test_the_partial_equals_pandas_on_bounded_data(tmp_path):
    rows = some_rows()
    assert max(Counter(row["customer_id"] for row in rows).values()) <= 3
    assert exact(GROUPED, rows, tmp_path) == by_pandas(frame(rows))


CONDITIONS = {
    "amount > 100.5": lambda r: r["amount"] > 100.5,
    "100.50 >= amount": lambda r: r["amount"] <= 100.5,
    "balance BETWEEN -5 AND 5": lambda r: -5 <= r["balance"] <= 5,
    "gift = TRUE": lambda r: r["gift"] is True,
    "gift <> TRUE": lambda r: r["gift"] is False,
    "note = 'it''s'": lambda r: r["note"] == "it's",
    "category IN ('home', 'toys')": lambda r: r["category"] in {"home", "toys"},
    # what is outside the public domain is NULL
    "category <> 'home'": lambda r: r["category"] in {"toys", "garden"},
    "NOT category = 'home' AND note LIKE 'it%'": lambda r: (
        r["category"] in {"toys", "garden"} and r["note"] == "it's"
    ),
    "day < DATE '2025-01-10' AND (hour = 0 OR note = 'b')": lambda r: (
        r["day"].day < 10 and (r["hour"] == 0 or r["note"] == "b")
    ),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_means_what_python_means_by_it(condition, tmp_path):
    rows = some_rows()
    expected = sum(map(CONDITIONS[condition], rows))
    assert 0 < expected < len(rows)
    assert exact(f"SELECT COUNT(*) FROM orders WHERE {condition}", rows, tmp_path) == (expected,)


def test_the_bound_comes_after_the_filter_and_before_the_sum(tmp_path):
    rows = [{"customer_id": 1, "hour": n % 2, "amount": 10.0} for n in range(20)]
    rows += [{"customer_id": 2, "hour": 1, "amount": 1.0}]
    both = "SELECT hour, COUNT(*), SUM(amount) FROM orders GROUP BY hour"
    counts = exact(both, rows, tmp_path)
    assert sum(counts[:2]) == 4
    assert sum(counts[2:]) == 3 * 1000 + 100
    filtered = "SELECT COUNT(*), SUM(amount) FROM orders WHERE hour = 1"
    assert exact(filtered, rows, tmp_path) == (4, 3100)


def test_which_rows_pass_is_chance_and_depends_on_the_unit_alone(tmp_path):
    rows = [{"customer_id": 1, "balance": n % 11} for n in range(40)]
    others = [{"customer_id": 2 + n, "balance": 0} for n in range(10)]
    text = "SELECT SUM(balance) FROM orders"
    first = {exact(text, rows, tmp_path, seed=seed) for seed in range(12)}
    assert len(first) > 3
    for seed in range(4):
        alone = exact(text, rows, tmp_path, seed=seed)
        assert exact(text, others[:5] + rows + others[5:], tmp_path, seed=seed) == alone


def test_every_row_of_a_unit_is_as_likely(tmp_path):
    rows = [{"customer_id": unit, "balance": n} for unit in range(300) for n in range(4)]
    plan = plan_of("SELECT SUM(balance) FROM orders", 1)
    path = write(rows, tmp_path)
    total = partial.evaluate(plan, contract(1), path, SeededEntropy(5)).values[0]
    # 300 draws from {0,1,2,3}: mean 450, standard deviation 19.4
    assert abs(total - 450) < 5 * 19.4


@pytest.mark.parametrize(
    "broken",
    [
        {"amount": math.nan},
        {"amount": math.inf},
        {"amount": None},
        {"amount": 1e300},
        {"amount": -1e300},
        {"balance": None},
        {"customer_id": None},
        {"category": None},
    ],
)
def test_one_odd_row_never_becomes_an_error(broken, tmp_path):
    rows = some_rows(20)
    values = exact(GROUPED, [*rows, {"customer_id": 1000, **broken}], tmp_path)
    assert len(values) == 12
    assert all(isinstance(value, int) for value in values)


def test_a_value_beyond_its_bounds_is_clipped_and_a_missing_one_is_not_counted(tmp_path):
    rows = [{"customer_id": n, "amount": a} for n, a in enumerate([1e9, -5.0, math.nan, 2.0])]
    text = "SELECT AVG(amount), COUNT(*) FROM orders"
    assert exact(text, rows, tmp_path) == (3, 50_000 + 0 + 200, 4)


def test_a_query_may_bound_a_value_more_tightly(tmp_path):
    rows = [{"customer_id": n, "amount": a} for n, a in enumerate([450.0, 20.5, None, -3.0])]
    text = "SELECT SUM(LEAST(amount, 30)) FROM orders"
    assert exact(text, rows, tmp_path) == (3000 + 2050,)


def test_a_cell_that_nobody_falls_into_is_zero_and_still_there(tmp_path):
    rows = [{"category": "toys"}]
    text = "SELECT category, COUNT(*) FROM orders GROUP BY category"
    assert exact(text, rows, tmp_path) == (0, 1, 0)
    text = "SELECT category, SUM(amount) FROM orders WHERE hour = 1 GROUP BY category"
    assert exact(text, rows, tmp_path) == (0, 0, 0)


def test_a_file_that_is_no_table_is_one_sentence(tmp_path):
    path = tmp_path / "orders.parquet"
    path.write_bytes(b"secret 12345")
    plan = plan_of("SELECT COUNT(*) FROM orders")
    with pytest.raises(ComputeError) as failure:
        partial.evaluate(plan, contract(), path, SeededEntropy(1))
    assert "12345" not in str(failure.value)


def test_the_connection_reaches_nothing_else(tmp_path):
    import duckdb

    path = write(some_rows(5), tmp_path)
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n")
    with duckdb.connect(":memory:") as connection:
        partial.lock(connection, path)
        assert connection.execute("SELECT count(*) FROM read_parquet(?)", [str(path)]).fetchone()
        for text in (
            f"SELECT * FROM read_csv('{other}')",
            f"COPY (SELECT 1) TO '{tmp_path / 'out.csv'}'",
            "SET threads = 2",
            "INSTALL httpfs",
            "LOAD httpfs",
            f"ATTACH '{tmp_path / 'x.db'}'",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(text)


def test_an_exact_partial_neither_prints_nor_travels(tmp_path):
    path = write(some_rows(5), tmp_path)
    plan = plan_of("SELECT COUNT(*) FROM orders")
    exact_sums = partial.evaluate(plan, contract(), path, SeededEntropy(1))
    assert repr(exact_sums) == "LocalPartial()"
    with pytest.raises(TypeError):
        pickle.dumps(exact_sums)
    with pytest.raises(TypeError):
        partial.NoisyPartial((1,), None)


def test_noise_has_the_scale_of_the_sensitivity():
    plan = plan_of("SELECT category, COUNT(*), SUM(amount) FROM orders GROUP BY category")
    zero = partial.LocalPartial((0,) * 6)
    draws = [partial.add_noise(zero, plan, "2", SeededEntropy(n)) for n in range(700)]
    for place, sigma in ((0, 6), (3, 300_000)):
        values = [draw[place + k] for draw in draws for k in range(3)]
        spread = math.sqrt(sum(v * v for v in values) / len(values))
        assert abs(spread / sigma - 1) < 0.08
    assert [change(plan, measure) for measure in measures(plan)] == [3, 150_000]


@pytest.mark.parametrize("draw", [-(10**30), -(65 * 6), -1, 0, 65 * 6, 10**30])
@pytest.mark.parametrize("exact", [-(1 << 32), -400, 0, 400, 1 << 32])
def test_what_holds_a_noisy_number_looks_at_that_number_alone(monkeypatch, exact, draw):
    """Noise that were held on its own would show the exact number: that is no post-processing."""
    plan = plan_of("SELECT COUNT(*) FROM orders")
    most = pricing.reach(plan, "2")
    drawn = np.array([draw], dtype=object)
    monkeypatch.setattr(partial, "discrete_gaussian", lambda *_: drawn)
    found = partial.add_noise(partial.LocalPartial((exact,)), plan, "2", SeededEntropy(1))
    assert found == (max(-most, min(most, exact + draw)),)
