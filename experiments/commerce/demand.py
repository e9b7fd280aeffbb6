"""Weekly demand of retailers at warehouses, in the columns of the cheese table.

Volume follows price, display, a season shared by all market areas and a slow trend of each
retailer.  Established warehouses hold the whole period; the newcomer, warehouse-uk where present,
opened eight weeks before the test with six retailers.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.commerce.world import World, stream
from policies.parties import Jurisdiction, PartyId, Role

WEEKS: Final = 61
TEST_WEEKS: Final = 13
NEWCOMER_WEEKS: Final = TEST_WEEKS + 8
RETAILERS: Final = 27
NEWCOMER_RETAILERS: Final = 6
AREAS: Final = 15
ELASTICITY: Final = -2.3
DISPLAY: Final = 1.1

Table = Mapping[str, NDArray[np.int64] | NDArray[np.float64] | list[str]]


def demand_tables(world: World) -> dict[PartyId, Table]:
    """One table per warehouse: RETAILER, week, VOLUME, DISP, PRICE, by retailer and week."""
    rng = stream(world.seed, 5)
    season = 0.12 * np.sin(2 * np.pi * np.arange(WEEKS) / 52) + rng.normal(0, 0.06, WEEKS)
    areas = rng.normal(0.0, 0.3, AREAS)
    return {
        seat.party: _warehouse(rng, world, seat.party, seat.jurisdiction, season, areas)
        for seat in world.seats
        if seat.role is Role.WAREHOUSE
    }


def _warehouse(
    rng: np.random.Generator,
    world: World,
    party: PartyId,
    jurisdiction: Jurisdiction,
    season: NDArray[np.float64],
    areas: NDArray[np.float64],
) -> Table:
    newcomer = jurisdiction is Jurisdiction.UK
    count = NEWCOMER_RETAILERS if newcomer else RETAILERS
    begin = WEEKS - NEWCOMER_WEEKS if newcomer else 0
    knob = world.habits.heterogeneity
    elasticity = ELASTICITY + rng.normal(0.0, 1.0) * knob
    area = rng.integers(0, AREAS, count)
    names, weeks, columns = [], [], []
    for index in range(count):
        usual = rng.uniform(2.2, 3.6)
        price, display = _promotions(rng, usual)
        level = 8.1 + areas[area[index]] + rng.normal(0.0, 0.7)
        drift = np.cumsum(rng.normal(0.0, 0.03, WEEKS))
        log_volume = level + season + drift + elasticity * np.log(price / usual)
        log_volume += DISPLAY * display + rng.normal(0.0, 0.16, WEEKS)
        names += [f"AREA {area[index]:02d} - {party.upper()} {index:02d}"] * (WEEKS - begin)
        weeks.append(np.arange(begin, WEEKS))
        columns.append(np.stack([np.exp(log_volume), display, price])[:, begin:])
    volume, shown, priced = np.concatenate(columns, axis=1)
    return {
        "RETAILER": names,
        "week": np.concatenate(weeks).astype(np.int64),
        "VOLUME": np.maximum(1, np.round(volume)).astype(np.int64),
        "DISP": np.round(shown, 6),
        "PRICE": np.round(priced, 6),
    }


def _promotions(
    rng: np.random.Generator, usual: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Price and display of one retailer in every week: a fifth of the weeks are promotions."""
    promoted = rng.random(WEEKS) < 0.2
    cut = np.where(promoted, rng.uniform(0.1, 0.35, WEEKS), rng.normal(0.0, 0.03, WEEKS))
    display = np.where(promoted, rng.beta(2, 4, WEEKS), rng.beta(0.4, 8, WEEKS))
    return usual * (1 - cut), display
