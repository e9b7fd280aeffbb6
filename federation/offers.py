"""Which roles hold the rows of which published contract: who can stand behind a result."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from policies.parties import DATA_ROLES, Role

OFFERED_BY: Final[Mapping[str, tuple[Role, ...]]] = MappingProxyType(
    {"orders": DATA_ROLES, "demand": (Role.WAREHOUSE,), "people": DATA_ROLES}
)
"""A cohort member of another role holds no rows of the contract, and so hides nobody."""
