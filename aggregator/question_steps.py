"""What came of each step of a joint question, on disk before the next step's letters leave.

A step is over once its parts are here, all of them in one transaction: who is not among them is
left out of what follows, also after a crash. Boxes come one keyholder at a time. All of it is
forgotten once the order has ended.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from federation.durable import Database

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS parts (
    job TEXT NOT NULL, step TEXT NOT NULL, party TEXT NOT NULL, part BLOB NOT NULL,
    PRIMARY KEY (job, step, party)) STRICT;
"""


class QuestionSteps:
    """The parts in the database `path`; safe for several processes."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA)

    def keep(self, job: str, step: str, parts: Mapping[str, bytes]) -> None:
        """Make the parts of a step durable; a part that is here already stays what it is."""
        rows = [(job, step, party, part) for party, part in parts.items()]
        with self._database.writing() as db:
            db.executemany("INSERT OR IGNORE INTO parts VALUES (?, ?, ?, ?)", rows)

    def kept(self, job: str, step: str) -> dict[str, bytes]:
        """Return the parts of a step, by party; nothing where it is not over."""
        rows = self._database.read(
            "SELECT party, part FROM parts WHERE job = ? AND step = ? ORDER BY party", (job, step)
        )
        return {party: bytes(part) for party, part in rows}

    def forget_all_but(self, jobs: Collection[str]) -> None:
        """Forget every job that is none of these, which still go on."""
        marks = ", ".join("?" for _ in jobs)
        with self._database.writing() as db:
            db.execute(f"DELETE FROM parts WHERE job NOT IN ({marks})", (*jobs,))  # noqa: S608
