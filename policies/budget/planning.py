"""Which of the runs that somebody wishes for can still be paid, taken one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.budget.account import Asked, Charge, Price, Scope, admit
from policies.budget.events import Event
from policies.errors import InsufficientBudgetError


@dataclass(frozen=True, slots=True)
class Wish:
    """A run that somebody would like to make, and every account that it would be charged to."""

    name: str
    charges: tuple[Charge, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """What becomes of a wish after those that were taken before it.

    prices:  one per charge where it fits, else none.
    refusal: why it does not fit; None where it does.
    """

    name: str
    prices: tuple[Price, ...]
    refusal: InsufficientBudgetError | None

    @property
    def fits(self) -> bool:
        """Return whether all of its accounts can pay it."""
        return self.refusal is None


def plan(held: Mapping[str, Sequence[Event]], wishes: Sequence[Wish]) -> tuple[Planned, ...]:
    """Return what fits, in the order wished: each wish is taken if it fits beside those taken.

    held: account → everything spent or pending in it.

    A list, not a search: another order of wishes may fit more of them.
    """
    taken = {account: [*events] for account, events in held.items()}
    return tuple(_take(taken, wish) for wish in wishes)


def greedy(
    scope: Scope, held: Sequence[Event], wishes: Sequence[tuple[str, Event]]
) -> tuple[Planned, ...]:
    """Return `plan` for one account; each wish is a name and the event of the whole run."""
    return plan(
        {scope.account: held},
        [Wish(name, (Charge(scope, event, 1),)) for name, event in wishes],
    )


def _take(taken: dict[str, list[Event]], wish: Wish) -> Planned:
    asked = [Asked(due, taken.get(due.scope.account, ()), ()) for due in wish.charges]
    try:
        prices = admit(asked)
    except InsufficientBudgetError as why:
        return Planned(wish.name, (), why)
    for due in wish.charges:
        taken.setdefault(due.scope.account, []).append(due.whole)
    return Planned(wish.name, prices, None)
