"""Who may change who is in a federation. Pure: a roster and a change in, the next roster out.

Admitting, and removing or giving a new key to a member that does not say so itself, takes c + 1
members of different organisations: one of them is honest. The aggregator's organisation has no say
in it, nor has that of the party in question; neither have analysts and suspended members. So an
aggregator that issues every certificate still lets nobody in, puts nobody out and swaps no key.

It may suspend, at once and alone: that takes a member's say away and gives none to anybody.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Final

from federation.errors import RosterChangeError
from federation.membership import Member, Roster
from federation.roster_changes import Admit, Change, Founding, Rekey, Remove, Restore, Suspend
from policies.parties import PartyId, Role

MOST_COLLUDING: Final = 9
MOST_OWN: Final = 32
"""Keys that a party changes by its own word; from then on others sign, as for whoever lost one."""


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_LONGEST: Final = 200


def is_name(text: str) -> bool:
    """Return whether a party or a federation may be called so."""
    return _NAME.fullmatch(text) is not None


def is_organisation(text: str) -> bool:
    """Return whether an organisation may be spelt so."""
    return text.isprintable() and bool(text.strip()) and len(text) <= _LONGEST


def require_founding(founding: Founding) -> None:
    """Return if a federation may begin so.

    Raises:
        RosterChangeError: it has too few organisations, not one aggregator, or a name, key or
            organisation twice.
    """
    if type(founding.colluding) is not int or not 1 <= founding.colluding <= MOST_COLLUDING:
        raise RosterChangeError(f"c is a whole number from 1 to {MOST_COLLUDING}")
    if not is_name(founding.federation):
        raise RosterChangeError("the federation's name is no name of letters, digits and . _ -")
    if sum(member.role is Role.AGGREGATOR for member in founding.members) != 1:
        raise RosterChangeError("a federation is founded with exactly one aggregator")
    for place, member in enumerate(founding.members):
        _require_new(member, founding.members[:place])
    own = {m.organisation for m in founding.members if m.role is Role.AGGREGATOR}
    there = {m.organisation for m in founding.members if m.role is not Role.ANALYST} - own
    needed = founding.colluding + 2  # at least three: any one of them is checked by c + 1 others
    if len(there) < needed:
        raise RosterChangeError(
            f"{len(there)} organisations besides the aggregator's found {founding.federation} and "
            f"{needed} must, so that each can be checked by others; invite more first"
        )


def approvers(roster: Roster, change: Change) -> tuple[Member, ...]:
    """Return the members whose signatures count towards the c + 1 that make `change`."""
    out = {member.organisation for member in roster.with_role(Role.AGGREGATOR)}
    out.add(_subject(roster, change).organisation)
    roles = (role for role in Role if role not in {Role.ANALYST, Role.AGGREGATOR})
    return tuple(member for member in roster.active(*roles) if member.organisation not in out)


def require_allowed(roster: Roster, change: Change) -> None:
    """Return if somebody may make `change` to `roster` at all.

    Raises:
        RosterChangeError: it names nobody, somebody twice, or the aggregator.
    """
    match change:
        case Admit(member):
            _require_entrant(roster, member)
        case Rekey():
            _require_fresh(roster, change)
        case Remove(party) | Suspend(party):
            if _find(roster, party).role is Role.AGGREGATOR:
                raise RosterChangeError(f"{party} is the aggregator; found another federation")
            if isinstance(change, Suspend) and party in roster.suspended:
                raise RosterChangeError(f"{party} is suspended already")
        case Restore(party):
            _find(roster, party)
            if party not in roster.suspended:
                raise RosterChangeError(f"{party} is not suspended")


def require_signed(
    roster: Roster, change: Change, signers: Collection[PartyId], *, by_itself: bool
) -> None:
    """Return if those who signed may make `change`.

    signers:   members other than the party in question whose signatures were verified.
    by_itself: whether the party signed too, with the key that it has on `roster`.

    Raises:
        RosterChangeError: they may not; the sentence says who else is needed.
    """
    aggregators = {member.party for member in roster.with_role(Role.AGGREGATOR)}
    match change:
        case Suspend(party) if not (by_itself or aggregators & set(signers)):
            raise RosterChangeError(f"{party} is suspended by the aggregator or by itself alone")
        case Restore(party) if not aggregators & set(signers):
            raise RosterChangeError(f"{party} is restored by the aggregator alone")
        case Remove() if by_itself:
            return
        case Rekey(party) if by_itself and may_rekey_itself(roster, party):
            return
        case Admit() | Remove() | Rekey():
            _require_approved(roster, change, signers)


def may_rekey_itself(roster: Roster, party: PartyId) -> bool:
    """Return whether a party's own word is enough for its next keys."""
    return party not in roster.suspended and not is_at_limit(roster, party)


def is_at_limit(roster: Roster, party: PartyId) -> bool:
    """Return whether it had `MOST_OWN` keys; without a limit it could fill the chain all alone."""
    return sum(member.party == party for member in roster.former) >= MOST_OWN


def applied(roster: Roster, change: Change, digest: str) -> Roster:
    """Return the next epoch; `digest` is the SHA-256 of the statement that makes it."""
    members, suspended, former = roster.members, roster.suspended, roster.former
    match change:
        case Admit(member):
            members = (*members, member)
        case Rekey(party, identity, sealing):
            former = (*former, roster.find(party))
            members = tuple(
                replace(member, identity=identity, sealing=sealing or member.sealing)
                if member.party == party
                else member
                for member in members
            )
        case Remove(party):
            former = (*former, roster.find(party))
            members = tuple(member for member in members if member.party != party)
            suspended -= {party}
        case Suspend(party):
            suspended |= {party}
        case Restore(party):
            suspended -= {party}
    return replace(
        roster,
        epoch=roster.epoch + 1,
        members=members,
        digest=digest,
        suspended=suspended,
        former=former,
    )


def _require_approved(roster: Roster, change: Change, signers: Collection[PartyId]) -> None:
    counting = [member for member in approvers(roster, change) if member.party in signers]
    there, needed = {member.organisation for member in counting}, roster.colluding + 1
    if len(there) < needed:
        idle = sorted(set(signers) - {member.party for member in counting})
        raise RosterChangeError(
            f"{len(there)} of {needed} organisations signed for {_words(change)}; the aggregator's "
            "and the party's own, suspended members and analysts have no say in it"
            + (f", so the word of {', '.join(idle)} does not count" if idle else "")
        )


def _words(change: Change) -> str:
    words = {Admit: "admitting", Rekey: "a new key of", Remove: "removing"}
    return f"{words.get(type(change), 'changing')} {change.party}"


def _subject(roster: Roster, change: Change) -> Member:
    return change.member if isinstance(change, Admit) else _find(roster, change.party)


def _find(roster: Roster, party: PartyId) -> Member:
    for member in roster.members:
        if member.party == party:
            return member
    raise RosterChangeError(
        f"{party!r} is no member of {roster.federation} at epoch {roster.epoch}"
    )


def _require_fresh(roster: Roster, change: Rekey) -> None:
    """Return if the new keys of a member are nobody's and were nobody's; one key it may keep."""
    own, ever = _find(roster, change.party), (*roster.members, *roster.former)
    is_resealed = change.sealing not in {None, own.sealing}
    is_renamed = change.identity != own.identity or not is_resealed
    if (is_renamed and change.identity in {member.identity for member in ever}) or (
        is_resealed and change.sealing in {member.sealing for member in ever}
    ):
        raise RosterChangeError(f"the new key of {change.party} is or was somebody's already")


def _require_entrant(roster: Roster, member: Member) -> None:
    if member.role is Role.AGGREGATOR:
        raise RosterChangeError("a federation has one aggregator; it has one already")
    _require_new(member, (*roster.members, *roster.former))


def _require_new(member: Member, others: Iterable[Member]) -> None:
    if not is_name(member.party):
        raise RosterChangeError(f"{member.party!r} is no name of letters, digits and . _ -")
    organisation = member.organisation
    if not is_organisation(organisation):
        raise RosterChangeError(f"the organisation of {member.party} is no printable name")
    for other in others:
        if other.party == member.party:
            raise RosterChangeError(f"{member.party} is or was a member; take another name")
        if other.identity == member.identity:
            raise RosterChangeError(f"{member.party} has the key of {other.party}")
        if member.sealing is not None and other.sealing == member.sealing:
            raise RosterChangeError(f"{member.party} has the sealing key of {other.party}")
        if organisation != other.organisation and are_one_name(organisation, other.organisation):
            raise RosterChangeError(
                f"{organisation!r} and {other.organisation!r} are one name in two spellings; an "
                "organisation counts once, so spell it as it is spelt already"
            )


def are_one_name(one: str, other: str) -> bool:
    """Whether an organisation could be meant by either; see `_folded`."""
    return _folded(one) == _folded(other)


def likeness(one: str, other: str) -> float:
    """Return how alike two organisations are spelt, in [0, 1]; 1 where `are_one_name`."""
    return SequenceMatcher(None, _folded(one), _folded(other), autojunk=False).ratio()


def _folded(text: str) -> str:
    """Without case, width, accents' encoding, spaces and punctuation."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in plain if letter.isalnum())
