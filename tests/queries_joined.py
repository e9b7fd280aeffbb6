"""Two tables of one unit of privacy, and questions that join them, name relations or look back.

Customers of different parties differ, so that one database with all rows answers as if each party
had joined at home. `nr` numbers a table's rows: it says which joined row is which.
"""

import datetime
import random
from collections.abc import Sequence

import duckdb

from clients.queries.compile import compile_joined, vector
from clients.queries.relations import Table
from federation.queries.tree import Plan, reads
from policies.contracts import DataContract, load_contract
from tests.queries_table import SECRET

HEAD = (
    'name = "{}"\nversion = 1\ntable = "{}.parquet"\nsubjects = "customers"\n[unit]\n'
    'kind = "customer"\ncolumns = ["customer_id"]\nrows = {}\n[limit]\nepsilon = "3"\n'
    'delta = "1e-6"\nwindow = "2025"\n'
)
COLUMN = '\n[[columns]]\nname = "{}"\ntype = "{}"\ngrade = "S2"\n{}'
COLUMNS = {
    "orders": (
        ("nr", "integer", ""),
        ("customer_id", "integer", ""),
        ("order_id", "integer", ""),
        ("amount", "float", 'low = "0"\nhigh = "500"\nunit = "EUR"'),
        ("balance", "integer", 'low = "-20"\nhigh = "10"\nunit = "points"'),
        ("category", "string", 'domain = ["home", "toys", "garden"]'),
        ("gift", "boolean", ""),
        ("day", "date", ""),
    ),
    "payments": (
        ("nr", "integer", ""),
        ("customer_id", "integer", ""),
        ("order_id", "integer", ""),
        ("amount", "float", 'low = "0"\nhigh = "600"\nunit = "EUR"'),
        ("method", "string", 'domain = ["card", "bank", "cash"]'),
        ("late", "integer", 'low = "0"\nhigh = "90"\nunit = "days"'),
    ),
}
SQL = {"integer": "BIGINT", "float": "DOUBLE", "string": "VARCHAR", "boolean": "BOOLEAN"}
PARTIES = 3


def contracts(orders: int = 4, payments: int = 3) -> dict[str, DataContract]:
    rows = {"orders": orders, "payments": payments}
    return {
        name: load_contract(
            HEAD.format(name, name, rows[name]) + "".join(COLUMN.format(*c) for c in columns)
        )
        for name, columns in COLUMNS.items()
    }


def tables(seed: int, party: int, customers: int = 12, count: int = 60) -> dict[str, list[tuple]]:
    """Return rows within the contracts; one customer has many rows in both: a join multiplies."""
    draw, first = random.Random(seed), party * 100_000
    day = datetime.date(2025, 1, 1)
    orders = [
        (
            first + nr,
            first + (0 if nr < 9 else draw.randrange(customers)),
            draw.randrange(count // 3),
            None if draw.random() < 0.1 else draw.randrange(1001) / 2,
            draw.randrange(-20, 11),
            draw.choice(["home", "toys", "toys", "garden"]),
            draw.choice([True, False, None]),
            day + datetime.timedelta(days=draw.randrange(60)),
        )
        for nr in range(count)
    ]
    known = [(row[1], row[2]) for row in orders]
    payments = []
    for nr in range(count):
        customer, order = known[nr % 9] if nr < 20 else draw.choice(known)
        payments.append(
            (
                first + nr,
                customer,
                order if draw.random() < 0.8 else draw.randrange(count // 3),
                draw.randrange(1201) / 2,
                draw.choice(["card", "bank", "cash", None]),
                draw.choice([None, 0, 1, 5, 30]),
            )
        )
    return {"orders": orders, "payments": payments}


def database(rows: dict[str, Sequence[tuple]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    for name, columns in COLUMNS.items():
        kinds = ", ".join(f"{column} {SQL.get(kind, kind)}" for column, kind, _ in columns)
        connection.execute(f"CREATE TABLE {name} ({kinds})")
        if rows[name]:
            one = "(" + ", ".join("?" * len(columns)) + ")"
            connection.execute(
                f"INSERT INTO {name} VALUES {', '.join([one] * len(rows[name]))}",
                [x for row in rows[name] for x in row],
            )
    return connection


def partial(plan: Plan, connection, agreed, secret: str = SECRET) -> tuple[int, ...]:
    where = {
        name: Table(frozenset(c for c, _, _ in COLUMNS[name]), name, "rowid")
        for name in reads(plan)
    }
    made = compile_joined(plan, agreed, where)
    found = connection.execute(made.text, {**made.parameters, "secret": secret}).fetchall()
    return vector(plan, found)


BOTH = "orders o JOIN payments p USING (order_id, customer_id)"
LEFT = "orders o LEFT JOIN payments p USING (order_id, customer_id)"
ON = "orders o JOIN payments p ON o.customer_id = p.customer_id"
OF_BOTH = ("o.nr", "p.nr")
RECENT = "WITH recent AS (SELECT * FROM orders WHERE day >= '2025-01-15')"
PAID = (
    "WITH paid AS (SELECT o.nr AS a, p.nr AS b, customer_id, category, method, "
    f"o.amount - p.amount AS owed, late FROM {BOTH} WHERE p.amount > 20)"
)
OVER = "OVER (PARTITION BY customer_id ORDER BY day, nr)"
LAST = "OVER (PARTITION BY customer_id ORDER BY day, nr ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)"
MET = (
    "WITH met AS (SELECT o.nr AS a, p.nr AS b, customer_id, late, row_number() OVER (PARTITION BY "
    f"customer_id ORDER BY o.day, o.nr, p.nr) AS n FROM {BOTH})"
)


def seen(items: str) -> str:
    return f"WITH seen AS (SELECT *, {items} FROM orders)"


CASES = [  # (WITH, FROM, what numbers a row, SELECT, WHERE, GROUP BY)
    ("", BOTH, OF_BOTH, "COUNT(*)", "", ""),
    ("", BOTH, OF_BOTH, "SUM(o.amount), SUM(p.amount), AVG(p.amount)", "", ""),
    ("", BOTH, OF_BOTH, "COUNT(*), SUM(p.amount - o.amount)", "gift OR late > 0", "method"),
    ("", BOTH, OF_BOTH, "SUM(o.amount)", "method IN ('card', 'bank')", "category, method"),
    ("", BOTH, OF_BOTH, "VAR_POP(balance), CORR(balance, late)", "", ""),
    ("", ON, OF_BOTH, "COUNT(*), SUM(late)", "o.amount < p.amount", "category"),
    ("", ON, OF_BOTH, "AVG(o.amount)", "o.order_id <> p.order_id", "method"),
    ("", LEFT, OF_BOTH, "COUNT(*), COUNT(p.amount), SUM(p.amount)", "", "category"),
    ("", LEFT, OF_BOTH, "COUNT(*)", "p.amount IS NULL", "category"),
    ("", LEFT, OF_BOTH, "SUM(COALESCE(late, 90))", "p.amount > o.amount OR gift", ""),
    (
        "",
        "orders a JOIN orders b USING (customer_id)",
        ("a.nr", "b.nr"),
        "COUNT(*), SUM(b.amount)",
        "DATE_DIFF('day', a.day, b.day) BETWEEN 1 AND 7",
        "a.category",
    ),
    (RECENT, "recent", ("nr",), "COUNT(*), SUM(amount)", "gift", "category"),
    (RECENT, "recent r JOIN payments p USING (customer_id)", ("r.nr", "p.nr"), "SUM(late)", "", ""),
    (
        f"{RECENT}, card AS (SELECT * FROM payments WHERE method = 'card')",
        "recent r LEFT JOIN card p USING (order_id, customer_id)",
        ("r.nr", "p.nr"),
        "COUNT(*), COUNT(late), SUM(late)",
        "",
        "category",
    ),
    (PAID, "paid", ("a", "b"), "SUM(owed), AVG(late)", "owed > -100", "category"),
    (PAID, "paid", ("a", "b"), "COUNT(*)", "", "method"),
    (seen(f"row_number() {OVER} AS n"), "seen", ("nr",), "COUNT(*), SUM(amount)", "n <= 6", ""),
    (seen(f"row_number() {OVER} AS n"), "seen", ("nr",), "SUM(LEAST(n, 5))", "", "category"),
    (
        seen("row_number() OVER (PARTITION BY customer_id, category, gift ORDER BY nr DESC) AS n"),
        "seen",
        ("nr",),
        "SUM(amount)",
        "n = 1",
        "category",
    ),
    (seen(f"amount - LAG(amount) {OVER} AS rise"), "seen", ("nr",), "SUM(rise)", "", "category"),
    (
        seen(f"LEAD(day, 2) {OVER} AS later"),
        "seen",
        ("nr",),
        "COUNT(*), SUM(DATE_DIFF('day', day, later))",
        "day BETWEEN '2025-01-01' AND '2025-04-01' AND later BETWEEN '2025-01-01' AND '2025-04-01'",
        "",
    ),
    (seen(f"SUM(amount) {LAST} AS three"), "seen", ("nr",), "SUM(three), AVG(three)", "", ""),
    (
        seen("SUM(balance) OVER (PARTITION BY customer_id) AS whole"),
        "seen",
        ("nr",),
        "COUNT(*), SUM(GREATEST(LEAST(whole, 50), -100))",
        "whole < 0",
        "category",
    ),
    (
        seen("COUNT(*) OVER (PARTITION BY customer_id ORDER BY day) AS so_far"),
        "seen",
        ("nr",),
        "COUNT(*)",
        "so_far BETWEEN 2 AND 12",
        "so_far",
    ),
    (
        seen("MAX(amount) OVER (PARTITION BY customer_id) AS most, MIN(day) OVER (PARTITION BY "
             "customer_id) AS first"),
        "seen",
        ("nr",),
        "SUM(most - amount), COUNT(*)",
        "day > first",
        "",
    ),
    (
        f"{RECENT}, seen AS (SELECT *, row_number() {OVER} AS n FROM recent)",
        "seen s JOIN payments p USING (order_id, customer_id)",
        ("s.nr", "p.nr"),
        "COUNT(*), SUM(p.amount)",
        "n <= 3",
        "method",
    ),
    (
MET,
        "met",
        ("a", "b"),
        "SUM(late), COUNT(*)",
        "n <= 5",
        "",
    ),
]  # fmt: skip


def text(case: tuple, more: str = "") -> str:
    """Return a case in SQL; `more` is another condition on its rows."""
    before, source, _, select, where, group = case
    keys = f"{group}, " if group else ""
    both = " AND ".join(f"({part})" for part in (where, more) if part)
    tail = (f" WHERE {both}" if both else "") + (f" GROUP BY {group}" if group else "")
    return f"{before} SELECT {keys}{select} FROM {source}{tail}".strip()
