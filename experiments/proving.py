"""Exports ledgers, or one entry, so that whoever has the keys can verify them without us.

An export shows of every log its head over all entries, and the latest head that enough other
organisations cosigned. The logs of a federation at work are not read at one moment, and they only
grow: they are read again until none speaks of entries of another that the file does not hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from experiments.auditing import Kept, keepers
from experiments.errors import UsageError
from experiments.home import Home
from federation.ledger import notes
from federation.ledger.entries import EntryKind, decode
from federation.ledger.export import Export, LogExport
from federation.ledger.notes import Checkpoint, Note
from federation.ledger.receipt import Receipt
from federation.ledger.store import Log, reading, writing
from federation.ledger.trust import Trust, booked
from secure_compute.primitives.signature import SigningKey

READINGS: Final = 20
"""How often logs that grow are read before the last reading has to do."""


def trust_of(home: Home) -> Trust:
    """Return the keys of everybody who keeps a ledger, as printed at join."""
    return Trust.of(home.roster())


@dataclass(frozen=True, slots=True)
class Exported:
    """An export, and the parties whose ledgers too few others have seen yet to stand in it."""

    export: Export
    left_out: tuple[str, ...]


def export(home: Home, node: str | None = None) -> Exported:
    """Return the ledgers of all parties that enough others have seen, or that of one party.

    Raises:
        UsageError: there is no such party, or there is nothing to export yet.
    """
    trust = trust_of(home)
    chosen = [kept for kept in keepers(home, node) if kept.path.exists()]
    logs = _settled(home, {notes.origin_of(home.name, kept.party): kept for kept in chosen}, trust)
    seen = [log for log in logs if node is not None or _is_booked(log, trust)]
    if not seen:
        raise UsageError(
            "no ledger has an entry that enough other organisations have seen yet; run something, "
            "and let the federation run on for a moment"
        )
    left_out = [log.origin.rpartition("/")[2] for log in logs if log not in seen]
    return Exported(Export(home.name, tuple(seen)), tuple(left_out))


def _settled(home: Home, chosen: Mapping[str, Kept], trust: Trust) -> list[LogExport]:
    """Return the logs that have entries, read until none is behind what another has seen of it."""
    logs = [log for kept in chosen.values() if (log := _export(home, kept, trust)).entries]
    for _ in range(READINGS):
        behind = _behind(logs)
        if not behind:
            break
        logs = [
            _export(home, chosen[log.origin], trust) if log.origin in behind else log
            for log in logs
        ]
    return logs


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
        seen = _booked_size(connection, log, trust)
        if seen <= number:
            raise UsageError(
                f"too few others have seen entry {number} of {node} yet; let the federation run on"
            )
        (entry,) = log.entries(connection, number, number + 1)
        proof = log.inclusion(connection, number, seen)
        head = _note(connection, log, seen, SigningKey(kept.key.read_bytes()))
    return Receipt(home.name, log.origin, number, entry, proof, head)


def _export(home: Home, kept: Kept, trust: Trust) -> LogExport:
    log, key = _opened(home, kept), SigningKey(kept.key.read_bytes())
    with writing(log.engine) as connection:
        head = log.checkpoint(connection)
    size = notes.read(head).checkpoint.size
    with reading(log.engine) as connection:
        entries = log.entries(connection, 0, size)
        seen = min(size, _booked_size(connection, log, trust))
        witnessed = _note(connection, log, seen, key) if seen else head
    return LogExport.of(log.origin, entries, head, witnessed)


def _opened(home: Home, kept: Kept) -> Log:
    log = kept.log(home.name)
    if log is None:
        raise UsageError(f"{kept.party} has written nothing yet; run something first")
    return log


def _booked_size(connection: Any, log: Log, trust: Trust) -> int:
    """Return the size of the latest head that enough other organisations cosigned; 0 if none."""
    for size in sorted(log.shown(connection), reverse=True):
        if booked(trust, log.origin, log.cosigned(connection, size)):
            return size
    return 0


def _note(connection: Any, log: Log, size: int, key: SigningKey) -> str:
    """Return the head at `size` with the log's own signature and those of its witnesses."""
    head = Checkpoint(log.origin, size, log.root(connection, size))
    own = notes.read(notes.sign(head, key)).lines
    others = notes.read_lines("".join(log.cosigned(connection, size).values()))
    return str(Note(head, (*own, *others)))


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
