"""One table of awkward rows, laid down in every kind of place that a node can read it from."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clients.settings import NodeSettings, load_settings
from policies.contracts import DataContract, load_contract

TABLE = "orders.parquet"
TEXT = """
name = "orders"
version = 1
table = "orders.parquet"
subjects = "customers"
key = ["order_id"]
[unit]
kind = "customer"
columns = ["customer_id"]
rows = 3
[limit]
epsilon = "3"
delta = "1e-6"
window = "2025"
"""
COLUMNS = {
    "order_id": "integer",
    "customer_id": "string",
    "ts": "timestamp",
    "amount": "float",
    "weight": "float",
    "category": "string",
    "gift": "boolean",
    "day": "date",
    "note": "string",
}
MORE = {
    "amount": 'low = "0"\nhigh = "500"\nunit = "EUR"',
    "category": 'domain = ["home", "toys", "garden"]',
    "note": "optional = true",
}
NODE = """
party = "shop"
organisation = "Shop"
role = "merchant"
jurisdiction = "EU"
federation = "test"
pin = "{pin}"
[aggregator]
party = "table"
address = "localhost:1"
ca = "keys/ca.crt"
"""
SQL = """
SELECT category, COUNT(*), SUM(amount), COUNT(DISTINCT customer_id) FROM orders
WHERE gift = TRUE OR day >= DATE '2025-01-03' GROUP BY category
"""
ARROW = {
    "integer": pa.int64(),
    "float": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
Row = dict[str, Any]


def column(name: str, kind: str) -> str:
    head = f'[[columns]]\nname = "{name}"\ntype = "{kind}"\ngrade = "S1"'
    return f"{head}\n{MORE.get(name, '')}\n"


def text(**types: str) -> str:
    """The contract's text, with some columns of another type."""
    return TEXT + "".join(column(name, kind) for name, kind in (COLUMNS | types).items())


def contract() -> DataContract:
    return load_contract(text())


def rows(count: int = 300, seed: int = 1) -> list[Row]:
    """Rows in no order: customers with more than the bound, no values, texts that need quoting."""
    draw = np.random.default_rng(seed)
    categories = ["home", "toys", "garden", "elsewhere", None]
    notes = [
        "it's",
        'a "b"',
        "",
        None,
        "naïve – 单",
        "a,b\nc",
        "back\\slash",
        "'; DROP TABLE orders",
    ]
    first = datetime.datetime.fromisoformat("2024-12-31T22:30:00")
    numbers = draw.permutation(count)
    return [
        {
            "order_id": 9_007_199_254_740_993 + int(number),
            "customer_id": f"c{int(draw.integers(0, count // 8))}",
            "ts": first + datetime.timedelta(microseconds=int(number) % 4000 * 86_399_999_999),
            "amount": None if number % 11 == 0 else round(float(draw.uniform(0, 600)), 2),
            "weight": float(np.float32(draw.random())),
            "category": categories[int(number) % 5],
            "gift": [True, False, None][int(number) % 3],
            "day": datetime.date(2025, 1, 1 + int(number) % 5),
            "note": notes[int(number) % len(notes)],
        }
        for number in numbers
    ]


def arrow(found: Sequence[Row]) -> Any:
    """The rows as a snapshot has them: by the names of their columns, keys first, and in order."""
    names = ["customer_id", "order_id", *sorted(COLUMNS.keys() - {"customer_id", "order_id"})]
    ordered = sorted(found, key=lambda row: (row["customer_id"], row["order_id"]))
    types = {name: ARROW[COLUMNS[name]] for name in names}
    return pa.table({n: pa.array([row[n] for row in ordered], types[n]) for n in names})


def folder(path: Path, source: str = "", **types: str) -> NodeSettings:
    """A node's folder with one contract and, if there is one, its source."""
    (path / "contract").mkdir(parents=True, exist_ok=True)
    (path / "data").mkdir(exist_ok=True)
    (path / "contract" / "orders.toml").write_text(text(**types))
    declared = f'[sources."{TABLE}"]\n{source}' if source else ""
    (path / "node.toml").write_text(NODE.format(pin="ab" * 32) + declared)
    return load_settings(path)


def in_parquet(path: Path, found: Sequence[Row]) -> str:
    pq.write_table(arrow(found).take(np.random.default_rng(2).permutation(len(found))), path)
    return f'file = "{path}"'


def in_csv(path: Path, found: Sequence[Row]) -> str:
    """No value is nothing between two commas, an empty text is two quotes; a moment has a zone."""
    lines = [",".join([*COLUMNS, "further"])]
    lines += [",".join([*(_in_csv(row[name]) for name in COLUMNS), ""]) for row in found]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="")
    return f'file = "{path}"'


def _in_csv(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace('"', '""') + '"'
        case datetime.datetime():
            here = datetime.timezone(datetime.timedelta(hours=8))
            return str(value.replace(tzinfo=datetime.UTC).astimezone(here).isoformat())
        case _:
            return str(value)


@contextmanager
def postgresql(url: str) -> Iterator[Any]:
    """A connection to run statements on, each at once."""
    import psycopg

    with closing(psycopg.connect(url, autocommit=True)) as connection:
        yield connection


@contextmanager
def mariadb(url: str) -> Iterator[Any]:
    """A cursor to run statements on, each at once."""
    import pymysql

    socket = url.partition("unix_socket=")[2]
    words: Mapping[str, Any] = {"unix_socket": socket, "autocommit": True, "charset": "utf8mb4"}
    connected = closing(pymysql.connect(user="test", database="shop", **words))
    with connected as connection, connection.cursor() as cursor:
        yield cursor


def in_postgresql(url: str, found: Sequence[Row], relation: str = "orders") -> str:
    """Types of which Arrow holds some as they are and others not."""
    with postgresql(url) as db:
        db.execute("DROP TYPE IF EXISTS kind CASCADE")
        db.execute("CREATE TYPE kind AS ENUM ('home', 'toys', 'garden', 'elsewhere')")
        db.execute(f'DROP TABLE IF EXISTS "{relation}"')
        db.execute(
            f'CREATE TABLE "{relation}" (order_id numeric(20), customer_id bpchar(12), '
            f"ts timestamptz, amount numeric(12, 2), weight real, category kind, gift boolean, "
            f"day date, note text, further jsonb)"
        )
        with (
            db.cursor() as cursor,
            cursor.copy(f'COPY "{relation}" ({", ".join(COLUMNS)}) FROM STDIN') as copy,
        ):
            for row in found:
                moment = row["ts"].replace(tzinfo=datetime.UTC)
                copy.write_row(list((row | {"ts": moment}).values()))
    return f'url = "{url}"\nrelation = "{relation}"\n'


def in_mariadb(url: str, found: Sequence[Row], relation: str = "orders") -> str:
    """Types whose text is not what they hold, in an encoding that is not the protocol's."""
    with mariadb(url) as db:
        db.execute("SET time_zone = '+00:00'")
        db.execute(f"DROP TABLE IF EXISTS `{relation}`")
        db.execute(
            f"CREATE TABLE `{relation}` (order_id bigint unsigned, "
            f"customer_id char(12) CHARACTER SET latin1, ts timestamp(6) NULL, "
            f"amount decimal(12, 2), weight float, "
            f"category enum('home', 'toys', 'garden', 'elsewhere'), gift tinyint(1), day date, "
            f"note varchar(60) CHARACTER SET utf8mb4, further json)"
        )
        names, marks = ", ".join(COLUMNS), ", ".join(["%s"] * len(COLUMNS))
        sent = [[_exact(row[name]) for name in COLUMNS] for row in found]
        db.executemany(f"INSERT INTO `{relation}` ({names}) VALUES ({marks})", sent)
    return f'url = "{url}"\nrelation = "{relation}"\n'


def _exact(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value
