"""What a node promised and encrypted for joint questions (`answers.sqlite`), until they are over.

One state holds every promise, for ever: a query gets one commitment and one list. Questions and
ciphertexts are kept beside it as long as they are of use, and the file is held open as long; it is
its owner's alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

from clients.errors import RefusedWorkError
from federation.durable import Database
from federation.sqlite_files import Connection
from secure_compute import canonical
from secure_compute.threshold.memory import party_from_bytes, party_to_bytes
from secure_compute.threshold.party import Party
from secure_compute.threshold.question import Question

T = TypeVar("T")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS party (one INTEGER PRIMARY KEY CHECK (one = 1), state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS questions (
    query TEXT PRIMARY KEY, question BLOB NOT NULL, release TEXT NOT NULL, expires INTEGER NOT NULL,
    commitments BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (
    query TEXT NOT NULL REFERENCES questions ON DELETE CASCADE, place INTEGER NOT NULL,
    wire BLOB NOT NULL, PRIMARY KEY (query, place));
"""
_STATE: Final = "SELECT state FROM party"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was answered here and is not over.

    release:     under which key its release is charged.
    expires:     when its order does, seconds since 1970.
    commitments: the packed commitments that were shown last; b"" before.
    """

    question: Question
    release: str
    expires: int
    commitments: bytes = b""


class AnswerStore:
    """The answers of one node; safe for several threads and processes."""

    def __init__(self, path: Path, me: str) -> None:
        self._database = Database(path, _SCHEMA)
        self._me = me

    def party(self) -> Party:
        """Return everything that was ever promised."""
        return self._party(self._database.read(_STATE))

    def answer(self, asked: Asked, step: Callable[[Party], tuple[Party, T, Sequence[bytes]]]) -> T:
        """Keep a new answer: its promise, its question, and its ciphertexts; all or nothing.

        step: from the promises so far to those with this one, what is said, and the ciphertexts.
        """
        self._database.hold()
        try:
            return self._answered(asked, step)
        except BaseException:
            self._let_go()
            raise

    def _answered(
        self, asked: Asked, step: Callable[[Party], tuple[Party, T, Sequence[bytes]]]
    ) -> T:
        query = asked.question.query
        with self._database.writing() as db:
            after, said, chunks = step(self._party(db.execute(_STATE).fetchall()))
            self._keep(db, after)
            row = (
                query,
                canonical.encode(asked.question.to_json()),
                asked.release,
                asked.expires,
                asked.commitments,
            )
            db.execute("INSERT INTO questions VALUES (?, ?, ?, ?, ?)", row)
            rows = [(query, place, wire) for place, wire in enumerate(chunks)]
            db.executemany("INSERT INTO chunks VALUES (?, ?, ?)", rows)
        return said

    def change(self, step: Callable[[Party], tuple[Party, T]]) -> T:
        """Replace the promises by what `step` makes of them, and return what it says beside."""
        with self._database.writing() as db:
            before = self._party(db.execute(_STATE).fetchall())
            after, said = step(before)
            if after != before:
                self._keep(db, after)
        return said

    def show(self, query: str, commitments: bytes) -> None:
        """Remember which commitments were shown for a query; nothing is promised by that."""
        with self._database.writing() as db:
            db.execute("UPDATE questions SET commitments = ? WHERE query = ?", (commitments, query))

    def asked(self, query: str) -> Asked:
        """Return a question that was answered here.

        Raises:
            RefusedWorkError: it was not, or it is over.
        """
        rows = self._database.read(
            "SELECT question, release, expires, commitments FROM questions WHERE query = ?",
            (query,),
        )
        if not rows:
            raise RefusedWorkError("this query was not answered here, or it is over")
        (row,) = rows
        return Asked(_question(bytes(row[0])), str(row[1]), int(row[2]), bytes(row[3]))

    def chunks(self, query: str) -> list[bytes]:
        """Return the ciphertexts of a query, in order."""
        rows = self._database.read(
            "SELECT wire FROM chunks WHERE query = ? ORDER BY place", (query,)
        )
        return [bytes(row[0]) for row in rows]

    def forget(self, query: str = "", until: float = 0) -> None:
        """Delete what is kept of a query, and of all whose orders expired by `until`."""
        with self._database.writing() as db:
            db.execute("DELETE FROM questions WHERE query = ? OR expires <= ?", (query, until))
        self._let_go()

    def _let_go(self) -> None:
        """The log beside the file is folded in, unless a question is kept."""
        if not self._database.read("SELECT 1 FROM questions LIMIT 1"):
            self._database.let_go()

    def _party(self, rows: Sequence[tuple[Any, ...]]) -> Party:
        return party_from_bytes(bytes(rows[0][0])) if rows else Party(me=self._me)

    def _keep(self, db: Connection, party: Party) -> None:
        db.execute("INSERT OR REPLACE INTO party VALUES (1, ?)", (party_to_bytes(party),))


@lru_cache(maxsize=64)
def _question(wire: bytes) -> Question:
    """Read a question; each is looked at several times until it is over."""
    return Question.from_json(canonical.decode(wire))
