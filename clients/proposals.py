"""What a node says of an order before anything is set aside: willing, refused, or that it waits.

That is one word. The order is kept in `approvals/` for the people it waits for; which, and why, is
told to nobody else, and whether a data team may know that it is this party is its operator's to say
(`approvals.named` in node.toml). A member's countersignature rides back with the answer, for the
aggregator to carry to the others.
"""

import logging
from typing import Final

from clients.approvals import Approvals
from clients.judgement import Judge
from clients.letters import Reply, reply_of
from clients.recording import Recorder
from clients.settings import NodeSettings
from clients.verdicts import Refusal
from federation.errors import FederationError
from federation.messages import Kind
from federation.orders import SignedOrder, open_order
from secure_compute.canonical import JSON

log = logging.getLogger(__name__)

NAMED: Final = "named"
SIGNATURE: Final = "countersignature"


class Proposals:
    """Answers the proposals of one process."""

    def __init__(
        self, settings: NodeSettings, judge: Judge, approvals: Approvals, recorder: Recorder
    ) -> None:
        self._settings = settings
        self._judge = judge
        self._approvals = approvals
        self._recorder = recorder
        self._told: set[str] = set()

    def answer(self, signed: SignedOrder, refusal: Refusal | None) -> Reply:
        """Return what this node says of an order that it judged so."""
        order = signed.order
        if refusal is None:
            reply = reply_of(Kind.WILLING)
        elif refusal.kind == "approval" and self._judge.now() < order.waits_until:
            self._approvals.wait(signed)
            named: dict[str, JSON] = {NAMED: True} if self._settings.named else {}
            reply = reply_of(Kind.WAITING, named)
            log.info("order %s waits for people: %s", order.id[:12], refusal.summary)
        else:
            self._note(order.id, refusal)
            reply = reply_of(Kind.REFUSED, refusal.to_json())
        signature = self._approvals.countersignature(order.id)
        return reply if signature is None else reply.carrying({SIGNATURE: signature})

    def close(self, order: str) -> None:
        """Nobody is asked any more about an order that was proposed, and is over.

        A disclosure that was offered is put once more when its persons have spoken.
        """
        wire = self._approvals.kept().get(order)
        if wire is not None and self._is_proposed(wire):
            self._approvals.forget(order)

    def _is_proposed(self, wire: bytes) -> bool:
        try:
            return bool(open_order(wire, self._judge.roster).order.waits_until)
        except FederationError:  # who signed it has left since, or has another key: nobody is asked
            return True

    def _note(self, order: str, refusal: Refusal) -> None:
        """Write a refusal into the ledger, once for however often this process is asked."""
        if order not in self._told:
            self._told.add(order)
            log.info("refused order %s: %s", order[:12], refusal.summary)
            self._recorder.refused(order, refusal)
