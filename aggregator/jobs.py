"""What the aggregator was asked to do and how far it got, on disk.

The command line adds orders and watches; the coordinator takes them up one at a time and writes a
checkpoint per round. A crash loses at most the round it happened in.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aggregator.database import Server, Store, keep_first, keep_last
from aggregator.tables import (
    JOBS,
    epochs,
    gatherings,
    jobs,
    notes,
    proposals,
    rounds,
    starts,
    waits,
)
from policies.parties import PartyId

Status: TypeAlias = Literal[
    "queued", "running", "waiting", "done", "refused", "abandoned", "failed"
]

FINAL: Final = frozenset({"done", "refused", "abandoned", "failed"})

_OPEN: Final = ("queued", "running", "waiting")
_WITNESSED: Final = json.dumps({"stage": "witnessed"})
_LAST: Final = "\U0010ffff"  # no character comes after it
_SHOWN: Final = (jobs.c.id, jobs.c.wire, jobs.c.status, jobs.c.result)


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
    """The aggregator's table of work, in a file or on a server; safe for several processes."""

    def __init__(self, where: Path | Server) -> None:
        self._store = Store(where, JOBS)

    def held(self) -> AbstractContextManager[None]:
        """Keep the table open within the block; see `Store.held`."""
        return self._store.held()

    def add(self, job: str, wire: bytes, now: float) -> None:
        """Put a signed order on the table; adding it twice changes nothing."""
        self.add_all({job: wire}, now)

    def add_all(self, wires: Mapping[str, bytes], now: float) -> None:
        """Put signed orders on the table, by their ids and in this order: all of them, or none."""
        last = sa.select(sa.func.coalesce(sa.func.max(jobs.c.arrived), 0))
        with self._store.writing() as db:
            place = 1 + (db.scalar(last) or 0)
            rows = [
                {"id": job, "wire": wire, "status": "queued", "created": now, "arrived": place + at}
                for at, (job, wire) in enumerate(wires.items())
            ]
            keep_first(db, jobs, rows)

    def next(self, now: float = 0.0) -> Job | None:
        """Return the job that a crash interrupted, else the oldest that is to be taken up.

        now: of the jobs that wait, those are taken up whose time has come by then. They are as old
        as that time, so that one which is asked about again and again keeps no other from its turn.
        """
        is_due = (jobs.c.status == "waiting") & (waits.c.due <= now)
        age = sa.func.coalesce(waits.c.due, jobs.c.created)
        rows = self._store.read(
            sa.select(*_SHOWN)
            .select_from(jobs.outerjoin(waits, waits.c.job == jobs.c.id))
            .where(jobs.c.status.in_(("running", "queued")) | is_due)
            .order_by(jobs.c.status != "running", age, jobs.c.arrived)
            .limit(1)
        )
        return _job(rows[0]) if rows else None

    def wait(self, job: str, due: float) -> None:
        """A job waits for its time or for people; it is taken up again at `due`."""
        with self._store.writing() as db:
            keep_last(db, waits, job=job, due=due)
            _forget_starts(db, job)
            _change(db, job, status="waiting")

    def propose(self, job: str, party: PartyId, said: Mapping[str, Any]) -> None:
        """Keep what a party said of an order before anything was set aside; its last word."""
        with self._store.writing() as db:
            keep_last(db, proposals, job=job, party=party, said=json.dumps(said))

    def proposals(self, job: str) -> dict[PartyId, dict[str, Any]]:
        """Return what each party said of an order so far."""
        said = sa.select(proposals.c.party, proposals.c.said).order_by(proposals.c.party)
        rows = self._store.read(said.where(proposals.c.job == job))
        return {PartyId(party): json.loads(said) for party, said in rows}

    def countersign(self, job: str, before: bytes, wire: bytes) -> bool:
        """Keep the order with its countersignatures: what it says stays, and so does its id.

        before: as it was read; return whether it still was so, and nobody signed meanwhile.
        """
        was = (jobs.c.id == job) & (jobs.c.wire == before)
        with self._store.writing() as db:
            return db.execute(sa.update(jobs).where(was).values(wire=wire)).rowcount == 1

    def find(self, job: str) -> Job | None:
        """Return one job by its id, or by the first digits of it."""
        rows = self._store.read(_selected(_begins(job)).order_by(jobs.c.id).limit(1))
        return _job(rows[0]) if rows else None

    def named(self, beginning: str) -> list[Job]:
        """Return the jobs whose id begins so, with the characters as they stand."""
        rows = self._store.read(_selected(_begins(beginning)).order_by(jobs.c.id))
        return [_job(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Return how many jobs there are of each status."""
        rows = self._store.read(sa.select(jobs.c.status, sa.func.count()).group_by(jobs.c.status))
        return {row[0]: row[1] for row in rows}

    def done(self) -> list[Job]:
        """Return the jobs that came to a result, the oldest first."""
        rows = self._store.read(_in_order(_selected(jobs.c.status == "done")))
        return [_job(row) for row in rows]

    def start(self, job: str) -> int:
        """Mark a job as being worked on; return how often it was since its last committed step."""
        count = sa.select(starts.c.count).where(starts.c.job == job)
        with self._store.writing() as db:
            times = 1 + (db.scalar(count) or 0)
            keep_last(db, starts, job=job, count=times)
            _change(db, job, status="running")
        return times

    def again(self, job: str) -> bool:
        """Put a refused job on the table once more; return whether there was one."""
        status = sa.select(jobs.c.status).where(jobs.c.id == job)
        with self._store.writing() as db:
            is_refused = db.scalar(status) == "refused"
            if is_refused:
                _forget_starts(db, job)
                _change(db, job, status="queued", result=None)
        return is_refused

    def end(self, job: str, status: Status, result: dict[str, Any]) -> None:
        """Write down how a job ended."""
        with self._store.writing() as db:
            _change(db, job, status=status, result=json.dumps(result))

    def keep_answer(self, job: str, answer: dict[str, Any]) -> None:
        """Note the answer that a question's recipient opened; one that is noted stays."""
        kept = sa.select(jobs.c.result).where(jobs.c.id == job)
        with self._store.writing() as db:
            result = json.loads(db.scalar(kept) or "{}")
            if result.get("sealed") and result.get("answer", "") is None:
                _change(db, job, result=json.dumps(result | {"answer": answer}))

    def note(self, job: str, **note: Any) -> None:
        """Tell whoever watches how far the job is."""
        with self._store.writing() as db:
            db.execute(sa.insert(notes).values(job=job, note=json.dumps(note)))

    def notes(self, job: str, after: int = 0) -> list[tuple[int, dict[str, Any]]]:
        """Return the notes with a number above `after`."""
        later = (notes.c.job == job) & (notes.c.number > after)
        rows = self._store.read(
            sa.select(notes.c.number, notes.c.note).where(later).order_by(notes.c.number)
        )
        return [(number, json.loads(note)) for number, note in rows]

    def unwitnessed(self) -> list[str]:
        """Return the jobs that have ended since the ledgers were last witnessed, by their ids."""
        witnessed = sa.select(notes.c.job).where(notes.c.note == _WITNESSED)
        has_ended = jobs.c.status.not_in(_OPEN) & jobs.c.id.not_in(witnessed)
        return [
            row[0] for row in self._store.read(_in_order(sa.select(jobs.c.id).where(has_ended)))
        ]

    def commit_round(self, job: str, checkpoint: Checkpoint) -> None:
        """Make a round durable: from here on a crash never repeats it."""
        with self._store.writing() as db:
            keep_last(
                db,
                rounds,
                job=job,
                round=checkpoint.round,
                weights=checkpoint.weights,
                velocity=checkpoint.velocity,
                parties=_named(checkpoint),
            )
            _forget_starts(db, job)

    def last_round(self, job: str) -> Checkpoint | None:
        """Return the newest checkpoint of a job."""
        rows = self._store.read(
            sa.select(rounds).where(rounds.c.job == job).order_by(rounds.c.round.desc()).limit(1)
        )
        if not rows:
            return None
        _, number, weights, velocity, parties = rows[0]
        return Checkpoint(number, weights, velocity, *_names(parties))

    def keep_keys(self, job: str, keys: bytes) -> None:
        """Make the epoch keys of a job's secure sums durable, in place of an earlier offer's."""
        with self._store.writing() as db:
            keep_last(db, epochs, job=job, keys=keys)

    def keys(self, job: str) -> bytes | None:
        """Return the epoch keys of a job's secure sums."""
        rows = self._store.read(sa.select(epochs.c["keys"]).where(epochs.c.job == job))
        return bytes(rows[0][0]) if rows else None

    def keep_gathering(self, job: str, round_: int, state: bytes) -> None:
        """Make what was gathered of a secure sum durable, before anything more is asked."""
        earlier = (gatherings.c.job == job) & (gatherings.c.round < round_)
        with self._store.writing() as db:
            keep_last(db, gatherings, job=job, round=round_, state=state)
            db.execute(sa.delete(gatherings).where(earlier))

    def gathering(self, job: str, round_: int) -> bytes | None:
        """Return what was gathered of a secure sum so far."""
        of_round = (gatherings.c.job == job) & (gatherings.c.round == round_)
        rows = self._store.read(sa.select(gatherings.c.state).where(of_round))
        return bytes(rows[0][0]) if rows else None


def _change(db: Connection, job: str, **values: Any) -> None:
    db.execute(sa.update(jobs).where(jobs.c.id == job).values(values))


def _forget_starts(db: Connection, job: str) -> None:
    db.execute(sa.delete(starts).where(starts.c.job == job))


def _begins(beginning: str) -> sa.ColumnElement[bool]:
    """Whether an id begins so, as it stands; by the index first."""
    near = (jobs.c.id >= beginning) & (jobs.c.id <= beginning + _LAST)
    return near & (sa.func.substr(jobs.c.id, 1, len(beginning)) == beginning)


def _selected(condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(*_SHOWN).where(condition)


def _in_order(chosen: sa.Select[Any]) -> sa.Select[Any]:
    return chosen.order_by(jobs.c.created, jobs.c.arrived)


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
