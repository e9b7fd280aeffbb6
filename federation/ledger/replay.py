"""The accounts, computed again from the entries of a log and from nothing else.

A node's books must equal this at every start, and an auditor who has only the entries computes the
same. On the way every entry is judged: nothing is settled that was not reserved, nothing twice,
nothing beyond what was reserved, nothing after the end of its order, no reservation beyond the
smallest of the limits that the datasets of its account stated last, and nothing given back without
as many statements as it takes at the least.

What cannot be judged from entries alone is counted: a reservation that states a higher limit than
its dataset stated before (`raised`), where a `limit_set` would have said so; and releases given
back (`given_back`), since the statements themselves stand in no log.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import numpy as np

from federation.errors import LedgerMismatchError
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.trust import COLLUDING
from policies.budget import accountant
from policies.budget.events import Repeated, loads, own_delta
from policies.budget.moments import Vector
from policies.errors import PolicyError

_ROUNDING: Final = 0.0001  # ε is rounded up to 4 digits, and sums of floats know no order

_FEWEST: Final = COLLUDING + 1  # n - t + 1 + c statements, and t is at most n

_parsed: Final = lru_cache(maxsize=4096)(loads)


@lru_cache(maxsize=4096)
def _divergence(text: str) -> Vector:
    return accountant.divergence([_parsed(text)])


@lru_cache(maxsize=4096)
def _fails(text: str) -> bool:
    return own_delta([_parsed(text)]) > 0


def _price(held: Mapping[str, int], delta: float) -> tuple[float, Decimal]:
    """Return ε of what is held at `delta`, and the sum of its own δ's."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum((n * _divergence(text) for text, n in held.items()), accountant.divergence([]))
        own = own_delta([Repeated(_parsed(text), n) for text, n in held.items() if _fails(text)])
        return accountant.epsilon_of(total, delta), own


@dataclass(frozen=True, slots=True)
class Held:
    """What one account holds: by event, in its one spelling, how often it left or still may."""

    spent: Mapping[str, int] = field(default_factory=dict)
    pending: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Order:
    """charges: account → event and releases set aside; made: releases that left and stayed so."""

    charges: Mapping[str, tuple[str, int]]
    allowed: int
    made: set[str] = field(default_factory=set)
    masked: set[str] = field(default_factory=set)
    returned: set[str] = field(default_factory=set)
    is_closed: bool = False


class Accounts:
    """What a log says so far; `take` its entries in their order."""

    def __init__(self) -> None:
        self.size = 0
        self.raised: list[int] = []
        self.given_back = 0
        self._orders: dict[str, _Order] = {}
        self._spent: dict[str, Counter[str]] = {}
        self._pending: dict[str, Counter[str]] = {}
        self._limits: dict[str, dict[str, tuple[Decimal, Decimal, Decimal]]] = {}
        self._windows: dict[str, list[str]] = {}

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts that were ever charged, sorted."""
        return tuple(sorted(self._spent))

    @property
    def windows(self) -> Mapping[str, tuple[str, ...]]:
        """The windows opened for each group of subjects, in order."""
        return {subjects: tuple(labels) for subjects, labels in self._windows.items()}

    @property
    def open_orders(self) -> tuple[str, ...]:
        """The orders that hold a reservation and are not closed, sorted."""
        return tuple(sorted(name for name, order in self._orders.items() if not order.is_closed))

    def held(self, account: str) -> Held:
        """Return what `account` holds; one that was never charged holds nothing."""
        spent, pending = self._spent.get(account), self._pending.get(account)
        return Held(dict(+(spent or Counter())), dict(+(pending or Counter())))

    def take(self, entry: Entry) -> None:
        """The entry counts.

        Raises:
            LedgerMismatchError: it does not follow from those before it; names its number.
        """
        match entry.kind:
            case EntryKind.RESERVED:
                self._reserved(entry)
            case EntryKind.SETTLED:
                self._settled(entry)
            case EntryKind.GIVEN_BACK:
                self._given_back(entry)
            case EntryKind.CLOSED:
                self._closed(entry)
            case EntryKind.LIMIT_SET:
                self._state(entry, entry.body)
            case EntryKind.WINDOW_OPENED:
                self._window_opened(entry)
            case _:
                pass
        self.size += 1

    def wrong(self, entry: Entry, what: str) -> LedgerMismatchError:
        """Return the error that the entry being taken `what`."""
        of = f" of order {entry.order[:12]}" if entry.order else ""
        return LedgerMismatchError(f"entry {self.size} ({entry.kind}{of}) {what}")

    def _reserved(self, entry: Entry) -> None:
        listed: Any = entry.body["charges"]
        charges = {c["account"]: (c["event"], c["releases"]) for c in listed}
        if entry.order in self._orders:
            raise self.wrong(entry, "reserves an order that was reserved before")
        if len(charges) != len(listed) or not all(c["releases"] > c["spare"] for c in listed):
            raise self.wrong(entry, "charges an account twice, or for no release")
        raises = [self._state(entry, charge) for charge in listed]
        if any(raises):
            self.raised.append(self.size)
        for account, (event, releases) in charges.items():
            self._pending.setdefault(account, Counter())[event] += releases
            self._spent.setdefault(account, Counter())
            self._within(entry, account)
        allowed = min(releases for _, releases in charges.values())
        self._orders[entry.order] = _Order(charges, allowed)

    def _settled(self, entry: Entry) -> None:
        order, release = self._open(entry), str(entry.body["release"])
        if release in order.made or release in order.returned:
            raise self.wrong(entry, "settles a release a second time")
        if len(order.made) >= order.allowed:
            raise self.wrong(entry, f"settles more than the {order.allowed} releases reserved")
        order.made.add(release)
        if entry.body["masked"]:
            order.masked.add(release)
        self._move(order, 1, -1)

    def _given_back(self, entry: Entry) -> None:
        order, release = self._known(entry), str(entry.body["release"])
        statements: Any = entry.body["statements"]
        if release not in order.made:
            raise self.wrong(entry, "gives back a release that is not spent")
        if release not in order.masked:
            raise self.wrong(entry, "gives back a release that could be read as it left")
        if len(set(statements)) < _FEWEST:
            raise self.wrong(entry, f"gives back a release on fewer than {_FEWEST} statements")
        self.given_back += 1
        order.made.discard(release)
        order.returned.add(release)
        self._move(order, -1, 0 if order.is_closed else 1)

    def _closed(self, entry: Entry) -> None:
        order = self._open(entry)
        for account, (event, releases) in order.charges.items():
            self._pending[account][event] -= releases - len(order.made)
        order.is_closed = True

    def _window_opened(self, entry: Entry) -> None:
        labels = self._windows.setdefault(str(entry.body["subjects"]), [])
        if entry.body["window"] in labels or entry.body["sequence"] != len(labels) + 1:
            raise self.wrong(entry, "opens a window out of order")
        labels.append(str(entry.body["window"]))

    def _state(self, entry: Entry, limit: Mapping[str, Any]) -> bool:
        """Return whether the limit is higher in any purse than the one stated before."""
        epsilon, delta, failures = (Decimal(limit[p]) for p in ("epsilon", "delta", "failures"))
        if not 0 < float(delta) < 1:
            raise self.wrong(entry, "states a delta that is no probability")
        stated = self._limits.setdefault(limit["account"], {})
        before = stated.get(limit["dataset"])
        stated[limit["dataset"]] = now = epsilon, delta, failures
        return before is not None and any(new > old for new, old in zip(now, before, strict=True))

    def _within(self, entry: Entry, account: str) -> None:
        epsilon, delta, failures = map(min, zip(*self._limits[account].values(), strict=True))
        counts = Counter(self._spent[account])
        counts.update(self._pending[account])
        try:
            price, own = _price(+counts, float(delta))
        except (PolicyError, ArithmeticError, ValueError) as why:
            raise self.wrong(entry, "charges what has no price") from why
        if not (price <= float(epsilon) + _ROUNDING and own <= failures):
            raise self.wrong(entry, f"overdraws the account of {account.replace(chr(31), ', ')}")

    def _move(self, order: _Order, spent: int, pending: int) -> None:
        for account, (event, _) in order.charges.items():
            self._spent[account][event] += spent
            self._pending[account][event] += pending

    def _known(self, entry: Entry) -> _Order:
        order = self._orders.get(entry.order)
        if order is None:
            raise self.wrong(entry, "is about an order that was never reserved")
        return order

    def _open(self, entry: Entry) -> _Order:
        order = self._known(entry)
        if order.is_closed:
            raise self.wrong(entry, "comes after its order was closed")
        return order


def replay(entries: Iterable[Entry]) -> Accounts:
    """Return the accounts that `entries`, a whole log from its beginning, add up to.

    Raises:
        LedgerMismatchError: an entry does not follow from those before it; names its number.
    """
    accounts = Accounts()
    for entry in entries:
        accounts.take(entry)
    return accounts
