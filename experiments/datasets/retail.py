"""Order lines of a British wholesaler of gifts, December 2010 to December 2011 (UCI, CC BY 4.0).

Chen, Sain & Guo 2012. A party is the country that the goods went to, 38 of them, `unspecified`
among them. The United Kingdom holds nine tenths of the rows. Pooling does not forecast demand
better here: a report that finds a gain on this set is wrong.
"""

from collections.abc import Mapping
from typing import Final

import pandas as pd

from experiments.datasets.files import Table, party_name
from policies.parties import PartyId

TABLE: Final = Table(
    "online_retail.parquet",
    541_909,
    {
        "InvoiceNo": "text",
        "StockCode": "text",
        "Description": "text",
        "Quantity": "integer",
        "InvoiceDate": "moment",
        "UnitPrice": "number",
        "CustomerID": "number",
        "Country": "text",
    },
    gaps=frozenset({"CustomerID", "Description"}),
)


def order_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Return all lines; the customer as Int64, absent where nobody is named; and `cancelled`."""
    return table.assign(
        CustomerID=table["CustomerID"].astype("Int64"),
        cancelled=table["InvoiceNo"].str.startswith("C"),
    )


def by_country(table: pd.DataFrame) -> Mapping[PartyId, pd.DataFrame]:
    """Return every country's lines, in the file's order."""
    return {party_name(str(name)): rows for name, rows in table.groupby("Country", sort=True)}
