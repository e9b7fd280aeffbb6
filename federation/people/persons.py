"""A person: whose it is, what it may be, and the key that its own machine keeps."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from federation.errors import MalformedMessageError
from federation.roster_rules import is_name, is_organisation
from policies.parties import Jurisdiction
from secure_compute.canonical import JSON
from secure_compute.primitives.signature import VerifyKey

PersonId = NewType("PersonId", str)
"""The name under which a person logs in, such as `ana`."""


class PersonRole(StrEnum):
    """What a person does in the federation; what each may is `policies.access`'s to say."""

    PARTNER_OPERATOR = "partner_operator"
    OFFICER = "officer"
    DATA_TEAM = "data_team"
    AGGREGATOR_OPERATOR = "aggregator_operator"
    REGULATOR = "regulator"


@dataclass(frozen=True, slots=True)
class Seat:
    """What a person is invited to be.

    Raises:
        MalformedMessageError: nobody and no organisation can be called so.
    """

    person: PersonId
    organisation: str
    role: PersonRole
    jurisdiction: Jurisdiction

    def __post_init__(self) -> None:
        if not is_name(self.person) or not is_organisation(self.organisation):
            raise MalformedMessageError(
                "a person's name is letters, digits and . _ -, its organisation one line of text"
            )

    def to_json(self) -> dict[str, JSON]:
        """Return it as people are shown it."""
        return {
            "person": self.person,
            "organisation": self.organisation,
            "role": self.role.value,
            "jurisdiction": self.jurisdiction.value,
        }


@dataclass(frozen=True, slots=True)
class Person:
    """A person that has enrolled. key: of its machine, which signs every login there."""

    seat: Seat
    key: VerifyKey
    disabled: bool = False
