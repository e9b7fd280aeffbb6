"""The node's own verdict on an order: attributes it computed itself, its law, then its budget.

Nothing here has a handle to rows: a refusal is a function of the order, the node's contracts and
policy, its books and the clock.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal

from clients.attributes import Attributes, outlay_of
from clients.books import Books
from clients.coherence import Coherence, require_payable
from clients.errors import MisstatedOrderError, RefusedWorkError
from clients.exports import Left, Tally
from clients.hearing import Hearing
from clients.persons import Persons
from clients.questions import Questions
from clients.reasons import isolating, made_already, misstated, poor, stays, suspended
from clients.settings import NodeSettings
from clients.standing import Asked
from clients.verdicts import Agreed, Refusal
from federation.errors import FederationError, OnePartyQueryError, SuspendedPartyError
from federation.membership import Roster
from federation.orders import SignedOrder, WorkOrder
from federation.sum_recipes import MOST_EPSILON
from federation.tasks import sums_of
from policies.budget.account import Charge, charges_together
from policies.budget.events import Event, from_json
from policies.budget.outlay import Outlay
from policies.contracts import DataContract
from policies.engine import Deny, Law, Permit, Reason, Request
from policies.errors import (
    InsufficientBudgetError,
    MisplacedError,
    NoMechanismError,
    PolicyError,
)
from policies.nearest import PRICE, nearest, restated
from policies.transfers import Packs


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
    _derived: dict[str, tuple[Event | None]] = field(default_factory=dict, init=False, repr=False)

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
        return Agreed(found, reservation, self._coherence().read(order), cleared)

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
        """Return how the log names the person's word on which a permit rests, if on any."""
        return self._hearing().said(permit, order)

    def asking(self, signed: SignedOrder) -> tuple[Reason, ...]:
        """Return the rules that ask people about an order: they forbid it until those have spoken.

        For people who look at it.

        Raises:
            MisstatedOrderError, FederationError, PolicyError: the order does not hold together.
        """
        order = signed.order
        event = self._coherence().event(order)
        return self._hearing().asking(self._attributes().each(order, event))

    def asked(self, signed: SignedOrder) -> Asked:
        """Return what this node itself knows of an order, as envelopes are compared with it.

        Raises:
            MisstatedOrderError, FederationError, PolicyError: the order does not hold together.
        """
        order = signed.order
        request = self._attributes().of(order, self._coherence().event(order))
        return self._hearing().asked(order, request)

    def rules(self, order: WorkOrder) -> tuple[str, ...]:
        """Return the rules under which results of a permitted order go where they go."""
        return self._attributes().rules(order)

    def _judged(
        self, signed: SignedOrder, past: WorkOrder | None = None
    ) -> Permit | Deny | Refusal:
        order = signed.order
        try:
            coherence, attributes = self._coherence(), self._attributes()
            coherence.require(order)
            requests = attributes.each(order, coherence.event(order), past)
            decision = self._hearing().decide(signed, requests)
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

    def _denied(self, deny: Deny, besides: tuple[Reason, ...], outlay: Outlay) -> Refusal:
        """Return the refusal that the law's reasons and the accounts' make together."""
        passes = _affordable(deny.request, self.law, besides, outlay, deny.beside)
        told = [restated(reason, outlay) for reason in deny.reasons]
        return Refusal("policy", (*told, *besides), passes)

    def _paid(self, order: WorkOrder) -> tuple[Charge, ...]:
        """Return what the order costs each account that it touches."""
        require_payable(order)
        # The windows as they stood when the order was set aside: one opened since is not read.
        windows = self.books.windows(order.id)
        read, event = self._coherence().read(order), from_json(order.event)
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

    def as_keyholder(self, signed: SignedOrder) -> None:
        """Agree to hold the key of a query; see `Coherence.as_keyholder` for what raises."""
        self._coherence().as_keyholder(signed)

    def is_expired(self, signed: SignedOrder) -> bool:
        """Return whether the order's time is over."""
        return signed.order.expires <= self.now()

    def _coherence(self) -> Coherence:
        return Coherence(self.settings, self.roster, self.contracts, self.now, self._derived)

    def _hearing(self) -> Hearing:
        return Hearing(self.settings, self.roster, self.law, self.now, self.persons)

    def _attributes(self) -> Attributes:
        left = self.left or Left(self.books)
        return Attributes(
            self.settings, self.roster, self.contracts, self.now(), left(), self.known
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


def _outlay(order: WorkOrder) -> Outlay:
    return outlay_of(order, from_json(order.event), Decimal(order.delta))
