"""Whether a release that this node made before may be given out once more.

Decided from the node's own books and outbox, its contracts and its law; nothing here has a handle
to rows, and nothing is charged: what is given out again is what left already. The law is asked
anew, because the recipients and the purpose may be others than they were; it is asked about the
price of what was made, which may be more than what the new order would have cost.
"""

import logging
from dataclasses import dataclass
from typing import Final

from clients.judgement import Judge
from clients.outbox import Outbox
from clients.verdicts import Refusal
from federation.orders import SignedOrder, WorkOrder, open_order
from federation.past import is_same_question
from federation.tasks import QueryTask
from policies.budget.account import scopes_of
from policies.engine import Permit, Reason
from policies.errors import PolicyError
from policies.evidence import Minted

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MayRepeat(metaclass=Minted):
    """The release of the order `past`, made here, may be given out for another order."""

    past: str
    permit: Permit


@dataclass(frozen=True, slots=True)
class Repeating:
    """Decides for one node."""

    judge: Judge
    outbox: Outbox

    def consider(self, signed: SignedOrder, past: str) -> MayRepeat | Refusal:
        """Permit to give out the release of the order `past` for another one, or refuse.

        A refusal because the release cannot be confirmed reads the same whatever the reason.
        """
        if why := self._unconfirmed(signed.order, past):
            log.info("order %s repeats %s: %s", signed.order.id[:12], past[:12], why)
            return Refusal("order", (UNCONFIRMED,))
        permit = self.judge.permit(signed, self._made(past))
        if isinstance(permit, Refusal):
            return permit
        return MayRepeat._mint(past, permit)  # noqa: SLF001  the home of this evidence

    def _unconfirmed(self, order: WorkOrder, past: str) -> str:
        """Return why `past` cannot be shown to be made here for the same question, or ""."""
        if self.outbox.accepted(past) is None:
            return "it was never accepted here"
        made = self._made(past)
        if not is_same_question(made, order):
            return "it was another question"
        if QueryTask.from_json(order.parameters).source == "fresh":
            return "a release of its own is wanted"
        if not any(self.judge.books.is_settled(past, key) for key in self.outbox.releases(past)):
            return "nothing was released for it"
        return "" if self._reads_the_same(made, past, order) else "it read other windows"

    def _made(self, past: str) -> WorkOrder:
        return open_order(self.outbox.accepted(past) or b"", self.judge.roster).order

    def _reads_the_same(self, made: WorkOrder, past: str, order: WorkOrder) -> bool:
        """Compare the windows that were read then with those that would be read now."""
        contracts = self.judge.contracts.values()
        then, now = self.judge.books.windows(past), self.judge.books.windows()
        try:
            scopes = [
                {
                    scope.account
                    for one in order.reads
                    for scope in scopes_of(one.contract, contracts, opened, read)
                }
                for opened, read in ((then, made.windows), (now, order.windows))
            ]
        except PolicyError:
            return False
        return scopes[0] == scopes[1]


UNCONFIRMED: Final = Reason(
    "PAST-001",
    "Past release",
    "This node cannot confirm that past release: it was not made here for this very question",
    "本节点无法确认该历史发布:它并非在此针对同一问题作出",
    "ask for a fresh release",
    "请申请一次新的发布",
    None,
)
