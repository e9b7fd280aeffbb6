"""The demand task as the one who wrote the folders sees it: histories, test weeks, scores.

No node permits this.  The demo holds the tables because it placed them, and measures with
them what a federation would not otherwise know: how good a model is, and against what.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clients.training.demand import DemandBounds, DemandRows, demand_rows, predicted_volume, wape
from experiments.commerce.write import Manifest
from federation.models import Predictor, Vector
from policies.parties import PartyId

TEST_WEEKS: Final = 13
NEWCOMER_WEEKS: Final = 8
NEWCOMER: Final = PartyId("warehouse-uk")
ESTABLISHED: Final = (
    PartyId("warehouse-cn"),
    PartyId("warehouse-eu"),
    PartyId("warehouse-us"),
)
NEWCOMER_AREAS: Final = ("CHICAGO", "MILWAUKEE", "ST. LOUIS")
"""Three neighbouring market areas with six retailers, where weeks differ a lot from each other."""

CHEESE: Final = Path(__file__).parent / "data" / "cheese" / "cheese.parquet"
_NAMES: Final = {
    "RETAILER": "retailer",
    "week": "week",
    "VOLUME": "volume",
    "DISP": "display",
    "PRICE": "price",
}


@dataclass(frozen=True, slots=True, eq=False)
class DemandSet:
    """One table per warehouse with the columns of the demand contract, test weeks included.

    name:      cheese or generated.
    test_week: the first week that no model may train on.
    """

    name: str
    tables: Mapping[PartyId, pd.DataFrame]
    test_week: int


@dataclass(frozen=True, slots=True, eq=False)
class DemandSplit:
    """One party's rows, divided at the test week."""

    party: PartyId
    train: DemandRows
    test: DemandRows

    @property
    def naive(self) -> NDArray[np.float64]:
        """The volumes of each test row's last known week, the forecast that costs nothing."""
        return self.test.naive

    def score(self, model: Predictor, weights: Vector) -> float:
        """Return the WAPE of the model on the test weeks."""
        return wape(self.predict(model, weights), self.test.volume)

    def predict(self, model: Predictor, weights: Vector) -> NDArray[np.float64]:
        """Return the model's volumes for the test weeks."""
        return predicted_volume(self.test, model.predict(weights, self.test.features))


def cheese_set(path: Path = CHEESE) -> DemandSet | None:
    """Return the cheese sales of the demo's four warehouses, or None outside a checkout.

    The established warehouses share the market areas in turn; the newcomer has its own, from
    eight weeks before the test.
    """
    if not path.exists():
        return None
    table = _cheese(path)
    test_week = int(table["week"].max()) + 1 - TEST_WEEKS
    area = table["retailer"].str.split(" - ").str[0]
    shared = sorted(set(area) - set(NEWCOMER_AREAS))
    tables = {
        party: table[area.isin(shared[place :: len(ESTABLISHED)])]
        for place, party in enumerate(ESTABLISHED)
    }
    opened = table["week"] >= test_week - NEWCOMER_WEEKS
    tables[NEWCOMER] = table[area.isin(NEWCOMER_AREAS) & opened]
    return DemandSet("cheese", tables, test_week)


def cheese_apart(path: Path = CHEESE) -> DemandSet | None:
    """Return the cheese sales with each of the 88 retailers a party of its own."""
    if not path.exists():
        return None
    table = _cheese(path)
    parties = {
        PartyId(f"retailer-{place:02}"): rows
        for place, (_, rows) in enumerate(table.groupby("retailer", sort=True))
    }
    return DemandSet("cheese", parties, int(table["week"].max()) + 1 - TEST_WEEKS)


def generated_set(manifest: Manifest) -> DemandSet:
    """Return the demand that the generator wrote, for whoever has no cheese."""
    tables = {}
    for party in manifest.parties:
        path = manifest.data(party) / "demand.parquet"
        if path.exists():
            tables[party] = pd.read_parquet(path).rename(columns=_NAMES)[list(_NAMES.values())]
    last = max(int(table["week"].max()) for table in tables.values())
    return DemandSet("generated", tables, last + 1 - TEST_WEEKS)


def demand_split(
    party: PartyId,
    table: pd.DataFrame,
    test_week: int,
    window: int,
    bounds: DemandBounds,
    horizons: int = 1,
    *,
    series: bool = False,
) -> DemandSplit:
    """Divide one party's rows: a training row reads no test week; a test row reads what was.

    Rows of a stretch that begins before the test week and ends after it train nothing.
    """
    rows = demand_rows(table, window, bounds, horizons, series=series)
    return DemandSplit(party, rows.where(rows.last < test_week), rows.where(rows.week >= test_week))


def overall_wape(
    splits: Sequence[DemandSplit], forecasts: Mapping[PartyId, NDArray[np.float64]]
) -> float:
    """Return the WAPE over the test weeks of all parties together."""
    return wape(
        np.concatenate([forecasts[split.party] for split in splits]),
        np.concatenate([split.test.volume for split in splits]),
    )


def _cheese(path: Path) -> pd.DataFrame:
    """Return the table in the contract's names, weeks moved so that all retailers end together."""
    table = pd.read_parquet(path).rename(columns=_NAMES)[list(_NAMES.values())]
    table["volume"] = table["volume"].astype(np.float64)
    last = table.groupby("retailer")["week"].transform("max").astype(np.int64)
    table["week"] = table["week"].astype(np.int64) + int(last.max()) - last
    return table.sort_values(["retailer", "week"], ignore_index=True)
