"""The aggregator's book of invitations, enrolments and signatures.

Of a secret it holds the hash. It makes nobody a member: what it holds is what members signed, and
whoever alters it has altered what nobody else signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aggregator.database import Server, Store, keep_first, keep_last
from aggregator.stores import load_stores
from aggregator.tables import (
    REGISTER,
    asked,
    enrolments,
    founding,
    invitations,
    signatures,
    streams,
)
from policies.parties import Jurisdiction, PartyId, Role


@dataclass(frozen=True, slots=True)
class Invitation:
    """A seat that somebody may take. secret: its hash; wrong: how often it was guessed at."""

    id: str
    secret: str
    party: PartyId
    organisation: str
    role: Role
    jurisdiction: Jurisdiction
    expires: int
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Who took a seat: its enrolment as it signed it, and its first certificate, PEM."""

    invitation: str
    party: PartyId
    identity: str
    wire: bytes
    certificate: str


class Register:
    """The book of one aggregator, in its folder or on a server; for several threads and processes.

    Args:
        where: the aggregator's folder, whose settings say where the book lies; or a database.
    """

    def __init__(self, where: Path | Server) -> None:
        place = load_stores(where).register if isinstance(where, Path) else where
        self._store = Store(place, REGISTER)

    def invite(self, invitation: Invitation) -> None:
        """The seat may be taken; earlier invitations to it, and who took one, are forgotten."""
        with self._store.writing() as db:
            db.execute(sa.delete(invitations).where(invitations.c.party == invitation.party))
            db.execute(sa.delete(enrolments).where(enrolments.c.party == invitation.party))
            db.execute(sa.insert(invitations), _row(invitation))

    def withdraw(self, party: PartyId) -> bool:
        """Return whether the seat was offered; its invitation and who took it are forgotten."""
        with self._store.writing() as db:
            ours = invitations.c.party == party
            offered = db.execute(sa.select(invitations.c.id).where(ours)).first()
            db.execute(sa.delete(invitations).where(ours))
            db.execute(sa.delete(enrolments).where(enrolments.c.party == party))
        return offered is not None

    def invited(self) -> list[Invitation]:
        """Return every invitation, open or not."""
        rows = self._store.read(sa.select(invitations).order_by(invitations.c.party))
        return [
            Invitation(i, s, PartyId(p), o, Role(r), Jurisdiction(j), e, w)
            for i, s, p, o, r, j, e, w in rows
        ]

    def find(self, name: str) -> Invitation | None:
        """Return the invitation of this id."""
        return next((one for one in self.invited() if one.id == name), None)

    def count_wrong(self, name: str) -> None:
        """Somebody named the invitation and did not know its secret."""
        one_more = sa.update(invitations).values(wrong=invitations.c.wrong + 1)
        with self._store.writing() as db:
            db.execute(one_more.where(invitations.c.id == name))

    def enrol(self, enrolled: Enrolled, *, asks: bytes | None = None) -> Enrolled | None:
        """Return who took the seat, this one unless somebody did before; None: its key is known.

        asks: the key of its certificate, where the seat is a member's that has other keys; they
            stay good for now, and this one is told from them whatever becomes of who asks.
        """
        seat = sa.select(enrolments).where(enrolments.c.invitation == enrolled.invitation)
        with self._store.writing() as db:
            before = db.execute(seat).first()
            keep_first(db, enrolments, [_row(enrolled)])
            if before is None and db.execute(seat).first() is not None:
                if asks is None:
                    db.execute(sa.delete(streams).where(streams.c.party == enrolled.party))
                else:
                    keep_first(db, asked, [{"party": enrolled.party, "key": asks}])
        return self.taken(enrolled.invitation)

    def taken(self, invitation: str) -> Enrolled | None:
        """Return who took the seat of this invitation."""
        return next((one for one in self.enrolled() if one.invitation == invitation), None)

    def enrolled(self) -> list[Enrolled]:
        """Return everybody who took a seat, by party."""
        rows = self._store.read(sa.select(enrolments).order_by(enrolments.c.party))
        return [Enrolled(i, PartyId(p), key, bytes(wire), c) for i, p, key, wire, c in rows]

    def exchange(self, party: PartyId, key: bytes, before: bytes | None) -> None:
        """A party's streams have this key now; until it is seen, the one before is good as well."""
        with self._store.writing() as db:
            keep_last(db, streams, party=party, key=key, before=before)

    def hold(self, party: PartyId, key: bytes) -> None:
        """A party's streams have this key, whoever else takes its seat; unless it exchanged it."""
        with self._store.writing() as db:
            keep_first(db, streams, [{"party": party, "key": key, "before": None}])

    def give_up(self, party: PartyId, key: bytes) -> None:
        """A party's streams have this key, and no other, whoever takes its seat from now on."""
        self.exchange(party, key, None)

    def asked(self, party: PartyId) -> frozenset[bytes]:
        """Return the keys of streams that were certified for who asked for a member's seat."""
        found = sa.select(asked.c.key).where(asked.c.party == party)
        return frozenset(bytes(key) for (key,) in self._store.read(found))

    def arrived(self, party: PartyId, key: bytes) -> None:
        """The key was seen: the one before it is good no longer."""
        ours = (streams.c.party == party) & (streams.c.key == key)
        with self._store.writing() as db:
            db.execute(sa.update(streams).where(ours).values(before=None))

    def exchanged(self, party: PartyId) -> tuple[bytes, bytes | None] | None:
        """Return the key of a party's streams and the one before; None where it exchanged none."""
        found = sa.select(streams.c.key, streams.c.before).where(streams.c.party == party)
        rows = self._store.read(found)
        return None if not rows else (bytes(rows[0][0]), rows[0][1])

    def propose(self, statement: bytes) -> None:
        """This is the founding that members sign now; one before it is over."""
        with self._store.writing() as db:
            keep_last(db, founding, only=1, statement=statement)

    def founding(self) -> bytes:
        """Return the founding that members sign; b"" where there is none."""
        rows = self._store.read(sa.select(founding.c.statement))
        return bytes(rows[0][0]) if rows else b""

    def sign(self, statement: str, party: PartyId, signature: bytes) -> None:
        """A checked signature of a party over the statement of this digest is kept."""
        with self._store.writing() as db:
            keep_last(db, signatures, statement=statement, party=party, signature=signature)

    def signatures(self, statement: str) -> Mapping[PartyId, bytes]:
        """Return the signatures over the statement of this digest."""
        signed = sa.select(signatures.c.party, signatures.c.signature)
        rows = self._store.read(
            signed.where(signatures.c.statement == statement).order_by(signatures.c.party)
        )
        return {PartyId(party): bytes(signature) for party, signature in rows}


def _row(value: Invitation | Enrolled) -> dict[str, Any]:
    return {name: _plain(getattr(value, name)) for name in value.__slots__}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
