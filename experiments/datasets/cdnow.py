"""Orders of an online shop for records: customers who came in early 1997, until June 1998.

A party is a shop that serves a fiftieth of the customers: the customer's number modulo 50, a
division that the data do not have. Numbers follow the day of the first order, so the shops are
alike in when their customers came.
"""

from collections.abc import Mapping
from typing import Final

import pandas as pd

from experiments.datasets.files import Table
from policies.parties import PartyId

TABLE: Final = Table(
    "cdnow.parquet",
    69_659,
    {"customer_id": "text", "date": "moment", "n_cds": "integer", "dollar_value": "number"},
)
SHOPS: Final = 50


def by_shop(table: pd.DataFrame, shops: int = SHOPS) -> Mapping[PartyId, pd.DataFrame]:
    """Return every shop's orders, in the file's order; a customer is at one shop alone."""
    place = table["customer_id"].astype("int64") % shops
    return {PartyId(f"shop-{number:02}"): rows for number, rows in table.groupby(place)}
