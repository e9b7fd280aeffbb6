"""A member whose identity key is lost, or in other hands, is given another one by other members.

It enrols for the seat that it has, with keys that it has just made, as a newcomer does; what
members sign is then no entry but other keys (`change_of`). Who must sign, and that its own
organisation and the aggregator's have no say in it, is said where all changes are (`roster_rules`).
"""

from collections.abc import Sequence
from dataclasses import replace

from federation.errors import RosterChangeError
from federation.membership import Member, Roster
from federation.roster_chain import Admit, Epoch, Rekey
from policies.parties import PartyId


def change_of(roster: Roster, entrant: Member) -> Admit | Rekey:
    """Return what members sign for a party that enrolled: that it comes in, or has these keys.

    Raises:
        RosterChangeError: it is a member, with another organisation, role or jurisdiction.
    """
    own = _own(roster, entrant.party)
    if own is None:
        return Admit(entrant)
    if replace(own, identity=entrant.identity, sealing=entrant.sealing) != entrant:
        raise RosterChangeError(
            f"{entrant.party} is a member of another organisation, role or jurisdiction than it "
            "enrolled with; a lost key is replaced for the seat that there is"
        )
    return Rekey(entrant.party, entrant.identity, entrant.sealing)


def waits(roster: Roster, entrant: Member) -> bool:
    """Return whether members are to sign for a party that enrolled so.

    A key that the party has, or had, is nothing to be signed for; nor does who left come back.
    """
    own = _own(roster, entrant.party)
    if own is None:
        return all(member.party != entrant.party for member in roster.former)
    is_seat = replace(own, identity=entrant.identity, sealing=entrant.sealing) == entrant
    return is_seat and entrant.identity not in roster.keys_of(entrant.party)


def given(epochs: Sequence[Epoch], party: PartyId) -> Epoch | None:
    """Return the epoch that gave a party the identity key it has; None: it has its first one."""
    before: Roster | None = None
    found = None
    for epoch in epochs:
        if isinstance(epoch.change, Rekey) and epoch.change.party == party and before is not None:
            is_other = before.find(party).identity != epoch.change.identity
            found = epoch if is_other else found
        before = epoch.roster
    return found


def _own(roster: Roster, party: PartyId) -> Member | None:
    return next((member for member in roster.members if member.party == party), None)
