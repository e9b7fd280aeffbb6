"""Synthetic card payments at 10,000 stores in 133 countries.

A party is a payment partner: the card's `provider`, ten of them. A card has one provider, so all
its rows lie at one party; a store is paid through many, and that is what a joint question is about.
Where a country's name is missing (NA, Namibia's code, was read as nothing) it stays missing.
"""

from collections.abc import Mapping
from typing import Final

import pandas as pd

from experiments.datasets.files import Table, party_name
from policies.parties import PartyId

TABLE: Final = Table(
    "evalml_payments.parquet",
    99_992,
    {
        "id": "integer",
        "card_id": "integer",
        "store_id": "integer",
        "datetime": "moment",
        "amount": "integer",
        "currency": "text",
        "customer_present": "truth",
        "fraud": "truth",
        "expiration_date": "text",
        "provider": "text",
        "lat": "number",
        "lng": "number",
        "region": "text",
        "country": "text",
    },
    gaps=frozenset({"country"}),
)


def by_provider(table: pd.DataFrame) -> Mapping[PartyId, pd.DataFrame]:
    """Return every payment partner's rows, in the file's order."""
    return {party_name(str(name)): rows for name, rows in table.groupby("provider", sort=True)}
