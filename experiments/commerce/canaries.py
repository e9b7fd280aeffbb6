"""Rows made to be found: if one of them is seen outside its node, a raw row has crossed.

Each canary has an order id of sixteen digits, an amount of seven significant digits and a moment
with microseconds; nothing else in the commerce looks like that.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.commerce.world import CANARIES, DAYS, START_US, World, stream

LOWEST_ID: Final = 1_000_000_000_000_000
HIGHEST_ID: Final = 9_000_000_000_000_000  # below 2⁵³: a float64 holds it exactly
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canaries:
    """The canaries of one party, by time [canaries]."""

    order_id: NDArray[np.int64]
    customer_id: NDArray[np.int64]
    ts_us: NDArray[np.int64]
    amount: NDArray[np.float64]

    def truth(self) -> list[dict[str, int | float | str]]:
        """What a search looks for: id, customer, amount, timestamp as number and as text."""
        return [
            {
                "id": int(identity),
                "customer": int(customer),
                "amount": float(amount),
                "timestamp_us": int(moment),
                "timestamp_text": timestamp_text(int(moment)),
            }
            for identity, customer, moment, amount in zip(
                self.order_id, self.customer_id, self.ts_us, self.amount, strict=True
            )
        ]


def timestamp_text(moment_us: int) -> str:
    """The moment as `2025-02-03 04:05:06.123457`."""
    return f"{EPOCH + timedelta(microseconds=moment_us):%Y-%m-%d %H:%M:%S.%f}"


def draw_canaries(world: World, party: int) -> Canaries:
    """Twenty canaries for the party at `party`: distinct within the world and across seeds."""
    rng = stream(world.seed, 6, party)
    identities = rng.integers(LOWEST_ID, HIGHEST_ID, (2, CANARIES))
    seconds = np.sort(rng.choice(DAYS * 86_400, CANARIES, replace=False))
    # Four decimals and microseconds that end in an odd digit: no rounding produces them.
    micro = rng.integers(50_000, 499_999, CANARIES) * 2 + 1
    amount = (rng.integers(500_000, 2_400_000, CANARIES) * 2 + 1) / 10_000
    return Canaries(
        order_id=identities[0],
        customer_id=identities[1],
        ts_us=START_US + seconds * 1_000_000 + micro,
        amount=amount,
    )
