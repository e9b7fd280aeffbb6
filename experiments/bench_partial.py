"""A node's exact bounded partial over ten million rows of Parquet, beside plain DuckDB.

Both in this process, one thread each, by processor time. The peer is the same GROUP BY as anybody
would write it, over all rows and without a bound for each customer. That is a promise less, so the
same with a bound stands beside it too: what plain DuckDB needs to keep at most 8 rows of a
customer, drawn by chance. Ours reads every column as its contract promises it (what breaks a cast
is NULL and never an error), clips, rounds to steps, and draws anew which rows of a customer stay,
by chance that nobody can foresee.

A node does the part of that which no question changes once for each version of its data, beside its
work (`clients.copies`). What that takes stands apart, in time and in bytes on disk, and so does a
question that comes before it is done, or that needs more than a choice of one table's rows.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from clients.queries.partial import evaluate
from clients.queries.prepared import found
from clients.queries.preparing import prepare
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
    """Return processor seconds and MiB.

    ours_s, plain_s, bounded_s: a question from the copy; plain DuckDB's, without and with a bound.
    prepared_s, prepared_mib:   to make the copy, and on disk. unprepared_s: a question without it.
    """
    contract, question = published_contracts()["orders"], plan()
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as folder:
        data = Path(folder) / "orders.parquet"
        make(data, rows)
        copy = Path(folder) / "copy"
        copy.mkdir()
        (prepared_s,) = _least([lambda: prepare(contract, data, copy)], 1)
        mib = sum(file.stat().st_size for file in copy.iterdir()) / 2**20
        chance, prepared, most = SystemEntropy(), found(copy), question.child.child.rows
        plain, ours = _least(
            [
                lambda: asked(_PLAIN, data),
                lambda: evaluate(question, contract, data, chance, prepared=prepared),
            ],
            3,
        )
        bounded, without = _least(
            [
                lambda: asked(BOUNDED, data, most=most),
                lambda: evaluate(question, contract, data, chance),
            ],
            1,
        )
    return {
        "ours_s": ours,
        "plain_s": plain,
        "bounded_s": bounded,
        "unprepared_s": without,
        "prepared_s": prepared_s,
        "prepared_mib": mib,
    }


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


def _least(every: Sequence[Callable[[], object]], repetitions: int) -> list[float]:
    """Return the least processor time of each, one after the other in turn."""
    took: list[list[float]] = [[] for _ in every]
    for _ in range(repetitions):
        for times, what in zip(took, every, strict=True):
            began = time.process_time()
            what()
            times.append(time.process_time() - began)
    return [min(times) for times in took]


def _cohort() -> tuple[Member, ...]:
    key = SigningKey(bytes(32)).verify_key
    names = ("merchant-01", "merchant-02", "merchant-03")
    return tuple(Member(PartyId(n), n, Role.MERCHANT, Jurisdiction.EU, key) for n in names)
