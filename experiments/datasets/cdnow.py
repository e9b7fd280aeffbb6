"""Orders of an online shop for records: customers who came in early 1997, until June 1998.

Fader & Hardie 2001. Who orders again? A row is a customer: what was ordered in the first 39 weeks,
and whether anything was in the 39 weeks after. A third of each shop's customers are the test.

A party is a shop that serves a fiftieth of the customers: the customer's number modulo 50, a
division that the data do not have. Numbers follow the day of the first order, so the shops are
alike in when their customers came.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clients.training.reads import Feature, Reads, Unit
from experiments.datasets.files import Table
from policies.parties import PartyId

TABLE: Final = Table(
    "cdnow.parquet",
    69_659,
    {"customer_id": "text", "date": "moment", "n_cds": "integer", "dollar_value": "number"},
)
SHOPS: Final = 50
UNIT: Final = Unit("customer at one shop", "all customers of a shop")
START: Final = pd.Timestamp("1997-01-01")
WEEKS: Final = 39

FEATURES: Final = tuple(
    Feature(name, Reads.OWN_UNIT)
    for name in ("silence", "age", "further orders", "discs", "spent", "silence of a regular")
)
"""Every input of the model, in its order: a customer's own orders of the first 39 weeks."""


@dataclass(frozen=True, slots=True, eq=False)
class ShopSplit:
    """One shop's customers: features [n, inputs], and whether they came back, 0 or 1."""

    party: PartyId
    train: NDArray[np.float32]
    train_again: NDArray[np.int64]
    test: NDArray[np.float32]
    test_again: NDArray[np.int64]


def by_shop(table: pd.DataFrame, shops: int = SHOPS) -> Mapping[PartyId, pd.DataFrame]:
    """Return every shop's orders, in the file's order; a customer is at one shop alone."""
    place = table["customer_id"].astype("int64") % shops
    return {PartyId(f"shop-{number:02}"): rows for number, rows in table.groupby(place)}


def shop_splits(table: pd.DataFrame, shops: int = SHOPS) -> tuple[ShopSplit, ...]:
    """Return every shop's customers; of three that follow each other there, the third is tested."""
    return tuple(_shop(party, rows) for party, rows in by_shop(table, shops).items())


def _shop(party: PartyId, rows: pd.DataFrame) -> ShopSplit:
    customers = customer_rows(rows)
    tested = np.arange(len(customers)) % 3 == 2
    inputs = customers[[item.name for item in FEATURES]].to_numpy(np.float32)
    again = customers["again"].to_numpy(np.int64)
    return ShopSplit(party, inputs[~tested], again[~tested], inputs[tested], again[tested])


def customer_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per customer who ordered in the first 39 weeks, by customer, and `again`.

    Orders of one day are one. Times are in parts of the 39 weeks; sums in logarithms.
    """
    cut = START + pd.Timedelta(weeks=WEEKS)
    later = table[(table["date"] >= cut) & (table["date"] < cut + pd.Timedelta(weeks=WEEKS))]
    own = table[table["date"] < cut].groupby("customer_id", sort=True)
    last, first = own["date"].max(), own["date"].min()
    whole = pd.Timedelta(weeks=WEEKS)
    silence, further = (cut - last) / whole, np.log1p(own["date"].nunique() - 1)
    return pd.DataFrame(
        {
            "silence": silence,
            "age": (cut - first) / whole,
            "further orders": further,
            "discs": np.log1p(own["n_cds"].sum()) - 1,
            "spent": np.log1p(own["dollar_value"].sum()) - 4,
            "silence of a regular": silence * further,
            "again": last.index.isin(later["customer_id"]).astype(np.int64),
        }
    )
