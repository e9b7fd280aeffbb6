"""What the aggregator was asked to do and how far it got, on disk.

The command line adds orders and watches; the coordinator takes them up one at a time and writes a
checkpoint per round. A crash loses at most the round it happened in.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from policies.parties import PartyId

Status: TypeAlias = Literal[
    "queued", "running", "waiting", "done", "refused", "abandoned", "failed"
]

FINAL: Final = frozenset({"done", "refused", "abandoned", "failed"})

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, wire BLOB NOT NULL, status TEXT NOT NULL, created REAL NOT NULL,
    result TEXT);
CREATE TABLE IF NOT EXISTS notes (
    number INTEGER PRIMARY KEY, job TEXT NOT NULL REFERENCES jobs(id), note TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS notes_job ON notes(job);
CREATE TABLE IF NOT EXISTS rounds (
    job TEXT NOT NULL REFERENCES jobs(id), round INTEGER NOT NULL, weights BLOB NOT NULL,
    velocity BLOB NOT NULL, parties TEXT NOT NULL, PRIMARY KEY (job, round));
CREATE TABLE IF NOT EXISTS epochs (
    job TEXT PRIMARY KEY REFERENCES jobs(id), keys BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS gatherings (
    job TEXT NOT NULL REFERENCES jobs(id), round INTEGER NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (job, round));
CREATE TABLE IF NOT EXISTS starts (
    job TEXT PRIMARY KEY REFERENCES jobs(id), count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS waits (
    job TEXT PRIMARY KEY REFERENCES jobs(id), due REAL NOT NULL);
CREATE TABLE IF NOT EXISTS proposals (
    job TEXT NOT NULL REFERENCES jobs(id), party TEXT NOT NULL, said TEXT NOT NULL,
    PRIMARY KEY (job, party));
"""


@dataclass(frozen=True, slots=True)
class Job:
    """One order on the table. `wire` is the signed order; `result` is JSON once final."""

    id: str
    wire: bytes
    status: Status
    result: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after `round` rounds, and who still takes part.

    weights: little-endian float32; velocity: the server's momentum, little-endian float64.
    waiting: who takes part and is not in the last round, because its group was lost.
    """

    round: int
    weights: bytes
    velocity: bytes
    parties: tuple[PartyId, ...]
    waiting: tuple[PartyId, ...] = ()


class Jobs:
    """The aggregator's table of work; safe for several processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._open()) as db:
            db.executescript(SCHEMA)

    def add(self, job: str, wire: bytes, now: float) -> None:
        """Put a signed order on the table; adding it twice changes nothing."""
        self._write("INSERT OR IGNORE INTO jobs VALUES (?, ?, 'queued', ?, NULL)", (job, wire, now))

    def next(self, now: float = 0.0) -> Job | None:
        """Return the job that a crash interrupted, else the oldest that is to be taken up.

        now: of the jobs that wait, those are taken up whose time has come by then. They are as old
        as that time, so that one which is asked about again and again keeps no other from its turn.
        """
        rows = self._read(
            "SELECT id, wire, status, result FROM jobs LEFT JOIN waits ON job = id"
            " WHERE status IN ('running', 'queued') OR (status = 'waiting' AND due <= ?)"
            " ORDER BY status != 'running', coalesce(due, created) LIMIT 1",
            (now,),
        )
        return _job(rows[0]) if rows else None

    def wait(self, job: str, due: float) -> None:
        """A job waits for its time or for people; it is taken up again at `due`."""
        self._write("INSERT OR REPLACE INTO waits VALUES (?, ?)", (job, due))
        self._write("DELETE FROM starts WHERE job = ?", (job,))
        self._write("UPDATE jobs SET status = 'waiting' WHERE id = ?", (job,))

    def propose(self, job: str, party: PartyId, said: Mapping[str, Any]) -> None:
        """Keep what a party said of an order before anything was set aside; its last word."""
        self._write(
            "INSERT OR REPLACE INTO proposals VALUES (?, ?, ?)", (job, party, json.dumps(said))
        )

    def proposals(self, job: str) -> dict[PartyId, dict[str, Any]]:
        """Return what each party said of an order so far."""
        rows = self._read("SELECT party, said FROM proposals WHERE job = ?", (job,))
        return {PartyId(party): json.loads(said) for party, said in rows}

    def countersign(self, job: str, wire: bytes) -> None:
        """Keep the order with its countersignatures: what it says stays, and so does its id."""
        self._write("UPDATE jobs SET wire = ? WHERE id = ?", (wire, job))

    def find(self, job: str) -> Job | None:
        """Return one job by its id, or by the first digits of it."""
        rows = self._read(
            "SELECT id, wire, status, result FROM jobs WHERE id GLOB ? LIMIT 1", (job + "*",)
        )
        return _job(rows[0]) if rows else None

    def named(self, beginning: str) -> list[Job]:
        """Return the jobs whose id begins so, with the characters as they stand."""
        rows = self._read(
            "SELECT id, wire, status, result FROM jobs WHERE substr(id, 1, ?) = ?",
            (len(beginning), beginning),
        )
        return [_job(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Return how many jobs there are of each status."""
        return dict(self._read("SELECT status, count(*) FROM jobs GROUP BY status"))

    def done(self) -> list[Job]:
        """Return the jobs that came to a result, the oldest first."""
        rows = self._read(
            "SELECT id, wire, status, result FROM jobs WHERE status = 'done' ORDER BY created"
        )
        return [_job(row) for row in rows]

    def start(self, job: str) -> int:
        """Mark a job as being worked on; return how often it was since its last committed step."""
        self._write(
            "INSERT INTO starts VALUES (?, 1) ON CONFLICT (job) DO UPDATE SET count = count + 1",
            (job,),
        )
        self._write("UPDATE jobs SET status = 'running' WHERE id = ?", (job,))
        (row,) = self._read("SELECT count FROM starts WHERE job = ?", (job,))
        return int(row[0])

    def again(self, job: str) -> bool:
        """Put a refused job on the table once more; return whether there was one."""
        refused = self._read("SELECT id FROM jobs WHERE id = ? AND status = 'refused'", (job,))
        if refused:
            self._write("DELETE FROM starts WHERE job = ?", (job,))
            self._write("UPDATE jobs SET status = 'queued', result = NULL WHERE id = ?", (job,))
        return bool(refused)

    def end(self, job: str, status: Status, result: dict[str, Any]) -> None:
        """Write down how a job ended."""
        self._write(
            "UPDATE jobs SET status = ?, result = ? WHERE id = ?",
            (status, json.dumps(result), job),
        )

    def keep_answer(self, job: str, answer: dict[str, Any]) -> None:
        """Note the answer that a question's recipient opened; one that is noted stays."""
        self._write(
            "UPDATE jobs SET result = json_set(result, '$.answer', json(?)) WHERE id = ?"
            " AND json_type(result, '$.answer') = 'null' AND json_extract(result, '$.sealed')",
            (json.dumps(answer), job),
        )

    def note(self, job: str, **note: Any) -> None:
        """Tell whoever watches how far the job is."""
        self._write("INSERT INTO notes (job, note) VALUES (?, ?)", (job, json.dumps(note)))

    def notes(self, job: str, after: int = 0) -> list[tuple[int, dict[str, Any]]]:
        """Return the notes with a number above `after`."""
        rows = self._read(
            "SELECT number, note FROM notes WHERE job = ? AND number > ? ORDER BY number",
            (job, after),
        )
        return [(number, json.loads(note)) for number, note in rows]

    def unwitnessed(self) -> list[str]:
        """Return the jobs that have ended since the ledgers were last witnessed, by their ids."""
        rows = self._read(
            "SELECT id FROM jobs WHERE status NOT IN ('queued', 'running', 'waiting')"
            " AND id NOT IN (SELECT job FROM notes WHERE note = ?) ORDER BY created",
            (json.dumps({"stage": "witnessed"}),),
        )
        return [row[0] for row in rows]

    def commit_round(self, job: str, checkpoint: Checkpoint) -> None:
        """Make a round durable: from here on a crash never repeats it."""
        self._write(
            "INSERT OR REPLACE INTO rounds VALUES (?, ?, ?, ?, ?)",
            (
                job,
                checkpoint.round,
                checkpoint.weights,
                checkpoint.velocity,
                _named(checkpoint),
            ),
        )
        self._write("DELETE FROM starts WHERE job = ?", (job,))

    def last_round(self, job: str) -> Checkpoint | None:
        """Return the newest checkpoint of a job."""
        rows = self._read(
            "SELECT round, weights, velocity, parties FROM rounds WHERE job = ?"
            " ORDER BY round DESC LIMIT 1",
            (job,),
        )
        if not rows:
            return None
        number, weights, velocity, parties = rows[0]
        return Checkpoint(number, weights, velocity, *_names(parties))

    def keep_keys(self, job: str, keys: bytes) -> None:
        """Make the epoch keys of a job's secure sums durable, in place of an earlier offer's."""
        self._write("INSERT OR REPLACE INTO epochs VALUES (?, ?)", (job, keys))

    def keys(self, job: str) -> bytes | None:
        """Return the epoch keys of a job's secure sums."""
        rows = self._read("SELECT keys FROM epochs WHERE job = ?", (job,))
        return bytes(rows[0][0]) if rows else None

    def keep_gathering(self, job: str, round_: int, state: bytes) -> None:
        """Make what was gathered of a secure sum durable, before anything more is asked."""
        self._write("INSERT OR REPLACE INTO gatherings VALUES (?, ?, ?)", (job, round_, state))
        self._write("DELETE FROM gatherings WHERE job = ? AND round < ?", (job, round_))

    def gathering(self, job: str, round_: int) -> bytes | None:
        """Return what was gathered of a secure sum so far."""
        rows = self._read("SELECT state FROM gatherings WHERE job = ? AND round = ?", (job, round_))
        return bytes(rows[0][0]) if rows else None

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        return db

    def _write(self, sql: str, values: Sequence[Any]) -> None:
        with closing(self._open()) as db:
            db.execute(sql, values)

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with closing(self._open()) as db:
            return db.execute(sql, values).fetchall()


def _named(checkpoint: Checkpoint) -> str:
    """Return a checkpoint's parties; those that wait stand apart where there are any."""
    if not checkpoint.waiting:
        return json.dumps(checkpoint.parties)
    return json.dumps([checkpoint.parties, checkpoint.waiting])


def _names(text: str) -> tuple[tuple[PartyId, ...], tuple[PartyId, ...]]:
    match json.loads(text):
        case [list(parties), list(waiting)]:
            return tuple(parties), tuple(waiting)
        case parties:
            return tuple(parties), ()


def _job(row: tuple[Any, ...]) -> Job:
    return Job(row[0], row[1], row[2], json.loads(row[3]) if row[3] else None)
