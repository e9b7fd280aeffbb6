"""Days of orders as Arrow tables: what a party keeps, and what only the truth folder knows."""

from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from experiments.commerce import places
from experiments.commerce.canaries import Canaries
from experiments.commerce.fraud import SCENARIOS
from experiments.commerce.orders import NEVER, DayOrders
from experiments.commerce.parties import Seat
from experiments.commerce.world import World, stream

COLUMN_TYPES: Final[dict[str, pa.DataType]] = {
    "order_id": pa.int64(),
    "customer_id": pa.int64(),
    "ts": pa.timestamp("us"),
    "amount": pa.float64(),
    "category": pa.string(),
    "counterparty_id": pa.int64(),
    "ship_country": pa.string(),
    "first_order": pa.int64(),
    "label_fraud": pa.int64(),
    "label_ts": pa.timestamp("us"),
    "ip_country": pa.string(),
    "card_country": pa.string(),
}
TRUTH_TYPES: Final = pa.schema(
    {
        "order_id": pa.int64(),
        "customer_id": pa.int64(),
        "ts": pa.timestamp("us"),
        "fraud": pa.int64(),
        "scenario": pa.string(),
        "friendly": pa.int64(),
    }
)
_SCENARIO_NAMES: Final = ("", *SCENARIOS)


def order_schema(seat: Seat) -> pa.Schema:
    """The columns of the party's `orders.parquet`, in order."""
    return pa.schema({name: COLUMN_TYPES[name] for name in seat.columns})


def party_rows(world: World, day: DayOrders, seat: Seat, here: NDArray[np.int64]) -> pa.Table:
    """The day's orders at `here` as the party keeps them."""
    rows, columns = day.rows, _customers(world, day, here)
    columns |= {
        "amount": np.round(np.clip(rows.amount[here], 0.5, 5_000.0), 2),
        "category": _names(places.CATEGORIES, rows.category[here]),
        "counterparty_id": 1 + rows.counterparty[here],
        "ship_country": _names(places.COUNTRIES, rows.ship[here]),
        "first_order": day.first[here].astype(np.int64),
        "label_fraud": day.reported[here].astype(np.int64),
        "label_ts": _moments(day.label_us[here]),
        "ip_country": _names(places.COUNTRIES, rows.ip[here]),
        "card_country": _names(places.COUNTRIES, rows.card[here]),
    }
    schema = order_schema(seat)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def truth_rows(world: World, day: DayOrders, here: NDArray[np.int64]) -> pa.Table:
    """What is true of the day's orders at `here`, whatever anybody reported."""
    scenario = day.rows.scenario[here]
    columns = _customers(world, day, here) | {
        "fraud": (scenario > 0).astype(np.int64),
        "scenario": _names(_SCENARIO_NAMES, scenario),
        "friendly": day.friendly[here].astype(np.int64),
    }
    return pa.table(columns, schema=TRUTH_TYPES)


def canary_rows(world: World, canaries: Canaries, seat: Seat) -> pa.Table:
    """The canaries as ordinary, honest first orders among the party's rows."""
    rng = stream(world.seed, 7)
    count = len(canaries.order_id)
    home = np.full(count, places.country(next(iter(seat.markets))))
    countries = _names(places.COUNTRIES, home)
    columns = {
        "order_id": canaries.order_id,
        "customer_id": canaries.customer_id,
        "ts": _moments(canaries.ts_us),
        "amount": canaries.amount,
        "category": _names(places.CATEGORIES, rng.integers(0, len(places.CATEGORIES), count)),
        "counterparty_id": rng.integers(1, 13, count),
        "first_order": np.ones(count, np.int64),
        "label_fraud": np.zeros(count, np.int64),
        "label_ts": _moments(np.full(count, NEVER)),
        "ship_country": countries,
        "ip_country": countries,
        "card_country": countries,
    }
    schema = order_schema(seat)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def canary_truth(canaries: Canaries) -> pa.Table:
    """The canaries in the columns of the truth: no fraud."""
    count = len(canaries.order_id)
    columns = {
        "order_id": canaries.order_id,
        "customer_id": canaries.customer_id,
        "ts": _moments(canaries.ts_us),
        "fraud": np.zeros(count, np.int64),
        "scenario": [""] * count,
        "friendly": np.zeros(count, np.int64),
    }
    return pa.table(columns, schema=TRUTH_TYPES)


def _customers(world: World, day: DayOrders, here: NDArray[np.int64]) -> dict[str, object]:
    customer = world.accounts.customer[day.rows.account[here]]
    return {
        "order_id": day.order_id[here],
        "customer_id": world.customers.customer_id[customer],
        "ts": _moments(day.ts_us[here]),
    }


def _moments(microseconds: NDArray[np.int64]) -> pa.Array:
    return pa.array(microseconds, mask=microseconds == NEVER).view(pa.timestamp("us"))


def _names(domain: tuple[str, ...], index: NDArray[np.int64]) -> pa.Array:
    return _words(domain).take(pa.array(index))


@lru_cache
def _words(domain: tuple[str, ...]) -> pa.Array:
    return pa.array(domain)
