"""By what rows are known again."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.rowkeys import key_columns, row_keys
from policies.contracts import load_contract
from tests.ingested import ALSO, TEXT, contract


def keys_of(table, path, one=None):
    pq.write_table(table, path)
    found = row_keys(one or contract(), path, b"s" * 32)
    return [found[n : n + 16] for n in range(0, len(found), 16)]


def test_the_units_columns_are_part_of_every_key():
    assert key_columns(contract()) == ("customer_id", "order_id")
    assert key_columns(contract(key="", also=ALSO)) == ("amount", "customer_id", "day", "order_id")


def test_a_key_does_not_depend_on_how_the_file_holds_it(tmp_path):
    plain = pa.table({"order_id": [1, 2], "customer_id": pa.array([7, None], pa.int64())})
    other = pa.table(
        {
            "customer_id": pa.array([7, None], pa.int32()),
            "amount": [1.0, 2.0],
            "order_id": pa.array([1, 2], pa.uint8()).dictionary_encode(),
        }
    )
    assert keys_of(plain, tmp_path / "a") == keys_of(other, tmp_path / "b")


def test_another_secret_gives_other_keys(tmp_path):
    pq.write_table(pa.table({"order_id": [1], "customer_id": [1]}), tmp_path / "a")
    first, second = (row_keys(contract(), tmp_path / "a", s * 32) for s in (b"a", b"b"))
    assert len(first) == 16 and first != second


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.none() | st.binary(max_size=4)] * 2), min_size=2, max_size=12))
def test_two_rows_have_one_key_exactly_when_they_are_equal(tmp_path_factory, values):
    """Also where text is not UTF-8, holds separators, or is absent."""
    text = TEXT.replace("KEY", 'key = ["note", "mark"]').replace("ALSO", "")
    for name in ("note", "mark"):
        text += f'[[columns]]\nname = "{name}"\ntype = "string"\ngrade = "S2"\n'
    one = load_contract(text)
    columns = [pa.array([row[n] for row in values], pa.binary()) for n in (0, 1)]
    table = pa.table(
        {
            "customer_id": [1] * len(values),
            "note": columns[0].view(pa.string()),
            "mark": columns[1].view(pa.string()),
        }
    )
    found = keys_of(table, tmp_path_factory.mktemp("keys") / "t", one)
    for x, first in zip(values, found, strict=True):
        for y, second in zip(values, found, strict=True):
            assert (x == y) == (first == second)


def test_odd_values_stop_nothing(tmp_path):
    every = contract(key='key = ["amount", "day"]')
    table = pa.table(
        {
            "customer_id": pa.array([1, 1, 1], pa.int64()),
            "amount": pa.array([float("nan"), float("inf"), None]),
            "day": pa.array([2**31 - 1, -(2**31), None], pa.int32()).view(pa.date32()),
        }
    )
    assert len(set(keys_of(table, tmp_path / "odd", every))) == 3


@pytest.mark.parametrize(
    "kind",
    [
        pa.timestamp("s"),
        pa.timestamp("ms", tz="Asia/Shanghai"),
        pa.timestamp("us", tz="UTC"),
        pa.timestamp("ns"),
        pa.uint64(),
        pa.int8(),
        pa.decimal128(20, 4),
        pa.float32(),
        pa.float16(),
        pa.bool_(),
        pa.date64(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
    ],
    ids=str,
)
def test_every_type_has_keys(kind, tmp_path):
    types = {"t": "timestamp", "u": "integer", "i": "integer", "b": "boolean"}
    named = "date" if "date" in str(kind) else types.get(str(kind)[0], "string")
    named = "float" if pa.types.is_decimal(kind) or pa.types.is_floating(kind) else named
    text = TEXT.replace("KEY", 'key = ["odd"]').replace("ALSO", "")
    one = load_contract(f'{text}[[columns]]\nname = "odd"\ntype = "{named}"\ngrade = "S2"\n')
    textual = named == "string"
    step = 1000 if str(kind) == "timestamp[ns]" else 1  # below a microsecond it is one moment
    values = ["a", "b", None, "a"] if textual else [0, step, None, 0]
    if pa.types.is_date(kind):
        values = [datetime.date(2025, 1, 1), datetime.date(2025, 1, 2), None] * 2
        values = [values[n] for n in (0, 1, 2, 0)]
    if pa.types.is_boolean(kind):
        values = [False, True, None, False]
    table = pa.table({"customer_id": [1] * 4, "odd": pa.array(values, kind)})
    found = keys_of(table, tmp_path / "odd", one)
    assert found[0] == found[3] and len(set(found)) == 3


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_moments_at_the_end_of_the_range_stop_nothing(unit, tmp_path):
    text = TEXT.replace("KEY", 'key = ["at"]').replace("ALSO", "")
    one = load_contract(f'{text}[[columns]]\nname = "at"\ntype = "timestamp"\ngrade = "S2"\n')
    ends = pa.array([2**63 - 1, -(2**63), 0], pa.int64()).view(pa.timestamp(unit))
    table = pa.table({"customer_id": [1] * 3, "at": ends})
    assert len(keys_of(table, tmp_path / "odd", one)) == 3


def test_a_million_rows_are_taken_in(folder):
    count = 1_000_000
    table = pa.table(
        {
            "order_id": np.arange(count),
            "customer_id": np.arange(count) % 50_000,
            "amount": np.ones(count),
            "day": pa.array(np.zeros(count, np.int32)).view(pa.date32()),
        }
    )
    pq.write_table(table, folder.path / "orders.parquet")
    folder.start()
    assert folder.readable("2025").positions is None
