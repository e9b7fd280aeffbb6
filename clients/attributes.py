"""What the law is asked: every attribute computed here, by the node, from what it can check itself.

From the signed order come only purpose, legal basis and what it names: cohort, recipients, columns.
Grades, units and limits are the node's own contracts'; roles and places are the roster's; the price
is computed from the plan; the day is the witnessed time's; what left is the ledger's. No row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Final

from clients.errors import MisstatedOrderError
from clients.exports import Tally, counted
from clients.release import code_digest
from clients.settings import NodeSettings
from federation.matching import MatchTask
from federation.membership import Roster
from federation.orders import WorkOrder
from federation.queries.uses import aggregated, filtered, grouped, linked
from federation.tasks import QueryTask, TrainingTask, keys_only
from policies.budget.account import stated_delta
from policies.budget.events import Event, from_json, spell
from policies.budget.outlay import Outlay
from policies.contracts import DataContract
from policies.engine import Request
from policies.exports import groups_of
from policies.law.filling import EPOCH
from policies.law.packs import Place
from policies.parties import Grade, Jurisdiction, PartyId, Role
from policies.transfers import Artefact, Cleared, Packs, clear_for, leaves, place, rule_for

DAY: Final = 86400


@dataclass(frozen=True, slots=True)
class Uses:
    """The grades of the columns that an order uses so, as this node finds them.

    masked: of those of which only equality is used, so that any mask of them would do.
    joined: of those by which tables are joined, across parties and under a mask of one session.
    """

    grouped: frozenset[Grade]
    filtered: frozenset[Grade]
    aggregated: frozenset[Grade]
    masked: frozenset[Grade]
    joined: frozenset[Grade]


def uses_of(order: WorkOrder, *contracts: DataContract) -> Uses:
    """Return how an order uses the columns of all contracts that it reads, together.

    What comes of a join is made of all of them at once.
    """
    return Uses(*map(_together, zip(*(_used(order, one) for one in contracts), strict=True)))


def _together(grades: Sequence[frozenset[Grade]]) -> frozenset[Grade]:
    return frozenset().union(*grades)


def _used(order: WorkOrder, contract: DataContract) -> tuple[frozenset[Grade], ...]:
    """Return the parts of `Uses` for one contract; training is taken to read all its columns."""
    nothing: frozenset[Grade] = frozenset()
    keys = {*contract.unit.columns, *(name for unit in contract.also for name in unit.columns)}
    if order.kind == "query":
        # What the plan reads beside these are the units' columns, which bound contributions.
        plan = QueryTask.from_json(order.parameters).plan
        groups, filters, sums, links = (
            contract.grades(used(plan, contract.name))
            for used in (grouped, filtered, aggregated, linked)
        )
        # A person's column links rows as a key alone; what any other links by also filters.
        chosen = filters | (links - {Grade.S3})
        return groups, chosen, sums, contract.grades(keys) | links, nothing
    if order.kind == "match":
        task = MatchTask.from_json(order.parameters)
        joined = contract.grades([task.column])
        summed = contract.grades([] if task.value is None else [task.value.column])
        return nothing, nothing, summed, contract.grades(keys) | joined, joined
    known = {column.name for column in contract.columns}
    masked = keys_only(TrainingTask.from_json(order.parameters)) & known
    read = contract.grades(known - masked)
    return nothing, nothing, read, contract.grades(masked | keys), nothing


def informed(order: WorkOrder) -> set[PartyId]:
    """Return everybody who will know the result; a trained model goes to its whole cohort."""
    trained = order.cohort if order.kind == "train" else ()
    return {*order.recipients, order.proposer, *trained}


def outlay_of(order: WorkOrder, event: Event, delta: Decimal) -> Outlay:
    """Return what an order whose every release does `event` states and may spend."""
    return Outlay(event, order.releases, order.abandoned, delta)


@dataclass(frozen=True, slots=True)
class Attributes:
    """Computes the attributes at one node at one moment.

    now:  seconds since 1970, never before a witnessed time.
    left: what left this node so far, as its ledger says.
    known: the packs in force; None for the installed ones.
    """

    settings: NodeSettings
    roster: Roster
    contracts: Mapping[str, DataContract]
    now: float
    left: Tally
    known: Packs | None = None

    def of(self, order: WorkOrder, event: Event | None, past: WorkOrder | None = None) -> Request:
        """Return what the law is asked about an order whose every release does `event`.

        It is asked the same about every contract that the order reads; here it is about the first.

        event: None where no event describes it: who is in two sets, which people approve.
        past: the order whose release is given out instead of a new one: that is what is priced.

        Raises:
            MisstatedOrderError: the order says another epsilon than it costs.
        """
        return self._of(order, self.contracts[order.contract], event, past)

    def _of(
        self, order: WorkOrder, contract: DataContract, event: Event | None, past: WorkOrder | None
    ) -> Request:
        uses = uses_of(order, *self._read(order))
        recipients = frozenset(self.roster.find(p).jurisdiction for p in informed(order))
        aggregator, keyholder = self._aggregator(), next(iter(self._keyholders(order)), None)
        return Request(
            action=order.kind,
            proposer=order.proposer,
            proposer_role=self.roster.find(order.proposer).role,
            purpose=order.purpose,
            legal_basis=order.legal_basis,
            node=self.settings.party,
            role=self.settings.role,
            jurisdiction=self.settings.jurisdiction,
            dataset=contract.name,
            unit=contract.unit.kind,
            units=frozenset({contract.unit.kind, *(unit.kind for unit in contract.also)}),
            epsilon=self._epsilon(order, event, past),
            delta=(past or order).delta,
            grouped=uses.grouped,
            filtered=uses.filtered,
            aggregated=uses.aggregated,
            masked=uses.masked,
            joined=uses.joined,
            recipients=recipients,
            aggregator=aggregator,
            keyholder=keyholder,
            today=int(self.now // DAY),
            exported_persons=self._exported(
                order, leaves(self.settings.jurisdiction, recipients, aggregator, keyholder)
            ),
            cohort=len({self.roster.find(party).organisation for party in order.cohort}),
            minimum_cohort=order.minimum,
            code_matches=order.code == code_digest(),
            expired=order.expires <= self.now,
            private=event is not None,
            discloses=event is None,
        )

    def each(
        self, order: WorkOrder, event: Event | None, past: WorkOrder | None = None
    ) -> tuple[Request, ...]:
        """Return what the law is asked, for each contract and each place where a key's pieces lie.

        Raises:
            MisstatedOrderError: the order says another epsilon than it costs.
        """
        firsts = [self._of(order, contract, event, past) for contract in self._read(order)]
        others = self._keyholders(order)[1:]
        more = [self._with_key_in(place, first, order) for place in others for first in firsts]
        return (*firsts, *more)

    def cleared(self, order: WorkOrder) -> tuple[Cleared, ...]:
        """Return the proofs that the order's figures may go to everybody who will have them.

        Raises:
            NoMechanismError: nothing on record covers somebody; no rule of the folder changes that.
            MisplacedError: the aggregator or the keyholder may not work where it is.
        """
        read, here = self._read(order), self.settings.jurisdiction
        personal = bool(groups_of(*read))
        on = EPOCH + timedelta(self.now // DAY)
        place([here], personal, self._aggregator(), self._keyholders(order), on, self.known)
        recipients = frozenset(self.roster.find(p).jurisdiction for p in informed(order))
        made = Artefact(
            origin=frozenset({here}),
            kind="model" if order.kind == "train" else "answer",
            grade=max(column.grade for contract in read for column in contract.columns),
            destinations=recipients,
            personal=personal,
        )
        return tuple(clear_for(made, to, on, self.known) for to in sorted(recipients))

    def rules(self, order: WorkOrder) -> tuple[str, ...]:
        """Return the ids of the rules under which the order's results go to all who have a part.

        Those who will know them, the aggregator, and whoever holds the opening key; sorted. None
        at a node that offers no such rows.

        Raises:
            NoMechanismError: nothing on record covers somebody.
        """
        if any(read.contract not in self.contracts for read in order.reads):
            return ()
        here, personal = self.settings.jurisdiction, bool(groups_of(*self._read(order)))
        on = EPOCH + timedelta(self.now // DAY)
        ends: set[tuple[Place, Jurisdiction]] = {("aggregator", self._aggregator())}
        ends |= {("results", self.roster.find(party).jurisdiction) for party in informed(order)}
        ends |= {("key", keyholder) for keyholder in self._keyholders(order)}
        found = (
            rule_for(here, there, personal, place=end, on=on, known=self.known)
            for end, there in ends
        )
        return tuple(sorted({rule.id for rule in found}))

    def _read(self, order: WorkOrder) -> tuple[DataContract, ...]:
        """Return this node's texts of every contract that an order reads."""
        return tuple(self.contracts[read.contract] for read in order.reads)

    def _with_key_in(self, there: Jurisdiction, request: Request, order: WorkOrder) -> Request:
        abroad = leaves(request.jurisdiction, request.recipients, request.aggregator, there)
        exported = self._exported(order, abroad)
        return replace(request, keyholder=there, exported_persons=exported)

    def _aggregator(self) -> Jurisdiction:
        return self.roster.find(self.settings.aggregator).jurisdiction

    def _epsilon(self, order: WorkOrder, event: Event | None, past: WorkOrder | None) -> str:
        """Return the most that may be spent, having compared what the order states."""
        if event is None:
            if (order.epsilon, dict(order.event)) != ("0", {}):
                raise MisstatedOrderError("it states a price for what has none")
            return "0"
        outlay = outlay_of(order, event, stated_delta(self._read(order)))
        epsilon = repr(outlay.stated)
        if order.epsilon != spell(Decimal(epsilon)):
            raise MisstatedOrderError(f"it says epsilon {order.epsilon} and costs {epsilon}")
        if past is not None:
            outlay = outlay_of(past, from_json(past.event), Decimal(past.delta))
        return repr(outlay.most)

    def _keyholders(self, order: WorkOrder) -> tuple[Jurisdiction, ...]:
        """Return where pieces of the key that opens an answer lie; nowhere for other orders."""
        if order.kind != "query":
            return ()
        members = self.roster.active(Role.KEYHOLDER)
        return tuple(sorted({member.jurisdiction for member in members}))

    def _exported(self, order: WorkOrder, abroad: bool) -> int | None:
        """Return the people whose data left this year, with this order's if it goes abroad.

        None: not counted in this territory, or a contract does not say how many people there are.
        """
        found = counted(
            self.settings.jurisdiction,
            self.contracts.values(),
            self.left,
            int(self.now),
            besides=order.id,
            wanted=groups_of(*self._read(order)) if abroad else (),
            known=self.known,
        )
        return None if found is None else found[1].known
