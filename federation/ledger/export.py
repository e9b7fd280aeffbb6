"""A file with whole ledgers, for somebody who has no account here, no network and no database.

    {"federation": …, "format": "entrepot.ledger/1",
     "logs": [{"origin": …, "entries": [base64, …], "hashes": [base64, …],
               "head": note over all entries, signed by the log,
               "witnessed": note of the latest head that enough others cosigned, with their lines}]}

Canonical JSON. `hashes` are the leaf hashes; they prove nothing that the entries do not, but name
the entry that was changed. No key is in the file: keys come from outside.
"""

import base64
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from federation.errors import LedgerMismatchError
from federation.ledger.merkle import HASH_SIZE, leaf_hash
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import NotCanonicalError

FORMAT: Final = "entrepot.ledger/1"
_FIELDS: Final = frozenset({"entries", "hashes", "head", "origin", "witnessed"})


@dataclass(frozen=True, slots=True)
class LogExport:
    """One whole log.

    head:      the note over all entries, signed by the log itself.
    witnessed: the note of an earlier or the same head, with the lines of its witnesses.
    hashes:    the leaf hash of each entry.
    """

    origin: str
    entries: tuple[bytes, ...] = field(repr=False)
    head: str
    witnessed: str
    hashes: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def of(cls, origin: str, entries: Sequence[bytes], head: str, witnessed: str) -> "LogExport":
        """Return the export of `entries`, with their hashes."""
        hashes = tuple(map(leaf_hash, entries))
        return cls(origin, tuple(entries), head, witnessed, hashes)


@dataclass(frozen=True, slots=True)
class Export:
    """Ledgers of one federation; nothing in it is verified yet."""

    federation: str
    logs: tuple[LogExport, ...]

    def to_bytes(self) -> bytes:
        """Return the file; `from_bytes` gives the export back."""
        logs: list[JSON] = [
            {
                "entries": [_text(entry) for entry in log.entries],
                "hashes": [_text(leaf) for leaf in log.hashes],
                "head": log.head,
                "origin": log.origin,
                "witnessed": log.witnessed,
            }
            for log in self.logs
        ]
        return canonical.encode({"federation": self.federation, "format": FORMAT, "logs": logs})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Export":
        """Read exactly what `to_bytes` returns.

        Raises:
            LedgerMismatchError: the file is something else, or damaged; says where.
        """
        try:
            value = canonical.decode(data)
        except NotCanonicalError as why:
            raise LedgerMismatchError(f"the file is no export of a ledger{_place(why)}") from why
        match value:
            case {"federation": str(federation), "format": str(form), "logs": list(logs), **rest}:
                if form == FORMAT and not rest:
                    return cls(federation, tuple(map(_log, logs)))
        raise LedgerMismatchError("the file is no export of a ledger, or one of another version")


def _place(why: NotCanonicalError) -> str:
    position = getattr(why.__cause__, "pos", None)
    return "; it is damaged" if position is None else f"; it is damaged near sign {position}"


def _log(value: JSON) -> LogExport:
    match value:
        case {
            "entries": list(entries),
            "hashes": list(hashes),
            "head": str(head),
            "origin": str(origin),
            "witnessed": str(witnessed),
            **rest,
        } if not rest:
            log = LogExport(
                origin,
                tuple(_bytes(origin, "entry", n, text) for n, text in enumerate(entries)),
                head,
                witnessed,
                tuple(
                    _bytes(origin, "the hash of entry", n, text) for n, text in enumerate(hashes)
                ),
            )
            if all(len(leaf) == HASH_SIZE for leaf in log.hashes):
                return log
    raise LedgerMismatchError("a log of the export is malformed; the file is damaged")


def _bytes(origin: str, what: str, number: int, text: JSON) -> bytes:
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (Base64Error, ValueError):
        data = b""
    if not data or _text(data) != text:
        raise LedgerMismatchError(f"{what} {number} of {origin} is damaged: it is not base64")
    return data


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
