"""The keys that keyholders made ahead, on disk: each is handed to one order, and to no other.

    begin ─(the keyholders' letters)─ keep ─ hand ─ drop

A batch that was begun is named before its first letter leaves, and what keyholders said in a step
is kept before the next one, so that a crash takes up the same batch where it was: nobody begins it
twice. Handing out is one transaction: an order that asks again, after whatever crash, gets the key
it had, and a key that was handed out is never handed out again, also when it is made again.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aggregator.database import Server, Store, keep_first
from aggregator.tables import KEYS, batches, letters, packages
from federation.joint_keys import Package
from policies.parties import PartyId

_FREE = packages.c.job.is_(None)


class KeyPool:
    """The packages in the file or the database `where`; safe for several processes."""

    def __init__(self, where: Path | Server) -> None:
        self._store = Store(where, KEYS)

    def held(self) -> AbstractContextManager[None]:
        """Keep the pool open within the block; see `Store.held`."""
        return self._store.held()

    @property
    def ready(self) -> int:
        """How many keys wait for an order."""
        ((count,),) = self._store.read(sa.select(sa.func.count()).where(_FREE))
        return int(count)

    def has(self, job: str) -> bool:
        """Return whether this order has a key, or there is one for it."""
        served = _FREE | (packages.c.job == job)
        return bool(self._store.read(sa.select(packages.c.number).where(served).limit(1)))

    def begun(self) -> str | None:
        """Return the id of the batch that was begun and has not ended."""
        rows = self._store.read(sa.select(batches.c.id).where(batches.c.ended == 0).limit(1))
        return str(rows[0][0]) if rows else None

    def begin(self, batch: str) -> None:
        """Name a batch before anybody is asked for it."""
        with self._store.writing() as db:
            db.execute(sa.insert(batches).values(id=batch))

    def give_up(self, batch: str) -> None:
        """End a batch that its keyholders will not see through; nothing of it is used."""
        with self._store.writing() as db:
            _end(db, batch)

    def keep_step(self, batch: str, step: str, parts: Mapping[PartyId, bytes]) -> None:
        """Keep what every keyholder said in a step of a batch."""
        rows = [
            {"batch": batch, "step": step, "party": party, "part": part}
            for party, part in parts.items()
        ]
        with self._store.writing() as db:
            keep_first(db, letters, rows)

    def step(self, batch: str, step: str) -> dict[PartyId, bytes]:
        """Return what every keyholder said in a step of a batch; nothing where it is not over."""
        of_step = (letters.c.batch == batch) & (letters.c.step == step)
        rows = self._store.read(
            sa.select(letters.c.party, letters.c.part).where(of_step).order_by(letters.c.party)
        )
        return {PartyId(party): bytes(part) for party, part in rows}

    def keep(self, batch: str, packages_: Mapping[str, bytes]) -> None:
        """Keep what was made of a batch, by digest of the key, and end the batch."""
        rows = [{"key": key, "package": package} for key, package in packages_.items()]
        with self._store.writing() as db:
            keep_first(db, packages, rows)
            _end(db, batch)

    def hand(self, job: str) -> bytes | None:
        """Return the package that is this order's for ever, or None where none is left."""
        mine = sa.select(packages.c.package).where(packages.c.job == job)
        with self._store.writing() as db:
            found = db.execute(mine).fetchall()
            if not found:
                first = sa.select(sa.func.min(packages.c.number)).where(_FREE).scalar_subquery()
                db.execute(sa.update(packages).where(packages.c.number == first).values(job=job))
                found = db.execute(mine).fetchall()
        return bytes(found[0][0]) if found else None

    def retire_others(self, roster: str) -> int:
        """Hand every key of another roster than this one to nobody, for ever; return how many.

        roster: digest of what masks and keys rest on, as the terms of keys have it.
        """
        free = sa.select(packages.c.number, packages.c.package).where(_FREE)
        with self._store.writing() as db:
            rows = db.execute(free).fetchall()
            old = [number for number, package in rows if _roster_of(bytes(package)) != roster]
            for number in old:
                retired = sa.update(packages).values(job=f"retired/{number}", package=b"")
                db.execute(retired.where(packages.c.number == number))
        return len(old)

    def drop(self, job: str) -> None:
        """Forget the bytes of a key whose order has ended; that it was handed out stays known."""
        with self._store.writing() as db:
            db.execute(sa.update(packages).where(packages.c.job == job).values(package=b""))


def _roster_of(package: bytes) -> str:
    return Package.read(package).terms.roster


def _end(db: Connection, batch: str) -> None:
    db.execute(sa.update(batches).where(batches.c.id == batch).values(ended=1))
    db.execute(sa.delete(letters).where(letters.c.batch == batch))
