"""The node's own verdict on an order: attributes it computed itself, its law, then its budget.

Nothing here has a handle to rows: a refusal is a function of the order, the node's contracts and
policy, its books and the clock.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal

from clients.attributes import Attributes, informed, outlay_of
from clients.books import Books, Reservation
from clients.errors import MisstatedOrderError, RefusedWorkError
from clients.exports import Left, Tally
from clients.persons import Persons
from clients.questions import Questions
from clients.reasons import (
    asked,
    declined,
    isolating,
    made_already,
    misstated,
    poor,
    stays,
    suspended,
    unapproved,
    uncountersigned,
)
from clients.release import code_digest
from clients.settings import NodeSettings
from clients.standing import Asked
from federation.errors import (
    ClockError,
    FederationError,
    OnePartyQueryError,
    SuspendedPartyError,
)
from federation.matching import columns_of, event_of, require_contract, task_of, terms_of
from federation.membership import Roster
from federation.offers import offering
from federation.orders import Read, SignedOrder, WorkOrder
from federation.queries.holders import holders_of
from federation.queries.isolation import require_shared
from federation.queries.parse import parse
from federation.queries.pricing import price
from federation.sum_recipes import MOST_EPSILON
from federation.tasks import QueryTask, TrainingTask, reads_of, require_unit, sums_of
from policies.budget.account import Charge, charges_together, stated_delta
from policies.budget.events import Event, from_json, to_json
from policies.budget.outlay import Outlay
from policies.contracts import DataContract
from policies.engine import Deny, Law, Permit, Reason, Request, decide, objections
from policies.errors import (
    InsufficientBudgetError,
    MisplacedError,
    NoMechanismError,
    PolicyError,
)
from policies.nearest import PRICE, nearest, restated
from policies.parties import PartyId, Role
from policies.transfers import Cleared, Packs
from secure_compute.canonical import JSON

MINIMUM_ORGANISATIONS: Final = 3
"""Fewest organisations behind anything that is opened."""

LONGEST_SECONDS: Final = 7 * 24 * 3600
"""An open order holds its price set aside; it may not do so for ever."""

CLOCK_SECONDS: Final = 300
"""How far another party's clock may be ahead of this node's."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """The proofs that an order may be worked on, and what it reads.

    contracts: every one of which rows are read, the order's own first.
    cleared: that its figures may go to everybody who will have them.
    """

    permit: Permit
    reservation: Reservation
    contracts: tuple[DataContract, ...]
    cleared: tuple[Cleared, ...]

    @property
    def contract(self) -> DataContract:
        """The order's own contract; the only one unless it joins."""
        return self.contracts[0]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why this node will not do it: every reason at once, and the nearest order that would pass.

    kind:    `approval` where the law would permit it once people have said their word: a person of
             this party, or a member of another organisation; `person` where that person said no.
    nearest: settings under which the law and the accounts would agree as they stand, tried out;
             empty where no setting is enough.
    named:   whether the data team may be told whose refusal it is.
    """

    kind: Literal["policy", "budget", "order", "clock", "approval", "person"]
    reasons: tuple[Reason, ...]
    nearest: tuple[str, ...] = ()
    named: bool = True

    @property
    def summary(self) -> str:
        """The reasons, for this node's log."""
        return "; ".join(f"{reason.id} {reason.text_en}" for reason in self.reasons)

    def to_json(self) -> dict[str, JSON]:
        """Return what the other side may know."""
        return {
            "kind": self.kind,
            "reasons": [
                {"id": r.id, "law": r.law, "en": r.text_en, "zh": r.text_zh} for r in self.reasons
            ],
            "fixes": [
                {"en": r.fix_en, "zh": r.fix_zh, "override": r.override or ""} for r in self.reasons
            ],
            "nearest": list(self.nearest),
            **({} if self.named else {"unnamed": True}),
        }


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges orders for one node; `now` is the node's clock, in seconds since 1970.

    questions: what this node answered before, of whom.
    left: what left this node so far, as its ledger says; None: read anew for every order.
    known: the packs of the law in force; None for the installed ones.
    persons: what persons of this party said; None where nobody is ever asked.
    """

    settings: NodeSettings
    roster: Roster
    contracts: Mapping[str, DataContract]
    law: Law
    books: Books
    questions: Questions
    now: Callable[[], float]
    left: Callable[[], Tally] | None = None
    known: Packs | None = None
    persons: Persons | None = None

    def consider(self, signed: SignedOrder) -> Agreed | Refusal:
        """Permit and reserve, or refuse with every reason."""
        order = signed.order
        found = self._judged(signed)
        if isinstance(found, Refusal):
            return found
        if isinstance(found, Deny):
            return self._denied(found, self._unpayable(order), _outlay(order))
        try:
            reservation = self.books.reserve(self._paid(order), order.id, abandoned=order.abandoned)
        except InsufficientBudgetError as why:
            reasons = tuple(map(poor, why.every))
            passes = _affordable(found.request, self.law, reasons, _outlay(order))
            return Refusal("budget", reasons, passes)
        except (MisstatedOrderError, FederationError, PolicyError) as why:
            return Refusal("order", (misstated(why),))
        cleared = self._attributes().cleared(order)
        return Agreed(found, reservation, self._contracts(order), cleared)

    def weigh(self, signed: SignedOrder) -> Refusal | None:
        """Return why an order would be refused, or what it waits for; None where nothing does.

        Nothing is set aside, and nobody is asked about what could not be paid for.
        """
        order = signed.order
        found = self._judged(signed)
        if isinstance(found, Deny):
            return self._denied(found, self._unpayable(order), _outlay(order))
        if isinstance(found, Refusal) and found.kind != "approval":
            return found
        if poor_ones := self._unpayable(order):
            return Refusal("budget" if poor_ones[0].id.startswith("BUDGET") else "order", poor_ones)
        return found if isinstance(found, Refusal) else None

    def permit(self, signed: SignedOrder, past: WorkOrder) -> Permit | Refusal:
        """Ask the law whether the release of `past` may be given out for another order.

        Nothing is set aside, and no setting makes a release cheaper that was made already.
        """
        found = self._judged(signed, past)
        if not isinstance(found, Deny):
            return found
        passes = nearest(found.request, self.law, beside=found.beside)
        priced = any(setting.startswith(f"{PRICE}=") for setting in passes)
        return Refusal("policy", tuple(map(made_already, found.reasons)), () if priced else passes)

    def disclosure(self, signed: SignedOrder) -> Refusal | None:
        """Return why the law refuses a disclosure of membership; None where people may approve it.

        Nothing is set aside: no account pays for it.
        """
        found = self._judged(signed)
        if isinstance(found, Deny):
            return Refusal("policy", found.reasons, nearest(found.request, self.law))
        return found if isinstance(found, Refusal) else None

    def still(self, signed: SignedOrder) -> Permit:
        """Ask the law anew about an order that was accepted; accounts are not asked.

        Raises:
            RefusedWorkError: the law refuses it now.
        """
        found = self._judged(signed)
        if isinstance(found, Permit):
            return found
        reasons = "; ".join(reason.id for reason in found.reasons)
        raise RefusedWorkError(f"no longer permitted: {reasons}")

    def turn(self) -> AbstractContextManager[object]:
        """Hold off other orders while one is judged and its acceptance is written down."""
        return nullcontext() if self.persons is None else self.persons.turn

    def said(self, permit: Permit, order: WorkOrder) -> tuple[str, ...]:
        """Return how the log names the person's word on which a permit rests; nothing if on none.

        A disclosure has its consents, which are entries of their own.
        """
        request = permit.request
        if self.persons is None or not request.approved or request.discloses:
            return ()
        return self.persons.word_on(self._asked(order, request)).tokens

    def asking(self, signed: SignedOrder) -> tuple[Reason, ...]:
        """Return the rules that ask people about an order: they forbid it until those have spoken.

        For people who look at it.

        Raises:
            MisstatedOrderError, FederationError, PolicyError: the order does not hold together.
        """
        requests = self._attributes().each(signed.order, self._event(signed.order))
        found: dict[Reason, None] = {}
        for silent in requests:
            said = replace(silent, approved=True, countersigned=True)
            without, with_words = objections([silent, said], self.law)
            found |= dict.fromkeys(reason for reason in without if reason not in with_words)
        return tuple(found)

    def asked(self, signed: SignedOrder) -> Asked:
        """Return what this node itself knows of an order, as envelopes are compared with it.

        Raises:
            MisstatedOrderError, FederationError, PolicyError: the order does not hold together.
        """
        order = signed.order
        return self._asked(order, self._attributes().of(order, self._event(order)))

    def rules(self, order: WorkOrder) -> tuple[str, ...]:
        """Return the rules under which results of a permitted order go where they go."""
        return self._attributes().rules(order)

    def _judged(
        self, signed: SignedOrder, past: WorkOrder | None = None
    ) -> Permit | Deny | Refusal:
        order = signed.order
        try:
            self.roster.require_active(_named(order))
            self._require_cohort(order)
            self._require_dates(order)
            self._contracts(order)
            attributes = self._attributes()
            requests = attributes.each(order, self._event(order), past)
            decision = self._with_words(signed, requests)
            if order.kind == "query" and past is None:  # a past release shows nothing new
                self.questions.require_apart(order)
            if isinstance(decision, Permit):
                attributes.cleared(order)
            return decision
        except (NoMechanismError, MisplacedError) as why:
            return Refusal("policy", (stays(why),))
        except OnePartyQueryError as why:
            return Refusal("order", (isolating(why),))
        except SuspendedPartyError as why:
            return Refusal("order", (suspended(why),))
        except (MisstatedOrderError, FederationError, PolicyError) as why:
            return Refusal("order", (misstated(why),))

    def _with_words(
        self, signed: SignedOrder, requests: Sequence[Request]
    ) -> Permit | Deny | Refusal:
        """Return what the law says, and what people have to say where that would change it.

        The law is asked whether it would permit the order with their words; nobody is bothered
        about what it refuses in any case. A disclosure always has its person's word, or waits.
        """
        countersigned = any(p not in self.roster.suspended for p in signed.countersigned)
        silent = [
            replace(each, countersigned=countersigned, approved=each.discloses) for each in requests
        ]
        decision = self._decided(silent)
        if isinstance(decision, Permit) or not self._would_permit(silent, countersigned=True):
            return decision
        if not self._would_permit(silent, countersigned=countersigned):
            return self._unsaid("approval", uncountersigned(signed.order.id))
        persons = self.persons
        word = persons and persons.word_on(self._asked(signed.order, requests[0]))
        if word and word.said == "yes":
            return self._decided([replace(each, approved=True) for each in silent])
        if word and word.said == "no":
            return self._unsaid("person", declined())
        return self._unsaid("approval", asked(signed.order.id))

    def _unsaid(self, kind: Literal["approval", "person"], reason: Reason) -> Refusal:
        return Refusal(kind, (reason,), named=self.settings.named)

    def _would_permit(self, requests: Sequence[Request], *, countersigned: bool) -> bool:
        """Return whether the law would permit all of them if a person said yes."""
        said = [replace(each, approved=True, countersigned=countersigned) for each in requests]
        return isinstance(self._decided(said), Permit)

    def _asked(self, order: WorkOrder, request: Request) -> Asked:
        """Return what this node itself knows of an order that a person is asked about."""
        return Asked(
            order,
            None if request.discloses else Decimal(request.epsilon),
            informed(order),
            request.cohort,
            self.now(),
        )

    def _decided(self, requests: Sequence[Request]) -> Permit | Deny:
        """Return what the law says of all requests: one for each contract and place of a key."""
        decisions = [decide(request, self.law) for request in requests]
        denied = [decision for decision in decisions if isinstance(decision, Deny)]
        if not denied:
            return decisions[0]
        reasons = dict.fromkeys(reason for deny in denied for reason in deny.reasons)
        beside = tuple(request for request in requests if request != denied[0].request)
        return replace(denied[0], reasons=tuple(reasons), beside=beside)

    def _denied(self, deny: Deny, besides: tuple[Reason, ...], outlay: Outlay) -> Refusal:
        """Return the refusal that the law's reasons and the accounts' make together."""
        passes = _affordable(deny.request, self.law, besides, outlay, deny.beside)
        told = [restated(reason, outlay) for reason in deny.reasons]
        return Refusal("policy", (*told, *besides), passes)

    def _paid(self, order: WorkOrder) -> tuple[Charge, ...]:
        """Return what the order costs each account that it touches."""
        _require_payable(order)
        # The windows as they stood when the order was set aside: one opened since is not read.
        windows = self.books.windows(order.id)
        read, event = self._contracts(order), from_json(order.event)
        contracts = self.contracts.values()
        due = charges_together(read, contracts, windows, event, order.releases, order.windows)
        if sums_of(order) and any(each.scope.epsilon > MOST_EPSILON for each in due):
            raise MisstatedOrderError(
                f"an account that it touches allows more than epsilon {MOST_EPSILON}, up to which "
                "secure sums are priced; lower that limit, or train by FedAvg"
            )
        return due

    def _unpayable(self, order: WorkOrder) -> tuple[Reason, ...]:
        """Return what stands against an order besides the law; nothing is set aside."""
        try:
            wanted = self._paid(order)
            self.books.quote([each.with_spare(order.abandoned) for each in wanted])
        except InsufficientBudgetError as why:
            return tuple(map(poor, why.every))
        except (MisstatedOrderError, FederationError, PolicyError) as why:
            return (misstated(why),)
        return ()

    def again(self, signed: SignedOrder) -> Agreed:
        """Return the proofs for an order accepted before; the law is asked anew each time.

        Raises:
            RefusedWorkError: the law refuses it now.
        """
        verdict = self.consider(signed)
        if isinstance(verdict, Refusal):
            raise RefusedWorkError(f"no longer permitted: {verdict.summary}")
        return verdict

    def is_expired(self, signed: SignedOrder) -> bool:
        """Return whether the order's time is over."""
        return signed.order.expires <= self.now()

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
        if order.kind != "query" or self.is_expired(signed):
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
        if order.expires - order.created > LONGEST_SECONDS:
            raise MisstatedOrderError("it would hold its price set aside for more than a week")
        if self.now() < order.not_before:
            raise MisstatedOrderError("its time has not come; offer it from not_before on")
        if not order.recipients:
            raise MisstatedOrderError("it names nobody who will know the result")

    def _contracts(self, order: WorkOrder) -> tuple[DataContract, ...]:
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

    def _event(self, order: WorkOrder) -> Event | None:
        """Derive what one release does from what will really run, and compare."""
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

    def _attributes(self) -> Attributes:
        left = self.left or Left(self.books)
        return Attributes(
            self.settings, self.roster, self.contracts, self.now(), left(), self.known
        )


def _require_payable(order: WorkOrder) -> None:
    """Accept an order that a release of its own can answer."""
    if order.kind == "train" and order.windows:
        raise MisstatedOrderError(
            "training looks back over all windows and pays in all; leave windows out of the order"
        )
    if order.kind == "query" and QueryTask.from_json(order.parameters).source == "past":
        raise MisstatedOrderError(
            "it asks for a past release and none was named; ask for a fresh one to pay for it"
        )


def _affordable(
    request: Request,
    law: Law,
    besides: tuple[Reason, ...],
    outlay: Outlay,
    beside: tuple[Request, ...] = (),
) -> tuple[str, ...]:
    """Return the nearest settings that law and accounts accept; none where nothing helps."""
    if not besides:
        return nearest(request, law, (), outlay, beside)
    # The first account's setting is one that every account can pay.
    first = besides[0].override
    return nearest(request, law, [first], outlay, beside) if first else ()


def _named(order: WorkOrder) -> tuple[PartyId, ...]:
    """Return everybody whom an order names: who proposes it, who is asked, who learns of it."""
    return tuple(dict.fromkeys([order.proposer, *order.cohort, *order.recipients]))


def _holders(order: WorkOrder) -> tuple[Role, ...]:
    """Return the roles that may hold rows of everything that an order reads."""
    return offering(read.contract for read in order.reads)


def _outlay(order: WorkOrder) -> Outlay:
    return outlay_of(order, from_json(order.event), Decimal(order.delta))


def waits_for_a_person(order: WorkOrder) -> Refusal:
    """Return the refusal of a disclosure that the law permits and nobody has approved yet."""
    return Refusal("approval", (unapproved(order.id),))


def refused_by_clock(why: ClockError) -> Refusal:
    """Return the refusal of whatever would be spent while this node's time is in doubt."""
    reason = Reason(
        "CLOCK-001",
        "Witnessed time",
        f"This node spends nothing while its time is in doubt: {why}",
        "本节点的时钟与见证方或已见证的时间相差超过五分钟,在核实之前不动用任何隐私预算",
        "let the operators compare their clocks, then propose the order again",
        "请各运营方核对时钟后重新提出任务单",
        None,
    )
    return Refusal("clock", (reason,))
