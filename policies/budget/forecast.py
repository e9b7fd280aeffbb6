"""How long an account lasts: runs left, the day it is empty, and what one more run would change.

Everything is counted in runs that the gate would admit, so that costs compose as Rényi divergences
and ε's are never added. Time is an argument, in whole seconds since 1970.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from policies.budget import accountant
from policies.budget.account import Scope, charge
from policies.budget.events import Event, Repeated, own_delta
from policies.errors import InsufficientBudgetError

NEEDED: Final = 4
"""Fewer runs have no rate."""

LATEST: Final = 8
"""How many runs, counted from the last, the rate is taken from."""

MOST: Final = 10**6
"""Where counting stops: so many runs are as good as without end."""

HORIZON: Final = 100 * 365 * 86_400
"""Seconds beyond which no day is named."""

Certify: TypeAlias = Callable[[Sequence[Event], float], float | None]


@dataclass(frozen=True, slots=True)
class TooFewRuns:
    """There is no forecast yet, and why."""

    runs: int

    def __str__(self) -> str:
        return f"a forecast needs {NEEDED} runs, this account has {self.runs}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When the account is empty if work goes on as it did; a time is None beyond a century.

    runs:      how many runs the rate was taken from.
    pace:      seconds between two of them.
    runs_left: how many more runs of the median cost fit.
    empty_at:  when the last of those is made.
    earliest, latest: the same at the cost that 80 of 100, and 20 of 100, of these runs stay below.
    """

    runs: int
    pace: int
    runs_left: int
    empty_at: int | None
    earliest: int | None
    latest: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What one more run would change; every ε is the gate's, rounded up.

    before, after: ε of all that is held, without and with the run.
    left:          limit minus `after`; never below 0.
    requested:     ε of the run alone.
    failures_before, failures_after, failures_left: the same of the purse that sums own δ's.
    refusal:       why the gate would not admit it; None where it would.
    affordable:    the greatest ε at which it would be admitted; None where it is admitted.
    runs_left:     how many such runs fit in all, this one counted.
    certificate_before, certificate_after: ε from the privacy-loss distribution, valid for plans
                   fixed in advance; None where there is none.
    """

    before: float
    after: float
    left: float
    requested: float
    failures_before: Decimal
    failures_after: Decimal
    failures_left: Decimal
    refusal: InsufficientBudgetError | None
    affordable: float | None
    runs_left: int
    certificate_before: float | None = None
    certificate_after: float | None = None

    @property
    def fits(self) -> bool:
        """Return whether the gate would admit the run."""
        return self.refusal is None


def runs_left(scope: Scope, held: Sequence[Event], wanted: Event) -> int:
    """Return how many times `wanted` would be admitted on top of `held`, at most `MOST`."""
    counted = together(held)
    low, high = 0, 1
    while high <= MOST and fits(scope, counted, Repeated(wanted, high)):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        enough = fits(scope, counted, Repeated(wanted, middle))
        low, high = (middle, high) if enough else (low, middle)
    return min(low, MOST)


def together(events: Sequence[Event]) -> tuple[Event, ...]:
    """Return `events` with equal ones counted: the same price, and faster to ask for."""
    return tuple(Repeated(event, count) for event, count in Counter(events).items())


def fits(scope: Scope, held: Sequence[Event], wanted: Event) -> bool:
    """Return whether both purses of `scope` can pay `wanted` on top of `held`."""
    everything = [*held, wanted]
    if own_delta(everything) > scope.failures:
        return False
    return accountant.epsilon(everything, float(scope.delta)) <= float(scope.epsilon)


def forecast(
    history: Sequence[tuple[int, Event]],
    scope: Scope,
    now: int,
    held: Sequence[Event] | None = None,
) -> Forecast | TooFewRuns:
    """Return when the account of `scope` is empty, given the time and event of every run so far.

    held: everything spent and pending, where that is more than the history knows the times of.

    The median over the latest runs is of what each costs, read as how many more of it would fit;
    the pace is theirs, and slows down while none comes.
    """
    runs = sorted(history, key=lambda run: run[0])
    if len(runs) < NEEDED:
        return TooFewRuns(len(runs))
    latest = runs[-LATEST:]
    known = together([event for _, event in runs] if held is None else held)
    counts = sorted(runs_left(scope, known, event) for _, event in latest)
    pace, last = _pace([at for at, _ in latest], now), latest[-1][0]

    def when(count: int) -> int | None:
        wait = pace * count
        return max(now, last + wait) if count < MOST and wait <= HORIZON else None

    middle, most = counts[(len(counts) - 1) // 2], len(counts) - 1
    return Forecast(
        runs=len(latest),
        pace=pace,
        runs_left=middle,
        empty_at=when(middle),
        earliest=when(counts[most // 5]),
        latest=when(counts[-(most // 5) - 1]),
    )


def what_if(
    scope: Scope, held: Sequence[Event], wanted: Event, certify: Certify | None = None
) -> WhatIf:
    """Return what `wanted` would change on top of `held`; nothing is set aside.

    certify: ε of events at δ from their privacy-loss distribution, or None where there is none.
    """
    held, delta = together(held), float(scope.delta)
    refusal = _refusal(scope, held, wanted)
    after, failures = accountant.epsilon([*held, wanted], delta), own_delta([*held, wanted])
    return WhatIf(
        before=accountant.epsilon(held, delta),
        after=after,
        left=max(0.0, round(float(scope.epsilon) - after, 4)),
        requested=accountant.epsilon([wanted], delta),
        failures_before=own_delta(held),
        failures_after=failures,
        failures_left=max(Decimal(0), scope.failures - failures),
        refusal=refusal,
        affordable=None if refusal is None else refusal.affordable,
        runs_left=runs_left(scope, held, wanted),
        certificate_before=None if certify is None else certify(held, delta),
        certificate_after=None if certify is None else certify([*held, wanted], delta),
    )


def _refusal(scope: Scope, held: Sequence[Event], wanted: Event) -> InsufficientBudgetError | None:
    try:
        charge(scope, held, (), wanted)
    except InsufficientBudgetError as why:
        return why
    return None


def _pace(times: Sequence[int], now: int) -> int:
    """Return the seconds from one of `times` to the next, with the wait since the last."""
    between = (times[-1] - times[0]) // (len(times) - 1)
    return max(1, between, (now - times[0]) // len(times))
