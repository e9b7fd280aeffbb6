"""Looks through a node's tables as its next start would, and leaves no trace of it.

What is booked is booked in a copy of `ingestion.sqlite` in memory, which is gone afterwards.
"""

from collections.abc import Iterable
from pathlib import Path

from clients.commitments import Commitments, EntryBook
from clients.ingestion import Ingestion
from clients.rowkeys import SECRET_BYTES
from federation.sqlite_files import Connection, copied
from policies.contracts import DataContract
from secure_compute.entropy import Entropy


class Rehearsal(Ingestion):
    """Ingestion whose file, secret and log stay as they are; every look begins from these anew."""

    def __init__(
        self, folder: Path, contracts: Iterable[DataContract], entropy: Entropy, books: EntryBook
    ) -> None:
        super().__init__(folder, contracts, entropy, _Silent(books, lambda: 0.0))
        self._spare = entropy.bytes(SECRET_BYTES)

    def _connect(self) -> Connection:
        return copied(self._path)

    def _secret(self, db: Connection) -> bytes:
        if not self._secret_path.exists() and not db.execute("SELECT 1 FROM made").fetchone():
            return self._spare
        return super()._secret(db)


class _Silent(Commitments):
    """What the log says; nothing more is said, for nothing was booked."""

    def ingest(self, subjects: str, commitment: str) -> None:
        """Leave the log as it is."""
