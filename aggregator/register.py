"""The aggregator's book of invitations, enrolments and signatures: `membership.sqlite`.

Of a secret it holds the hash. It makes nobody a member: what it holds is what members signed, and
whoever alters it has altered what nobody else signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.durable import Database
from policies.parties import Jurisdiction, PartyId, Role

NAME: Final = "membership.sqlite"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS invitations (
    id TEXT PRIMARY KEY, secret TEXT NOT NULL, party TEXT NOT NULL, organisation TEXT NOT NULL,
    role TEXT NOT NULL, jurisdiction TEXT NOT NULL, expires INTEGER NOT NULL,
    wrong INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS enrolments (
    invitation TEXT PRIMARY KEY, party TEXT NOT NULL UNIQUE, identity TEXT NOT NULL UNIQUE,
    wire BLOB NOT NULL, certificate TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS founding (only INTEGER PRIMARY KEY, statement BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS signatures (
    statement TEXT NOT NULL, party TEXT NOT NULL, signature BLOB NOT NULL,
    PRIMARY KEY (statement, party)) STRICT;
"""
_INVITED: Final = "id, secret, party, organisation, role, jurisdiction, expires, wrong"


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
    """The book of one aggregator's folder; safe for several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._database = Database(folder / NAME, _SCHEMA)

    def invite(self, invitation: Invitation) -> None:
        """The seat may be taken; earlier invitations to it, and who took one, are forgotten."""
        values = tuple(getattr(invitation, name) for name in _INVITED.split(", "))
        with self._database.writing() as db:
            db.execute("DELETE FROM invitations WHERE party = ?", (invitation.party,))
            db.execute("DELETE FROM enrolments WHERE party = ?", (invitation.party,))
            db.execute(f"INSERT INTO invitations ({_INVITED}) VALUES (?,?,?,?,?,?,?,?)", values)  # noqa: S608 - names of ours

    def invited(self) -> list[Invitation]:
        """Return every invitation, open or not."""
        rows = self._database.read(f"SELECT {_INVITED} FROM invitations ORDER BY party")  # noqa: S608
        return [
            Invitation(i, s, PartyId(p), o, Role(r), Jurisdiction(j), e, w)
            for i, s, p, o, r, j, e, w in rows
        ]

    def find(self, name: str) -> Invitation | None:
        """Return the invitation of this id."""
        return next((one for one in self.invited() if one.id == name), None)

    def count_wrong(self, name: str) -> None:
        """Somebody named the invitation and did not know its secret."""
        with self._database.writing() as db:
            db.execute("UPDATE invitations SET wrong = wrong + 1 WHERE id = ?", (name,))

    def enrol(self, enrolled: Enrolled) -> Enrolled | None:
        """Return who took the seat, this one unless somebody did before; None: its key is known."""
        with self._database.writing() as db:
            db.execute(
                "INSERT OR IGNORE INTO enrolments VALUES (?, ?, ?, ?, ?)",
                (
                    enrolled.invitation,
                    enrolled.party,
                    enrolled.identity,
                    enrolled.wire,
                    enrolled.certificate,
                ),
            )
        return self.taken(enrolled.invitation)

    def taken(self, invitation: str) -> Enrolled | None:
        """Return who took the seat of this invitation."""
        return next((one for one in self.enrolled() if one.invitation == invitation), None)

    def enrolled(self) -> list[Enrolled]:
        """Return everybody who took a seat, by party."""
        rows = self._database.read(
            "SELECT invitation, party, identity, wire, certificate FROM enrolments ORDER BY party"
        )
        return [Enrolled(i, PartyId(p), key, bytes(wire), c) for i, p, key, wire, c in rows]

    def propose(self, statement: bytes) -> None:
        """This is the founding that members sign now; one before it is over."""
        with self._database.writing() as db:
            db.execute("INSERT OR REPLACE INTO founding VALUES (1, ?)", (statement,))

    def founding(self) -> bytes:
        """Return the founding that members sign; b"" where there is none."""
        rows = self._database.read("SELECT statement FROM founding")
        return bytes(rows[0][0]) if rows else b""

    def sign(self, statement: str, party: PartyId, signature: bytes) -> None:
        """A checked signature of a party over the statement of this digest is kept."""
        with self._database.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO signatures VALUES (?, ?, ?)", (statement, party, signature)
            )

    def signatures(self, statement: str) -> Mapping[PartyId, bytes]:
        """Return the signatures over the statement of this digest."""
        rows = self._database.read(
            "SELECT party, signature FROM signatures WHERE statement = ? ORDER BY party",
            (statement,),
        )
        return {PartyId(party): bytes(signature) for party, signature in rows}
