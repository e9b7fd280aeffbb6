"""What an export proves: one line, or exactly what is wrong.

Per log: its head is over these entries and no others; every entry is one that a ledger may keep;
the accounts follow, entry by entry. Across logs: no log showed one party another head than it
shows here, and none was cut. With keys from outside the file: each head is signed by its party, and
c + 1 other organisations saw it. Without them the file may be consistent, and forged as a whole.

Keys are never read from the file, but for those that a trusted one names as its successor
(`succession`). There is no clock, no network and no database here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from federation.errors import (
    LedgerMismatchError,
    MalformedEntryError,
    MalformedNoteError,
    MalformedTrustError,
    UntrustedNoteError,
)
from federation.ledger import merkle, notes, witness
from federation.ledger.entries import EntryKind, decode
from federation.ledger.export import Export, LogExport
from federation.ledger.notes import COSIGNATURE, Checkpoint, NamedKey, Note
from federation.ledger.replay import Accounts
from federation.ledger.seen import MAX_SKEW
from federation.ledger.sightings import Sighting, Sightings, genuine
from federation.ledger.succession import Succession
from federation.ledger.trust import Trust, vouched_time

_LAST: Final = 253402300799  # the last second of the year 9999
_DOUBT: Final = ", or that entry is made up: give the keys that were printed at join to know"
_BROKEN: Final = (MalformedNoteError, MalformedTrustError, UntrustedNoteError)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was proven, in one line.

    is_authentic: whether it is known who wrote the entries, not only that they fit together.
    unwitnessed:  entries that are signed, and that not enough others have seen yet.
    unproven:     releases given back on statements that are in no ledger.
    raised:       reservations that state a higher limit than before, by log and number of entry.
    rotated:      entries with which a log goes on under another key, by its old one's word.
    replaced:     the same where the old key is lost, and members of others gave the new one.
    as_of:        when an honest organisation had seen every log, in UTC; "" without keys.
    accounts:     what each log adds up to, by origin.
    """

    is_authentic: bool
    line: str
    logs: int
    entries: int
    unwitnessed: int
    unproven: int
    raised: tuple[str, ...]
    rotated: tuple[str, ...]
    replaced: tuple[str, ...]
    as_of: str
    accounts: Mapping[str, Accounts] = field(repr=False)

    def __str__(self) -> str:
        return self.line


@dataclass(frozen=True, slots=True)
class _Told:
    """What the entries of one log say, each of them being the one that its hash names."""

    accounts: Accounts
    sightings: tuple[Sighting, ...]
    last_at: int
    keys: Succession


@dataclass(frozen=True, slots=True)
class _Read:
    """One log of the export, whose heads are over its entries."""

    export: LogExport
    told: _Told
    head: Checkpoint
    witnessed: Note
    roots: Mapping[int, bytes]


def verify(export: Export, trust: Trust | None) -> Verdict:
    """Return what `export` proves under the keys of `trust`; without keys, only that it fits.

    Raises:
        LedgerMismatchError: something does not fit; the sentence names the log and the entry.
    """
    _named_once(export, trust)
    told = [_told(log) for log in export.logs]
    keys = {one.keys.origin: one.keys for one in told}
    trust = None if trust is None else trust.following(keys.values())
    sightings = [one for log in told for one in log.sightings]
    logs = [_read(*pair, sightings) for pair in zip(export.logs, told, strict=True)]
    times = {} if trust is None else {log.head.origin: _authentic(log, trust) for log in logs}
    if trust is not None:
        sightings = list(genuine(sightings, trust, keys))
    _agreeing(sightings, {log.head.origin: log for log in logs}, trust)
    _kept_word(times, logs, sightings)
    if trust is not None:
        _in_time(logs, keys, sightings, trust)
    return _verdict(export, trust, logs, times)


def _named_once(export: Export, trust: Trust | None) -> None:
    origins = [log.origin for log in export.logs]
    if not origins or len(set(origins)) != len(origins):
        raise LedgerMismatchError("the file holds no log, or one log twice")
    for origin in origins:
        if not origin.startswith(f"entrepot/{export.federation}/"):
            raise LedgerMismatchError(f"{origin} is no log of the federation {export.federation}")
    if trust is not None and trust.federation != export.federation:
        raise LedgerMismatchError(
            f"the file is of the federation {export.federation}, the trusted keys are of "
            f"{trust.federation}; take the list that was printed when you joined"
        )


def _told(log: LogExport) -> _Told:
    """Return what the entries say, or name the one that is wrong."""
    if len(log.hashes) != len(log.entries):
        raise LedgerMismatchError(
            f"the file holds {len(log.entries)} entries of {log.origin} and {len(log.hashes)} "
            f"hashes; it is damaged"
        )
    accounts, sightings, last_at = Accounts(), Sightings(log.origin), 0
    keys = Succession(log.origin)
    for number, (data, leaf) in enumerate(zip(log.entries, log.hashes, strict=True)):
        if merkle.leaf_hash(data) != leaf:
            raise LedgerMismatchError(
                f"entry {number} of {log.origin} was changed: it is not the one its hash names"
            )
        try:
            entry = decode(data)
            accounts.take(entry)
            keys = keys.after(number, entry)
        except (MalformedEntryError, LedgerMismatchError) as why:
            raise LedgerMismatchError(f"entry {number} of {log.origin} is wrong: {why}") from why
        if entry.kind is EntryKind.CHECKPOINT_SEEN:
            sightings.take(number, entry)
        last_at = max(last_at, entry.at)
    return _Told(accounts, tuple(sightings.all), last_at, keys)


def _read(log: LogExport, told: _Told, sightings: Sequence[Sighting]) -> _Read:
    head, witnessed = _note(log, log.head), _note(log, log.witnessed)
    size, earlier = head.checkpoint.size, witnessed.checkpoint.size
    if size != len(log.entries) or earlier > size:
        raise LedgerMismatchError(
            f"the head of {log.origin} is over {max(size, earlier)} entries, the file holds "
            f"{len(log.entries)}: its tail was cut off, or entries were added that nobody signed"
        )
    sizes = {one.head.size for one in sightings if one.head.origin == log.origin} | {earlier}
    roots = merkle.roots_over(log.hashes, sizes)
    for shown in (witnessed.checkpoint, head.checkpoint):
        if roots[shown.size] != shown.root:
            good = _last_good(log.origin, roots, sightings)
            raise LedgerMismatchError(
                f"the head of {log.origin} at {shown.size} entries is not over these entries: one "
                f"of the entries {good} to {shown.size - 1} was changed, added or left out"
            )
    return _Read(log, told, head.checkpoint, witnessed, roots)


def _last_good(origin: str, roots: Mapping[int, bytes], sightings: Sequence[Sighting]) -> int:
    """Return how many entries are as another party saw them."""
    own = (one.head for one in sightings if one.head.origin == origin)
    return max((head.size for head in own if roots.get(head.size) == head.root), default=0)


def _note(log: LogExport, text: str) -> Note:
    try:
        note = notes.read(text)
    except MalformedNoteError as why:
        raise LedgerMismatchError(f"a head of {log.origin} is damaged: {why}") from why
    names = [line.name for line in note.lines]
    if note.checkpoint.origin != log.origin or len(set(names)) != len(names):
        raise LedgerMismatchError(f"what is shown as a head of {log.origin} is none of its heads")
    return note


def _authentic(log: _Read, trust: Trust) -> Mapping[str, int]:
    """Return when which witness saw the log, after checking every signature under `trust`."""
    origin, note = log.head.origin, log.witnessed
    try:
        first = trust.find(origin).key.key
        for text in (log.export.head, log.export.witnessed):
            log.told.keys.open(text, first)
        others = [str(line) for line in note.lines if line.name != origin]
        times = witness.cosigners(log.export.witnessed, others, trust)
        organisations = trust.organisations(times, origin)
    except _BROKEN as why:
        raise LedgerMismatchError(f"{origin} is not authentic: {why}") from why
    if any(line.name != origin for line in notes.read(log.export.head).lines):
        raise LedgerMismatchError(f"the last head of {origin} carries more than its own signature")
    if len(organisations) < trust.needed:
        raise LedgerMismatchError(
            f"only {len(organisations)} other organisations vouch for {origin} at "
            f"{note.checkpoint.size} entries, {trust.needed} are needed; have it witnessed first"
        )
    return times


def _agreeing(
    sightings: Sequence[Sighting], logs: Mapping[str, _Read], trust: Trust | None
) -> None:
    """Return if everybody who saw a log saw the one that is here.

    Under keys every sighting is genuine by now: what disagrees was signed twice by its log.
    """
    doubt = _DOUBT if trust is None else ""
    first: dict[tuple[str, int], Sighting] = {}
    for one in sightings:
        head, log = one.head, logs.get(one.head.origin)
        other = first.setdefault((head.origin, head.size), one)
        if other.head != head:
            raise LedgerMismatchError(
                f"{head.origin} showed two heads of {head.size} entries, to {other} and to {one}: "
                f"it keeps two ledgers{doubt}"
            )
        if log is not None and head.size > log.head.size:
            raise LedgerMismatchError(
                f"the tail of {head.origin} was cut off: the file ends at {log.head.size} entries, "
                f"but {one} saw {head.size}{doubt}"
            )
        if log is not None and log.roots[head.size] != head.root:
            raise LedgerMismatchError(
                f"{head.origin} showed two heads of {head.size} entries, one to {one} and another "
                f"in this file: it keeps two ledgers{doubt}"
            )


def _kept_word(
    times: Mapping[str, Mapping[str, int]], logs: Sequence[_Read], sightings: Sequence[Sighting]
) -> None:
    """Return if every witness in the file wrote down what it cosigned, as it must before it does.

    The log of a witness may have been exported before it cosigned; then it ends before that time.
    """
    written: dict[tuple[str, str], set[int]] = {}
    for one in sightings:
        written.setdefault((one.by, one.head.origin), set()).add(one.head.size)
    ends = {log.head.origin: log.told.last_at for log in logs}
    for log in logs:
        origin, size = log.head.origin, log.witnessed.checkpoint.size
        for by, at in times.get(origin, {}).items():
            sizes = written.get((by, origin), set())
            is_later = max(sizes, default=0) > size or ends.get(by, 0) > at + MAX_SKEW
            if is_later and size not in sizes:
                raise LedgerMismatchError(
                    f"{by} cosigned {origin} at {size} entries without writing down that it saw "
                    f"it: it compared it with no head it had seen"
                )


def _in_time(
    logs: Sequence[_Read],
    keys: Mapping[str, Succession],
    sightings: Sequence[Sighting],
    trust: Trust,
) -> None:
    """Return if no witness in the file cosigned with a key that it had not, or not any more."""
    written = {(one.by, one.head.origin, one.head.size): one.number for one in sightings}
    for log in logs:
        origin, size = log.head.origin, log.witnessed.checkpoint.size
        others = [each for each in log.witnessed.lines if each.name != origin]
        for line in (each for each in others if each.name in keys):
            strange = trust.find(line.name).passed_over(keys[line.name])
            if line.key_id in {NamedKey(line.name, key, COSIGNATURE).id for key in strange}:
                raise LedgerMismatchError(
                    f"{line.name} cosigned {origin} at {size} entries with a key that its ledger "
                    "never had: it was in other hands when members gave the party another one"
                )
            change = keys[line.name].given_up(line)
            if change is None:
                continue
            if written.get((line.name, origin, size), change.number) >= change.number:
                raise LedgerMismatchError(
                    f"{line.name} cosigned {origin} at {size} entries with a key that it had given "
                    f"up at {change.number}: that key is in other hands, or it lies"
                )


def _verdict(
    export: Export,
    trust: Trust | None,
    logs: Sequence[_Read],
    times: Mapping[str, Mapping[str, int]],
) -> Verdict:
    accounts = {log.head.origin: log.told.accounts for log in logs}
    unproven = sum(told.given_back for told in accounts.values())
    raised = tuple(f"entry {n} of {by}" for by, told in accounts.items() for n in told.raised)
    rotated, replaced = (_changes(logs, lost=lost) for lost in (False, True))
    rest = _aside(len(logs), unproven, raised, rotated, replaced)
    entries = sum(log.head.size for log in logs)
    waiting = sum(log.head.size - log.witnessed.checkpoint.size for log in logs)
    found = (len(logs), entries, waiting, unproven, raised, rotated, replaced)
    counted = f"{entries:,} entries of {export.federation}"
    if trust is None:
        line = (
            f"consistent, not authentic: {len(logs)} ledgers with {counted} fit together; "
            f"{waiting} entries await their witnesses; give the keys that were printed at join to "
            f"know who wrote them{rest}"
        )
        return Verdict(False, line, *found, "", accounts)
    as_of = _date(min(_seen_by(origin, by, trust) for origin, by in times.items()))
    line = (
        f"proven: {len(logs)} of {len(trust.parties)} ledgers with {counted} are whole and signed, "
        f"{trust.needed} or more other organisations saw each (up to c = {trust.colluding} may lie "
        f"together), no account was overdrawn; {waiting} entries await their witnesses; as of "
        f"{as_of}{rest}"
    )
    return Verdict(True, line, *found, as_of, accounts)


def _changes(logs: Sequence[_Read], *, lost: bool) -> tuple[str, ...]:
    return tuple(
        f"entry {each.number} of {log.head.origin}"
        for log in logs
        for each in log.told.keys.changes
        if each.lost is lost
    )


def _seen_by(origin: str, times: Mapping[str, int], trust: Trust) -> int:
    """Return a time at which an honest organisation saw the log: up to c of them may lie."""
    own, latest = trust.find(origin).organisation, dict[str, int]()
    for by, at in times.items():
        organisation = trust.find(by).organisation
        if organisation != own:
            latest[organisation] = max(at, latest.get(organisation, 0))
    return vouched_time(latest.values(), trust.colluding)


def _aside(
    logs: int,
    unproven: int,
    raised: Sequence[str],
    rotated: Sequence[str],
    replaced: Sequence[str],
) -> str:
    """Return what the entries alone cannot show, behind a semicolon each."""
    said = ""
    if logs == 1:
        said += "; alone: nothing here shows whether it goes on"
    if unproven:
        said += f"; given back on statements that are not in this file: {unproven} releases"
    if raised:
        said += f"; limits raised by a reservation itself: {len(raised)}, first in {raised[0]}"
    if rotated:
        said += f"; keys changed, each by the word of the one before: {len(rotated)}, first in "
        said += rotated[0]
    if replaced:
        said += f"; keys lost, and others given by members: {len(replaced)}, first in {replaced[0]}"
    return said


def _date(at: int) -> str:
    return datetime.fromtimestamp(min(at, _LAST), UTC).strftime("%Y-%m-%d %H:%M UTC")
