"""What people wish for, as work orders, and what each would change in the accounts it touches.

Nothing here asks a node, sets anything aside or reads a row: orders come from configuration and
SQL, charges from the nodes' contracts and books.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from experiments.accounts import Account, NodeBooks, books_here
from experiments.errors import UsageError
from experiments.home import Home
from experiments.meaning import certificate, plain
from experiments.ordering import drafted_query, training_order
from experiments.outcome import Plain
from experiments.statements import SHOWN_RUNS
from federation.orders import WorkOrder
from policies.budget import accountant
from policies.budget.account import Asked, Charge, Scope, admit, charges_together
from policies.budget.events import Repeated, from_json, spell
from policies.budget.forecast import WhatIf, runs_left
from policies.budget.forecast import what_if as would_change
from policies.errors import InsufficientBudgetError

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
            return drafted_query(home, sql, epsilon, terms)
    raise UsageError(f"{shlex.join(words)!r} is no run; write {EXAMPLES}")


def _training(home: Home, model: str, overrides: Sequence[str]) -> WorkOrder:
    from experiments.settings import compose_run

    settings = compose_run(model, overrides)
    task = replace(settings.task, until=home.cut_us if model == "fraud" else 0)
    return training_order(home, task, settings.terms)


@dataclass(frozen=True, slots=True)
class Changed:
    """One account of one node, without and with the run; every ε is the gate's.

    change:    what the run itself would spend.
    set_aside: ε with every round that may be abandoned beside it; this is what the gate asks.
    refusal:   why the gate would refuse; None where it would not.
    """

    node: str
    scope: Scope
    change: WhatIf
    set_aside: float
    refusal: InsufficientBudgetError | None
    runs_before: int
    before: Plain
    after: Plain

    @property
    def fits(self) -> bool:
        """Whether the account could pay for it."""
        return self.refusal is None

    @property
    def runs_after(self) -> int:
        """How many more such runs would fit after this one."""
        return max(0, self.runs_before - 1)

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        change, limit = self.change, float(self.scope.epsilon)
        return {
            "node": self.node,
            "dataset": self.scope.dataset,
            "subjects": self.scope.subjects,
            "unit": self.scope.label,
            "window": self.scope.window,
            "before": change.before,
            "after": change.after,
            "requested": change.requested,
            "set_aside": self.set_aside,
            "limit": limit,
            "left_before": max(0.0, round(limit - change.before, 4)),
            "left": change.left,
            "fits": self.fits,
            "refusal": None if self.refusal is None else str(self.refusal),
            "affordable": None if self.refusal is None else self.refusal.affordable,
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
                "further": [read.contract for read in order.further],
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
    nodes = asked_of(home, order)
    return Change(order, tuple(one for node, asked in nodes for one in _changes(node, asked)))


def asked_of(home: Home, order: WorkOrder) -> Iterator[tuple[str, tuple[Asked, ...]]]:
    """Yield every node asked, with every account that the order touches there as it stands.

    Limits are those that hold; the releases that are set aside for abandoned rounds are `spare`.

    Raises:
        UsageError: a node of the cohort does not offer a contract that is read.
    """
    return (asked_in(books_here(home, party), order) for party in order.cohort)


def asked_in(books: NodeBooks, order: WorkOrder) -> tuple[str, tuple[Asked, ...]]:
    """Return a node that is asked, with every account that the order touches there.

    Raises:
        UsageError: it does not offer a contract that is read.
    """
    if lacks := lacking(order, books):
        raise UsageError(f"{books.node} does not offer {lacks}; leave it out of the cohort")
    return books.node, asked_at(books, order)


def asked_at(books: NodeBooks, order: WorkOrder) -> tuple[Asked, ...]:
    """Return every account that the order touches at one node, which offers all that is read."""
    known = {account.scope.account: account for account in books.accounts()}
    return tuple(
        _asked(due.with_spare(order.abandoned), known[due.scope.account])
        for due in _charges(books, order)
    )


def repeated(asked: Sequence[Asked], times: int) -> tuple[Asked, ...]:
    """Return the same accounts with everything asked of them so many times, all in one."""
    return tuple(replace(one, charge=_times(one.charge, times)) for one in asked)


def _times(due: Charge, times: int) -> Charge:
    return replace(due, releases=due.releases * times, spare=due.spare * times)


def lacking(order: WorkOrder, books: NodeBooks) -> str:
    """Return the contracts of an order that a node does not offer, in words; "" where it has all.

    A join needs them all at one party: whoever lacks one takes no part.
    """
    offered = {(contract.name, contract.version) for contract in books.contracts.values()}
    found = [one for one in order.reads if (one.contract, one.version) not in offered]
    return " and ".join(f"{one.contract} version {one.version}" for one in found)


def _asked(due: Charge, account: Account) -> Asked:
    return Asked(replace(due, scope=_limited(due.scope, account.scope)), account.held, ())


def _charges(books: NodeBooks, order: WorkOrder) -> tuple[Charge, ...]:
    return charges_together(
        [books.contracts[read.contract] for read in order.reads],
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


def _changes(node: str, asked: Sequence[Asked]) -> Iterator[Changed]:
    refusals = _refusals(asked)
    for one in asked:
        due, held = one.charge, one.held
        scope, delta = due.scope, float(due.scope.delta)
        fixed = not held  # what is asked for once something was released is no plan of before
        change = would_change(scope, held, due.stated, partial(certificate, fixed=fixed))
        spare = (Repeated(due.event, due.spare),) if due.spare else ()
        yield Changed(
            node,
            scope,
            change,
            accountant.epsilon((*held, due.whole), delta),
            refusals.get(str(scope)),
            runs_left(scope, (*held, *spare), due.stated),
            plain(held, delta, change.before, fixed=fixed),
            plain((*held, due.stated), delta, change.after, fixed=fixed),
        )


def _refusals(asked: Sequence[Asked]) -> dict[str, InsufficientBudgetError]:
    """Return why the gate would refuse, by account in words; each with what would pass in all."""
    try:
        admit(asked)
    except InsufficientBudgetError as first:
        others = (why.among((), first.affordable) for why in first.others)
        return {why.scope: why for why in (first, *others)}
    return {}
