"""The keyholder's keys on disk: a fresh one per query, which opens one list of ciphertexts, once.

    make ──(admit)── mark "opening list H" ── log H ── open ── store the answer ── erase the key

Each arrow is durable before the next begins (SQLite, full synchronisation), so a process may be
killed between any two. After the mark, the same list gives the same answer for ever and another
list is refused for ever: two sums that differ by one party would show that party's part. A list
whose opening fails stays marked; the query is over and its order must be written anew.

The node's log names the list before it is opened. A copy of the keyring alone, put back later, does
not know a list that the log names, and opens nothing for that query. A copy of keyring and log
together is found by witnesses.

What is not here: clocks, the law, signatures.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import secure_compute
from clients.errors import RefusedWorkError, UnknownOrderError
from secure_compute.canonical import digest_bytes
from secure_compute.errors import PeerProtocolError
from secure_compute.hequery.keyholder import Admitted, Approval, admit
from secure_compute.hequery.messages import KeyOffer, Opened, Sealed, Verify
from secure_compute.hequery.opening import pack
from secure_compute.hequery.scheme import SecretKey

OPENING_SECONDS: Final = 120

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS keys (
    query TEXT NOT NULL PRIMARY KEY, public BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS openings (
    query TEXT NOT NULL PRIMARY KEY, listing TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    query TEXT NOT NULL PRIMARY KEY, contributors TEXT NOT NULL, answer TEXT NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS openings_stay BEFORE UPDATE ON openings
    BEGIN SELECT RAISE(ABORT, 'an opening is never changed'); END;
CREATE TRIGGER IF NOT EXISTS openings_last BEFORE DELETE ON openings
    BEGIN SELECT RAISE(ABORT, 'an opening is never forgotten'); END;
"""


@dataclass(frozen=True, slots=True)
class Offer:
    """A public key with the keyholder's signed word about which query it is for."""

    statement: bytes
    signature: bytes
    public: bytes = field(repr=False)


class Told(Protocol):
    """What the node's log says, durably, of the lists that were opened."""

    def opened(self, order: str) -> str:
        """Return the listing named for `order`; "" for none."""
        ...

    def open(self, order: str, listing: str) -> None:
        """Name the listing that is about to be opened for `order`."""
        ...


class Keyring:
    """The keys of one keyholder, listed in the database `path`; each secret is a file beside it.

    Any number of processes may hold one at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.with_suffix(".d")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with closing(self._connect()) as connection:
            connection.executescript(_SCHEMA)
            done = connection.execute("SELECT query FROM answers").fetchall()
        for (query,) in done:
            self._erase(query)  # a kill may have come between storing the answer and this

    def offer(self, query: str, keyholder: str, sign: Callable[[bytes], bytes]) -> Offer:
        """Return the public key of `query`; its secret is on disk before this returns.

        The same query twice has the same key.
        """
        with self._transaction() as connection:
            public = self._known(connection, query) or self._make(connection, query)
        statement = KeyOffer(query=query, keyholder=keyholder, key=digest_bytes(public)).statement()
        return Offer(statement, sign(statement), public)

    def key_of(self, query: str) -> str:
        """Return the SHA-256 of the query's public key, in hexadecimal.

        Raises:
            UnknownOrderError: no key was made for the query.
        """
        with closing(self._connect()) as connection:
            public = self._known(connection, query)
        if public is None:
            raise UnknownOrderError("no key was made here for this query")
        return digest_bytes(public)

    def open_once(
        self,
        approval: Approval,
        sealed: Sequence[Sealed],
        verify: Verify,
        organisation: Callable[[str], str],
        told: Told,
    ) -> Opened:
        """Return the sum of `sealed`, or the stored answer if this very list was opened before.

        approval: what the signed order says; its key must be the one made here for its query.

        Raises:
            UnknownOrderError: no key was made for the query.
            BadSignatureError, PeerProtocolError: the list may not be opened; nothing is marked.
            RefusedWorkError: another list was opened, or was about to be, by what is kept here or
                by what the node's log says.
        """
        query = approval.query
        if approval.key != self.key_of(query):
            raise RefusedWorkError("the query is to be opened with another key than was made here")
        admitted = admit(approval, sealed, verify, organisation)
        self._require_known(query, told.opened(query))
        self._mark(admitted)
        if not told.opened(query):
            told.open(query, admitted.listing)
        known = self._answer(query)
        if known is None:
            self._store(admitted, _open_in_child(self._secret(query), admitted))
            known = self._answer(query)
        self._erase(query)
        contributors, values = known or ((), ())
        return Opened(query, contributors, admitted.listing, values)

    def _known(self, connection: sqlite3.Connection, query: str) -> bytes | None:
        row = connection.execute("SELECT public FROM keys WHERE query = ?", (query,)).fetchone()
        return None if row is None else bytes(row[0])

    def _make(self, connection: sqlite3.Connection, query: str) -> bytes:
        secret = SecretKey.generate()
        public = secret.public().wire
        _write_secret(self._file(query), secret.to_bytes())
        connection.execute("INSERT INTO keys VALUES (?, ?)", (query, public))
        return public

    def _require_known(self, query: str, named: str) -> None:
        """Return if the listing that the log names for `query`, or none, is the one marked here."""
        with closing(self._connect()) as connection:
            row = connection.execute(
                "SELECT listing FROM openings WHERE query = ?", (query,)
            ).fetchone()
        if named and row != (named,):
            raise RefusedWorkError(
                "the log names a list that was opened for this query and keyring.sqlite does not "
                "know it; the keyring is an old copy, so write the order anew"
            )

    def _mark(self, admitted: Admitted) -> None:
        """Write down, before anything is opened, which list this query will ever open."""
        query = admitted.approval.query
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO openings VALUES (?, ?)", (query, admitted.listing)
            )
            (first,) = connection.execute(
                "SELECT listing FROM openings WHERE query = ?", (query,)
            ).fetchone()
        if first != admitted.listing:
            raise RefusedWorkError(
                "this query has opened another list of ciphertexts; one query opens one list"
            )

    def _answer(self, query: str) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
        with closing(self._connect()) as connection:
            row = connection.execute(
                "SELECT contributors, answer FROM answers WHERE query = ?", (query,)
            ).fetchone()
        return None if row is None else (tuple(json.loads(row[0])), tuple(json.loads(row[1])))

    def _store(self, admitted: Admitted, values: Sequence[int]) -> None:
        contributors = json.dumps(admitted.contributors)
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?)",
                (admitted.approval.query, contributors, json.dumps(list(values))),
            )

    def _file(self, query: str) -> Path:
        return self._folder / f"{digest_bytes(query.encode())}.key"

    def _secret(self, query: str) -> bytes:
        try:
            return self._file(query).read_bytes()
        except FileNotFoundError as why:
            raise RefusedWorkError("the key of this query is gone; write the order anew") from why

    def _erase(self, query: str) -> None:
        path = self._file(query)
        if path.exists():
            path.write_bytes(bytes(path.stat().st_size))
            path.unlink()

    def _connect(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _write_secret(path: Path, secret: bytes) -> None:
    """Leave `secret` in `path`, whole and readable by its owner alone, or leave nothing."""
    draft = path.with_suffix(".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _open_in_child(secret: bytes, admitted: Admitted) -> tuple[int, ...]:
    """Return the sum, added and decrypted by a process that ends with it."""
    approval = admitted.approval
    try:
        done = subprocess.run(
            [sys.executable, "-m", "secure_compute.hequery.opening"],
            input=pack(secret, admitted.ciphertexts, approval.width),
            cwd=Path(secure_compute.__file__).parent.parent,
            capture_output=True,
            timeout=OPENING_SECONDS,
            check=True,
        )
        values = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as why:
        raise PeerProtocolError(
            "the ciphertexts could not be opened; write the order anew without the party at fault"
        ) from why
    return tuple(int(value) for value in values)
