"""How long a joint question takes over real processes: ten nodes, three keyholders, one aggregator.

An answer leaves when its slot ends, never before, and the slot is what the order says. Here it is
twice as long as the slowest node needed in a question that warmed up, by the nodes' own logs:
all of them are this bench's. A data team reads no such log; it knows who was late.

The clock starts when the order is signed and stops when its answer is opened; keys are made before
it starts, as they are where nobody waits. Each node holds a small table of its own, so that what is
measured is the protocol: offers, commitments, signatures, ciphertexts, partials, ledgers and disks.
How long each exchange took is what the executor says in its log; the rest is what it wrote, checked
and added up between them, and the opening.
"""

import math
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from aggregator.jobs import Jobs
from aggregator.key_pool import KeyPool
from aggregator.stores import load_stores
from experiments.following import AbandonedRunError
from experiments.founding import DEMO_SEATS, Seat, found, free_ports
from experiments.home import Home
from experiments.local_fleet import wait_until
from experiments.ordering import Terms, query_order
from experiments.querying import ask
from experiments.running import up
from federation.queries.tree import cells
from federation.tasks import QueryTask
from policies.parties import DATA_ROLES, Jurisdiction, PartyId, Role

PARTIES: Final = 10
SQL: Final = (
    "SELECT category, ship_country, COUNT(*) AS orders, SUM(LEAST(amount, 150)) AS revenue"
    " FROM orders WHERE first_order = 0 GROUP BY category, ship_country"
)
"""Of 8 categories in 12 countries, two sums each: 96 cells, 192 numbers."""

EPSILON: Final = "0.1"
WARM: Final = 2
"""Questions that only warm up: processes have loaded what they need, and their pace is known."""

WARM_SLOT: Final = 4_000
"""Milliseconds until the answers to those leave: nobody is late."""

_SPARE: Final = 2.0
_SHORTEST, _STEP = 500, 50

_LIMITS: Final = {name: {"epsilon": "8", "delta": "1e-6"} for name in ("orders", "demand")}
_ROWS: Final = 2_000
_CUSTOMERS: Final = 400
_KEY_SECONDS: Final = 180.0
_CATEGORIES: Final = (
    *("beauty", "books", "electronics", "fashion", "grocery", "home", "sports", "toys"),
)
_COUNTRIES: Final = ("DE", "FR", "IT", "ES", "NL", "PL", "GB", "US", "CN", "BR", "JP", "MX")
_READY: Final = re.compile(r"the answer to order ([0-9a-f]{12}) took [0-9.]+ s, by ([+-][0-9.]+) s")
_EXCHANGE: Final = re.compile(r"order ([0-9a-f]{12}): (.+) in ([0-9.]+) s$")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question.

    seconds:  until its answer was open
    ordering: of that, until the order was written: parsed, priced, with a key for its answer
    opening:  of that, from the end at the aggregator to the answer: checked, added up, combined
    slot:     of that, until the answers of nodes left, seconds; ready: when the last of them was
    steps:    what its exchanges carried and took, in order, seconds
    """

    seconds: float
    ordering: float
    opening: float
    slot: float
    ready: float
    exchanges: int
    cells: int
    parties: int
    steps: tuple[tuple[str, float], ...]


def measured(questions: int, parties: int = PARTIES) -> list[Asked]:
    """Return what so many questions took, one after the other; those that warm up are left out.

    Raises:
        ExperimentError: a process did not come up, or a question came to nothing.
    """
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as folder:
        home = found(Path(folder) / "federation", "bench", seats(parties), _LIMITS, free_ports())
        for number, member in enumerate(home.holders()):
            orders(number).to_parquet(home.node(member.party) / "data" / "orders.parquet")
        with up(home):
            warm = [_asked(home, WARM_SLOT) for _ in range(WARM)]
            return in_time(lambda slot: _asked(home, slot), slot_for(warm[-1].ready), questions)


def in_time(asked: Callable[[int], Asked], slot: int, questions: int) -> list[Asked]:
    """Ask so often with one slot; if a question comes to nothing, begin anew with twice the slot.

    Raises:
        AbandonedRunError: one does with the longest slot too.
    """
    try:
        return [asked(slot) for _ in range(questions)]
    except AbandonedRunError:
        if slot >= WARM_SLOT:
            raise
    return in_time(asked, min(WARM_SLOT, 2 * slot), questions)


def slot_for(ready: float) -> int:
    """Return the slot, milliseconds, where the slowest answer was ready after so many seconds."""
    wanted = math.ceil(_SPARE * ready * 1000 / _STEP) * _STEP
    return min(WARM_SLOT, max(_SHORTEST, wanted))


def seats(parties: int) -> tuple[Seat, ...]:
    """Return so many merchants, each an organisation of its own, and whoever else is needed."""
    merchants = (
        Seat(PartyId(f"merchant-{at:02}"), f"Merchant {at}", Role.MERCHANT, Jurisdiction.EU)
        for at in range(parties)
    )
    return (*merchants, *(seat for seat in DEMO_SEATS if seat.role not in DATA_ROLES))


def orders(seed: int, rows: int = _ROWS) -> pd.DataFrame:
    """Return made-up orders that keep the published contract."""
    draw = np.random.default_rng(seed)
    ts = pd.Timestamp("2025-01-01") + pd.to_timedelta(
        np.sort(draw.integers(0, 360 * 86400, rows)), "s"
    )
    fraud = draw.random(rows) < 0.02
    return pd.DataFrame(
        {
            "order_id": np.arange(rows) + 10**12 * (1 + seed),
            "customer_id": draw.integers(1, _CUSTOMERS, rows),
            "ts": ts.astype("datetime64[us]"),
            "amount": draw.uniform(1, 400, rows).round(2),
            "category": draw.choice(_CATEGORIES, rows),
            "counterparty_id": draw.integers(1, 50, rows),
            "ship_country": draw.choice(_COUNTRIES, rows),
            "ip_country": draw.choice(_COUNTRIES, rows),
            "card_country": draw.choice(_COUNTRIES, rows),
            "first_order": draw.integers(0, 2, rows),
            "label_fraud": fraud.astype(np.int64),
            "label_ts": (ts + pd.Timedelta(days=10)).where(fraud).astype("datetime64[us]"),
        }
    )


def by_exchange(asked: Sequence[Asked]) -> dict[str, float]:
    """Return the median of each exchange by what it carried, in the order they came, seconds."""
    found: dict[str, list[float]] = defaultdict(list)
    for one in asked:
        for what, seconds in one.steps:
            found[what].append(seconds)
    return {what: statistics.median(seconds) for what, seconds in found.items()}


def exchanges_in(log: str, order: str) -> tuple[tuple[str, float], ...]:
    """Return what the exchanges of an order carried and took, by the executor's log, seconds."""
    found = map(_EXCHANGE.search, log.splitlines())
    return tuple(
        (match[2], float(match[3])) for match in found if match and order.startswith(match[1])
    )


def left_in(log: str, order: str) -> float:
    """Return how long before its slot ended a node had its answer to an order, by its log, seconds.

    Below zero where it had it later, or not at all.
    """
    found = (_READY.search(line) for line in log.splitlines())
    return next((float(match[2]) for match in found if match and order.startswith(match[1])), -1.0)


def _ready(home: Home, order: str, slot: int) -> float:
    """Return after how many seconds the last node had its answer to an order."""
    nodes = (home.node(member.party) for member in home.holders())
    logs = ((node / "logs" / "node.log").read_text(encoding="utf-8") for node in nodes)
    return slot / 1000 - min(left_in(log, order) for log in logs)


def _asked(home: Home, slot: int) -> Asked:
    """Ask once, with keys that lie ready and nobody making others."""
    pool = KeyPool(load_stores(home.aggregator).keys)
    wait_until(lambda: pool.ready > 1 and pool.begun() is None, _KEY_SECONDS)
    terms = Terms(purpose="market_statistics", source="fresh", deadline=slot)
    times, noted = [time.monotonic()], list[float]()
    order = query_order(home, SQL, EPSILON, terms)
    times.append(time.monotonic())
    value = ask(home, order, lambda _: noted.append(time.monotonic()))
    times.append(time.monotonic())
    job = Jobs(home.jobs).find(order.id)
    result: Mapping[str, Any] = (job and job.result) or {}
    log = (home.aggregator / "logs" / "executor.log").read_text(encoding="utf-8")
    return Asked(
        times[2] - times[0],
        times[1] - times[0],
        times[2] - noted[-1],
        slot / 1000,
        _ready(home, order.id, slot),
        int(result["exchanges"]),
        cells(QueryTask.from_json(order.parameters).plan),
        len(value["parties"]),
        exchanges_in(log, order.id),
    )
