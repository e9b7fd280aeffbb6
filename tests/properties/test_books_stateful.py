"""The books and their log against a model that never asks either.

Prices are for another test: here the limits are out of reach. The model counts releases per account
and entries of the log, and remembers who has vouched for what, what was given back, which windows
are open, and which head and time came last.
"""

import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from clients.books import Books
from clients.errors import GivenBackError
from federation.errors import FederationError, InconsistentLogError
from federation.ledger.notes import NamedKey
from federation.ledger.withheld import GiveBack
from federation.ledger.witness import WitnessRequest
from policies.budget.account import Charge
from policies.budget.events import Gaussian
from policies.errors import ChangedOrderError, ClosedOrderError, OverdrawnError
from secure_compute.primitives.signature import SigningKey
from tests.ledgers import Party, closed
from tests.scopes import scope

ORIGIN, OTHER = "entrepot/demo/cn", "entrepot/demo/us"
US = SigningKey(b"us".ljust(32))
WITNESSES = {"entrepot/demo/cn-2": "Shenzhen", "entrepot/demo/eu": "Lyon", OTHER: "Ohio"}
SUBJECTS = ("people", "shops", "orders")
KEYS = st.sampled_from("abcdef")


@cache
def histories() -> dict[tuple[int, int], WitnessRequest]:
    """Return the heads of two histories of one log, with proofs from each of their sizes."""
    found = {}
    for fill in (1, 2):
        party = Party("us", US)
        for size in range(1, 7):
            party.append([closed(f"o{fill}")])
            found[size, fill] = party.request(range(size))
    return found


@dataclass
class Order:
    subjects: frozenset[str]
    event: str
    allowed: int
    number: int  # of its entry
    windows: dict[str, list[str]]
    masked: dict[str, bool] = field(default_factory=dict)
    returned: set[str] = field(default_factory=set)
    closed: bool = False

    @property
    def made(self) -> int:
        return len(self.masked) - len(self.returned)

    @property
    def held(self) -> int:
        return self.made if self.closed else self.allowed

    def charges(self, spare: int) -> list[Charge]:
        ordered = [name for name in SUBJECTS if name in self.subjects]
        event, releases = Gaussian(self.event), self.allowed - spare
        return [Charge(scope("900", subjects=name), event, releases) for name in ordered]


class Keeping(RuleBasedStateMachine):
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.orders: dict[str, Order] = {}
        self.entries = 0
        self.windows: dict[str, list[str]] = {}
        self.vouched: dict[str, int] = {}
        self.seen: tuple[int, int] | None = None
        self.time = 0
        self.reopen()

    def teardown(self) -> None:
        self.books.disconnect()
        self.folder.cleanup()

    @rule()
    def reopen(self) -> None:
        path = Path(self.folder.name) / "books.sqlite"
        organisations = {ORIGIN: "Shenzhen", **WITNESSES}
        self.books = Books(path, ORIGIN, SigningKey(b"\7" * 32), lambda: 5.0, organisations)

    # -- spending --------------------------------------------------------------------------------

    @rule(
        target=held,
        subjects=st.frozensets(st.sampled_from(SUBJECTS), min_size=1),
        event=st.sampled_from(["50", "60.5"]),
        releases=st.integers(1, 3),
        spare=st.integers(0, 2),
    )
    def reserve(self, subjects: frozenset[str], event: str, releases: int, spare: int) -> str:
        name = f"order-{len(self.orders)}"
        windows = {key: list(labels) for key, labels in self.windows.items()}
        order = Order(subjects, event, releases + spare, self.entries, windows)
        self.books.reserve(order.charges(spare), name, abandoned=spare)
        self.orders[name] = order
        self.entries += 1
        return name

    @rule(name=held, more=st.integers(0, 1))
    def reserve_again(self, name: str, more: int) -> None:
        order = self.orders[name]
        try:
            self.books.reserve(order.charges(0), name, abandoned=more)
            assert not order.closed and not more
        except ClosedOrderError:
            assert order.closed
        except ChangedOrderError:
            assert more and not order.closed

    @rule(name=held, key=KEYS, masked=st.booleans())
    def settle(self, name: str, key: str, masked: bool) -> None:
        order = self.orders[name]
        try:
            fresh = self.books.settle(name, key, masked=masked)
        except GivenBackError:
            assert key in order.returned
        except ClosedOrderError:
            assert order.closed and key not in order.masked
        except OverdrawnError:
            assert order.made == order.allowed and key not in order.masked
        else:
            assert key not in order.returned
            assert fresh == (key not in order.masked)
            assert not fresh or (not order.closed and order.made < order.allowed)
            if fresh:
                order.masked[key] = masked
                self.entries += 1

    @rule(name=held, key=KEYS)
    def give_back(self, name: str, key: str) -> None:
        order = self.orders[name]
        try:
            self.books.give_back(name, key, GiveBack._mint(name, key, ("0" * 64, "1" * 64)))
        except GivenBackError:
            assert not order.masked.get(key, False)
        else:
            assert order.masked[key]
            self.entries += key not in order.returned
            order.returned.add(key)

    @rule(name=held)
    def close(self, name: str) -> None:
        self.books.close(name)
        self.entries += not self.orders[name].closed
        self.orders[name].closed = True

    # -- windows, witnesses and time -------------------------------------------------------------

    @rule(subjects=st.sampled_from(SUBJECTS), label=st.sampled_from(["2024", "2025", "2026"]))
    def open_window(self, subjects: str, label: str) -> None:
        known = self.windows.setdefault(subjects, [])
        if label not in known:
            known.append(label)
            self.entries += 1
        assert self.books.open_window(subjects, label) == known.index(label) + 1

    @rule(witness=st.sampled_from(sorted(WITNESSES)))
    def cosign(self, witness: str) -> None:
        self.books.keep_cosignatures(self.books.request().note, {witness: "line"})
        self.vouched[witness] = self.entries

    @rule(size=st.integers(1, 6), fill=st.integers(1, 2))
    def see(self, size: int, fill: int) -> None:
        last = self.seen or (0, 0)
        key = NamedKey(OTHER, US.verify_key)
        found = self.books.vouch({"us": (histories()[size, fill], key)}, 9)["us"]
        if isinstance(found, InconsistentLogError):
            assert size < last[0] or fill != last[1]
        else:
            assert not isinstance(found, FederationError)
            assert size >= last[0]
            assert last[0] == 0 or fill == last[1]
            self.entries += (size, fill) != last
            self.seen = (size, fill)

    @rule(at=st.integers(1, 50))
    def hear_a_time(self, at: int) -> None:
        self.books.witnessed_time(float(at))
        self.time = max(self.time, at)

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def accounts_hold_what_was_counted(self) -> None:
        for subjects in SUBJECTS:
            own = [order for order in self.orders.values() if subjects in order.subjects]
            found = self.books.holding(scope(subjects=subjects).account)
            spent, pending = (
                sum(line.spent for line in found.lines),
                sum(line.pending for line in found.lines),
            )
            assert spent == sum(order.made for order in own)
            assert spent + pending == sum(order.held for order in own)

    @invariant()
    def orders_stand_where_they_stood(self) -> None:
        still = sorted(name for name, order in self.orders.items() if not order.closed)
        assert self.books.open_orders() == still
        for name, order in self.orders.items():
            eyes = {WITNESSES[w] for w, size in self.vouched.items() if size > order.number}
            others = eyes - {"Shenzhen"}
            assert self.books.is_witnessed(name) == (len(others) >= 1)
            assert self.books.booked(name) == (len(others) >= 2)
            opened = {key: tuple(labels) for key, labels in order.windows.items() if labels}
            assert self.books.windows(name) == opened

    @invariant()
    def the_log_says_what_the_books_say(self) -> None:
        assert self.books.head().size == self.entries
        assert self.books.highest_time() == self.time
        last = self.books.last_seen(OTHER)
        expected = None if self.seen is None else histories()[self.seen].note
        assert (None if last is None else last.note) == expected
        self.books.reconcile()


TestKeeping = Keeping.TestCase
TestKeeping.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
