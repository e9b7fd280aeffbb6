"""The books against a model that never asks them anything.

The model keeps orders in a dictionary and prices them itself: Gaussians at every integer order, by
the closed form. It shares no line with the accountant, the account or the books.
"""

import math
import tempfile
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
)

from clients.books import Books
from policies.budget.account import Scope
from policies.budget.events import Gaussian
from policies.errors import (
    ClosedOrderError,
    InsufficientBudgetError,
    OverdrawnError,
)

LIMIT, DELTA = 3.0, 1e-6
MULTIPLIERS = ("2", "3.5", "6", "12")
DATASETS = ("orders", "returns", "orders_renamed")


@dataclass
class Order:
    multiplier: str
    reserved: int
    keys: set[str] = field(default_factory=set)
    closed: bool = False


def price(counts: list[tuple[str, int]]) -> float:
    slope = sum(count / (2 * float(multiplier) ** 2) for multiplier, count in counts)
    if slope == 0:
        return 0.0
    return min(
        order * slope + math.log1p(-1 / order) - math.log(DELTA * order) / (order - 1)
        for order in range(2, 257)
    )


class Spending(RuleBasedStateMachine):
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "books.sqlite"
        self.books = Books(self.path)
        self.orders: dict[str, Order] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    def counted(self) -> list[tuple[str, int]]:
        return [
            (order.multiplier, len(order.keys) if order.closed else order.reserved)
            for order in self.orders.values()
        ]

    def scope(self, dataset: str) -> Scope:
        return Scope(
            dataset=dataset,
            subjects="customers",
            unit="customer",
            window="2025",
            epsilon=Decimal(str(LIMIT)),
            delta=Decimal(str(DELTA)),
        )

    @rule(
        target=held,
        multiplier=st.sampled_from(MULTIPLIERS),
        releases=st.integers(1, 6),
        dataset=st.sampled_from(DATASETS),
    )
    def reserve(self, multiplier: str, releases: int, dataset: str) -> object:
        name = f"order-{len(self.orders)}"
        total = price([*self.counted(), (multiplier, releases)])
        try:
            self.books.reserve(self.scope(dataset), name, Gaussian(multiplier), releases)
        except InsufficientBudgetError:
            assert total > LIMIT - 2e-4
            return multiple()
        assert total <= LIMIT
        self.orders[name] = Order(multiplier, releases)
        return name

    @rule(name=held, dataset=st.sampled_from(DATASETS))
    def reserve_again(self, name: str, dataset: str) -> None:
        order = self.orders[name]
        try:
            self.books.reserve(
                self.scope(dataset), name, Gaussian(order.multiplier), order.reserved
            )
            assert not order.closed
        except ClosedOrderError:
            assert order.closed

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
        self.books = Books(self.path)

    @precondition(lambda self: self.orders)
    @invariant()
    def books_agree_with_the_model(self) -> None:
        (told,) = self.books.statement()
        assert told.releases == sum(len(order.keys) for order in self.orders.values())
        total = price(self.counted())
        # The accountant does not try every order above 64, where cheap sums have their best one.
        assert total - 1e-9 <= told.epsilon_spent + told.epsilon_pending <= total * 1.02 + 2e-4
        spent = price([(order.multiplier, len(order.keys)) for order in self.orders.values()])
        assert spent - 1e-9 <= told.epsilon_spent <= spent * 1.02 + 2e-4
        assert told.epsilon_spent + told.epsilon_pending <= LIMIT


TestSpending = Spending.TestCase
TestSpending.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
