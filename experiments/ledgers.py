"""The ledgers of a run as its report shows them: exported beside it, verified from the files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from experiments.auditing import Shown, shown
from experiments.home import Home
from experiments.outcome import LastEntry, Ledger, LogKept, Registered
from experiments.proving import export, trust_of, witnesses_of
from experiments.telling import plain, told
from experiments.verifying import verify_file
from federation.ledger.entries import EntryKind
from federation.ledger.export import Export, LogExport
from federation.ledger.trust import Trust, booked

EXPORT: Final = "entrepot-ledger.json"
TRUST: Final = "entrepot-trust.txt"
LAST: Final = 12
ASIDE: Final = frozenset({EntryKind.CHECKPOINT_SEEN, EntryKind.CROSSED})
"""Kinds that stand in tables of their own, and would hide the others by their number."""


def write_ledger(home: Home, folder: Path) -> Ledger:
    """Write every ledger and the keys into `folder`, verify them from there, and return both.

    Raises:
        UsageError: nothing was written into a ledger yet.
    """
    trust, found = trust_of(home), export(home).export
    (folder / EXPORT).write_bytes(found.to_bytes())
    (folder / TRUST).write_text(str(trust), encoding="utf-8")
    checked = verify_file(folder / EXPORT, folder / TRUST)
    logs = list(shown(home))
    return Ledger(
        logs=_kept(found, trust),
        verdict=checked.said,
        code=checked.code,
        export=EXPORT,
        trust=TRUST,
        last=_last(logs),
        register=_register(logs),
    )


def _kept(found: Export, trust: Trust) -> tuple[LogKept, ...]:
    return tuple(_log(log, trust) for log in found.logs)


def _log(log: LogExport, trust: Trust) -> LogKept:
    others = witnesses_of(log)
    names = sorted(trust.organisations(others, log.origin)) if others else []
    return LogKept(
        party=log.origin.rpartition("/")[2],
        entries=len(log.entries),
        signers=tuple(names),
        booked=booked(trust, log.origin, dict.fromkeys(others)),
    )


def _last(logs: Iterable[Shown]) -> tuple[LastEntry, ...]:
    """Return the latest entries of all logs, the latest first."""
    found = [
        LastEntry(
            str(log.party),
            item.number,
            item.entry.at,
            item.entry.kind.value,
            told(item.entry.kind.value, item.entry.body),
        )
        for log in logs
        for item in log.entries
        if item.entry.kind not in ASIDE
    ]
    return tuple(sorted(found, key=lambda last: (-last.at, last.party, -last.number))[:LAST])


def _register(logs: Sequence[Shown]) -> tuple[Registered, ...]:
    """Return what crossed, added up by border, kind and rule."""
    sums: dict[tuple[str, str, str, str], tuple[int, int]] = {}
    for log in logs:
        for item in log.entries:
            if item.entry.kind is EntryKind.CROSSED:
                body = item.entry.body
                names = ("origin", "destination", "kind", "rule")
                origin, destination, kind, rule = (plain(body[name]) for name in names)
                if origin == destination:
                    continue  # it stayed inside one jurisdiction
                key = (origin, destination, kind, rule)
                messages, size = sums.get(key, (0, 0))
                sums[key] = (messages + 1, size + int(str(body["bytes"])))
    return tuple(Registered(*key, *sums[key]) for key in sorted(sums))
