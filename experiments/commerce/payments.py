"""What was paid for a party's orders: attempts, captures, and money that went back.

A payment is made of the order that it pays for and of chance of its own, so that the orders are the
same rows whether anybody looks at payments or not. A truth that no node may see has no part in it:
what is charged back is what the party itself has a report of.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from experiments.commerce.orders import END_US
from experiments.commerce.parties import Seat
from federation.offers import OFFERED_BY

METHODS: Final = ("card", "wallet", "transfer", "invoice", "cash")
_SHARES: Final = (0.52, 0.22, 0.12, 0.1, 0.04)
_CARD, _CASH = METHODS.index("card"), METHODS.index("cash")
DECLINED: Final = 0.09  # orders of which the first attempt was declined
RETURNED: Final = 0.05  # honest orders whose money went back
OPEN: Final = 0.03  # orders that are authorised and not captured yet
FIRST_ID: Final = 10**10
"""Payments of the party at place p are numbered from (p + 1) times this."""

TYPES: Final[Mapping[str, pa.DataType]] = {
    "payment_id": pa.int64(),
    "order_id": pa.int64(),
    "customer_id": pa.int64(),
    "ts": pa.timestamp("us"),
    "amount": pa.float64(),
    "fee": pa.float64(),
    "method": pa.string(),
    "status": pa.string(),
    "attempts": pa.int64(),
    "card_country": pa.string(),
}


def is_payer(seat: Seat) -> bool:
    """Return whether a party keeps payments."""
    return seat.role in OFFERED_BY["payments"]


def payment_schema(seat: Seat) -> pa.Schema:
    """The columns of the party's `payments.parquet`; who knows no card's country has no column."""
    lacking = {"card_country"} - set(seat.columns)
    return pa.schema({name: kind for name, kind in TYPES.items() if name not in lacking})


def payment_rows(rng: np.random.Generator, orders: pa.Table, seat: Seat, first_id: int) -> pa.Table:
    """The payments for these orders as the party keeps them, numbered from `first_id`."""
    count = orders.num_rows
    method = rng.choice(len(METHODS), count, p=_SHARES)
    declined = (rng.random(count) < DECLINED) & (method != _CASH)
    extra = np.where(declined, rng.integers(1, 4, count), 0)
    reported = orders["label_fraud"].to_numpy() == 1
    back = reported | (rng.random(count) < RETURNED)
    waits = ~back & (rng.random(count) < OPEN)
    last = np.where(reported, "charged back", "refunded")
    every = np.arange(count)
    parts = [  # order, status, sign, microseconds after the order
        (every[declined], np.full(declined.sum(), "declined"), 1, rng.integers(1, 90, count)),
        (every, np.where(waits, "authorised", "captured"), 1, rng.integers(90, 600, count)),
        (every[back], last[back], -1, rng.integers(86_400, 20 * 86_400, count)),
    ]
    at = np.concatenate([order for order, *_ in parts])
    status = np.concatenate([said for _, said, *_ in parts])
    sign = np.concatenate([np.full(len(order), sign) for order, _, sign, _ in parts])
    later = np.concatenate([delay[order] for order, *_, delay in parts])
    return _laid_out(orders, seat, at, status, sign, later, method, 1 + extra, first_id)


def _laid_out(
    orders: pa.Table,
    seat: Seat,
    at: NDArray[np.int64],
    status: NDArray[np.str_],
    sign: NDArray[np.int64],
    later: NDArray[np.int64],
    method: NDArray[np.int64],
    attempts: NDArray[np.int64],
    first_id: int,
) -> pa.Table:
    """Return one row for each place of `at` among the orders, by order."""
    by_order = np.argsort(at, kind="stable")
    at, status, sign, later = at[by_order], status[by_order], sign[by_order], later[by_order]
    moment = orders["ts"].cast(pa.int64()).to_numpy()[at] + later * 1_000_000
    amount = orders["amount"].to_numpy()[at]
    captured = np.isin(status, ("captured", "authorised"))
    columns = {
        "payment_id": first_id + np.arange(len(at)),
        "order_id": orders["order_id"].to_numpy()[at],
        "customer_id": orders["customer_id"].to_numpy()[at],
        "ts": pa.array(np.minimum(moment, END_US - 1)).cast(pa.timestamp("us")),
        "amount": sign * amount,
        "fee": np.where(captured, np.round(np.minimum(25.0, 0.2 + 0.014 * amount), 2), 0.0),
        "method": pa.array(np.array(METHODS)[method[at]]),
        "status": pa.array(status),
        "attempts": np.where(status == "declined", attempts[at] - 1, attempts[at]),
    }
    schema = payment_schema(seat)
    if "card_country" in schema.names:
        paid_by_card = pa.array(method[at] == _CARD)
        countries = orders["card_country"].take(pa.array(at))
        columns["card_country"] = pc.if_else(paid_by_card, countries, None)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)
