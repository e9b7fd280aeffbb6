"""What left this node, read from the entries of its own ledger and from nothing else."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from federation.ledger.entries import Entry, EntryKind
from federation.messages import OWN_FIGURES
from policies.contracts import DataContract
from policies.exports import Count, Outbound, count, declared, person_groups
from policies.law.packs import Export, Pack, packs
from policies.parties import Jurisdiction, territory
from policies.transfers import is_at_home

if TYPE_CHECKING:  # it knows its database, and what is counted may come from elsewhere
    from clients.books_log import BookLog

FIGURES: Final = frozenset(kind.value for kind in OWN_FIGURES)


class Tally:
    """What left, entry by entry: fold in new entries as they come.

    An order that is open counts as if everything it may release had left. Whether what it releases
    goes abroad is what was judged when it was accepted, about recipients, aggregator and key; an
    order of which the ledger says nothing went abroad, because a crash between two entries must not
    hide a crossing, and nothing that comes later brings an order home. What is given out once more
    counts again, for those who were counted then.
    """

    def __init__(self) -> None:
        self._groups: dict[str, frozenset[str]] = {}
        self._open: set[str] = set()
        self._left: dict[str, set[int]] = {}
        self._abroad: dict[str, bool] = {}
        self.entries = 0

    def fold(self, entries: Iterable[Entry]) -> None:
        """Take note of entries, in the order of the ledger."""
        for entry in entries:
            self.entries += 1
            match entry.kind:
                case EntryKind.RESERVED:
                    self._groups[entry.order] = _people(entry.body["charges"])
                    self._open.add(entry.order)
                case EntryKind.SETTLED:
                    self._left.setdefault(entry.order, set()).add(entry.at)
                case EntryKind.CLOSED:
                    self._open.discard(entry.order)
                case EntryKind.APPROVED:
                    self._judge(entry.order, not _stays(entry.body["reasons"]))
                case EntryKind.CROSSED if entry.body["kind"] in FIGURES and _crosses(entry.body):
                    self._judge(entry.order, True)
                case EntryKind.DISCLOSED:  # nobody set anything aside for it, and people left
                    self._groups[entry.order] = frozenset({str(entry.body["subjects"])})
                    self._left.setdefault(entry.order, set()).add(entry.at)
                case EntryKind.DELIVERED:
                    past = self._groups.get(str(entry.body["past"]), frozenset())
                    self._groups[entry.order] = self._groups.get(entry.order, frozenset()) | past
                    self._left.setdefault(entry.order, set()).add(entry.at)
                case _:
                    pass

    def _judge(self, order: str, abroad: bool) -> None:
        self._abroad[order] = self._abroad.get(order, False) or abroad

    def outbound(self, besides: str = "") -> tuple[Outbound, ...]:
        """Return what left or may leave, without the order `besides`."""
        found: dict[Outbound, None] = {}
        for order, groups in self._groups.items():
            if order == besides or not self._abroad.get(order, True):
                continue
            moments: set[int | None] = {*self._left.get(order, ())}
            if order in self._open:
                moments.add(None)
            found |= dict.fromkeys(Outbound(group, at) for group in groups for at in moments)
        return tuple(found)


class Left:
    """The tally of a node's books, brought up to date whenever it is asked for."""

    def __init__(self, books: "BookLog") -> None:
        self._books = books
        self._tally = Tally()

    def __call__(self) -> Tally:
        """Return what left so far; only entries that are new are read."""
        self._tally.fold(self._books.entries(self._tally.entries))
        return self._tally


def counted(
    jurisdiction: Jurisdiction,
    contracts: Iterable[DataContract],
    left: Tally,
    at: int,
    *,
    besides: str = "",
    wanted: Iterable[str] = (),
    known: Mapping[Jurisdiction, Pack] | None = None,
) -> tuple[Export, Count] | None:
    """Return the people whose data left in the year of `at`; None where nobody counts them.

    besides: an order that is not counted; wanted: groups of people that would leave now.
    at:      the witnessed time, in seconds since 1970.
    known:   the packs in force; the installed ones unless others are given.
    """
    export = (known or packs())[Jurisdiction(territory(jurisdiction))].export
    if export is None:
        return None
    outbound = (*left.outbound(besides), *(Outbound(group, at) for group in wanted))
    return export, count(outbound, declared(contracts), at, export)


def _people(charges: Any) -> frozenset[str]:
    """Return the groups of people whose accounts one order charged: of one table, or of a join."""
    return person_groups((charge["subjects"], charge["unit"]) for charge in charges)


def _stays(rules: Any) -> bool:
    """Return whether rules are named and all of them are about one territory.

    What stands beside them with a sign of equality says whose word an order rests on.
    """
    named = [rule for rule in rules if "=" not in rule]
    return bool(named) and all(map(is_at_home, named))


def _crosses(body: Mapping[str, Any]) -> bool:
    return territory(body["origin"]) != territory(body["destination"])
