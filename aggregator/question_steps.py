"""What came of each step of a joint question, on disk before the next step's letters leave.

A step is over once its parts are here, all of them in one transaction: who is not among them is
left out of what follows, also after a crash. Boxes come one keyholder at a time. All of it is
forgotten once the order has ended.
"""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import sqlalchemy as sa

from aggregator.database import Server, Store, keep_first
from aggregator.tables import QUESTIONS, parts


class QuestionSteps:
    """The parts in the file or the database `where`; safe for several processes."""

    def __init__(self, where: Path | Server) -> None:
        self._store = Store(where, QUESTIONS)

    def held(self) -> AbstractContextManager[None]:
        """Keep the steps open within the block; see `Store.held`."""
        return self._store.held()

    def keep(self, job: str, step: str, parts_: Mapping[str, bytes]) -> None:
        """Make the parts of a step durable; a part that is here already stays what it is."""
        rows = [
            {"job": job, "step": step, "party": party, "part": part}
            for party, part in parts_.items()
        ]
        with self._store.writing() as db:
            keep_first(db, parts, rows)

    def kept(self, job: str, step: str) -> dict[str, bytes]:
        """Return the parts of a step, by party; nothing where it is not over."""
        of_step = (parts.c.job == job) & (parts.c.step == step)
        rows = self._store.read(
            sa.select(parts.c.party, parts.c.part).where(of_step).order_by(parts.c.party)
        )
        return {party: bytes(part) for party, part in rows}

    def forget_all_but(self, jobs: Collection[str]) -> None:
        """Forget every job that is none of these, which still go on."""
        with self._store.writing() as db:
            db.execute(sa.delete(parts).where(parts.c.job.not_in(list(jobs))))
