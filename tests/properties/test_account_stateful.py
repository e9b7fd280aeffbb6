"""The books against a model that never asks them anything.

The model keeps orders in a dictionary and prices them itself: Gaussians at every integer order, by
the closed form; failures as fractions. It shares no line with the accountant, the account or the
books. Orders pay in several accounts at once: customers in one or two windows, the orders of those
customers, of which each changes one customer, and shops.
"""

import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
)

from clients.books import Books
from policies.budget.account import Charge, Scope
from policies.budget.events import Approximate, Event, Gaussian, Grouped
from policies.errors import (
    ChangedOrderError,
    ClosedOrderError,
    InsufficientBudgetError,
    OverdrawnError,
)
from secure_compute.primitives.signature import SigningKey
from tests.scopes import scope

DELTA = 1e-6
MULTIPLIERS = ("2", "4", "8", "20", "60")
FAILURES = ("0", "1e-10", "2e-10")
DATASETS = ("orders", "returns", "orders_renamed")


@dataclass(frozen=True)
class Account:
    """What the model knows of one account; `size` customers hide one of its units."""

    subjects: str
    unit: str
    window: str
    epsilon: str
    failures: str
    size: int

    def scope(self, dataset: str) -> Scope:
        return scope(
            self.epsilon,
            self.failures,
            subjects=self.subjects,
            unit=self.unit,  # type: ignore[arg-type]
            window=self.window,
            dataset=dataset,
        )


LAST_YEAR = Account("customers", "customer", "2024", "2", "9e-10", 1)
THIS_YEAR = Account("customers", "customer", "2025", "3", "1e-9", 1)
SINGLE_ORDERS = Account("orders-of-customers", "order", "2025", "6", "2e-9", 2)
SHOPS = Account("shops", "commercial", "2025", "2.5", "8e-10", 1)
ACCOUNTS = (LAST_YEAR, THIS_YEAR, SINGLE_ORDERS, SHOPS)
READS = (
    (THIS_YEAR,),
    (LAST_YEAR, THIS_YEAR),
    (THIS_YEAR, SINGLE_ORDERS, SHOPS),
    ACCOUNTS,
)


@dataclass
class Order:
    multiplier: str
    failures: str
    reserved: int
    accounts: tuple[Account, ...]
    keys: set[str] = field(default_factory=set)
    closed: bool = False

    @property
    def held(self) -> int:
        return len(self.keys) if self.closed else self.reserved

    def charges(self, dataset: str, abandoned: int) -> list[Charge]:
        return [
            Charge(account.scope(dataset), self.event(account.size), self.reserved - abandoned)
            for account in self.accounts
        ]

    def event(self, size: int) -> Event:
        event: Event = Gaussian(self.multiplier)
        if self.failures != "0":
            event = Approximate(event, self.failures)
        return event if size == 1 else Grouped(event, size)


Counted = Iterable[tuple[Order, int]]


def price(account: Account, counts: Counted) -> float:
    """Return ε: `size` units at once cost size² times as much of a Gaussian."""
    slope = sum(
        count * account.size**2 / (2 * float(order.multiplier) ** 2)
        for order, count in counts
        if account in order.accounts
    )
    if slope == 0:
        return 0.0
    return min(
        order * slope + math.log1p(-1 / order) - math.log(DELTA * order) / (order - 1)
        for order in range(2, 257)
    )


def failing(account: Account, counts: Counted) -> Fraction:
    return sum(
        (
            count * account.size * Fraction(order.failures)
            for order, count in counts
            if account in order.accounts
        ),
        Fraction(0),
    )


class Spending(RuleBasedStateMachine):
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.key = SigningKey(bytes(range(32)))
        self.books = self.open()
        self.orders: dict[str, Order] = {}

    def open(self) -> Books:
        path = Path(self.folder.name) / "books.sqlite"
        return Books(path, "entrepot/test/warehouse", self.key, lambda: 1.8e9)

    def teardown(self) -> None:
        self.folder.cleanup()

    def counted(self) -> list[tuple[Order, int]]:
        return [(order, order.held) for order in self.orders.values()]

    @rule(
        target=held,
        multiplier=st.sampled_from(MULTIPLIERS),
        failures=st.sampled_from(FAILURES),
        releases=st.integers(1, 3),
        abandoned=st.integers(0, 2),
        accounts=st.sampled_from(READS),
        dataset=st.sampled_from(DATASETS),
    )
    def reserve(
        self,
        multiplier: str,
        failures: str,
        releases: int,
        abandoned: int,
        accounts: tuple[Account, ...],
        dataset: str,
    ) -> object:
        name = f"order-{len(self.orders)}"
        order = Order(multiplier, failures, releases + abandoned, accounts)
        counts = [*self.counted(), (order, order.reserved)]
        totals = [price(each, counts) - float(each.epsilon) for each in accounts]
        sure = [failing(each, counts) <= Fraction(each.failures) for each in accounts]
        try:
            self.books.reserve(order.charges(dataset, abandoned), name, abandoned=abandoned)
        except InsufficientBudgetError as why:
            poor = sum(total > -2e-4 for total in totals)
            assert poor or not all(sure)
            assert sum(each.purse == "epsilon" for each in why.every) <= poor
            assert sum(each.purse == "failures" for each in why.every) <= sure.count(False)
            return multiple()
        assert max(totals) <= 0
        assert all(sure)
        self.orders[name] = order
        return name

    @rule(name=held, dataset=st.sampled_from(DATASETS))
    def reserve_again(self, name: str, dataset: str) -> None:
        order = self.orders[name]
        try:
            self.books.reserve(order.charges(dataset, 0), name)
            assert not order.closed
        except ClosedOrderError:
            assert order.closed

    @rule(name=held, accounts=st.sampled_from(READS), more=st.integers(0, 1))
    def reserve_something_else(self, name: str, accounts: tuple[Account, ...], more: int) -> None:
        order = self.orders[name]
        other = Order(order.multiplier, order.failures, order.reserved + more, accounts)
        if (other.accounts, other.reserved) == (order.accounts, order.reserved):
            return
        try:
            self.books.reserve(other.charges("orders", 0), name)
        except (ChangedOrderError, ClosedOrderError):
            return
        raise AssertionError("an order was reserved twice, with other contents")

    @rule(name=held, keys=st.text("abcdefg", min_size=1, max_size=5))
    def settle(self, name: str, keys: str) -> None:
        for key in keys:
            self.settle_one(name, key)

    def settle_one(self, name: str, key: str) -> None:
        order = self.orders[name]
        try:
            fresh = self.books.settle(name, key)
        except OverdrawnError:
            assert key not in order.keys
            assert len(order.keys) == order.reserved
        except ClosedOrderError:
            assert key not in order.keys
            assert order.closed
        else:
            assert fresh == (key not in order.keys)
            assert not fresh or (not order.closed and len(order.keys) < order.reserved)
            order.keys.add(key)

    @rule(name=held)
    def close(self, name: str) -> None:
        self.books.close(name)
        self.orders[name].closed = True

    @rule()
    def reopen(self) -> None:
        self.books = self.open()

    @invariant()
    def no_purse_is_overdrawn(self) -> None:
        for account in ACCOUNTS:
            assert price(account, self.counted()) <= float(account.epsilon)
            assert failing(account, self.counted()) <= Fraction(account.failures)

    @invariant()
    def statements_agree_with_the_model(self) -> None:
        told = {(s.subjects, s.window): s for s in self.books.statement()}
        touched = {account for order in self.orders.values() for account in order.accounts}
        assert told.keys() == {(account.subjects, account.window) for account in touched}
        left = [(order, len(order.keys)) for order in self.orders.values()]
        for account in touched:
            statement = told[account.subjects, account.window]
            mine = [order for order in self.orders.values() if account in order.accounts]
            assert statement.releases == sum(len(order.keys) for order in mine)
            both = statement.epsilon_spent + statement.epsilon_pending
            # The accountant does not try every order above 64, where cheap sums have their best.
            for ours, theirs in (
                (price(account, self.counted()), both),
                (price(account, left), statement.epsilon_spent),
            ):
                assert ours - 1e-9 <= theirs <= ours * 1.02 + 2e-4
            spent = Fraction(statement.failures_spent)
            assert spent == failing(account, left)
            assert spent + Fraction(statement.failures_pending) == failing(account, self.counted())

    @invariant()
    def the_whole_life_counts_an_order_once(self) -> None:
        mine = [o for o in self.orders.values() if {LAST_YEAR, THIS_YEAR} & {*o.accounts}]
        told = [s for s in self.books.statement() if s.subjects == "customers"]
        ever = [(Order(o.multiplier, o.failures, 0, (THIS_YEAR,)), o.held) for o in mine]
        total = price(THIS_YEAR, ever)
        for statement in told:
            assert total - 1e-9 <= statement.lifetime <= total * 1.02 + 2e-4
            assert Fraction(statement.lifetime_failures) == failing(THIS_YEAR, ever)


TestSpending = Spending.TestCase
TestSpending.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    # Every step writes to disk: a trace of 25 steps is sooner read than made shorter.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
