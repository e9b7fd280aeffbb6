"""Fraud scenarios a to f as incidents: who is struck where, when, and what the orders look like.

A scenario arrives at its origin parties first and at the others weeks later: what one party has
seen, another will meet.  `Habits.heterogeneity` weakens that and adds honest look-alikes.
The scenario of an order is the cause of its label; it stands in the truth folder only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.commerce import places
from experiments.commerce.world import DAYS, OLD_CUSTOMER, World, stream
from policies.parties import Role

WEEKS: Final = DAYS // 7
SCENARIOS: Final = "abcdef"
WEIGHTS: Final = np.array([0.2, 0.2, 0.06, 0.22, 0.2, 0.12])
ARRIVAL_WEEKS: Final = (17, WEEKS - 3)  # when a scenario reaches a party that is not its origin
BEFORE_ARRIVAL: Final = 0.02  # what is seen of a scenario before it arrives
STRUCK_EVERY: Final = 50
"""Of so many counterparties one is struck, if any are."""
LOOKALIKES: Final = 0.02  # honest look-alikes per order at heterogeneity 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the orders of one incident have in common.

    orders:   fewest and most orders; `elsewhere` the same at parties that see only a part.
    hours:    time within which they happen.
    night:    part placed at night.
    level:    mean logarithm of the amount, or None where it follows the customer's own.
    times:    amount against the customer's own.
    identity: True where the customer is an identity invented for it.
    one_shop: True where all orders go to one counterparty.
    """

    orders: tuple[int, int]
    elsewhere: tuple[int, int]
    hours: float
    night: float
    level: float | None = None
    times: float = 1.0
    identity: bool = False
    one_shop: bool = False
    ip_abroad: float = 0.0
    ship_abroad: float = 0.0


RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        # Card testing: bursts of tiny payments over many shops.
        "a": Recipe(orders=(2, 4), elsewhere=(1, 1), hours=3, night=0.2, level=0.9, ip_abroad=0.1),
        # Ring: invented identities and stolen devices, dear goods.
        "b": Recipe(
            orders=(1, 1), elsewhere=(1, 1), hours=20, night=0.2, level=5.5, identity=True,
            ip_abroad=0.1, ship_abroad=0.1,
        ),
        # Compromised merchant: its customers' cards are used there again.
        "c": Recipe(
            orders=(1, 1), elsewhere=(1, 1), hours=240, night=0.15, times=1.6, one_shop=True,
            ip_abroad=0.1,
        ),
        # Account takeover: five times what the customer usually spends, while it sleeps.
        "d": Recipe(orders=(1, 1), elsewhere=(1, 1), hours=1, night=0.8, times=5.0, ip_abroad=0.1),
        # Cross-border mismatch, hidden among honest travellers.
        "e": Recipe(
            orders=(1, 1), elsewhere=(1, 1), hours=40, night=0.1, times=1.5, ip_abroad=0.95,
            ship_abroad=0.8,
        ),
        # Refund abuse: many orders at one seller, money asked back.
        "f": Recipe(
            orders=(2, 4), elsewhere=(2, 4), hours=70, night=0.05, times=1.5, one_shop=True,
        ),
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Orders as aligned columns; `scenario` is 0 for an honest order, else 1 for a, 2 for b, …

    at: microseconds since the start of the period.
    """

    account: NDArray[np.int64]
    at: NDArray[np.int64]
    amount: NDArray[np.float64]
    category: NDArray[np.int64]
    counterparty: NDArray[np.int64]
    ship: NDArray[np.int64]
    card: NDArray[np.int64]
    ip: NDArray[np.int64]
    scenario: NDArray[np.int64]

    def take(self, order: NDArray[np.int64] | slice) -> "Rows":
        """The rows at `order`."""
        return Rows(**{item.name: getattr(self, item.name)[order] for item in fields(self)})


def joined_rows(*parts: Rows) -> Rows:
    """All rows of all parts, one after the other."""
    return Rows(
        **{
            item.name: np.concatenate([getattr(part, item.name) for part in parts])
            for item in fields(Rows)
        }
    )


def fraud_mix(world: World) -> NDArray[np.float64]:
    """Which scenarios make up the fraud of a week at a party [parties, weeks, scenarios]."""
    rng = stream(world.seed, 2)
    shape = (len(world.seats), len(SCENARIOS))
    arrival = rng.integers(*ARRIVAL_WEEKS, shape)
    own = np.array([[letter in seat.origins for letter in SCENARIOS] for seat in world.seats])
    arrival[own] = 0
    here = np.arange(WEEKS)[None, :, None] >= arrival[:, None, :]
    wave = WEIGHTS * np.where(here, 1.0, BEFORE_ARRIVAL)
    wave /= wave.sum(axis=2, keepdims=True)
    alone = own / own.sum(axis=1, keepdims=True)
    knob = world.habits.heterogeneity
    result: NDArray[np.float64] = (1 - knob) * wave + knob * alone[:, None, :]
    return result


def plan_incidents(world: World) -> Rows:
    """Every order of the period that follows a scenario, and honest look-alikes, by time."""
    rng = stream(world.seed, 3)
    mix = fraud_mix(world)
    parts = []
    for index, seat in enumerate(world.seats):
        weekly = world.orders * seat.share / WEEKS
        foreign = np.array([letter not in seat.origins for letter in SCENARIOS]) / len(SCENARIOS)
        for number, letter in enumerate(SCENARIOS):
            recipe = RECIPES[letter]
            span = recipe.orders if seat.role is Role.PAYMENT_PARTNER else recipe.elsewhere
            wanted = weekly * world.habits.fraud_rate * mix[index, :, number] / np.mean(span)
            parts.append(_incidents(rng, world, index, letter, wanted, number + 1))
            lookalikes = weekly * world.habits.heterogeneity * LOOKALIKES * foreign[number]
            honest = np.full(WEEKS, lookalikes / np.mean(span))
            parts.append(_incidents(rng, world, index, letter, honest, 0))
    rows = joined_rows(*parts)
    return rows.take(np.argsort(rows.at, kind="stable"))


def _incidents(
    rng: np.random.Generator,
    world: World,
    party: int,
    letter: str,
    weekly: NDArray[np.float64],
    scenario: int,
) -> Rows:
    """Incidents of one scenario at one party, `weekly` of them expected in each week."""
    recipe = RECIPES[letter]
    at_payments = world.seats[party].role is Role.PAYMENT_PARTNER
    low, high = recipe.orders if at_payments else recipe.elsewhere
    week = np.repeat(np.arange(WEEKS), rng.poisson(weekly))
    day = 7 * week + rng.integers(0, 7, len(week))
    victim = _victims(rng, world, party, recipe, len(week))
    shop = rng.integers(0, world.counterparties[party], len(week))
    incident = np.repeat(np.arange(len(week)), rng.integers(low, high + 1, len(week)))
    count = len(incident)
    at = _moments(rng, recipe, day, incident)
    alone = rng.integers(0, world.counterparties[party], count)
    counterparty = shop[incident] if recipe.one_shop else alone
    if scenario and world.habits.struck:  # without it no number more is drawn
        here = rng.random(count) < world.habits.struck
        counterparty = np.where(here, counterparty // STRUCK_EVERY * STRUCK_EVERY, counterparty)
    account = victim[incident]
    home = world.customers.home[world.accounts.customer[account]]
    abroad = rng.integers(0, len(places.COUNTRIES), count)
    rows = Rows(
        account=account,
        at=at,
        amount=_amounts(rng, world, recipe, account),
        category=rng.choice(len(places.CATEGORIES), count, p=places.CATEGORY_SHARE),
        counterparty=counterparty,
        ship=np.where(rng.random(count) < recipe.ship_abroad, abroad, home),
        card=home,
        ip=np.where(rng.random(count) < recipe.ip_abroad, abroad, home),
        scenario=np.full(count, scenario),
    )
    return rows.take(np.flatnonzero(at < DAYS * places.DAY_SECONDS * 1_000_000))


def _victims(
    rng: np.random.Generator, world: World, party: int, recipe: Recipe, count: int
) -> NDArray[np.int64]:
    accounts = world.accounts
    settled = ~accounts.ring & (accounts.joined == OLD_CUSTOMER)
    able = accounts.ring if recipe.identity else settled & ~accounts.target & ~accounts.held_out
    pool = np.flatnonzero(able & (accounts.party == party))
    return rng.choice(pool, count)


def _moments(
    rng: np.random.Generator,
    recipe: Recipe,
    day: NDArray[np.int64],
    incident: NDArray[np.int64],
) -> NDArray[np.int64]:
    """When the orders happen: a start by day or night, then spread over the recipe's hours."""
    by_night = rng.random(len(day)) < recipe.night
    count = len(day)
    second = np.where(by_night, places.night_seconds(rng, count), places.shop_seconds(rng, count))
    spread = rng.random(len(incident)) * recipe.hours * 3600
    if recipe.hours > 24:  # over several days each order keeps the hour of the start
        spread = np.floor(spread / places.DAY_SECONDS) * places.DAY_SECONDS
        spread += rng.integers(0, 3600, len(incident))
    start = day * places.DAY_SECONDS + second
    milliseconds = (start[incident] + spread) * 1000 + rng.integers(0, 1000, len(incident))
    return milliseconds.astype(np.int64) * 1000


def _amounts(
    rng: np.random.Generator, world: World, recipe: Recipe, account: NDArray[np.int64]
) -> NDArray[np.float64]:
    own = world.customers.level[world.accounts.customer[account]] + np.log(recipe.times)
    level = own if recipe.level is None else np.full(len(account), recipe.level)
    return np.exp(level + rng.normal(0.0, 0.45, len(account)))
