"""How long the accounts last, and which of many wishes they can still pay for; spends nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from experiments.accounts import Account, all_accounts
from experiments.home import Home
from experiments.planning import Wish, asked_of
from policies.budget import planning
from policies.budget.account import Charge
from policies.budget.events import Event
from policies.budget.forecast import NEEDED, Forecast, TooFewRuns, forecast


@dataclass(frozen=True, slots=True)
class Lasting:
    """When one account is empty at the pace of its last runs."""

    account: Account
    result: Forecast | TooFewRuns

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        scope, found = self.account.scope, self.result
        value: dict[str, Any] = {
            "node": self.account.node,
            "dataset": scope.dataset,
            "subjects": scope.subjects,
            "unit": scope.label,
            "window": scope.window,
            "runs": len(self.account.history),
            "needed": NEEDED,
            "empty_on": None,
            "earliest": None,
            "latest": None,
            "runs_left": None,
            "said": str(found) if isinstance(found, TooFewRuns) else "",
        }
        if isinstance(found, TooFewRuns):
            return value
        return value | {
            "empty_on": day(found.empty_at),
            "earliest": day(found.earliest),
            "latest": day(found.latest),
            "runs_left": found.runs_left,
            "seconds_between_runs": found.pace,
        }


def forecasts(home: Home, now: int) -> list[Lasting]:
    """Return, for every account of every node, when it is empty; now: seconds since 1970."""
    return [
        Lasting(account, forecast(account.history, account.scope, now, account.held))
        for account in all_accounts(home)
    ]


def day(at: int | None) -> str | None:
    """Return the day of a moment as YYYY-MM-DD in UTC, or None where there is none."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class Fitting:
    """Whether a wish fits beside those that were taken before it. lacking: nodes that cannot."""

    said: str
    epsilon: str
    lacking: tuple[str, ...]
    advice: str

    @property
    def fits(self) -> bool:
        """Whether every account it touches could pay."""
        return not self.lacking

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        return {
            "wish": self.said,
            "epsilon": self.epsilon,
            "fits": self.fits,
            "lacking": list(self.lacking),
            "advice": self.advice,
        }


def which_fit(home: Home, wishes: Sequence[Wish]) -> list[Fitting]:
    """Return which of `wishes` fit, taken one after the other in the order wished."""
    held: dict[str, tuple[Event, ...]] = {}
    asked = []
    for wish in wishes:
        own = []
        for node, accounts in asked_of(home, wish.order):
            for one in accounts:
                here = _at(node, one.charge)
                held[here.scope.account] = one.held
                own.append(here)
        asked.append(planning.Wish(wish.said, tuple(own)))
    taken = planning.plan(held, asked)
    return [_fitting(wish, found) for wish, found in zip(wishes, taken, strict=True)]


def _at(node: str, due: Charge) -> Charge:
    """Return the charge in an account that no other node shares."""
    return replace(due, scope=replace(due.scope, subjects=f"{node}: {due.scope.subjects}"))


def _fitting(wish: Wish, found: planning.Planned) -> Fitting:
    refusals = () if found.refusal is None else found.refusal.every
    lacking = dict.fromkeys(refusal.scope.partition(":")[0] for refusal in refusals)
    advice = "" if found.refusal is None else found.refusal.advice
    return Fitting(wish.said, wish.order.epsilon, tuple(lacking), advice)
