"""Which roles hold the rows of which published contract: who can stand behind a result."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from policies.parties import DATA_ROLES, Role

OFFERED_BY: Final[Mapping[str, tuple[Role, ...]]] = MappingProxyType(
    {
        "orders": DATA_ROLES,
        "demand": (Role.WAREHOUSE,),
        "people": DATA_ROLES,
        "payments": (Role.PAYMENT_PARTNER, Role.MERCHANT),
        "shipments": (Role.WAREHOUSE,),
        "inventory": (Role.WAREHOUSE,),
    }
)
"""A cohort member of another role holds no rows of the contract, and so hides nobody."""


def offering(contracts: Iterable[str]) -> tuple[Role, ...]:
    """Return the roles that hold rows of all these contracts; none where one is not published.

    Who lacks one of them has no row of a join, and so hides nobody in it.
    """
    held = [OFFERED_BY.get(name, ()) for name in contracts]
    return tuple(role for role in DATA_ROLES if held and all(role in roles for roles in held))
