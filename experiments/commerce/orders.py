"""The order stream, day by day: honest orders, incidents, labels that arrive late.

A day depends on the world, the plan of incidents and which accounts have ordered before; nothing
else is carried over, so a stream of any length runs in the memory of one day.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.commerce import places
from experiments.commerce.fraud import Rows, joined_rows, plan_incidents
from experiments.commerce.world import DAYS, OLD_CUSTOMER, START_US, World, stream

DAY_US: Final = places.DAY_SECONDS * 1_000_000
END_US: Final = START_US + DAYS * DAY_US
TEST_WEEKS: Final = 6
CUT_US: Final = END_US - 7 * TEST_WEEKS * DAY_US
FRIENDLY: Final = 0.015  # honest orders reported as fraud, per fraud
UNREPORTED: Final = 0.03  # frauds that nobody ever reports
NEVER: Final = np.int64(-1)  # `label_us` where no label arrived within the period
FIRST_ORDER_ID: Final = 200_000_001


@dataclass(frozen=True, slots=True, kw_only=True)
class DayOrders:
    """The orders of one day at all parties, by time.

    reported: the label as it stands at the end of the period.
    label_us: when it arrived, or `NEVER`.
    friendly: an honest order that its customer reported as fraud.
    """

    rows: Rows
    order_id: NDArray[np.int64]
    ts_us: NDArray[np.int64]
    party: NDArray[np.int64]
    first: NDArray[np.bool_]
    reported: NDArray[np.bool_]
    label_us: NDArray[np.int64]
    friendly: NDArray[np.bool_]


def stream_days(world: World) -> Iterator[DayOrders]:
    """The orders of every day of the period, in order."""
    plan = plan_incidents(world)
    day_of = plan.at // DAY_US
    edges = np.searchsorted(day_of, np.arange(DAYS + 1))
    seen = world.accounts.joined == OLD_CUSTOMER
    habits = _Taste(world)
    order_id = FIRST_ORDER_ID
    for day in range(DAYS):
        rng = stream(world.seed, 4, day)
        incidents = plan.take(slice(int(edges[day]), int(edges[day + 1])))
        rows = joined_rows(habits.honest(rng, day), incidents)
        rows = rows.take(np.argsort(rows.at, kind="stable"))
        yield _labelled(rng, world, rows, order_id, _first_orders(rows.account, seen))
        order_id += len(rows.at)


def _first_orders(account: NDArray[np.int64], seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether an order is the first of its account; marks the accounts in `seen`."""
    first = np.zeros(len(account), np.bool_)
    first[np.unique(account, return_index=True)[1]] = True
    first &= ~seen[account]
    seen[account] = True
    return first


class _Taste:
    """Honest ordering: rates, prices and places of a world, prepared once for all days."""

    def __init__(self, world: World) -> None:
        self.world = world
        accounts = world.accounts
        self.home = world.customers.home[accounts.customer]
        self.active = np.flatnonzero(~accounts.ring)
        self.rate = accounts.rate[self.active]
        self.joined = accounts.joined[self.active]

    def honest(self, rng: np.random.Generator, day: int) -> Rows:
        """The honest orders of `day` at all parties, in no order."""
        world = self.world
        rate = self.rate * world.season[self.home[self.active], day] * (self.joined <= day)
        total = np.cumsum(rate)
        count = int(rng.poisson(total[-1]))
        drawn = np.searchsorted(total, np.sort(rng.random(count)) * total[-1], side="right")
        account = self.active[np.minimum(drawn, len(self.active) - 1)]
        customer, home = world.accounts.customer[account], self.home[account]
        taste = world.customers.taste[customer]
        other = rng.choice(len(places.CATEGORIES), count, p=places.CATEGORY_SHARE)
        category = np.where(rng.random(count) < 0.5, taste, other)
        counterparty = self._counterparty(rng, account, customer)
        abroad = rng.integers(0, len(places.COUNTRIES), (2, count))
        second = places.shop_seconds(rng, count)
        milliseconds = (day * places.DAY_SECONDS + second) * 1000 + rng.integers(0, 1000, count)
        return Rows(
            account=account,
            at=milliseconds * 1000,
            amount=self._amount(rng, day, account, category, counterparty),
            category=category,
            counterparty=counterparty,
            ship=np.where(rng.random(count) < 0.03, abroad[0], home),
            card=home,
            ip=np.where(rng.random(count) < world.customers.abroad[customer], abroad[1], home),
            scenario=np.zeros(count, np.int64),
        )

    def _counterparty(
        self, rng: np.random.Generator, account: NDArray[np.int64], customer: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """A favourite in half of the cases, else anybody, the popular ones more often."""
        many = self.world.counterparties[self.world.accounts.party[account]]
        anybody = (rng.random(len(account)) ** 2 * many).astype(np.int64)
        result: NDArray[np.int64] = np.where(
            rng.random(len(account)) < 0.4, customer % many, anybody
        )
        return result

    def _amount(
        self,
        rng: np.random.Generator,
        day: int,
        account: NDArray[np.int64],
        category: NDArray[np.int64],
        counterparty: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        world = self.world
        level = (
            world.customers.level[world.accounts.customer[account]]
            + places.CATEGORY_LEVEL[category]
            + world.price_level[world.accounts.party[account], counterparty]
            + rng.normal(0.0, 0.55, len(account))
        )
        result: NDArray[np.float64] = np.exp(level) * world.money[self.home[account], day]
        return result


def _labelled(
    rng: np.random.Generator, world: World, rows: Rows, order_id: int, first: NDArray[np.bool_]
) -> DayOrders:
    """The day's orders with the labels that arrive 3 to 60 days later, if they arrive."""
    count = len(rows.at)
    fraud = rows.scenario > 0
    friendly = ~fraud & (rng.random(count) < FRIENDLY * world.habits.fraud_rate)
    claimed = (fraud & (rng.random(count) >= UNREPORTED)) | friendly
    days = np.clip(3.0 + rng.gamma(1.5, 9.0, count), 3.0, 60.0)
    ts_us = START_US + rows.at
    arrives = ts_us + (days * places.DAY_SECONDS).astype(np.int64) * 1_000_000
    reported = claimed & (arrives < END_US)
    return DayOrders(
        rows=rows,
        order_id=order_id + np.arange(count),
        ts_us=ts_us,
        party=world.accounts.party[rows.account],
        first=first,
        reported=reported,
        label_us=np.where(reported, arrives, NEVER),
        friendly=friendly,
    )
