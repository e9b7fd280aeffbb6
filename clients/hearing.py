"""What people have to say of an order, and whether they did: asked only where it would help."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from clients.attributes import informed
from clients.persons import Persons
from clients.reasons import asked, declined, uncountersigned
from clients.settings import NodeSettings
from clients.standing import Asked
from clients.verdicts import Refusal
from federation.membership import Roster
from federation.orders import SignedOrder, WorkOrder
from policies.engine import Deny, Law, Permit, Reason, Request, decide, objections


@dataclass(frozen=True, slots=True)
class Hearing:
    """Asks the law of orders, and of people what the law leaves to them; `now` as for `Judge`."""

    settings: NodeSettings
    roster: Roster
    law: Law
    now: Callable[[], float]
    persons: Persons | None

    def said(self, permit: Permit, order: WorkOrder) -> tuple[str, ...]:
        """Return how the log names the person's word on which a permit rests; nothing if on none.

        A disclosure has its consents, which are entries of their own.
        """
        request = permit.request
        if self.persons is None or not request.approved or request.discloses:
            return ()
        return self.persons.word_on(self.asked(order, request)).tokens

    def asking(self, requests: Sequence[Request]) -> tuple[Reason, ...]:
        """Return the rules that forbid requests until people have spoken, and permit them then."""
        found: dict[Reason, None] = {}
        for silent in requests:
            said = replace(silent, approved=True, countersigned=True)
            without, with_words = objections([silent, said], self.law)
            found |= dict.fromkeys(reason for reason in without if reason not in with_words)
        return tuple(found)

    def decide(self, signed: SignedOrder, requests: Sequence[Request]) -> Permit | Deny | Refusal:
        """Return what the law says, and what people have to say where that would change it.

        The law is asked whether it would permit the order with their words; nobody is bothered
        about what it refuses in any case. A disclosure always has its person's word, or waits.
        """
        countersigned = any(p not in self.roster.suspended for p in signed.countersigned)
        silent = [
            replace(each, countersigned=countersigned, approved=each.discloses) for each in requests
        ]
        decision = self._lawful(silent)
        if isinstance(decision, Permit) or not self._would_permit(silent, countersigned=True):
            return decision
        if not self._would_permit(silent, countersigned=countersigned):
            return self._unsaid("approval", uncountersigned(signed.order.id))
        persons = self.persons
        word = persons and persons.word_on(self.asked(signed.order, requests[0]))
        if word and word.said == "yes":
            return self._lawful([replace(each, approved=True) for each in silent])
        if word and word.said == "no":
            return self._unsaid("person", declined())
        return self._unsaid("approval", asked(signed.order.id))

    def _unsaid(self, kind: Literal["approval", "person"], reason: Reason) -> Refusal:
        return Refusal(kind, (reason,), named=self.settings.named)

    def _would_permit(self, requests: Sequence[Request], *, countersigned: bool) -> bool:
        """Return whether the law would permit all of them if a person said yes."""
        said = [replace(each, approved=True, countersigned=countersigned) for each in requests]
        return isinstance(self._lawful(said), Permit)

    def asked(self, order: WorkOrder, request: Request) -> Asked:
        """Return what this node itself knows of an order that a person is asked about."""
        return Asked(
            order,
            None if request.discloses else Decimal(request.epsilon),
            informed(order),
            request.cohort,
            self.now(),
        )

    def _lawful(self, requests: Sequence[Request]) -> Permit | Deny:
        """Return what the law says of all requests: one for each contract and place of a key."""
        decisions = [decide(request, self.law) for request in requests]
        denied = [decision for decision in decisions if isinstance(decision, Deny)]
        if not denied:
            return decisions[0]
        reasons = dict.fromkeys(reason for deny in denied for reason in deny.reasons)
        beside = tuple(request for request in requests if request != denied[0].request)
        return replace(denied[0], reasons=tuple(reasons), beside=beside)
