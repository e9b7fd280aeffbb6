"""How a node answers an order that it judged: with the proofs to work by, or with every reason."""

from dataclasses import dataclass
from typing import Literal

from clients.books import Reservation
from clients.reasons import unapproved
from federation.errors import ClockError
from federation.orders import WorkOrder
from policies.contracts import DataContract
from policies.engine import Permit, Reason
from policies.transfers import Cleared
from secure_compute.canonical import JSON


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
