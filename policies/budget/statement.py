"""What a compliance officer reads about one account."""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.budget import accountant
from policies.budget.account import Scope
from policies.budget.events import Event
from policies.contracts import COMMERCIAL_LABEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One account at one moment; every ε is at `delta` and rounded up.

    epsilon_spent:   ε of what has left the node.
    epsilon_pending: what open reservations add to it; the two together are what the gate compares
                     with `limit`.
    releases:        how many releases have left the node.
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

    @property
    def remaining(self) -> float:
        """Return limit minus spent and pending; ε's do not add, so this is a bound, not a coin."""
        return max(0.0, round(self.limit - self.epsilon_spent - self.epsilon_pending, 4))


def draw_up(
    scope: Scope,
    datasets: Sequence[str],
    spent: Sequence[Event],
    pending: Sequence[Event],
    releases: int,
) -> Statement:
    """Return the statement of the account of `scope` that `datasets` share."""
    delta = float(scope.delta)
    before = accountant.epsilon(spent, delta)
    total = accountant.epsilon([*spent, *pending], delta)
    return Statement(
        dataset=", ".join(sorted(datasets)),
        unit=COMMERCIAL_LABEL if scope.unit == "commercial" else scope.unit,
        epsilon_spent=before,
        epsilon_pending=round(total - before, 4),
        delta=delta,
        limit=float(scope.epsilon),
        releases=releases,
        subjects=scope.subjects,
        window=scope.window,
    )
