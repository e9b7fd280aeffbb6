"""Reads the ledgers whose folders lie on this machine, in the order of the roster.

Every party but analysts keeps one: a node beside its books, the aggregator in a file of its own.
Looking changes nothing; a party that has never run has none yet.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aggregator.settings import load_aggregator
from clients.settings import load_settings
from experiments.errors import UsageError
from experiments.home import Home
from experiments.telling import told
from federation.errors import ForeignLedgerError
from federation.ledger.entries import Entry, EntryKind, decode
from federation.ledger.notes import origin_of
from federation.ledger.places import require_owner
from federation.ledger.store import Log, existing_engine, reading
from federation.membership import Member
from policies.parties import DATA_ROLES, PartyId, Role

KEEPERS = (*DATA_ROLES, Role.KEYHOLDER, Role.AGGREGATOR)


@dataclass(frozen=True, slots=True)
class Kept:
    """Where one party's ledger lies: a file, or the URL of a database."""

    party: PartyId
    where: Path | str = field(repr=False)

    def log(self, federation: str) -> Log | None:
        """Open it to be read, which needs no key; None where nothing was ever written.

        Raises:
            ForeignLedgerError: what lies there is no ledger of this version, or another party's.
            SilentLedgerError: a server does not answer.
        """
        try:
            engine, origin = existing_engine(self.where), origin_of(federation, self.party)
            if engine is None:
                return None
            require_owner(engine, origin)
        except ForeignLedgerError as why:
            raise ForeignLedgerError(f"{self.party}: {why}") from why
        return Log(engine, origin, None)


@dataclass(frozen=True, slots=True)
class Numbered:
    """One entry and its place in the log."""

    number: int
    entry: Entry

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints; `body` is as written, `said` can be shown."""
        entry, said = self.entry, told(self.entry.kind.value, self.entry.body)
        return {
            "number": self.number,
            "at": entry.at,
            "kind": entry.kind.value,
            "order": entry.order,
            "body": dict(entry.body),
            "said": {"en": said.en, "zh": said.zh},
        }


@dataclass(frozen=True, slots=True)
class Shown:
    """The entries of one party's ledger, or those of one kind.

    size: how many it has in all; here: whether a ledger lies where this party's would.
    """

    party: PartyId
    origin: str
    size: int
    entries: tuple[Numbered, ...]
    here: bool

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        return {
            "party": self.party,
            "origin": self.origin,
            "entries": self.size,
            "here": self.here,
            "shown": [item.to_json() for item in self.entries],
        }


def keepers(home: Home, node: str | None = None) -> list[Kept]:
    """Return where the ledgers lie, of all parties or of one.

    Raises:
        UsageError: there is no such party, or it keeps no ledger.
    """
    found = [_kept(home, member) for member in home.roster().ever(*KEEPERS)]
    if node is None:
        return found
    chosen = [kept for kept in found if kept.party == node]
    if not chosen:
        names = ", ".join(kept.party for kept in found)
        raise UsageError(f"no ledger of {node!r}; these parties keep one: {names}")
    return chosen


def _kept(home: Home, member: Member) -> Kept:
    where: Path | str
    is_host = member.role is Role.AGGREGATOR
    folder = home.aggregator if is_host else home.node(member.party)
    if not folder.exists():
        where = folder / "books.sqlite"  # of a party that is elsewhere, nothing lies here
    else:
        where = load_aggregator(folder).ledger if is_host else load_settings(folder).books
    return Kept(member.party, where)


def known_kinds(names: Sequence[str]) -> frozenset[EntryKind]:
    """Return the kinds that are meant.

    Raises:
        UsageError: there is no such kind.
    """
    strange = [name for name in names if name not in set(EntryKind)]
    if strange:
        raise UsageError(f"no entry is of kind {strange[0]!r}; known: {', '.join(EntryKind)}")
    return frozenset(EntryKind(name) for name in names)


def shown(
    home: Home,
    node: str | None = None,
    kinds: Collection[EntryKind] = (),
    last: int | None = None,
) -> Iterator[Shown]:
    """Yield the ledgers, of all parties or one; of their entries all, some kinds, or the last.

    Raises:
        UsageError: there is no such party, or it keeps no ledger.
    """
    for kept in keepers(home, node):
        log = kept.log(home.name)
        entries = [] if log is None else list(_entries(log))
        some = [item for item in entries if not kinds or item.entry.kind in kinds]
        which = tuple(some[-(last or len(some)) :])
        origin = origin_of(home.name, kept.party)
        yield Shown(kept.party, origin, len(entries), which, log is not None)


def _entries(log: Log) -> Iterator[Numbered]:
    with reading(log.engine) as connection:
        encoded = log.entries(connection)
    yield from (Numbered(number, decode(entry)) for number, entry in enumerate(encoded))
