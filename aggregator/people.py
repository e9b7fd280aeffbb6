"""The aggregator's book of people: `people.sqlite`. Who they are, what they show, who is logged in.

Of tokens, recovery codes and invitations it holds hashes; of an authenticator the shared secret,
which no hash could check a code with. It knows no rule: it keeps and counts, in one transaction at
a time, so that a code or a challenge that was used is used whoever came with it at the same moment.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from federation.durable import Database
from federation.people.passkeys import Passkey
from federation.people.persons import Person, PersonId, PersonRole, Seat
from federation.people.sessions import Session
from federation.people.trials import pause
from policies.parties import Jurisdiction
from secure_compute.primitives.signature import VerifyKey

NAME: Final = "people.sqlite"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS invitations (
    id TEXT PRIMARY KEY, secret TEXT NOT NULL, person TEXT NOT NULL UNIQUE,
    organisation TEXT NOT NULL, role TEXT NOT NULL, jurisdiction TEXT NOT NULL,
    expires INTEGER NOT NULL, wrong INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS persons (
    id TEXT PRIMARY KEY, organisation TEXT NOT NULL, role TEXT NOT NULL,
    jurisdiction TEXT NOT NULL, key TEXT NOT NULL, secret TEXT NOT NULL,
    burnt INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
    until REAL NOT NULL DEFAULT 0, disabled INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS taken (
    id TEXT PRIMARY KEY, secret TEXT NOT NULL, expires INTEGER NOT NULL,
    person TEXT NOT NULL UNIQUE REFERENCES persons(id) ON DELETE CASCADE) STRICT;
CREATE TABLE IF NOT EXISTS recovery (
    person TEXT NOT NULL REFERENCES persons(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    hash TEXT NOT NULL, PRIMARY KEY (person, number)) STRICT;
CREATE TABLE IF NOT EXISTS passkeys (
    id TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id) ON DELETE CASCADE,
    key BLOB NOT NULL, counter INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    hash TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id) ON DELETE CASCADE,
    organisation TEXT NOT NULL, role TEXT NOT NULL, jurisdiction TEXT NOT NULL,
    begun REAL NOT NULL, seen REAL NOT NULL, shown REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS challenges (
    hash TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES persons(id) ON DELETE CASCADE,
    expires REAL NOT NULL) STRICT;
"""
_SEAT: Final = "organisation, role, jurisdiction"


@dataclass(frozen=True, slots=True)
class PersonInvitation:
    """A seat that a person may take, once. secret: its hash; wrong: how often it was guessed at."""

    id: str
    secret: str
    seat: Seat
    expires: int
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """What a person's codes are checked with.

    burnt: the last step of a code that was used; until: no code is looked at before it.
    """

    secret: str = field(repr=False)
    burnt: int
    failures: int
    until: float


class People:
    """The book of one aggregator's folder; safe for several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._database = Database(folder / NAME, _SCHEMA)

    # -- invitations and persons -----------------------------------------------------------------

    def invite(self, invitation: PersonInvitation) -> None:
        """The seat may be taken; an earlier invitation of this person is good for nothing."""
        seat = invitation.seat
        values = (invitation.id, invitation.secret, *_words(seat), invitation.expires)
        with self._database.writing() as db:
            db.execute("DELETE FROM invitations WHERE person = ?", (seat.person,))
            db.execute("DELETE FROM taken WHERE person = ?", (seat.person,))
            db.execute("INSERT INTO invitations VALUES (?, ?, ?, ?, ?, ?, ?, 0)", values)

    def invitation(self, name: str) -> PersonInvitation | None:
        """Return the invitation of this id that is open, or that was taken by who has not come."""
        rows = self._database.read(
            f"SELECT id, secret, person, {_SEAT}, expires, wrong FROM invitations WHERE id = ?"  # noqa: S608
            f" UNION ALL SELECT taken.id, taken.secret, person, {_SEAT}, expires, 0"
            " FROM taken JOIN persons ON persons.id = person WHERE taken.id = ?",
            (name, name),
        )
        return next((PersonInvitation(r[0], r[1], _seat(r[2:6]), r[6], r[7]) for r in rows), None)

    def is_invited(self, name: str) -> bool:
        """Return whether an invitation of this person is open."""
        return bool(self._database.read("SELECT 1 FROM invitations WHERE person = ?", (name,)))

    def count_wrong(self, name: str) -> None:
        """Somebody named the invitation and did not know its secret."""
        with self._database.writing() as db:
            db.execute("UPDATE invitations SET wrong = wrong + 1 WHERE id = ?", (name,))

    def enrol(
        self, invitation: PersonInvitation, person: Person, secret: str, hashes: Sequence[str]
    ) -> bool:
        """Take the seat of an invitation; return whether nobody had. All of before is forgotten.

        The same key may take it again until its first login, since an answer may be lost.
        """
        name, taken = person.seat.person, (invitation.id, invitation.secret, invitation.expires)
        with self._database.writing() as db:
            free = db.execute("DELETE FROM invitations WHERE id = ?", (invitation.id,)).rowcount
            own = db.execute(
                "SELECT 1 FROM taken JOIN persons ON persons.id = person"
                " WHERE taken.id = ? AND key = ?",
                (invitation.id, person.key.hex),
            )
            if not free and not own.fetchall():
                return False
            db.execute("DELETE FROM persons WHERE id = ?", (name,))
            db.execute(
                f"INSERT INTO persons (id, {_SEAT}, key, secret) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
                (*_words(person.seat), person.key.hex, secret),
            )
            kept = [(name, number, text) for number, text in enumerate(hashes, 1)]
            db.executemany("INSERT INTO recovery VALUES (?, ?, ?)", kept)
            db.execute("INSERT INTO taken VALUES (?, ?, ?, ?)", (*taken, name))
        return True

    def persons(self) -> list[Person]:
        """Return everybody who has enrolled, by name."""
        rows = self._database.read(
            f"SELECT id, {_SEAT}, key, disabled FROM persons ORDER BY id"  # noqa: S608
        )
        return [Person(_seat(row), VerifyKey(row[4]), bool(row[5])) for row in rows]

    def find(self, name: str) -> Person | None:
        """Return one person."""
        return next((one for one in self.persons() if one.seat.person == name), None)

    def disable(self, name: str, disabled: bool = True) -> None:
        """A person is out, and with it passkeys and open invitation; or it may log in again."""
        with self._database.writing() as db:
            db.execute("UPDATE persons SET disabled = ? WHERE id = ?", (int(disabled), name))
            if disabled:
                db.execute("DELETE FROM invitations WHERE person = ?", (name,))
                db.execute("DELETE FROM taken WHERE person = ?", (name,))
                db.execute("DELETE FROM passkeys WHERE person = ?", (name,))
            db.execute("DELETE FROM sessions WHERE person = ?", (name,))

    # -- second factors --------------------------------------------------------------------------

    def shown(self, name: str) -> Shown:
        """Return what the codes of a person that has enrolled are checked with."""
        (row,) = self._database.read(
            "SELECT secret, burnt, failures, until FROM persons WHERE id = ?", (name,)
        )
        return Shown(*row)

    def burn(self, name: str, step: int) -> bool:
        """Use up a code and every earlier one; return whether nobody had."""
        with self._database.writing() as db:
            used = db.execute(
                "UPDATE persons SET burnt = ?, failures = 0, until = 0 WHERE id = ? AND burnt < ?",
                (step, name, step),
            )
            return used.rowcount == 1

    def count_failure(self, name: str, now: float) -> None:
        """A wrong code came with the right key; the next one is looked at later."""
        with self._database.writing() as db:
            db.execute("UPDATE persons SET failures = failures + 1 WHERE id = ?", (name,))
            rows = db.execute("SELECT failures FROM persons WHERE id = ?", (name,)).fetchall()
            for (failures,) in rows:
                until = now + pause(failures)
                db.execute("UPDATE persons SET until = ? WHERE id = ?", (until, name))

    def recovery(self, name: str, number: int) -> str | None:
        """Return the hash of a recovery code that was not used."""
        rows = self._database.read(
            "SELECT hash FROM recovery WHERE person = ? AND number = ?", (name, number)
        )
        return rows[0][0] if rows else None

    def use_recovery(self, name: str, number: int) -> bool:
        """Use up a recovery code; return whether nobody had."""
        with self._database.writing() as db:
            used = db.execute(
                "DELETE FROM recovery WHERE person = ? AND number = ?", (name, number)
            )
            db.execute("UPDATE persons SET failures = 0, until = 0 WHERE id = ?", (name,))
            return used.rowcount == 1

    def answer(self, name: str, challenge: bytes, expires: int, now: float) -> bool:
        """Use up a challenge, which is kept until it is over; return whether nobody had."""
        with self._database.writing() as db:
            db.execute("DELETE FROM challenges WHERE expires <= ?", (now,))
            used = db.execute(
                "INSERT OR IGNORE INTO challenges VALUES (?, ?, ?)",
                (_digest(challenge), name, expires),
            )
            return used.rowcount == 1

    def add_passkey(self, name: str, passkey: Passkey) -> bool:
        """Keep a passkey; return whether it was nobody's."""
        with self._database.writing() as db:
            kept = db.execute(
                "INSERT OR IGNORE INTO passkeys VALUES (?, ?, ?, ?)",
                (passkey.id, name, passkey.key, passkey.counter),
            )
            return kept.rowcount == 1

    def remove_passkey(self, name: str, passkey: str) -> bool:
        """A person's passkey of this id opens nothing any more; return whether there was one."""
        with self._database.writing() as db:
            gone = db.execute("DELETE FROM passkeys WHERE person = ? AND id = ?", (name, passkey))
            return gone.rowcount == 1

    def passkeys(self, name: str) -> list[Passkey]:
        """Return a person's passkeys."""
        rows = self._database.read(
            "SELECT id, key, counter FROM passkeys WHERE person = ? ORDER BY id", (name,)
        )
        return [Passkey(i, bytes(key), counter) for i, key, counter in rows]

    def count_up(self, passkey: Passkey, counter: int) -> bool:
        """Keep a passkey's new counter; return whether it was as it was read before."""
        with self._database.writing() as db:
            moved = db.execute(
                "UPDATE passkeys SET counter = ? WHERE id = ? AND counter = ?",
                (counter, passkey.id, passkey.counter),
            )
            return moved.rowcount == 1

    # -- sessions --------------------------------------------------------------------------------

    def begin(self, session: Session, key: VerifyKey) -> bool:
        """Keep a session; return whether its person may have one at this moment, with this key."""
        times = (session.begun, session.seen, session.shown)
        with self._database.writing() as db:
            kept = db.execute(
                "INSERT INTO sessions SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS"
                " (SELECT 1 FROM persons WHERE id = ? AND disabled = 0 AND key = ?)",
                (session.hash, *_words(session.seat), *times, session.seat.person, key.hex),
            )
            if kept.rowcount == 1:
                db.execute("DELETE FROM taken WHERE person = ?", (session.seat.person,))
            return kept.rowcount == 1

    def sessions(self, name: str | None = None) -> list[Session]:
        """Return the sessions of one person, or of everybody; some may be over."""
        rows = self._database.read(
            f"SELECT hash, person, {_SEAT}, begun, seen, shown FROM sessions"  # noqa: S608
            " WHERE person = coalesce(?, person) ORDER BY begun",
            (name,),
        )
        return [Session(row[0], _seat(row[1:5]), *row[5:8]) for row in rows]

    def session(self, hashed: str) -> tuple[Session, Person] | None:
        """Return the session of this hash, and who its person is now."""
        found = next((one for one in self.sessions() if one.hash == hashed), None)
        person = None if found is None else self.find(found.seat.person)
        return None if found is None or person is None else (found, person)

    def touch(self, session: Session, now: float, *, shown: bool = False) -> bool:
        """The session was used, or a factor was shown in it; return whether it is still there."""
        with self._database.writing() as db:
            kept = db.execute(
                "UPDATE sessions SET seen = max(seen, ?), shown = max(shown, ?) WHERE hash = ?",
                (now, now if shown else session.shown, session.hash),
            )
            return kept.rowcount == 1

    def end(self, session: Session) -> None:
        """The session opens nothing from now on."""
        with self._database.writing() as db:
            db.execute("DELETE FROM sessions WHERE hash = ?", (session.hash,))


def _digest(challenge: bytes) -> str:
    return hashlib.sha256(b"entrepot challenge/1\n" + challenge).hexdigest()


def _words(seat: Seat) -> tuple[str, str, str, str]:
    return (seat.person, seat.organisation, seat.role.value, seat.jurisdiction.value)


def _seat(row: Sequence[Any]) -> Seat:
    person, organisation, role, jurisdiction = row[:4]
    return Seat(PersonId(person), organisation, PersonRole(role), Jurisdiction(jurisdiction))
