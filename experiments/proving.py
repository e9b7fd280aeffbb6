"""Exports ledgers, or one entry, so that whoever has the keys can verify them without us.

An export shows of every log the last head that its party signed, the entries below it, and the
latest head that enough other organisations cosigned. Nothing is signed here: who only reads must
not continue a copy that was put back. The logs of a federation at work are not read at one moment,
and they only grow: they are read again until none speaks of entries of another that the file does
not hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from experiments.auditing import Kept, keepers
from experiments.errors import UsageError
from experiments.home import Home
from federation.ledger import notes
from federation.ledger.entries import EntryKind, decode
from federation.ledger.export import Export, LogExport
from federation.ledger.receipt import Receipt
from federation.ledger.store import Log, reading
from federation.ledger.trust import Trust, booked

READINGS: Final = 20
"""How often logs that grow are read before the last reading has to do."""


def trust_of(home: Home) -> Trust:
    """Return the keys of everybody who keeps a ledger, as printed at join."""
    return Trust.of(home.roster())


@dataclass(frozen=True, slots=True)
class Exported:
    """An export, and what does not stand in it.

    left_out: the parties whose ledgers too few others have seen yet.
    unsigned: how many entries their parties have not signed yet, by party.
    """

    export: Export
    left_out: tuple[str, ...]
    unsigned: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Part:
    """One ledger up to the last head that its party signed, and how many entries follow."""

    log: LogExport
    unsigned: int


def export(home: Home, node: str | None = None) -> Exported:
    """Return the ledgers of all parties that enough others have seen, or that of one party.

    Raises:
        UsageError: there is no such party, or there is nothing to export yet.
    """
    trust = trust_of(home)
    chosen = [kept for kept in keepers(home, node) if kept.log(home.name)]
    parts = _settled(home, {notes.origin_of(home.name, kept.party): kept for kept in chosen}, trust)
    logs = [part.log for part in parts]
    seen = [log for log in logs if node is not None or _is_booked(log, trust)]
    if not seen:
        raise UsageError(
            "no ledger has an entry that enough other organisations have seen yet; run something, "
            "and let the federation run on for a moment"
        )
    left_out = [_party(log) for log in logs if log not in seen]
    unsigned = {_party(p.log): p.unsigned for p in parts if p.log in seen and p.unsigned}
    return Exported(Export(home.name, tuple(seen)), tuple(left_out), unsigned)


def _party(log: LogExport) -> str:
    return log.origin.rpartition("/")[2]


def _settled(home: Home, chosen: Mapping[str, Kept], trust: Trust) -> list[_Part]:
    """Return the logs that have entries, read until none is behind what another has seen of it."""
    parts = {origin: _export(home, kept, trust) for origin, kept in chosen.items()}
    for _ in range(READINGS):
        behind = _behind([part.log for part in parts.values() if part])
        if not behind:
            break
        parts |= {origin: _export(home, chosen[origin], trust) for origin in sorted(behind)}
    return [part for part in parts.values() if part]


def witnesses_of(log: LogExport) -> tuple[str, ...]:
    """Return the origins of those who cosigned the log's latest booked head; unverified."""
    lines = notes.read(log.witnessed).lines
    return tuple(line.name for line in lines if line.name != log.origin)


def _is_booked(log: LogExport, trust: Trust) -> bool:
    return booked(trust, log.origin, dict.fromkeys(witnesses_of(log)))


def receipt(home: Home, node: str, number: int) -> Receipt:
    """Return entry `number` of one party's ledger with its proof.

    Raises:
        UsageError: there is no such party or entry, or too few others have seen it yet.
    """
    trust, (kept,) = trust_of(home), keepers(home, node)
    log = _opened(home, kept)
    with reading(log.engine) as connection:
        size = log.size(connection)
        if number >= size:
            raise UsageError(f"{node} has the entries 0 to {size - 1}; there is no {number}")
        head = log.booked_note(connection, trust)
        seen = 0 if head is None else notes.read(head).checkpoint.size
        if head is None or seen <= number:
            raise UsageError(
                f"too few others have seen entry {number} of {node} yet; let the federation run on"
            )
        (entry,) = log.entries(connection, number, number + 1)
        proof = log.inclusion(connection, number, seen)
    return Receipt(home.name, log.origin, number, entry, proof, head)


def _export(home: Home, kept: Kept, trust: Trust) -> _Part | None:
    """Return what one ledger has signed; None if it has signed nothing yet."""
    log = _opened(home, kept)
    with reading(log.engine) as connection:
        found = log.exported(connection, trust)
        if found is None or not found.entries:
            return None
        return _Part(found, log.size(connection) - len(found.entries))


def _opened(home: Home, kept: Kept) -> Log:
    log = kept.log(home.name)
    if log is None:
        raise UsageError(f"{kept.party} has written nothing yet; run something first")
    return log


def _behind(logs: Sequence[LogExport]) -> set[str]:
    """Return the logs of which another log of the file has seen more than the file holds."""
    sizes = {log.origin: len(log.entries) for log in logs}
    return {
        origin
        for log in logs
        for origin, size in _seen(log.entries)
        if size > sizes.get(origin, size)
    }


def _seen(entries: Iterable[bytes]) -> Iterable[tuple[str, int]]:
    for data in entries:
        entry = decode(data)
        if entry.kind is EntryKind.CHECKPOINT_SEEN:
            yield str(entry.body["origin"]), int(str(entry.body["size"]))
