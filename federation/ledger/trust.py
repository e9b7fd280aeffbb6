"""Whose keys are believed: the list that a party prints when it joins, and keeps outside.

    entrepot trust/1 demo c=1
    entrepot/demo/warehouse-cn+1c0de5f1+AQ…=<TAB>Shenzhen Warehouse

One line per party: the key of its log (C2SP vkey) and the organisation that runs it. A party that
has changed its key has a line for each, one below the other, the first key first: the first is what
is trusted, and its log says how it came to the others (`succession`); to one that came after a lost
key no log can lead, the list must name it. Up to `c`
organisations are allowed for as colluding, so a head counts as booked when c + 1 other
organisations than the log's own vouch for it: one of them is honest.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from federation.errors import (
    LedgerMismatchError,
    MalformedNoteError,
    MalformedTrustError,
    UntrustedNoteError,
)
from federation.ledger.notes import NamedKey, origin_of
from federation.ledger.succession import Rotation, Succession
from federation.membership import Roster
from policies.parties import PartyId, Role
from secure_compute.primitives.signature import VerifyKey

COLLUDING: Final = 1
"""How many organisations may lie together without a false head being booked: c."""

_FIRST: Final = re.compile(
    r"entrepot trust/1 ([A-Za-z0-9][A-Za-z0-9._-]{0,63}) c=([0-9])", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Vouched:
    """One party of a trust file: the first key of its log and the organisation that runs it.

    later: the keys that came after it, in their order.
    """

    key: NamedKey
    organisation: str
    later: tuple[NamedKey, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.keys)) != len(self.keys) or {key.name for key in self.keys} != {
            self.key.name
        }:
            raise MalformedTrustError(f"a key stands twice in the trust file, for {self.key.name}")

    @property
    def keys(self) -> tuple[NamedKey, ...]:
        """All keys of its log, the first one first."""
        return (self.key, *self.later)

    def __str__(self) -> str:
        return "\n".join(f"{key}\t{self.organisation}" for key in self.keys)

    def following(self, succession: Succession) -> "Vouched":
        """Return the party with every key that its log, whose keys these are, has taken since.

        Raises:
            LedgerMismatchError: the log has other keys than are known here.
        """
        known, at = [key.key for key in self.keys], 0
        for change in succession.changes:
            if change.previous != known[at]:
                raise self._other_keys()
            at = self._place_of(change, known, at)
            if at == len(known):
                known.append(change.identity)
        first, *later = (NamedKey(self.key.name, key) for key in known)
        return Vouched(first, self.organisation, tuple(later))

    def passed_over(self, succession: Succession) -> tuple[VerifyKey, ...]:
        """Return the keys that the party had in the roster and its log never: a thief's.

        succession: the keys of its log, that `following` accepted.
        """
        if not succession.changes:
            return ()
        told = {key for one in succession.changes for key in (one.previous, one.identity)}
        known = [each.key for each in self.keys]
        last = known.index(succession.changes[-1].identity)
        return tuple(key for key in known[:last] if key not in told)

    def _place_of(self, change: Rotation, known: Sequence[VerifyKey], at: int) -> int:
        """Return where the key stands that a log takes after the one in place `at`.

        A lost key may have been followed, in the roster, by one that its log never had: a thief's.
        """
        if not change.lost and known[at + 1 : at + 2] in ([], [change.identity]):
            return at + 1
        if change.lost and change.identity in known[at + 1 :]:
            return known.index(change.identity, at + 1)
        raise self._unsaid(change) if change.lost else self._other_keys()

    def _other_keys(self) -> LedgerMismatchError:
        return LedgerMismatchError(
            f"{self.key.name} goes on under other keys than those that are trusted; take a "
            "list that was printed when you joined, or ask its party"
        )

    def _unsaid(self, change: Rotation) -> LedgerMismatchError:
        return LedgerMismatchError(
            f"{self.key.name} goes on from entry {change.number} under a key for which the one "
            "before signed nothing, since it was lost; that members gave the party this key stands "
            "in no ledger: take a list of keys that was printed since, which names it"
        )


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys of a federation as somebody outside an export knows them, in roster order."""

    federation: str
    parties: tuple[Vouched, ...]
    colluding: int = COLLUDING

    def __post_init__(self) -> None:
        names = [party.key.name for party in self.parties]
        if len(set(names)) != len(names):
            raise MalformedTrustError("a party stands twice in the trust file")
        for party in self.parties:
            if party.key.name.rpartition("/")[0] != origin_of(self.federation, "x")[:-2]:
                raise MalformedTrustError(f"{party.key.name} is no party of {self.federation}")
            if not party.organisation or not party.organisation.isprintable():
                raise MalformedTrustError(f"the organisation of {party.key.name} is not printable")

    @classmethod
    def of(cls, roster: Roster, colluding: int | None = None) -> "Trust":
        """Return the keys of everybody who keeps a log, or kept one until it left: not analysts.

        colluding: the roster's, if not given.
        """
        keepers = roster.ever(*(role for role in Role if role is not Role.ANALYST))
        parties = (_vouched_for(roster, m.party, m.organisation) for m in keepers)
        return cls(roster.federation, tuple(parties), colluding or roster.colluding)

    @classmethod
    def parse(cls, text: str) -> "Trust":
        """Read exactly what `str` prints.

        Raises:
            MalformedTrustError: the text is something else.
        """
        first, *lines = text.split("\n")
        named = _FIRST.fullmatch(first)
        if named is None or not lines or lines.pop() != "":
            raise MalformedTrustError(
                "this is no trust file; it begins 'entrepot trust/1 FEDERATION c=1' and holds the "
                "keys that were printed at join"
            )
        trust = cls(named[1], tuple(_parties(lines)), int(named[2]))
        if str(trust) != text:
            raise MalformedTrustError("the trust file is not spelt as it was printed")
        return trust

    def __str__(self) -> str:
        first = f"entrepot trust/1 {self.federation} c={self.colluding}"
        return "\n".join([first, *map(str, self.parties)]) + "\n"

    @property
    def needed(self) -> int:
        """How many other organisations must vouch for a head: c + 1."""
        return self.colluding + 1

    def find(self, origin: str) -> Vouched:
        """Return the party whose log is `origin`.

        Raises:
            UntrustedNoteError: nobody's is.
        """
        for party in self.parties:
            if party.key.name == origin:
                return party
        raise UntrustedNoteError(
            f"{origin} is not among the trusted keys; use a list that was printed after it joined"
        )

    def following(self, successions: Iterable[Succession]) -> "Trust":
        """Return the list with every key that these logs say that they have taken since.

        Raises:
            LedgerMismatchError: one of them has other keys than are known here.
        """
        told = {one.origin: one for one in successions}
        return replace(
            self,
            parties=tuple(
                party.following(told.get(party.key.name, Succession(party.key.name)))
                for party in self.parties
            ),
        )

    def organisations(self, origins: Iterable[str], beside: str) -> frozenset[str]:
        """Return the organisations that run `origins`, without the one that runs `beside`."""
        others = {self.find(origin).organisation for origin in origins}
        return frozenset(others - {self.find(beside).organisation})


def vouched_time(times: Iterable[int], colluding: int = COLLUDING) -> int:
    """Return a time that an honest organisation reached: the (c + 1)-th greatest of `times`.

    times: one per organisation; where there are fewer, the least of them.
    """
    greatest = sorted(times, reverse=True)[: colluding + 1]
    return greatest[-1]


def booked(trust: Trust, origin: str, cosigned: Mapping[str, object]) -> bool:
    """Return whether enough other organisations are among the witnesses `cosigned` (origins)."""
    known = {party.key.name for party in trust.parties}
    some = (name for name in cosigned if name in known)
    return len(trust.organisations(some, origin)) >= trust.needed


def _vouched_for(roster: Roster, party: PartyId, organisation: str) -> Vouched:
    origin = origin_of(roster.federation, party)
    first, *later = (NamedKey(origin, key) for key in roster.keys_of(party))
    return Vouched(first, organisation, tuple(later))


def _parties(lines: Sequence[str]) -> Iterable[Vouched]:
    """Yield the parties; neighbouring lines of one name are one party's keys."""
    found: list[Vouched] = []
    for one in map(_vouched, lines):
        if found and (found[-1].key.name, found[-1].organisation) == (
            one.key.name,
            one.organisation,
        ):
            found[-1] = replace(found[-1], later=(*found[-1].later, one.key))
        else:
            found.append(one)
    return found


def _vouched(line: str) -> Vouched:
    vkey, tab, organisation = line.partition("\t")
    try:
        key = NamedKey.parse(vkey)
    except MalformedNoteError as why:
        raise MalformedTrustError(f"a line of the trust file holds no key: {why}") from why
    if not tab:
        raise MalformedTrustError(f"the line of {key.name} names no organisation")
    return Vouched(key, organisation)
