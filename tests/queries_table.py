"""An orders table for joint queries, version 2: contract, rows, partials by DuckDB, a cohort."""

import datetime
import hashlib
import json
import random
from collections.abc import Sequence

import duckdb

from clients.queries.compile import compile_plan, vector
from federation.queries.tree import Plan
from policies.contracts import DataContract, load_contract

SECRET = "5e" * 32
_COLUMN = '\n[[columns]]\nname = "{}"\ntype = "{}"\ngrade = "S2"\n{}'
_COLUMNS = (
    ("customer_id", "integer", ""),
    ("amount", "float", 'low = "0"\nhigh = "500"\nunit = "EUR"'),
    ("quantity", "integer", ""),
    ("price", "float", ""),
    ("discount", "float", 'low = "0"\nhigh = "0.5"'),
    ("balance", "integer", 'low = "-20"\nhigh = "10"\nunit = "points"'),
    ("category", "string", 'domain = ["home", "toys", "garden"]'),
    ("hour", "integer", 'domain = ["0", "1", "2", "3"]'),
    ("note", "string", ""),
    ("gift", "boolean", ""),
    ("day", "date", ""),
    ("stamp", "timestamp", ""),
    ("merchant_id", "integer", 'domain = ["1", "2"]'),
    ("card_country", "string", 'domain = ["CN", "EU"]\noptional = true'),
)
NAMES = [name for name, _, _ in _COLUMNS if name != "card_country"]
CREATE = (
    "CREATE TABLE orders (customer_id BIGINT, amount DOUBLE, quantity BIGINT, price DOUBLE, "
    "discount DOUBLE, balance BIGINT, category VARCHAR, hour BIGINT, note VARCHAR, gift BOOLEAN, "
    "day DATE, stamp TIMESTAMP, merchant_id BIGINT)"
)


def contract(rows: int = 3) -> DataContract:
    head = (
        'name = "orders"\nversion = 1\ntable = "orders.parquet"\nsubjects = "customers"\n[unit]\n'
        f'kind = "customer"\ncolumns = ["customer_id"]\nrows = {rows}\n[limit]\nepsilon = "3"\n'
        'delta = "1e-6"\nwindow = "2025"\n'
    )
    return load_contract(head + "".join(_COLUMN.format(*column) for column in _COLUMNS))


def orders(seed: int, customers: int = 25, rows: int = 140) -> list[tuple]:
    """Return rows within the contract, customers with more and with fewer rows than the bound."""
    draw = random.Random(seed)
    found = []
    for _ in range(rows):
        day = datetime.date(2024, 11, 1) + datetime.timedelta(days=draw.randrange(300))
        missing = draw.random() < 0.1
        found.append(
            (
                int(customers * draw.random() ** 2),
                None if missing else draw.randrange(1001) / 2,
                draw.choice([None, 0, 1, 2, 3, 50]),
                draw.choice([None, -4.0, 0.0, 0.5, 1e6]),
                draw.randrange(6) / 10,
                draw.randrange(-20, 11),
                draw.choice(["home", "toys", "toys", "garden"]),
                draw.randrange(4),
                draw.choice([None, "apple", "Apricot", "banana"]),
                draw.choice([True, False, None]),
                day,
                datetime.datetime.combine(day, datetime.time(draw.randrange(24))),
                draw.choice([1, 2]),
            )
        )
    return found


def database(rows: Sequence[tuple]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    connection.execute(CREATE)
    if rows:
        places = ", ".join(["(" + ", ".join("?" * 13) + ")"] * len(rows))
        connection.execute(f"INSERT INTO orders VALUES {places}", [x for row in rows for x in row])
    return connection


def partial(plan: Plan, connection, agreed: DataContract, secret: str = SECRET) -> tuple[int, ...]:
    made = compile_plan(plan, agreed, frozenset(NAMES), "orders", "rowid")
    found = connection.execute(made.text, {**made.parameters, "secret": secret}).fetchall()
    return vector(plan, found)


def chosen(rows: Sequence[tuple[object, object]], most: int, secret: str = SECRET) -> set[object]:
    """Return which of (unit, place) a bound of `most` rows keeps: the rule once more, by itself."""
    units: dict[object, list[object]] = {}
    for unit, place in sorted(rows, key=lambda pair: pair[1]):
        units.setdefault(unit, []).append(place)
    kept: set[object] = set()
    for unit, places in units.items():
        named = json.dumps([str(unit)])
        lots = sorted(
            (hashlib.sha256(f"{secret}{named}{turn}".encode()).hexdigest(), turn)
            for turn in range(1, len(places) + 1)
        )
        kept |= {places[turn - 1] for _, turn in lots[:most]}
    return kept
