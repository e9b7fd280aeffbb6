"""What a compliance officer reads about one account."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from policies.budget import accountant
from policies.budget.account import Scope
from policies.budget.events import Event, own_delta


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One account at one moment; every ε is at `delta` and rounded up.

    epsilon_spent:    ε of what has left the node.
    epsilon_pending:  what open reservations add to it; the two together are what the gate compares
                      with `limit`.
    releases:         how many releases have left the node.
    failures_spent:   sum of the own δ's of what has left; `failures_pending` of what still may; the
                      two together are what the gate compares with `failures_limit`.
    lifetime:         ε of everything spent and pending over all windows and kinds of unit of these
                      subjects, which no limit of one window bounds.
    lifetime_failures: the sum of own δ's over all of these.
    events:           everything spent and pending, for views of people and attackers.
    fixed:            whether its plan was fixed in advance: one run, which may still make every
                      release that it planned, or has. Whoever asks again after an answer, or ends
                      a run early, may have been led by what was released.
    """

    dataset: str
    unit: str
    epsilon_spent: float
    epsilon_pending: float
    delta: float
    limit: float
    releases: int
    subjects: str
    window: str
    failures_spent: Decimal
    failures_pending: Decimal
    failures_limit: Decimal
    lifetime: float
    lifetime_failures: Decimal
    events: tuple[Event, ...] = field(repr=False)
    fixed: bool = True

    @property
    def remaining(self) -> float:
        """Return limit minus spent and pending; ε's do not add, so this is a bound, not a coin."""
        return max(0.0, round(self.limit - self.epsilon_spent - self.epsilon_pending, 4))

    @property
    def failures_left(self) -> Decimal:
        """Return what the purse of failures can still pay; its δ's do add."""
        return max(Decimal(0), self.failures_limit - self.failures_spent - self.failures_pending)


def lifetime(orders: Iterable[tuple[str, Event]]) -> tuple[Event, ...]:
    """Return what all windows of some subjects hold together, given (order id, event) of each.

    A person's contribution is bounded once per release, whatever windows it reads: an order that
    was charged in several windows counts once.
    """
    return tuple(event for _, event in dict.fromkeys(orders))


def draw_up(
    scope: Scope,
    datasets: Sequence[str],
    spent: Sequence[Event],
    pending: Sequence[Event],
    releases: int,
    ever: Sequence[Event] | None = None,
    *,
    fixed: bool = True,
) -> Statement:
    """Return the statement of the account of `scope` that `datasets` share.

    ever: see `lifetime`; None where these subjects have this one window only.
    fixed: see `Statement`.
    """
    delta = float(scope.delta)
    held = (*spent, *pending)
    everything = held if ever is None else tuple(ever)
    before = accountant.epsilon(spent, delta)
    total = accountant.epsilon(held, delta)
    return Statement(
        dataset=", ".join(sorted(datasets)),
        unit=scope.label,
        epsilon_spent=before,
        epsilon_pending=round(total - before, 4),
        delta=delta,
        limit=float(scope.epsilon),
        releases=releases,
        subjects=scope.subjects,
        window=scope.window,
        failures_spent=own_delta(spent),
        failures_pending=own_delta(pending),
        failures_limit=scope.failures,
        lifetime=accountant.epsilon(everything, delta),
        lifetime_failures=own_delta(everything),
        events=held,
        fixed=fixed,
    )
