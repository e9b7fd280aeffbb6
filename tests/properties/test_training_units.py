"""One unit more or less in the raw table changes no training row of another unit; nothing raises.

Tables are written as Parquet and read as a node reads them: with gaps, huge numbers, moments
far outside every calendar, text that is not UTF-8, and column types that a contract allows.
"""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.errors import ComputeError
from clients.tables import conform_table
from clients.training.demand import features_of
from clients.training.fraud import FEATURES
from clients.training.tables import load_rows
from experiments.ordering import published_contracts
from federation.errors import MalformedOrderError
from federation.models import ModelSpec
from federation.tasks import TrainingTask, require_unit
from policies.contracts import load_contract
from secure_compute.entropy import SystemEntropy
from tests.simulator import fraud_recipe, recipe

WINDOW = 3
CONTRACTS = published_contracts()
FRAUD = TrainingTask("fraud", 1, 0, fraud_recipe())
DEMAND = TrainingTask(
    "demand", 1, 0, recipe(model=ModelSpec((len(features_of(WINDOW)), 1)), window=WINDOW)
)
HUGE = 2**53
START = 1_735_689_600_000_000  # 2025-01-01
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

moments = st.one_of(
    st.none(),
    st.integers(START, START + 40 * 86_400_000_000),
    st.sampled_from([START, START + 1, -(2**63) + 1, 2**63 - 1, 0, -1, 4 * 10**15, 2**62]),
)
numbers = st.one_of(
    st.none(), st.floats(0, 600, width=32), st.sampled_from([np.nan, np.inf, -1e300, 1e300, -0.0])
)
flags = st.sampled_from([0, 1, 1, None, -7, 2**62])
countries = st.sampled_from([b"DE", b"GB", b"ZZ", b"\xff\xfe", None])
customers = st.sampled_from([1, 2, 3, HUGE, HUGE + 1, -(2**63), 2**63 - 1, None])
others = st.sampled_from([1, 2, HUGE, HUGE + 1, None])
orders = st.lists(
    st.tuples(
        customers, moments, numbers, others, countries, countries, countries, flags, flags, moments
    ),
    min_size=1,
    max_size=25,
)
NAMES = ("customer_id", "ts", "amount", "counterparty_id", "ship_country", "ip_country",
         "card_country", "first_order", "label_fraud", "label_ts")  # fmt: skip
KINDS = {
    "customer_id": pa.int64(),
    "ts": pa.timestamp("us"),
    "amount": pa.float64(),
    "counterparty_id": pa.int64(),
    "first_order": pa.int64(),
    "label_fraud": pa.int64(),
    "label_ts": pa.timestamp("us"),
}


def text(values: list[bytes | None]) -> pa.Array:
    """Return a column that says it is text, whatever its bytes."""
    return pa.array(values, pa.binary()).view(pa.string())


def orders_file(rows: list[tuple], path, kinds=KINDS):
    columns = {
        name: pa.array(values, kinds[name]) if name in kinds else text(list(values))
        for name, values in zip(NAMES, zip(*rows, strict=True), strict=True)
    }
    columns |= {
        "order_id": pa.array(range(len(rows)), pa.int64()),
        "category": text([b"home"] * len(rows)),
    }
    pq.write_table(pa.table(columns), path, store_schema=True)
    conform_table(CONTRACTS["orders"], path)
    return path


def fraud_units(rows: list[tuple], path, kinds=KINDS) -> list[tuple]:
    """Return every unit's rows as bytes, units in no order."""
    if not rows:
        return []
    laid = load_rows(FRAUD, CONTRACTS["orders"], orders_file(rows, path, kinds), SystemEntropy())
    assert np.isfinite(laid.features).all() and np.abs(laid.features).max(initial=0) < 100
    return sorted(
        tuple(sorted((laid.features[u, k].tobytes(), laid.targets[u, k]) for k in here))
        for u in range(len(laid))
        for here in [np.flatnonzero(laid.present[u])]
    )


@QUICK
@given(rows=orders, gone=customers)
def test_a_customer_less_changes_no_row_of_another(rows, gone, tmp_path):
    rows = _few_rows_each(rows)
    before = fraud_units(rows, tmp_path / "t.parquet")
    after = fraud_units([row for row in rows if row[0] != gone], tmp_path / "t.parquet")
    for unit in after:
        before.remove(unit)  # raises if another's rows changed by a bit
    assert len(before) <= (gone is not None)


def _few_rows_each(rows: list[tuple]) -> list[tuple]:
    """Keep so few rows of each customer that none is left out by chance."""
    seen: dict[object, int] = {}
    for row in rows:
        seen[row[0]] = seen.get(row[0], 0) + 1
    return [row for row in rows if row[0] is None or seen[row[0]] <= FRAUD.recipe.rows_per_unit]


def row_of(customer, ts, other=1):
    return (customer, ts, 20.0, other, b"DE", b"DE", b"DE", 0, 0, None)


@pytest.mark.parametrize("odd", [-(2**63) + 1, 2**63 - 1, 2**62, -(2**62), None, 0])
def test_one_odd_moment_is_one_customers_own_affair(odd, tmp_path):
    many = [row_of(c, START + c * 1000 + k * 86_400_000_000) for c in range(300) for k in range(3)]
    before = fraud_units(many, tmp_path / "t.parquet")
    after = fraud_units([*many, row_of(999, odd)], tmp_path / "t.parquet")
    for unit in before:
        after.remove(unit)
    assert len(after) == (odd is not None)


def test_a_gap_in_the_ids_makes_no_two_customers_one(tmp_path):
    rows = [row_of(HUGE, START), row_of(HUGE + 1, START)]
    assert len(fraud_units(rows, tmp_path / "t.parquet")) == 2
    assert len(fraud_units([*rows, row_of(None, START)], tmp_path / "t.parquet")) == 2


def test_a_row_without_a_counterparty_has_no_history_with_it(tmp_path):
    rows = [row_of(1, START + k, None) for k in range(3)] + [row_of(2, START)]
    place = list(FEATURES).index("pair_count_7d")
    laid = load_rows(
        FRAUD, CONTRACTS["orders"], orders_file(rows, tmp_path / "t.parquet"), SystemEntropy()
    )
    assert len(set(laid.features[laid.present][:, place].tolist())) == 1


@pytest.mark.parametrize(
    "kinds",
    [
        {"customer_id": pa.uint64(), "counterparty_id": pa.int8()},
        {"ts": pa.timestamp("s"), "label_ts": pa.timestamp("ns")},
        {"ts": pa.timestamp("ms", tz="Asia/Shanghai"), "label_ts": pa.timestamp("us", tz="UTC")},
        {"amount": pa.decimal128(20, 4), "first_order": pa.int8()},
        {"amount": pa.float32(), "label_fraud": pa.uint8()},
        {"amount": pa.int32(), "customer_id": pa.dictionary(pa.int32(), pa.int64())},
    ],
    ids=str,
)
def test_every_type_that_conforms_is_read(kinds, tmp_path):
    shrink = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}
    rows = [list(row_of(c, START)) for c in (1, 2, 2, 3)] + [[None] * 10]
    kinds = KINDS | kinds
    for row in rows:
        if row[1] is not None:
            row[1] //= shrink[kinds["ts"].unit]
            row[2] = Decimal(20) if pa.types.is_decimal(kinds["amount"]) else 20
    assert len(fraud_units([tuple(row) for row in rows], tmp_path / "t.parquet", kinds)) == 3


weeks = st.one_of(st.integers(0, 9), st.sampled_from([None, HUGE, HUGE + 1, -(2**63), 2**63 - 1]))
retailers = st.sampled_from([b"a", b"b", b"\xff", b"\xfe", b"", None])
sales = st.lists(
    st.tuples(retailers, weeks, numbers, numbers, numbers), min_size=1, max_size=40
)  # fmt: skip


def demand_units(rows: list[tuple], path, phase: int) -> dict[bytes, int]:
    """Return the step's rows as bytes, and how often each stands there."""
    found: dict[bytes, int] = {}
    if not rows:
        return found
    names, when, *values = zip(*rows, strict=True)
    columns = {"retailer": text(list(names)), "week": pa.array(when, pa.int64())}
    for name, column in zip(("volume", "display", "price"), values, strict=True):
        columns[name] = pa.array(column, pa.float64())
    pq.write_table(pa.table(columns), path)
    conform_table(CONTRACTS["demand"], path)
    laid = load_rows(DEMAND, CONTRACTS["demand"], path, SystemEntropy())
    assert np.isfinite(laid.features).all() and np.isfinite(laid.targets).all()
    for unit in np.flatnonzero(laid.phase == phase):
        row = laid.features[unit].tobytes() + laid.targets[unit].tobytes()
        found[row] = found.get(row, 0) + 1
    return found


@QUICK
@given(rows=sales, gone=st.tuples(retailers, weeks), phase=st.integers(0, WINDOW - 1))
def test_a_retailer_week_less_takes_at_most_one_row_of_a_step(rows, gone, phase, tmp_path):
    dense = [(b"c", week, 10.0 + week, 0.1, 2.0) for week in range(9)]
    rows = [*rows, *dense]
    gone = gone if gone[0] is not None else (b"c", 4)
    before = demand_units(rows, tmp_path / "t.parquet", phase)
    rest = [row for row in rows if row[:2] != gone]
    after = demand_units(rest, tmp_path / "t.parquet", phase)
    assert all(before.get(row, 0) >= count for row, count in after.items())
    assert sum(before.values()) - sum(after.values()) <= 1


def test_a_contract_of_another_unit_is_refused_before_a_row_is_read(tmp_path):
    nowhere = tmp_path / "no such file"
    for task, name in ((FRAUD, "demand"), (DEMAND, "orders")):
        with pytest.raises(MalformedOrderError, match="hides one"):
            load_rows(task, CONTRACTS[name], nowhere, SystemEntropy())
    for task, rows in ((DEMAND, 2), (FRAUD, 9)):
        more = TrainingTask(task.model, 1, 0, recipe(rows_per_unit=rows))
        name = "demand" if task is DEMAND else "orders"
        with pytest.raises(MalformedOrderError, match="rows_per_unit"):
            require_unit(more, CONTRACTS[name])


def test_a_contract_of_other_columns_is_refused_before_a_row_is_read(tmp_path):
    source = (
        'name = "orders"\nversion = 1\ntable = "o.parquet"\nsubjects = "c"\n'
        '[unit]\nkind = "customer"\ncolumns = ["customer_id"]\nrows = 8\n'
        '[limit]\nepsilon = "1"\ndelta = "1e-6"\nwindow = "2025"\n'
        '[[columns]]\nname = "customer_id"\ntype = "integer"\ngrade = "S3"\n'
    )
    with pytest.raises(ComputeError, match="counterparty_id"):
        load_rows(FRAUD, load_contract(source), tmp_path / "no such file", SystemEntropy())
