"""What a node keeps of the people it matches (`match.sqlite`, for its owner's eyes alone).

The set of a window with its salt, what its people count with in a sum, the seeds of each session,
and every message that was said or heard. Nothing is said before it stands here; what is asked again
is said again with the same bytes.

A session's chance is one seed, kept from its first step on. So a process that was killed between
two letters goes on where it was, and an audit can make every message again (SPEC, "The audit").
The node's log says which seeds, sets and steps these are: a copy of this file that is put back is
not what the log names, and is not believed (`clients.matching`).
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from clients.errors import BusyError, NodeSettingsError, is_busy
from federation.sqlite_files import DATABASE_ERROR, Connection, connect
from secure_compute.psi.amounts import Amounts
from secure_compute.psi.sets import Book, Chosen

NAME: Final = "match.sqlite"

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sets (
    place TEXT PRIMARY KEY, identifiers TEXT NOT NULL, salt BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS amounts (
    place TEXT PRIMARY KEY, steps TEXT NOT NULL, salt BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    order_id TEXT PRIMARY KEY, pair BLOB NOT NULL, seed BLOB NOT NULL, approval TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS said (
    order_id TEXT NOT NULL, step INTEGER NOT NULL, given TEXT NOT NULL, message BLOB NOT NULL,
    PRIMARY KEY (order_id, step)) STRICT;
CREATE TABLE IF NOT EXISTS heard (
    order_id TEXT NOT NULL, step INTEGER NOT NULL, message BLOB NOT NULL,
    PRIMARY KEY (order_id, step)) STRICT;
CREATE TABLE IF NOT EXISTS books (one INTEGER PRIMARY KEY CHECK (one = 1), book BLOB NOT NULL)
    STRICT;
CREATE TABLE IF NOT EXISTS results (order_id TEXT PRIMARY KEY, result TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Session:
    """What a session began with. pair: of the channel; seed: of everything in the protocol.

    approval: who approved a disclosure at either end, as canonical JSON; "" for a size.
    """

    pair: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    approval: str = ""


class MatchFile:
    """The file of one node; safe for several processes.

    Raises:
        NodeSettingsError: it is no such file.
        BusyError: another program holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def session(self, order: str) -> Session | None:
        """Return what the session of an order began with."""
        rows = self._read("SELECT pair, seed, approval FROM sessions WHERE order_id = ?", order)
        return Session(bytes(rows[0][0]), bytes(rows[0][1]), str(rows[0][2])) if rows else None

    def begin(self, order: str, session: Session) -> Session:
        """Make a session durable; the first one of an order stays, and is returned."""
        values = (order, session.pair, session.seed, session.approval)
        self._write([("INSERT OR IGNORE INTO sessions VALUES (?, ?, ?, ?)", values)])
        return self.session(order) or session

    def approve(self, order: str, approval: str) -> None:
        """Keep who approved the disclosure of a session."""
        change = "UPDATE sessions SET approval = ? WHERE order_id = ?"
        self._write([(change, (approval, order))])

    def chosen(self, place: str) -> Chosen | None:
        """Return the set that was chosen for a place."""
        rows = self._read("SELECT identifiers, salt FROM sets WHERE place = ?", place)
        return Chosen(tuple(json.loads(rows[0][0])), bytes(rows[0][1])) if rows else None

    def choose(self, place: str, chosen: Chosen) -> Chosen:
        """Make the set of a place durable; the first one stays, and is returned."""
        values = (place, json.dumps(chosen.identifiers), chosen.salt)
        self._write([("INSERT OR IGNORE INTO sets VALUES (?, ?, ?)", values)])
        return self.chosen(place) or chosen

    def amounts(self, place: str) -> Amounts | None:
        """Return the numbers of the set of a place, for a column."""
        rows = self._read("SELECT steps, salt FROM amounts WHERE place = ?", place)
        return Amounts(tuple(json.loads(rows[0][0])), bytes(rows[0][1])) if rows else None

    def count(self, place: str, amounts: Amounts) -> Amounts:
        """Make the numbers of a place durable; the first ones stay, and are returned."""
        values = (place, json.dumps(amounts.steps), amounts.salt)
        self._write([("INSERT OR IGNORE INTO amounts VALUES (?, ?, ?)", values)])
        return self.amounts(place) or amounts

    def book(self) -> Book:
        """Return which sets this side and others are bound to, and which steps were taken."""
        rows = self._read("SELECT book FROM books WHERE one = ?", 1)
        return Book.from_bytes(bytes(rows[0][0])) if rows else Book()

    def said(self, order: str, step: int) -> tuple[str, bytes] | None:
        """Return what was said in a step, and the digest of what it was made from."""
        rows = self._read(
            "SELECT given, message FROM said WHERE order_id = ? AND step = ?", order, step
        )
        return (str(rows[0][0]), bytes(rows[0][1])) if rows else None

    def heard(self, order: str, step: int) -> bytes | None:
        """Return what the other end said in a step."""
        query = "SELECT message FROM heard WHERE order_id = ? AND step = ?"
        rows = self._read(query, order, step)
        return bytes(rows[0][0]) if rows else None

    def take(
        self,
        order: str,
        step: int,
        given: str,
        message: bytes,
        book: Book,
        heard: tuple[tuple[int, bytes], ...] = (),
        result: str = "",
    ) -> None:
        """Make a step durable: what was said and heard, the book after it, and its result."""
        changes: list[tuple[str, Sequence[Any]]] = [
            ("INSERT INTO said VALUES (?, ?, ?, ?)", (order, step, given, message)),
            ("INSERT OR REPLACE INTO books VALUES (1, ?)", (book.to_bytes(),)),
        ]
        insert = "INSERT OR IGNORE INTO heard VALUES (?, ?, ?)"
        changes += [(insert, (order, number, words)) for number, words in heard]
        if result:
            changes.append(("INSERT OR REPLACE INTO results VALUES (?, ?)", (order, result)))
        self._write(changes)

    def result(self, order: str) -> str:
        """Return what came out of a session at this end; "" where nothing did."""
        rows = self._read("SELECT result FROM results WHERE order_id = ?", order)
        return str(rows[0][0]) if rows else ""

    def _read(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._open() as db:
            return db.execute(sql, values).fetchall()

    def _write(self, changes: Sequence[tuple[str, Sequence[Any]]]) -> None:
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            for sql, values in changes:
                db.execute(sql, values)
            db.execute("COMMIT")

    @contextmanager
    def _open(self) -> Iterator[Connection]:
        try:
            with closing(connect(self._path)) as db:
                self._path.chmod(0o600)
                db.executescript(SCHEMA)
                yield db
        except DATABASE_ERROR as why:
            if is_busy(why):
                raise BusyError(NAME) from why
            raise NodeSettingsError(
                f"{NAME} does not say what was matched; restore it, with the books beside it"
            ) from why
