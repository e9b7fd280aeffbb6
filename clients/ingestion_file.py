"""`ingestion.sqlite`: under which windows the rows of this node were booked. Rows are only added.

The node's log names the state that this file was in when rows were last read. A file that was in
that state, and may have come further since, is trusted. Any other, an old copy or an empty one, is
marked as doubtful for ever: what it does not know may have been read in every window so far.

    made      the name of the secret that the keys were hashed under
    kinds     how keys were made, by subjects, in the order they were first seen
    batches   keys that were new at one look, and the windows they belong to; of no kind: a doubt
    looks     states of files whose rows are all booked

Every function works within the transaction of its caller.
"""

import hashlib
import json
from pathlib import Path
from typing import Final, NamedTuple

from clients.errors import NodeSettingsError
from clients.keysets import not_among
from clients.rowkeys import KEY_BYTES, SECRET_BYTES
from federation import at_rest
from federation.sqlite_files import Connection
from secure_compute.entropy import Entropy

SCHEMA: Final = """
CREATE TABLE made (secret TEXT PRIMARY KEY);
CREATE TABLE kinds (
    subjects TEXT NOT NULL, kind TEXT NOT NULL, place INTEGER NOT NULL, born INTEGER NOT NULL,
    PRIMARY KEY (subjects, kind));
CREATE TABLE batches (
    number INTEGER PRIMARY KEY, subjects TEXT NOT NULL, kind TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, keys BLOB NOT NULL);
CREATE TABLE looks (
    stamp TEXT NOT NULL, subjects TEXT NOT NULL, kind TEXT NOT NULL,
    PRIMARY KEY (stamp, subjects, kind));
"""
_DOUBT: Final = ""
_KEPT: Final = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'a booked row keeps its window'); END;
"""


class Batch(NamedTuple):
    """Keys that were new at one look; their window is one of `first` to `last`, counted from 1."""

    first: int
    last: int
    keys: bytes


def make_tables(db: Connection) -> None:
    """Leave an empty file with its tables, which refuse that anything is changed."""
    if db.execute("SELECT 1 FROM sqlite_master").fetchone():
        return
    for statement in SCHEMA.split(";"):
        db.execute(statement)
    for table in ("made", "kinds", "batches"):
        for verb in ("UPDATE", "DELETE"):
            db.execute(_KEPT.format(table=table, verb=verb))


def secret_of(db: Connection, path: Path, entropy: Entropy) -> bytes:
    """Return the secret that this file's keys are hashed under; a new file gets a new one.

    Raises:
        NodeSettingsError: the secret at `path` is gone, or another.
    """
    known = [name for (name,) in db.execute("SELECT secret FROM made")]
    if not known and not path.exists():
        at_rest.write(path, entropy.bytes(SECRET_BYTES))
    try:
        secret = at_rest.read(path)
    except FileNotFoundError:
        secret = b""
    name = hashlib.blake2b(b"name", key=secret, digest_size=KEY_BYTES).hexdigest()
    if len(secret) != SECRET_BYTES or (known and known != [name]):
        raise NodeSettingsError(
            f"keys/{path.name} is not the key that ingestion.sqlite was made with; "
            "restore both from the same copy"
        )
    db.execute("INSERT OR IGNORE INTO made VALUES (?)", (name,))
    return secret


def require_windows(db: Connection, subjects: str, opened: int) -> None:
    """Accept books that know as many windows of `subjects` as rows were booked under.

    Raises:
        NodeSettingsError: they know fewer, or none.
    """
    booked = db.execute(
        "SELECT MAX(last) FROM (SELECT last FROM batches WHERE subjects = ? UNION ALL "
        "SELECT born FROM kinds WHERE subjects = ?)",
        (subjects, subjects),
    ).fetchone()[0]
    if opened < max(booked or 0, 1):
        raise NodeSettingsError(
            f"the books know {opened} windows of {subjects} and ingestion.sqlite {booked or 1}; "
            "one of them is an old copy: restore both of the same day"
        )


def is_looked_at(db: Connection, stamp: str, subjects: str, kind: str) -> bool:
    """Return whether every row of that state of a file is booked for `subjects`."""
    row = (stamp, subjects, kind)
    found = db.execute("SELECT 1 FROM looks WHERE (stamp, subjects, kind) = (?, ?, ?)", row)
    return found.fetchone() is not None


def commitments(db: Connection, subjects: str, secret: bytes) -> list[str]:
    """Return what the log may say of `subjects`: a commitment to each state, the present one last.

    Each is 64 hexadecimal digits over all batches until then, keyed by the file's secret; that to
    no batch is "".
    """
    found, state = [""], b""
    rows = db.execute(
        "SELECT kind, first, last, keys FROM batches WHERE subjects = ? ORDER BY number",
        (subjects,),
    )
    for kind, first, last, keys in rows:
        head = json.dumps([subjects, kind, first, last, len(keys)]).encode()
        state = hashlib.blake2b(state + head + keys, key=secret, digest_size=32).digest()
        found.append(state.hex())
    return found


def doubt(db: Connection, subjects: str, now: int) -> None:
    """From now on keys of `subjects` that are not known may have been there all along."""
    _add(db, subjects, _DOUBT, 1, now, b"")


def book(
    db: Connection,
    stamp: str,
    subjects: str,
    kind: str,
    keys: bytes,
    now: int,
    *,
    named: bool,
) -> None:
    """The keys of a state of a file are booked, those not known yet under the window `now`.

    named: whether the contract names a row by key columns of its own. If all of a row's values are
    its key, a corrected row looks like a new one, and may have been there all along.
    """
    place, born = _kind(db, subjects, kind, now)
    known = b"".join(batch.keys for batch in batches(db, subjects, kind))
    new = not_among(keys, known)
    if new:
        is_new = named and place == 0 and born == 1 and not batches(db, subjects, _DOUBT)
        _add(db, subjects, kind, now if is_new else 1, now, new)
    db.execute("INSERT OR IGNORE INTO looks VALUES (?, ?, ?)", (stamp, subjects, kind))


def _add(db: Connection, subjects: str, kind: str, first: int, last: int, keys: bytes) -> None:
    db.execute(
        "INSERT INTO batches (subjects, kind, first, last, keys) VALUES (?, ?, ?, ?, ?)",
        (subjects, kind, first, last, keys),
    )


def _kind(db: Connection, subjects: str, kind: str, now: int) -> tuple[int, int]:
    """Return the place of a kind among those of the subjects, and the window it was first seen in.

    Only keys of place 0 are compared with all that were ever read, and only if they were there
    from the first window on.
    """
    db.execute(
        "INSERT OR IGNORE INTO kinds SELECT ?, ?, COUNT(*), ? FROM kinds WHERE subjects = ?",
        (subjects, kind, now, subjects),
    )
    place, born = db.execute(
        "SELECT place, born FROM kinds WHERE (subjects, kind) = (?, ?)", (subjects, kind)
    ).fetchone()
    return int(place), int(born)


def batches(db: Connection, subjects: str, kind: str) -> list[Batch]:
    """Return what was booked for `subjects` under keys of one kind, in order."""
    rows = db.execute(
        "SELECT first, last, keys FROM batches WHERE (subjects, kind) = (?, ?) ORDER BY number",
        (subjects, kind),
    )
    return [Batch(*row) for row in rows]
