"""Total expressions stay within their public bounds; one customer stays within the sensitivity."""

import datetime
import math

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.queries.scalars import Scalars
from federation.errors import UnsupportedQueryError
from federation.queries import expressions, parse
from federation.queries.expressions import Call, Column, Literal
from federation.queries.functions import FUNCTIONS
from federation.queries.kinds import Kind, days, domain_of, number
from federation.queries.scope import MAX_COPIES, copies, kind_of
from federation.queries.sensitivity import absolute, change, layout, measures, squared
from tests.orders_table import COHORT
from tests.queries_table import contract, database, partial

LARGE = [0.0, 1.0, -1.0, 0.5, 1e17, 1e300, -1e308, 5e-324, 2.5, -0.49999999999999994]
SCOPE = {
    "bounded": number((-3.0, 7.5)),
    "whole": number((0.0, 4.0), whole=True),
    "open": number(),
    "text": Kind(type="text"),
    "named": Kind(type="text", domain=("a", "Ab", "2.5")),
    "flag": Kind(type="boolean"),
    "day": days("date"),
    "stamp": days("timestamp"),
}
FIRST, LAST = datetime.date(1, 1, 1), datetime.date(9999, 12, 31)
VALUES = {
    "bounded": st.sampled_from([None, -3.0, 7.5, 0.0, 2.5, -0.1]),
    "whole": st.sampled_from([None, 0.0, 1.0, 4.0]),
    "open": st.sampled_from([None, *LARGE]),
    "text": st.sampled_from([None, "", "a", "12", "-1e308", "nan", "inf", "1e400", "2025-02-29"]),
    "named": st.sampled_from([None, "a", "Ab", "2.5"]),
    "flag": st.sampled_from([None, True, False]),
    "day": st.sampled_from([None, FIRST, LAST, datetime.date(2024, 2, 29)]),
    "stamp": st.sampled_from(
        [
            None,
            datetime.datetime.combine(FIRST, datetime.time(0)),
            datetime.datetime.combine(LAST, datetime.time(23, 59)),
            datetime.datetime.combine(datetime.date(2025, 3, 1), datetime.time(5)),
        ]
    ),
}
ROWS = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=6)
DUCK = {
    "number": "DOUBLE",
    "text": "VARCHAR",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
LITERALS = st.sampled_from(
    [
        *(Literal("number", text) for text in ("0", "1", "-2", "0.1", "100000000000000000", "2.5")),
        Literal("text", "a"),
        Literal("boolean", "true"),
        Literal("date", "2024-02-29"),
        Literal("timestamp", "2025-03-01 00:00:00"),
    ]
)
LEAVES = st.one_of(st.sampled_from([Column(name) for name in SCOPE]), LITERALS)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        Call, st.sampled_from(sorted(FUNCTIONS)), st.lists(inner, min_size=1, max_size=4).map(tuple)
    ),
    max_leaves=8,
)


def typed(expression):
    try:
        return kind_of(expression, SCOPE) if copies(expression, SCOPE) <= MAX_COPIES else None
    except UnsupportedQueryError:
        return None


NUMBERS = ["negate", "abs", "floor", "ceil", "round", "to_whole"]
DATED = ["year", "quarter", "month", "day", "weekday"]
TRUNCATED = [f"trunc_{unit}" for unit in ("day", "week", "month", "quarter", "year")]
DIFFERENCES = ["diff_day", "diff_month", "diff_year"]
ORDERS = ["lt", "le", "gt", "ge", "eq", "ne"]


@st.composite
def grown(draw, kind="any", depth=3):
    """Build a well-typed tree of one type, or of any."""
    if kind == "any":
        kind = draw(st.sampled_from(["number", "number", "number", "boolean", "text", "date"]))
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(LEAVES.filter(lambda leaf: kind_of(leaf, SCOPE).type == kind))

    def call(name, *kinds):
        return Call(name, tuple(draw(grown(kind=one, depth=depth - 1)) for one in kinds))

    calendar = draw(st.sampled_from(["date", "timestamp"]))
    shared = [("coalesce", kind, kind), ("case", "boolean", kind), ("case", "boolean", kind, kind)]
    made = {
        "number": [
            *((name, "number", "number") for name in ("add", "subtract", "multiply", "divide")),
            *((name, "number", "number") for name in ("divide", "multiply", "least", "greatest")),
            *((name, "number") for name in NUMBERS),
            *((name, calendar) for name in DATED),
            *((name, calendar, "date") for name in DIFFERENCES),
            ("hour", "timestamp"),
            ("to_number", "text"),
            ("to_number", "boolean"),
        ],
        "boolean": [
            *((name, one, one) for name in ORDERS for one in ("number", "date", "timestamp")),
            *((name, "text", "text") for name in ("eq", "ne", "starts_with")),
            ("in", "number", "number", "number"),
            ("in", "text", "text"),
            ("and", "boolean", "boolean"),
            ("or", "boolean", "boolean", "boolean"),
            ("not", "boolean"),
            *(("is_null", one) for one in DUCK),
        ],
        "text": [("lower", "text")],
        "date": [
            ("to_date", "text"),
            ("to_date", "timestamp"),
            *((n, calendar) for n in TRUNCATED),
        ],
        "timestamp": [],
    }
    return call(*draw(st.sampled_from(shared + made[kind])))


def by_duckdb(expression, rows):
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        columns = ", ".join(f"c{at} {DUCK[kind.type]}" for at, kind in enumerate(SCOPE.values()))
        connection.execute(f"CREATE TABLE t (nr INTEGER, {columns})")
        for place, row in enumerate(rows):
            connection.execute(
                f"INSERT INTO t VALUES ({', '.join('?' * 9)})",
                [place, *(row[name] for name in SCOPE)],
            )
        scalars = Scalars(SCOPE, {name: f"c{at}" for at, name in enumerate(SCOPE)})
        text = scalars.text(expression)
        return [
            x
            for (x,) in connection.execute(
                f"SELECT {text} FROM t ORDER BY nr", scalars.parameters
            ).fetchall()
        ]


def by_hand(expression, row):
    match expression:
        case Column(name):
            return row[name]
        case Literal():
            return expression.value
        case Call(name, arguments):
            return FUNCTIONS[name](*(by_hand(part, row) for part in arguments))


QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(expression=grown(), rows=ROWS)
def test_an_expression_never_raises_and_stays_within_its_bounds(expression, rows):
    kind = typed(expression)
    if kind is None:
        return
    domain = domain_of(kind)
    loose = any(
        isinstance(n, Call) and n.function in {"to_number", "to_date"}
        for n in expressions.walk(expression)
    )
    for value, row in zip(by_duckdb(expression, rows), rows, strict=True):
        if not loose:
            assert same(value, by_hand(expression, row))
        if value is None:
            continue
        if kind.type == "number":
            assert math.isfinite(value)
            assert kind.low <= value <= kind.high
            assert not kind.whole or value.is_integer()
        elif kind.type in {"date", "timestamp"}:
            assert kind.low <= value.toordinal() <= kind.high
        assert domain is None or value in domain


def same(value, expected):
    if isinstance(expected, datetime.date) and not isinstance(expected, datetime.datetime):
        return value == expected
    return value == expected and (value is None) == (expected is None)


@QUICK
@given(expression=TREES)
def test_any_tree_has_a_kind_or_a_sentence_and_one_spelling(expression):
    try:
        kind_of(expression, SCOPE)
    except UnsupportedQueryError as why:
        assert str(why)
    assert expressions.from_json(expressions.to_json(expression)) == expression


NEIGHBOUR_CASES = [
    "COUNT(*), COUNT(amount), COUNT(DISTINCT customer_id) FROM orders",
    "category, COUNT(*), COUNT(DISTINCT customer_id) FROM orders GROUP BY category",
    "SUM(amount), SUM(balance), AVG(LEAST(amount, 40)) FROM orders WHERE balance < 3",
    "category, SUM(amount * balance), SUM(amount / (hour - 5)) FROM orders GROUP BY category",
    "SUM(amount * LEAST(GREATEST(quantity, -1), 9)) FROM orders WHERE price / quantity > 0",
    "MONTH(day), VAR_POP(balance), VAR_SAMP(amount) FROM orders GROUP BY MONTH(day)",
    "CORR(amount, balance), LINEAR_REGRESSION(balance, hour, discount) FROM orders",
    "FLOOR(amount / 250) AS f, MEDIAN(balance), HISTOGRAM(amount, 5) FROM orders GROUP BY f",
    "SUM(LEAST(GREATEST(CAST(note AS DOUBLE), -2), 3)) FROM orders",
    "SUM(amount) FILTER (WHERE gift) FROM orders WHERE quantity / quantity = 1 OR note LIKE 'a%'",
]
ROW = st.tuples(
    st.integers(1, 3),
    st.sampled_from([None, 0.0, 40.0, 500.0, 1e9, -1e9, math.nan, math.inf]),
    st.sampled_from([None, 0, 1, -(2**63), 2**63 - 1]),
    st.sampled_from([None, 0.0, 1e308, -1e308, math.nan]),
    st.sampled_from([0.0, 0.5, 9.0]),
    st.sampled_from([-1000, -20, 0, 10, 1000]),
    st.sampled_from(["home", "toys", "unknown", None]),
    st.sampled_from([0, 1, 3, 99]),
    st.sampled_from([None, "a", "nan", "1e400", "2", "-1"]),
    st.sampled_from([True, False, None]),
    st.sampled_from([FIRST, datetime.date(2025, 7, 1), None, "infinity", "290000-01-01"]),
    st.none(),
    st.just(1),
)  # fmt: skip
TABLES = st.lists(
    st.tuples(ROW, st.integers(1, 6)).map(lambda pair: [pair[0]] * pair[1]), min_size=1, max_size=5
).map(lambda runs: [row for run in runs for row in run])


@pytest.mark.parametrize("query", NEIGHBOUR_CASES)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=TABLES, gone=st.integers(1, 3), bound=st.sampled_from([1, 2, 5]))
def test_one_customer_moves_no_measure_by_more_than_its_sensitivity(query, rows, gone, bound):
    agreed = contract(bound)
    plan = parse.parse(f"SELECT {query}", {"orders": agreed}, COHORT)
    with_all = layout(plan, partial(plan, database(rows), agreed))
    rest = [row for row in rows if row[0] != gone]
    without = layout(plan, partial(plan, database(rest), agreed))
    for measure in measures(plan):
        moved = [a - b for a, b in zip(with_all[measure], without[measure], strict=True)]
        assert sum(x * x for x in moved) <= squared(plan, measure) <= change(plan, measure) ** 2
        assert sum(map(abs, moved)) <= absolute(plan, measure)


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("SELECT category, COUNT(*), SUM(balance) FROM orders GROUP BY category", {"balance": -20}),
        ("SELECT VAR_POP(balance) FROM orders", {"balance": -20}),
        ("SELECT HISTOGRAM(balance, 4) FROM orders", {"balance": 0}),
    ],
)
def test_the_sensitivity_is_reached_by_one_customer_with_the_worst_rows(query, row):
    agreed = contract(4)
    plan = parse.parse(query, {"orders": agreed}, COHORT)
    one = (1, 1.0, 1, 1.0, 0.1, row["balance"], "home", 1, "a", True, FIRST, None, 1)
    found = layout(plan, partial(plan, database([one] * 9), agreed))
    for measure in measures(plan):
        assert sum(x * x for x in found[measure]) == squared(plan, measure)
