"""Who takes part, and in which legal territory."""

from enum import StrEnum
from typing import NewType

PartyId = NewType("PartyId", str)
"""The name of a member of the federation, such as `warehouse-cn`."""


class Role(StrEnum):
    """What a party does in the federation."""

    WAREHOUSE = "warehouse"
    PAYMENT_PARTNER = "payment_partner"
    MERCHANT = "merchant"
    AGGREGATOR = "aggregator"
    KEYHOLDER = "keyholder"
    ANALYST = "analyst"


DATA_ROLES = (Role.WAREHOUSE, Role.PAYMENT_PARTNER, Role.MERCHANT)
"""The roles that hold raw rows."""


class Jurisdiction(StrEnum):
    """The legal territory in which a node's data lives; a state of one is written behind a dash."""

    CN = "CN"
    EU = "EU"
    UK = "UK"
    US = "US"
    US_CA = "US-CA"
    BR = "BR"
    CH = "CH"


def territory(place: str) -> str:
    """Return the territory whose borders count at `place`: `US` of `US-CA`."""
    return place.partition("-")[0]


class Grade(StrEnum):
    """How sensitive a column is: S1 public, S2 internal, S3 personal, S4 secret."""

    S1 = "S1"
    S2 = "S2"
    S3 = "S3"
    S4 = "S4"
