"""What the law is asked: every attribute computed here, by the node, from what it can check itself.

From the signed order come only purpose, legal basis and what it names: cohort, recipients, columns.
Grades, units and limits are the node's own contracts'; roles and places are the roster's; the price
is computed from the plan; the day is the witnessed time's; what left is the ledger's. No row.
"""

from collections.abc import Mapping
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
from federation.queries.uses import aggregated, filtered, grouped
from federation.tasks import QueryTask, TrainingTask, keys_only
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
    joined: frozenset[Grade] = frozenset()


def uses_of(order: WorkOrder, contract: DataContract) -> Uses:
    """Return how an order uses the columns of `contract`; training is taken to read all of them."""
    keys = {*contract.unit.columns, *(name for unit in contract.also for name in unit.columns)}
    if order.kind == "query":
        # What the plan reads beside these are the units' columns, which bound contributions.
        plan = QueryTask.from_json(order.parameters).plan
        return Uses(
            contract.grades(grouped(plan)),
            contract.grades(filtered(plan)),
            contract.grades(aggregated(plan)),
            contract.grades(keys),
        )
    if order.kind == "match":
        joined = contract.grades([MatchTask.from_json(order.parameters).column])
        nothing: frozenset[Grade] = frozenset()
        return Uses(nothing, nothing, nothing, contract.grades(keys) | joined, joined)
    known = {column.name for column in contract.columns}
    masked = keys_only(TrainingTask.from_json(order.parameters)) & known
    read = contract.grades(known - masked)
    return Uses(frozenset(), frozenset(), read, contract.grades(masked | keys))


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

        event: None where no event describes it: who is in two sets, which people approve.
        past: the order whose release is given out instead of a new one: that is what is priced.

        Raises:
            MisstatedOrderError: the order says another epsilon than it costs.
        """
        contract = self.contracts[order.contract]
        uses = uses_of(order, contract)
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
            epsilon=self._epsilon(order, contract, event, past),
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
        """Return what the law is asked, once for each place where pieces of a key lie.

        Raises:
            MisstatedOrderError: the order says another epsilon than it costs.
        """
        first = self.of(order, event, past)
        others = self._keyholders(order)[1:]
        return (first, *(self._with_key_in(place, first, order) for place in others))

    def cleared(self, order: WorkOrder) -> tuple[Cleared, ...]:
        """Return the proofs that the order's figures may go to everybody who will have them.

        Raises:
            NoMechanismError: nothing on record covers somebody; no rule of the folder changes that.
            MisplacedError: the aggregator or the keyholder may not work where it is.
        """
        contract, here = self.contracts[order.contract], self.settings.jurisdiction
        personal = bool(groups_of(contract))
        on = EPOCH + timedelta(self.now // DAY)
        place([here], personal, self._aggregator(), self._keyholders(order), on, self.known)
        recipients = frozenset(self.roster.find(p).jurisdiction for p in informed(order))
        made = Artefact(
            origin=frozenset({here}),
            kind="model" if order.kind == "train" else "answer",
            grade=max(column.grade for column in contract.columns),
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
        contract = self.contracts.get(order.contract)
        if contract is None:
            return ()
        here, personal = self.settings.jurisdiction, bool(groups_of(contract))
        on = EPOCH + timedelta(self.now // DAY)
        ends: set[tuple[Place, Jurisdiction]] = {("aggregator", self._aggregator())}
        ends |= {("results", self.roster.find(party).jurisdiction) for party in informed(order)}
        ends |= {("key", keyholder) for keyholder in self._keyholders(order)}
        found = (
            rule_for(here, there, personal, place=end, on=on, known=self.known)
            for end, there in ends
        )
        return tuple(sorted({rule.id for rule in found}))

    def _with_key_in(self, there: Jurisdiction, request: Request, order: WorkOrder) -> Request:
        abroad = leaves(request.jurisdiction, request.recipients, request.aggregator, there)
        exported = self._exported(order, abroad)
        return replace(request, keyholder=there, exported_persons=exported)

    def _aggregator(self) -> Jurisdiction:
        return self.roster.find(self.settings.aggregator).jurisdiction

    def _epsilon(
        self, order: WorkOrder, contract: DataContract, event: Event | None, past: WorkOrder | None
    ) -> str:
        """Return the most that may be spent, having compared what the order states."""
        if event is None:
            if (order.epsilon, dict(order.event)) != ("0", {}):
                raise MisstatedOrderError("it states a price for what has none")
            return "0"
        outlay = outlay_of(order, event, contract.limit.delta)
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
        members = self.roster.with_role(Role.KEYHOLDER)
        return tuple(sorted({member.jurisdiction for member in members}))

    def _exported(self, order: WorkOrder, abroad: bool) -> int | None:
        """Return the people whose data left this year, with this order's if it goes abroad.

        None: not counted in this territory, or a contract does not say how many people there are.
        """
        contract = self.contracts[order.contract]
        found = counted(
            self.settings.jurisdiction,
            self.contracts.values(),
            self.left,
            int(self.now),
            besides=order.id,
            wanted=groups_of(contract) if abroad else (),
            known=self.known,
        )
        return None if found is None else found[1].known
