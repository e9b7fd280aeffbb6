"""Who lives in the synthetic commerce: customers, their accounts at parties, counterparties.

A world is drawn once from a seed.  Customers have a home, a level of spending and a heavy-tailed
activity; an account is one customer at one party.  Some customers hold accounts at two parties:
the overlap.  Identities invented by fraud rings are customers that never order by themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from experiments.commerce import places
from experiments.commerce.parties import Seat
from policies.parties import Role

Size = Literal["tiny", "small", "medium"]

ORDERS: Final[Mapping[str, int]] = MappingProxyType(
    {"tiny": 5_000, "small": 200_000, "medium": 5_000_000}
)
DAYS: Final = 182
START_US: Final = 1_736_121_600_000_000  # Monday, 2025-01-06, local midnight
ORDERS_PER_CUSTOMER: Final = 5.0
CANARIES: Final = 20
OLD_CUSTOMER: Final = -1  # `joined` of an account that is older than the period


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """The knobs of a world.

    heterogeneity: in [0, 1].  0: a fraud scenario that starts at one party reaches the others
        weeks later and looks the same there, so rows of others teach what is coming.  1: every
        party keeps its own scenarios for ever, and honest customers do what is fraud elsewhere:
        rows of others mislead.  1 is the documented setting in which federation does not help.
    overlap:    part of the customers that have an account at a second party.
    fraud_rate: frauds per order.
    struck:     part of the frauds that strike at a few counterparties, the same at every party.
    """

    heterogeneity: float = 0.0
    overlap: float = 0.3
    fraud_rate: float = 0.0096
    struck: float = 0.0

    def __post_init__(self) -> None:
        if not all(0 <= knob <= 1 for knob in (self.heterogeneity, self.overlap, self.struck)):
            raise ValueError(
                "heterogeneity, overlap and struck lie between 0 and 1: correct the settings"
            )
        if not 0.003 <= self.fraud_rate <= 0.01:
            raise ValueError("fraud_rate lies between 0.003 and 0.01: correct the settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Customers:
    """One entry per customer.

    abroad: chance that an order is placed from another country.
    level:  mean logarithm of the customer's amounts in euro.
    """

    customer_id: NDArray[np.int64]
    home: NDArray[np.int64]
    level: NDArray[np.float64]
    abroad: NDArray[np.float64]
    taste: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """One entry per customer and party; `joined` is a day of the period or `OLD_CUSTOMER`.

    ring:     an identity invented by a fraud ring.
    target:   a known member, for membership inference.
    held_out: a known non-member: its orders stand in the truth folder only.
    """

    customer: NDArray[np.int64]
    party: NDArray[np.int64]
    rate: NDArray[np.float64]
    joined: NDArray[np.int64]
    ring: NDArray[np.bool_]
    target: NDArray[np.bool_]
    held_out: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that exists before the first order."""

    seed: int
    orders: int
    habits: Habits
    seats: tuple[Seat, ...]
    customers: Customers
    accounts: Accounts
    counterparties: NDArray[np.int64]
    price_level: NDArray[np.float64]
    season: NDArray[np.float64]
    money: NDArray[np.float64]


def stream(seed: int, *purpose: int) -> np.random.Generator:
    """A generator of its own for every purpose, so that parts do not disturb each other."""
    return np.random.default_rng([seed, *purpose])


def draw_world(size: Size, seed: int, seats: Sequence[Seat], habits: Habits) -> World:
    """The world of `seed`: the same for the same arguments."""
    rng = stream(seed, 1)
    orders = ORDERS[size]
    count = round(orders / ORDERS_PER_CUSTOMER)
    rings = max(8 * len(seats), round(orders * habits.fraud_rate * 0.6))
    share = np.array([seat.share for seat in seats])
    first = rng.choice(len(seats), count + rings, p=share / share.sum())
    customers = _customers(rng, first, seats)
    accounts = _accounts(rng, first, count, customers, seats, habits)
    season = places.season(DAYS)
    accounts = _scaled(accounts, customers, season, share, orders)
    per_party = np.array([_counterparties(seat, orders) for seat in seats])
    return World(
        seed=seed,
        orders=orders,
        habits=habits,
        seats=tuple(seats),
        customers=customers,
        accounts=accounts,
        counterparties=per_party,
        price_level=rng.normal(0.0, 0.25, (len(seats), int(per_party.max()))),
        season=season,
        money=places.exchange(rng, DAYS),
    )


def _counterparties(seat: Seat, orders: int) -> int:
    """How many others a party deals with: shops of a payment partner, wallets of a shop."""
    return 12 if seat.role is Role.MERCHANT else max(20, min(400, orders // 500))


def _customers(
    rng: np.random.Generator, first: NDArray[np.int64], seats: Sequence[Seat]
) -> Customers:
    count = len(first)
    home = np.zeros(count, dtype=np.int64)
    for index, seat in enumerate(seats):
        here = first == index
        codes = [places.country(code) for code in seat.markets]
        weights = np.array(list(seat.markets.values()))
        home[here] = rng.choice(codes, int(here.sum()), p=weights / weights.sum())
    traveller = rng.random(count) < 0.06
    return Customers(
        customer_id=10_000_000 + rng.permutation(9 * count)[:count].astype(np.int64),
        home=home,
        level=rng.normal(3.4, 0.5, count),
        abroad=np.where(traveller, 0.35, 0.012),
        taste=rng.choice(len(places.CATEGORIES), count, p=places.CATEGORY_SHARE),
    )


def _accounts(
    rng: np.random.Generator,
    first: NDArray[np.int64],
    count: int,
    customers: Customers,
    seats: Sequence[Seat],
    habits: Habits,
) -> Accounts:
    """First accounts of everybody, second ones of the overlap; rings use two parties."""
    everybody = np.arange(len(first))
    doubled = (rng.random(len(first)) < habits.overlap) | (everybody >= count)
    second = _second_party(rng, first, customers.home, seats)
    doubled &= second != first
    customer = np.concatenate([everybody, everybody[doubled]])
    party = np.concatenate([first, second[doubled]])
    activity = np.minimum(rng.pareto(1.8, len(first)) + 0.25, 25.0)
    ring = customer >= count
    rate = np.where(ring, 0.0, activity[customer])
    rate[len(first) :] *= 0.5
    joined = np.where(rng.random(len(rate)) < 0.7, OLD_CUSTOMER, rng.integers(0, DAYS, len(rate)))
    joined[ring] = 0
    target, held_out = _audit_groups(rng, party, (~ring) & ~doubled[customer], len(seats))
    return Accounts(
        customer=customer,
        party=party,
        rate=rate,
        joined=np.where(target | held_out, OLD_CUSTOMER, joined),
        ring=ring,
        target=target,
        held_out=held_out,
    )


def _second_party(
    rng: np.random.Generator,
    first: NDArray[np.int64],
    home: NDArray[np.int64],
    seats: Sequence[Seat],
) -> NDArray[np.int64]:
    """Another party that sells in the customer's country, or the first one where none does."""
    second = first.copy()
    for code in range(len(places.COUNTRIES)):
        here = np.flatnonzero(home == code)
        name = places.COUNTRIES[code]
        weights = np.array([seat.share * seat.markets.get(name, 0.0) for seat in seats])
        if len(here) and weights.any():
            second[here] = rng.choice(len(seats), len(here), p=weights / weights.sum())
    return second


def _audit_groups(
    rng: np.random.Generator, party: NDArray[np.int64], able: NDArray[np.bool_], seats: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Equally many known members and known non-members at every party."""
    target, held_out = np.zeros(len(party), np.bool_), np.zeros(len(party), np.bool_)
    for index in range(seats):
        pool = np.flatnonzero(able & (party == index))
        size = max(2, min(64, len(pool) // 40))
        chosen = rng.choice(pool, 2 * size, replace=False)
        target[chosen[:size]] = True
        held_out[chosen[size:]] = True
    return target, held_out


def _scaled(
    accounts: Accounts,
    customers: Customers,
    season: NDArray[np.float64],
    share: NDArray[np.float64],
    orders: int,
) -> Accounts:
    """The same accounts with rates per day that give every party its share of the orders."""
    ahead = np.concatenate([season[:, ::-1].cumsum(axis=1)[:, ::-1], season[:, :1] * 0], axis=1)
    exposure = ahead[customers.home[accounts.customer], np.maximum(accounts.joined, 0)]
    expected = np.bincount(accounts.party, weights=accounts.rate * exposure, minlength=len(share))
    factor = orders * share / np.maximum(expected, 1e-9)
    return Accounts(
        customer=accounts.customer,
        party=accounts.party,
        rate=accounts.rate * factor[accounts.party],
        joined=accounts.joined,
        ring=accounts.ring,
        target=accounts.target,
        held_out=accounts.held_out,
    )
