"""The parties of the demo as the generator sees them: markets, shares, columns.

Every order belongs to exactly one party, its party of record.  A payment partner records what it
processed, a merchant what was paid elsewhere, a warehouse what was ordered from it directly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from policies.parties import Jurisdiction, PartyId, Role

SHARED_COLUMNS: Final = (
    "order_id",
    "customer_id",
    "ts",
    "amount",
    "category",
    "counterparty_id",
    "ship_country",
    "first_order",
    "label_fraud",
    "label_ts",
)
ROLE_COLUMNS: Final[Mapping[Role, tuple[str, ...]]] = MappingProxyType(
    {
        Role.PAYMENT_PARTNER: (*SHARED_COLUMNS, "ip_country", "card_country"),
        Role.MERCHANT: (*SHARED_COLUMNS, "ip_country"),
        Role.WAREHOUSE: SHARED_COLUMNS,
    }
)
"""The columns of `orders.parquet` at each role; a column that a role lacks is not in its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A party's place in the synthetic commerce.

    share:   its part of all orders; shares need not add up to one.
    markets: where its customers live, as weights per country.
    origins: the fraud scenarios (letters a to f) that it meets from the first week on.
    """

    party: PartyId
    role: Role
    jurisdiction: Jurisdiction
    share: float
    markets: Mapping[str, float]
    origins: str
    columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", ROLE_COLUMNS[self.role])


EUROPE: Final = {"DE": 0.3, "FR": 0.22, "IT": 0.14, "ES": 0.12, "NL": 0.08, "PL": 0.06, "GB": 0.08}


def _seat(
    name: str,
    role: Role,
    jurisdiction: Jurisdiction,
    share: float,
    markets: Mapping[str, float],
    origins: str,
) -> Seat:
    return Seat(
        party=PartyId(name),
        role=role,
        jurisdiction=jurisdiction,
        share=share,
        markets=MappingProxyType(dict(markets)),
        origins=origins,
    )


_PAYMENT, _SHOP, _STORE = Role.PAYMENT_PARTNER, Role.MERCHANT, Role.WAREHOUSE
_CN, _EU, _UK, _US, _BR = (Jurisdiction[code] for code in ("CN", "EU", "UK", "US", "BR"))

DEMO_PARTIES: Final[tuple[Seat, ...]] = (
    _seat("payments-eu", _PAYMENT, _EU, 0.24, {**EUROPE, "US": 0.1, "BR": 0.02}, "ad"),
    _seat("payments-cn", _PAYMENT, _CN, 0.18, {"CN": 0.7, "JP": 0.1, "US": 0.1, "DE": 0.1}, "be"),
    _seat("merchant-uk", _SHOP, _UK, 0.09, {"GB": 0.8, "FR": 0.08, "DE": 0.08, "US": 0.04}, "bf"),
    _seat("merchant-br", _SHOP, _BR, 0.05, {"BR": 0.88, "MX": 0.06, "US": 0.06}, "de"),
    _seat("warehouse-cn", _STORE, _CN, 0.11, {"CN": 0.85, "JP": 0.15}, "ac"),
    _seat("warehouse-eu", _STORE, _EU, 0.11, EUROPE, "bf"),
    _seat("warehouse-uk", _STORE, _UK, 0.11, {"GB": 0.9, "FR": 0.1}, "ce"),
    _seat("warehouse-us", _STORE, _US, 0.11, {"US": 0.85, "MX": 0.15}, "de"),
)
"""Four warehouses, two payment partners and two merchants in five jurisdictions."""

FRAUD_PARTIES: Final = tuple(seat.party for seat in DEMO_PARTIES if seat.role is not _STORE)
"""The parties that train the fraud model in the demo."""
