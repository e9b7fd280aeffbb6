"""Who may hold the rows of a plan, as far as one side can know it.

What others hold of a column stands in no order and in no roster. So a node takes its own contracts
as they are, `holds` included, and of every other party whose role offers the rows it takes the
published text: there anybody may hold the whole public domain. Whoever drafts a question knows the
published texts alone. What a node refuses by its own `holds` nobody else can see, and what several
parties' `holds` leave to one of them is refused where all of them are known.
"""

from collections.abc import Sequence
from dataclasses import replace

from federation.membership import Member
from federation.offers import OFFERED_BY
from federation.queries.isolation import Holder
from federation.queries.relations import Contracts
from policies.contracts import DataContract
from policies.parties import DATA_ROLES, PartyId


def holders_of(
    cohort: Sequence[Member], contracts: Contracts, me: PartyId | None = None
) -> tuple[Holder, ...]:
    """Return the cohort with what each party may hold of `contracts`.

    me: whose own contracts these are; None where they are the published ones.
    """
    return tuple(
        Holder(
            member,
            tuple(
                contract if member.party == me else _published(contract)
                for contract in contracts.values()
                if member.role in OFFERED_BY.get(contract.name, DATA_ROLES)
            ),
        )
        for member in cohort
    )


def _published(contract: DataContract) -> DataContract:
    """Return a contract without what one party says of its own rows."""
    return replace(contract, columns=tuple(replace(c, holds=None) for c in contract.columns))
