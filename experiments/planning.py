"""What people wish for, as work orders, and what each would change in the accounts it touches.

Nothing here asks a node, sets anything aside or reads a row: orders come from configuration and
SQL, charges from the nodes' contracts and books.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from experiments.accounts import NodeBooks, open_books
from experiments.errors import PolicyRefusalError, UsageError
from experiments.home import Home
from experiments.meaning import certificate, plain
from experiments.ordering import query_order, training_order
from experiments.outcome import Plain
from experiments.statements import SHOWN_RUNS
from federation.orders import WorkOrder
from policies.budget.account import Charge, Scope, charges
from policies.budget.events import Event, Repeated, from_json, spell
from policies.budget.forecast import WhatIf, runs_left
from policies.budget.forecast import what_if as would_change

MODELS: Final = ("demand", "fraud")
EXAMPLES: Final = (
    '`train fraud privacy.epsilon=1` or `query "SELECT COUNT(*) FROM orders" privacy.epsilon=0.2`'
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A run that somebody would like; said: in the words of the command line."""

    said: str
    order: WorkOrder


def read_wish(home: Home, text: str) -> Wish:
    """Return the wish that a text such as `train fraud privacy.epsilon=1` names.

    Raises:
        UsageError: it is no such text.
    """
    try:
        words = shlex.split(text)
    except ValueError as why:
        raise UsageError(f"the wish {text!r} has an open quotation mark; close it") from why
    return Wish(text, order_of(home, words))


def order_of(home: Home, words: Sequence[str]) -> WorkOrder:
    """Return the order that the words of a command line ask for; it is not signed.

    Raises:
        UsageError: the words are neither `train MODEL …` nor `query SQL …`.
        PolicyRefusalError: it asks for a run without privacy.
    """
    match words:
        case ["train", model, *overrides] if model in MODELS:
            return _training(home, model, overrides)
        case ["query", sql, *overrides]:
            from experiments.querying import read_terms

            epsilon, terms = read_terms(overrides)
            return query_order(home, sql, epsilon, terms)
    raise UsageError(f"{shlex.join(words)!r} is no run; write {EXAMPLES}")


def _training(home: Home, model: str, overrides: Sequence[str]) -> WorkOrder:
    from experiments.settings import compose

    settings = compose([f"experiment={model}", *overrides])
    if not settings.private:
        raise PolicyRefusalError(
            "BASE-007 a run without differential privacy is refused by every node, so that it has "
            "no price; drop privacy=none"
        )
    task = replace(settings.task, until=home.cut_us if model == "fraud" else 0)
    return training_order(home, task, settings.terms)


@dataclass(frozen=True, slots=True)
class Changed:
    """One account of one node, without and with the run; every ε is the gate's.

    change:    what the run itself would spend.
    set_aside: the same with every abandoned round that is reserved beside it: the gate asks this.
    """

    node: str
    scope: Scope
    change: WhatIf
    set_aside: WhatIf
    runs_before: int
    before: Plain
    after: Plain

    @property
    def fits(self) -> bool:
        """Whether the account could pay for it."""
        return self.set_aside.fits

    @property
    def runs_after(self) -> int:
        """How many more such runs would fit after this one."""
        return max(0, self.runs_before - 1)

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        change, limit = self.change, float(self.scope.epsilon)
        refusal = self.set_aside.refusal
        return {
            "node": self.node,
            "dataset": self.scope.dataset,
            "subjects": self.scope.subjects,
            "unit": self.scope.label,
            "window": self.scope.window,
            "before": change.before,
            "after": change.after,
            "requested": change.requested,
            "set_aside": self.set_aside.after,
            "limit": limit,
            "left_before": max(0.0, round(limit - change.before, 4)),
            "left": change.left,
            "fits": self.fits,
            "refusal": None if refusal is None else str(refusal),
            "affordable": self.set_aside.affordable,
            "runs_left_before": min(self.runs_before, SHOWN_RUNS),
            "runs_left": min(self.runs_after, SHOWN_RUNS),
            "runs_left_more": self.runs_before > SHOWN_RUNS,
            "of_100_caught": {
                "before": self.before.caught,
                "after": self.after.caught,
                "luck": self.after.luck,
                "false_alarms": self.after.false_alarms,
            },
            "right_guess": {"before": self.before.right_guess, "after": self.after.right_guess},
            "textbook": {
                "before": self.before.textbook_caught,
                "after": self.after.textbook_caught,
            },
            "certificate": {
                "before": change.certificate_before,
                "after": change.certificate_after,
                "kind": "pld",
            },
            "failures": {
                "before": spell(change.failures_before),
                "after": spell(change.failures_after),
                "limit": spell(self.scope.failures),
            },
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What an order would change in every account that it touches."""

    order: WorkOrder
    accounts: tuple[Changed, ...]

    @property
    def fits(self) -> bool:
        """Whether every account could pay for it."""
        return all(account.fits for account in self.accounts)

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        order = self.order
        return {
            "schema": "entrepot.budget.what-if/1",
            "run": {
                "kind": order.kind,
                "contract": order.contract,
                "epsilon": order.epsilon,
                "delta": order.delta,
                "unit": order.unit,
                "releases": order.releases,
                "abandoned": order.abandoned,
                "cohort": list(order.cohort),
            },
            "fits": self.fits,
            "accounts": [account.to_json() for account in self.accounts],
        }


def what_if(home: Home, order: WorkOrder) -> Change:
    """Return what `order` would change; nothing is spent, asked or read from rows."""
    return Change(
        order,
        tuple(_changed(books, charge, held, order) for books, charge, held in touched(home, order)),
    )


def touched(home: Home, order: WorkOrder) -> Iterator[tuple[NodeBooks, Charge, tuple[Event, ...]]]:
    """Yield every account that the order touches at every node asked, under its real limit."""
    for party in order.cohort:
        books = open_books(home.node(party))
        if order.contract not in books.contracts:
            raise UsageError(f"{party} does not offer {order.contract}; leave it out of the cohort")
        known = {account.scope.account: account for account in books.accounts()}
        for due in _charges(books, order):
            found = known[due.scope.account]
            yield books, replace(due, scope=_limited(due.scope, found.scope)), found.held


def _charges(books: NodeBooks, order: WorkOrder) -> tuple[Charge, ...]:
    return charges(
        books.contracts[order.contract],
        tuple(books.contracts.values()),
        books.windows,
        from_json(order.event),
        order.releases,
        order.windows,
    )


def _limited(scope: Scope, account: Scope) -> Scope:
    """Return the scope under the limits of the account, which others may have made smaller."""
    return replace(
        scope,
        epsilon=min(scope.epsilon, account.epsilon),
        delta=min(scope.delta, account.delta),
        failures=min(scope.failures, account.failures),
    )


def _changed(books: NodeBooks, due: Charge, held: tuple[Event, ...], order: WorkOrder) -> Changed:
    scope, delta = due.scope, float(due.scope.delta)
    spare = (Repeated(due.event, order.abandoned),) if order.abandoned else ()
    change = would_change(scope, held, due.whole, certificate)
    whole = due.with_spare(order.abandoned).whole
    return Changed(
        books.node,
        scope,
        change,
        would_change(scope, held, whole),
        runs_left(scope, (*held, *spare), due.whole),
        plain(held, delta, change.before),
        plain((*held, due.whole), delta, change.after),
    )
