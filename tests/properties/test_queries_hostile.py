"""A row with hostile values never changes how a question ends: no error, and as many numbers.

What a table holds may be of another type than its contract promises, or as large as its type
allows; questions of the suite are asked of it, drawn anew each time.
"""

import datetime
import math

import duckdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.queries.compile import compile_joined, compile_plan, vector
from clients.queries.relations import Table
from federation.queries import parse
from federation.queries.sensitivity import measures, sum_reach, width
from federation.queries.tree import reads
from tests import queries_cases, queries_joined, queries_table
from tests.orders_table import COHORT

ALONE = queries_table.contract()
TOGETHER = queries_joined.contracts()
TEXTS = [
    "",
    " ",
    "nan",
    "-inf",
    "1e400",
    "2025-02-30",
    "0000-00-00",
    "9" * 40,
    "\x01",
    "é\u202e",
    "%",
]
FLOATS = [
    0.0,
    -0.0,
    5e-324,
    1.7e308,
    -1.7e308,
    math.nan,
    math.inf,
    -math.inf,
    0.1,
    9007199254740993,
]
WHOLE = [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1]
DAYS = ["infinity", "-infinity", "0001-01-01", "9999-12-31", "290000-01-01", "5000-01-01 (BC)"]
KINDS = {
    "DOUBLE": [None, *FLOATS],
    "BIGINT": [None, *WHOLE],
    "HUGEINT": [None, 2**126, -(2**126), 0],
    "VARCHAR": [None, *TEXTS],
    "BOOLEAN": [None, True, False],
    "DATE": [None, *DAYS, datetime.date(2025, 1, 1)],
    "TIMESTAMP": [None, "infinity", "294247-01-10 04:00:54", "290309-12-22 (BC) 00:00:00"],
    "BLOB": [None, b"\x00\xff", b""],
    "DECIMAL(38, 10)": [None, 10**27, -1],
}
KIND_OF = {
    "integer": ["BIGINT", "HUGEINT", "VARCHAR", "DOUBLE", "DECIMAL(38, 10)"],
    "float": ["DOUBLE", "HUGEINT", "VARCHAR", "DECIMAL(38, 10)"],
    "string": ["VARCHAR", "BLOB", "BIGINT"],
    "boolean": ["BOOLEAN", "VARCHAR", "BIGINT"],
    "date": ["DATE", "VARCHAR", "TIMESTAMP"],
    "timestamp": ["TIMESTAMP", "VARCHAR", "DATE"],
}


@st.composite
def table(draw, name, columns):
    """Return how a hostile table is made: its columns' types, and some rows."""
    kinds = {column: draw(st.sampled_from(KIND_OF[kind])) for column, kind in columns}
    rows = draw(
        st.lists(
            st.tuples(*(st.sampled_from(KINDS[kind]) for kind in kinds.values())),
            min_size=1,
            max_size=4,
        )
    )
    return name, kinds, rows * draw(st.integers(1, 4))


def made(connection, name, kinds, rows):
    columns = ", ".join(f'"{column}" {kind}' for column, kind in kinds.items())
    connection.execute(f"CREATE TABLE {name} ({columns})")
    one = ", ".join(f"TRY_CAST(? AS {kind})" for kind in kinds.values())
    for row in rows:
        connection.execute(f"INSERT INTO {name} VALUES ({one})", row)


def ends_well(plan, made_of, tables):
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        for one in tables:
            made(connection, *one)
        parameters = {**made_of.parameters, "secret": "5e" * 32}
        found = vector(plan, connection.execute(made_of.text, parameters).fetchall())
    assert len(found) == width(plan)
    assert all(abs(x) <= max(map(sum_reach, measures(plan))) for x in found)


QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
ONE = [(c.name, c.type) for c in ALONE.columns if not c.optional]
BOTH = {name: [(c.name, c.type) for c in agreed.columns] for name, agreed in TOGETHER.items()}


@QUICK
@given(case=st.sampled_from(queries_cases.CASES), orders=table("orders", ONE))
def test_a_hostile_table_is_answered_like_any_other(case, orders):
    plan = parse.parse(queries_cases.text(*case), {"orders": ALONE}, COHORT)
    ends_well(plan, compile_plan(plan, ALONE, frozenset(orders[1]), "orders", "rowid"), [orders])


@QUICK
@given(
    case=st.sampled_from(queries_joined.CASES),
    orders=table("orders", BOTH["orders"]),
    payments=table("payments", BOTH["payments"]),
)
def test_hostile_tables_are_joined_like_any_others(case, orders, payments):
    plan = parse.parse(queries_joined.text(case), TOGETHER, COHORT)
    tables = {name: Table(frozenset(dict(BOTH[name])), name, "rowid") for name in reads(plan)}
    ends_well(plan, compile_joined(plan, TOGETHER, tables), [orders, payments])
