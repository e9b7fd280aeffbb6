"""That an order holds together, as far as one node can tell: from its own contracts and roster.

What an order says of itself — its reads, its price, its circle — is derived anew from what would
really run, and compared.
"""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Final

from clients.errors import MisstatedOrderError, RefusedWorkError
from clients.release import code_digest
from clients.settings import NodeSettings
from federation.matching import columns_of, event_of, require_contract, task_of, terms_of
from federation.membership import Roster
from federation.offers import offering
from federation.orders import Read, SignedOrder, WorkOrder
from federation.queries.cohort import MINIMUM_ORGANISATIONS
from federation.queries.holders import holders_of
from federation.queries.isolation import require_shared
from federation.queries.parse import parse
from federation.queries.pricing import price
from federation.tasks import QueryTask, TrainingTask, reads_of, require_unit, sums_of
from policies.budget.account import stated_delta
from policies.budget.events import Event, to_json
from policies.contracts import DataContract
from policies.parties import PartyId, Role

LONGEST_SECONDS: Final = 7 * 24 * 3600
"""An open order holds its price set aside; it may not do so for ever."""

AHEAD_SECONDS: Final = 366 * 24 * 3600
"""How long before its time an order may be signed; nothing of it is set aside until then."""

CLOCK_SECONDS: Final = 300
"""How far another party's clock may be ahead of this node's."""

MOST_DERIVED: Final = 64
"""Of how many orders a process keeps in mind what it derived; mostly it is asked of one again."""


@dataclass(frozen=True, slots=True)
class Coherence:
    """What this node itself makes of an order; `now` is its clock, in seconds since 1970.

    derived: by order, the event of each that held together. An order is what it is by its id, and
             its event follows from it, from contracts and from members alone, never from the time.

    Every method raises MisstatedOrderError where the order says something else, or FederationError
    or PolicyError where it cannot be read.
    """

    settings: NodeSettings
    roster: Roster
    contracts: Mapping[str, DataContract]
    now: Callable[[], float]
    derived: MutableMapping[str, tuple[Event | None]] = field(default_factory=dict)

    def require(self, order: WorkOrder) -> None:
        """Accept an order of active parties, for this node among others, of this time."""
        self.roster.require_active(_named(order))
        self._require_cohort(order)
        self._require_dates(order)
        self.read(order)

    def as_keyholder(self, signed: SignedOrder) -> None:
        """Agree to hold the key of a query.

        Raises:
            RefusedWorkError: this node holds no keys; or no query, expired, for other code, or too
                few that hold rows stand in it.
            SuspendedPartyError: it names somebody who is suspended, or this node is.
        """
        if self.settings.role is not Role.KEYHOLDER:
            raise RefusedWorkError("this node holds no keys; the roster says who does")
        order = signed.order
        self.roster.require_active([self.settings.party, *_named(order)])
        cohort = [self.roster.find(party) for party in order.cohort]
        organisations = {member.organisation for member in cohort}
        if order.kind != "query" or order.expires <= self.now():
            raise RefusedWorkError("a key is held for a query that has not expired")
        if order.code != code_digest():
            raise RefusedWorkError("the order was written for other code than is installed here")
        if not QueryTask.from_json(order.parameters).sealing:
            raise MisstatedOrderError("it names no key to seal what opens its answer to")
        if any(member.role not in _holders(order) for member in cohort):
            raise RefusedWorkError("only parties that hold rows contribute to a sum")
        if len(organisations) < MINIMUM_ORGANISATIONS or order.minimum < MINIMUM_ORGANISATIONS:
            raise RefusedWorkError("a sum of fewer than three organisations is not opened")

    def _require_cohort(self, order: WorkOrder) -> None:
        # A party without rows could add what it knows, and count as an organisation.
        holders = _holders(order)
        if any(self.roster.find(party).role not in holders for party in order.cohort):
            raise MisstatedOrderError("its cohort names a party that holds no rows")
        if self.settings.party not in order.cohort:
            raise MisstatedOrderError("its cohort does not name this node")

    def _require_circle(self, order: WorkOrder) -> None:
        """Accept an order whose secure sums hide this node among enough others, if it has any."""
        recipe = sums_of(order)
        if recipe is None:
            return
        if recipe.colluding < self.settings.colluding:
            raise MisstatedOrderError(
                f"its sums hold against {recipe.colluding} that collude and this node wants "
                f"{self.settings.colluding}; propose it with privacy.colluding="
                f"{self.settings.colluding}"
            )
        organisations = {self.roster.find(party).organisation for party in order.cohort}
        if not recipe.nodes == len(order.cohort) == len(organisations):
            raise MisstatedOrderError(
                "its sums are for another number of nodes than its cohort has, or two of them are "
                "of one organisation; propose it anew with one node of each"
            )
        if recipe.least(order.minimum) > recipe.nodes:
            raise MisstatedOrderError(
                f"each of its {recipe.groups} groups needs its minimum of {order.minimum} parties "
                f"and {recipe.nodes} are asked; propose it with fewer groups, or a lower minimum"
            )

    def _require_dates(self, order: WorkOrder) -> None:
        if order.created > self.now() + CLOCK_SECONDS:
            raise MisstatedOrderError("it was written in the future; see both sides' clocks")
        if order.not_before - order.created > AHEAD_SECONDS:
            raise MisstatedOrderError("it was signed more than a year before its time")
        if order.expires - max(order.created, order.not_before) > LONGEST_SECONDS:
            raise MisstatedOrderError("it would hold its price set aside for more than a week")
        if self.now() < order.not_before:
            raise MisstatedOrderError("its time has not come; offer it from not_before on")
        if not order.recipients:
            raise MisstatedOrderError("it names nobody who will know the result")

    def read(self, order: WorkOrder) -> tuple[DataContract, ...]:
        """Return this node's texts of all that an order reads, its own contract first."""
        found = tuple(self._offered(read) for read in order.reads)
        delta = stated_delta(found)
        for contract in found:
            if (order.unit, order.delta) != (contract.unit.kind, str(delta)):
                raise MisstatedOrderError(
                    f"{contract.name} protects the unit {contract.unit.kind} at delta "
                    f"{delta}; the order says {order.unit} at {order.delta}"
                )
        return found

    def _offered(self, read: Read) -> DataContract:
        contract = self.contracts.get(read.contract)
        if contract is None or contract.version != read.version:
            raise MisstatedOrderError(
                f"this node does not offer {read.contract} version {read.version}"
            )
        known = {column.name for column in contract.columns}
        if not set(read.columns) <= known:
            raise MisstatedOrderError(f"the order reads columns that {contract.name} does not have")
        return contract

    def event(self, order: WorkOrder) -> Event | None:
        """Derive what one release does from what will really run, and compare."""
        if (known := self.derived.get(order.id)) is None:
            known = (self._derived(order),)
            if len(self.derived) >= MOST_DERIVED:
                self.derived.clear()
            self.derived[order.id] = known
        return known[0]

    def _derived(self, order: WorkOrder) -> Event | None:
        contract = self.contracts[order.contract]
        if order.kind == "match":
            return self._match(order, contract)
        if order.kind == "train":
            task = TrainingTask.from_json(order.parameters)
            require_unit(task, contract)
            self._require_circle(order)
            recipe = task.recipe
            event, releases, rows = recipe.event(), task.rounds, task.rows
        else:
            query = QueryTask.from_json(order.parameters)
            event, releases = price(query.plan, query.noise_multiplier), 1
            rows = contract.unit.rows
            cohort = [self.roster.find(party) for party in order.cohort]
            same_reads = reads_of(query.plan) == order.reads
            if query.plan != parse(query.sql, self.contracts, cohort) or not same_reads:
                raise MisstatedOrderError("the plan is not what its SQL means under the contract")
            holders = holders_of(cohort, self.contracts, self.settings.party)
            require_shared(query.plan, self.contracts, holders)
        if (to_json(event), releases) != (dict(order.event), order.releases):
            raise MisstatedOrderError("the order's price is not that of what it would run")
        if rows > contract.unit.rows:
            raise MisstatedOrderError(
                f"{contract.name} lets one {contract.unit.kind} contribute "
                f"{contract.unit.rows} rows, the order wants {rows}"
            )
        return event

    def _match(self, order: WorkOrder, contract: DataContract) -> Event | None:
        """Return what a match does to either side's people; None where it discloses who they are.

        The terms must hold together and stay within the contract.
        """
        task = task_of(order)
        require_contract(task, contract)
        terms_of(order)
        if order.columns != columns_of(task, contract):
            raise MisstatedOrderError(
                "a match reads the unit's columns, that of identifiers and that of a sum's numbers"
            )
        if task.discloses:
            return None
        event = event_of(task)
        if to_json(event) != dict(order.event):
            raise MisstatedOrderError("the order's price is not that of what it would run")
        return event


def require_payable(order: WorkOrder) -> None:
    """Accept an order that a release of its own can answer."""
    if order.kind == "train" and order.windows:
        raise MisstatedOrderError(
            "training looks back over all windows and pays in all; leave windows out of the order"
        )
    if order.kind == "query" and QueryTask.from_json(order.parameters).source == "past":
        raise MisstatedOrderError(
            "it asks for a past release and none was named; ask for a fresh one to pay for it"
        )


def _named(order: WorkOrder) -> tuple[PartyId, ...]:
    """Return everybody whom an order names: who proposes it, who is asked, who learns of it."""
    return tuple(dict.fromkeys([order.proposer, *order.cohort, *order.recipients]))


def _holders(order: WorkOrder) -> tuple[Role, ...]:
    """Return the roles that may hold rows of everything that an order reads."""
    return offering(read.contract for read in order.reads)
