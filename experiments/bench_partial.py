"""A node's exact bounded partial over ten million rows of Parquet, beside plain DuckDB.

Both in this process, one thread each, by processor time. The peer is the same GROUP BY as anybody
would write it, over all rows and without a bound for each customer. That is a promise less, so the
same with a bound stands beside it too: what plain DuckDB needs to keep at most 8 rows of a
customer, drawn by chance. Ours also reads every column as its contract promises it (what breaks a
cast is NULL and never an error), clips, rounds to steps, and chooses by SHA-256 under a secret.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import duckdb

from clients.queries.partial import evaluate
from experiments.ordering import published_contracts
from federation.membership import Member
from federation.queries.parse import parse
from federation.queries.tree import Plan
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.entropy import SystemEntropy
from secure_compute.primitives.signature import SigningKey

ROWS: Final = 10_000_000
SQL: Final = (
    "SELECT category, COUNT(*) AS orders, SUM(LEAST(amount, 150)) AS revenue"
    " FROM orders GROUP BY category"
)
_PER_CUSTOMER: Final = 5
_PLAIN: Final = (
    "SELECT category, count(*), sum(least(amount, 150)) FROM read_parquet($data) GROUP BY category"
)
BOUNDED: Final = """
    SELECT category, count(*), sum(least(amount, 150)) FROM (
        SELECT category, amount
        FROM (SELECT customer_id, category, amount, random() AS lot FROM read_parquet($data))
        QUALIFY row_number() OVER (PARTITION BY customer_id ORDER BY lot) <= $most
    ) GROUP BY category
"""
_MADE: Final = """
    COPY (
        SELECT (hash(n * 7 + 1) % $customers)::BIGINT AS customer_id,
            ['beauty', 'books', 'electronics', 'fashion', 'grocery', 'home', 'sports', 'toys'][
                1 + (hash(n * 11 + 3) % 8)::INTEGER] AS category,
            ((hash(n * 13 + 5) % 20000) / 100)::DOUBLE AS amount,
            DATE '2025-01-01' + (hash(n * 17 + 7) % 365)::INTEGER AS day
        FROM range($rows) AS made(n)
    ) TO $path (FORMAT parquet)
"""


def measured(rows: int = ROWS) -> dict[str, float]:
    """Return processor seconds: ours, plain DuckDB's, and plain DuckDB's with a bound."""
    contract, question = published_contracts()["orders"], plan()
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as folder:
        data = Path(folder) / "orders.parquet"
        make(data, rows)
        most = question.child.child.rows
        plain = _least(lambda: asked(_PLAIN, data), 3)
        bounded = _least(lambda: asked(BOUNDED, data, most=most), 1)
        ours = _least(lambda: evaluate(question, contract, data, SystemEntropy()), 1)
    return {"ours_s": ours, "plain_s": plain, "bounded_s": bounded}


def plan() -> Plan:
    """Return the question's plan."""
    return parse(SQL, {"orders": published_contracts()["orders"]}, _cohort())


def make(path: Path, rows: int) -> None:
    """Write orders of so many rows, five of a customer in the mean, in no order."""
    customers = max(1, rows // _PER_CUSTOMER)
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        connection.execute(_MADE, {"rows": rows, "customers": customers, "path": str(path)})


def asked(text: str, data: Path, **parameters: Any) -> list[Any]:
    """Return what plain DuckDB answers."""
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        connection.execute("SET enable_progress_bar=false")
        found: list[Any] = connection.execute(text, {"data": str(data), **parameters}).fetchall()
        return found


def _least(what: Callable[[], object], repetitions: int) -> float:
    took = []
    for _ in range(repetitions):
        began = time.process_time()
        what()
        took.append(time.process_time() - began)
    return min(took)


def _cohort() -> tuple[Member, ...]:
    key = SigningKey(bytes(32)).verify_key
    names = ("merchant-01", "merchant-02", "merchant-03")
    return tuple(Member(PartyId(n), n, Role.MERCHANT, Jurisdiction.EU, key) for n in names)
