"""What an order says that matches people of two parties, and what one such session does. Pure.

    size           how many are in both sets, with noise: paid for from the account of either side
    sum            and what numbers of the sender they have together, with noise: paid for likewise
    intersection   who is in both, told to the receiver: approved by a person at each end
    tokens         who is in both, told to either as tokens that align their rows: approved likewise

The terms of the protocol (`secure_compute.psi`) follow from the order and from nothing else, so
that neither end can be made to hold another session than the one it judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final, Literal, TypeAlias, get_args

from federation.errors import MalformedOrderError
from federation.match_values import require_value
from federation.orders import WorkOrder
from policies.budget.events import Composed, Event, from_json
from policies.contracts import DataContract
from policies.parties import PartyId
from secure_compute.canonical import JSON
from secure_compute.errors import LocalProtocolError
from secure_compute.psi.dummies import Law
from secure_compute.psi.identifiers import Kind
from secure_compute.psi.terms import Reveals, Role, Terms
from secure_compute.psi.values import Value

Mode: TypeAlias = Literal["size", "sum", "intersection", "tokens"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
REVEALS: Final[Mapping[Mode, Reveals]] = {
    "size": Reveals.SIZE,
    "sum": Reveals.SUM,
    "intersection": Reveals.INTERSECTION,
    "tokens": Reveals.JOIN_TOKENS,
}
FAILURE: Final = Decimal("1e-10")
"""The own δ of one size: the chance that its noise would have had to leave its bounds."""

PRICED: Final = frozenset({"size", "sum"})
"""What is noised and paid for; the other modes disclose who is in both sets."""

_WHOLE: Final = ("receiver_cap", "sender_cap", "most")


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchTask:
    """Match the people of two parties by one column of identifiers.

    receiver:   learns the size or the intersection first; sender: the other end.
    column:     of the contract; identifier: which kind stands in it.
    receiver_cap, sender_cap: most identifiers of each side's set; most: of one person.
    window:     for which either side is bound to one set.
    dummies:    scale and shift of a size's noise; None for a disclosure.
    value:      what is summed and the noise of it; None where nothing is.
    """

    mode: Mode
    receiver: PartyId
    sender: PartyId
    column: str
    identifier: str
    receiver_cap: int
    sender_cap: int
    most: int
    window: str
    dummies: Law | None
    value: Value | None = None

    @property
    def discloses(self) -> bool:
        """Whether it tells who is in both sets: no ε prices that, people approve it."""
        return self.mode not in PRICED

    def role_of(self, party: PartyId) -> Role:
        """Return which end a party is.

        Raises:
            MalformedOrderError: it is neither.
        """
        ends = {self.receiver: Role.RECEIVER, self.sender: Role.SENDER}
        if party not in ends:
            raise MalformedOrderError(f"{party} is no end of this match")
        return ends[party]

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        law = self.dummies
        told: dict[str, JSON] = {} if self.value is None else {"value": self.value.to_json()}
        return told | {
            "match": self.mode,
            "receiver": self.receiver,
            "sender": self.sender,
            "column": self.column,
            "identifier": self.identifier,
            "receiver_cap": self.receiver_cap,
            "sender_cap": self.sender_cap,
            "most": self.most,
            "window": self.window,
            "dummies": None if law is None else {"scale": law.scale, "shift": law.shift},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "MatchTask":
        """Read what `to_json` wrote.

        Raises:
            MalformedOrderError: it is no match of this version.
        """
        match value:
            case {
                "match": "size" | "sum" | "intersection" | "tokens" as mode,
                "receiver": str(receiver),
                "sender": str(sender),
                "column": str(column),
                "identifier": str(identifier),
                "window": str(window),
                "dummies": None | dict() as dummies,
                **rest,
            } if _is_whole(numbers := {name: rest[name] for name in rest if name != "value"}):
                law = _law(dummies)
                return cls(
                    mode=mode,
                    receiver=PartyId(receiver),
                    sender=PartyId(sender),
                    column=column,
                    identifier=identifier,
                    receiver_cap=numbers["receiver_cap"],
                    sender_cap=numbers["sender_cap"],
                    most=numbers["most"],
                    window=window,
                    dummies=law,
                    value=_value(rest["value"]) if "value" in rest else None,
                )
        raise MalformedOrderError(
            f"A match names one of {', '.join(MODES)}, two parties, a column, caps and dummies."
        )


def task_of(order: WorkOrder) -> MatchTask:
    """Return the match that an order asks for.

    Raises:
        MalformedOrderError: it asks for none, or its cohort is not the two ends.
    """
    task = MatchTask.from_json(order.parameters)
    if order.cohort != (task.receiver, task.sender) or order.minimum != 2:
        raise MalformedOrderError("the cohort of a match is its receiver and its sender")
    if order.releases != 1 or order.abandoned or order.windows:
        raise MalformedOrderError("a match is one release of each end, over all windows")
    return task


def terms_of(order: WorkOrder) -> Terms:
    """Return the terms of the session that an order asks for.

    A set that is matched for its size is bound by window, contract and column; a set that is
    disclosed is bound by the order that people approve, and another set is another order.

    Raises:
        MalformedOrderError: no session has such terms.
    """
    task = task_of(order)
    standing = f"{order.contract}/{order.contract_version}/{task.column}"
    try:
        return Terms(
            federation=order.federation,
            session=order.id,
            window=task.window,
            approval=order.id if task.discloses else standing,
            kind=Kind(task.identifier),
            reveals=REVEALS[task.mode],
            receiver=task.receiver,
            sender=task.sender,
            receiver_cap=task.receiver_cap,
            sender_cap=task.sender_cap,
            most=task.most,
            dummies=task.dummies,
            value=task.value,
        )
    except (LocalProtocolError, ValueError) as why:
        raise MalformedOrderError(f"the match has no terms: {why}") from why


def event_of(task: MatchTask) -> Event:
    """Return what one size, and the sum with it, does to either side's people.

    Raises:
        MalformedOrderError: it is a disclosure, which no event describes.
    """
    if task.dummies is None:
        raise MalformedOrderError("who is in both sets has no price; people approve it")
    size = from_json(task.dummies.event(task.most))
    if task.value is None:
        return size
    return Composed((size, from_json(task.value.event(task.most))))


def columns_of(task: MatchTask, contract: DataContract) -> tuple[str, ...]:
    """Return the columns that a match reads."""
    summed = () if task.value is None else (task.value.column,)
    return tuple(sorted({*contract.unit.columns, task.column, *summed}))


def require_contract(task: MatchTask, contract: DataContract) -> None:
    """Accept a match of what a contract lets be matched; no row is read for it.

    Caps and `most` are the contract's own. A set of the window stays as it was chosen, so whether
    it fits under a lower cap that an order states would tell its size: exactly, and uncharged.

    Raises:
        MalformedOrderError: the column holds no identifiers of that kind, the set is of another
            window, what is summed has no bounds or others, or a cap or `most` is not the
            contract's, this side's or the other's.
    """
    allowed = contract.match
    if allowed is None or task.column not in allowed.columns:
        names = ", ".join(allowed.columns) if allowed else "none"
        raise MalformedOrderError(
            f"contract {contract.name} lets nobody be matched by {task.column!r}; columns of "
            f"identifiers: {names}"
        )
    if allowed.columns[task.column] != task.identifier:
        raise MalformedOrderError(
            f"{task.column} of contract {contract.name} holds {allowed.columns[task.column]}, "
            f"not {task.identifier}"
        )
    if task.window != contract.limit.window:
        raise MalformedOrderError(
            f"contract {contract.name} is in window {contract.limit.window}, the match in "
            f"{task.window}"
        )
    if task.value is not None:
        require_value(task.value, contract)
    # The other side's cap bounds how many it may guess, and how many sets of a window it may try.
    bounds = (task.receiver_cap, task.sender_cap, task.most)
    if bounds != (allowed.cap, allowed.cap, allowed.most):
        raise MalformedOrderError(
            f"contract {contract.name} matches sets of {allowed.cap} identifiers, {allowed.most} "
            "of one person, and an order says so of both ends: with less it would ask how large a "
            f"set is; write it anew with cap={allowed.cap} most={allowed.most}, or agree with the "
            "other end on one contract"
        )


def law_for(epsilon: Decimal, most: int) -> Law:
    """Return the least noise at which one size costs at most `epsilon`.

    Raises:
        LocalProtocolError: no noise that is allowed is enough.
    """
    scale = (Decimal(most) / epsilon).to_integral_value(ROUND_CEILING)
    return Law.within(max(1, int(scale)), FAILURE)


def _is_whole(numbers: Mapping[str, Any]) -> bool:
    return numbers.keys() == {*_WHOLE} and all(type(n) is int for n in numbers.values())


def _value(raw: object) -> Value:
    try:
        return Value.from_json(raw)
    except LocalProtocolError as why:
        raise MalformedOrderError(str(why)) from why


def _law(value: Mapping[str, Any] | None) -> Law | None:
    match value:
        case None:
            return None
        case {"scale": int(scale), "shift": int(shift)} if len(value) == 2:
            try:
                return Law(scale, shift)
            except LocalProtocolError as why:
                raise MalformedOrderError(str(why)) from why
    raise MalformedOrderError("dummies have a scale and a shift")
