"""How many organisations must stand behind a cell, and which columns say whose rows these are."""

from collections.abc import Sequence
from typing import Final

from federation.errors import OnePartyQueryError
from federation.membership import Member

MINIMUM_ORGANISATIONS: Final = 3

PARTY_COLUMNS: Final = frozenset(
    {
        "bank",
        "counterparty",
        "jurisdiction",
        "merchant",
        "node",
        "organisation",
        "organization",
        "partner",
    }
    | {"party", "payment_partner", "retailer", "seller", "shop", "silo", "site", "store"}
    | {"supplier", "vendor", "warehouse"}
)
"""Columns of these names, also with `_id`, `_code` or `_name`, say whose rows one looks at."""


def require_cohort(cohort: Sequence[Member]) -> None:
    """Accept a cohort in which no cell can be one organisation's own.

    Raises:
        OnePartyQueryError: fewer than three organisations hold the rows that are read.
    """
    count = len({member.organisation for member in cohort})
    if count < MINIMUM_ORGANISATIONS:
        raise OnePartyQueryError(
            f"{count} organisations hold rows for this query; a cell needs "
            f"{MINIMUM_ORGANISATIONS} that may hold it: ask a larger cohort"
        )
