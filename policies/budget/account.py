"""Whose account a release is charged to, and whether that account can pay: arithmetic on values.

An account is keyed by whose privacy is spent, not by who asks or under which name. Whatever reads
rows tied to some subjects pays from the account of those subjects, in every window that is open for
them, under the smallest limit that any contract over them states. A run pays in all its units at
once. ε's are never added: all events, spent and pending, are composed with the wanted ones, and the
accountant prices them together; Rényi prices stay valid when later releases depend on earlier ones,
so that the price is also the gate.

Nothing here stores, waits or reads a clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from policies.budget import accountant
from policies.budget.dampening import least_factor, quieter
from policies.budget.events import Event, Grouped, Repeated, own_delta
from policies.budget.units import PaidUnit, paid, reached, units_of
from policies.contracts import COMMERCIAL_LABEL, DataContract, Limit, UnitKind
from policies.errors import (
    InsufficientBudgetError,
    MalformedContractError,
    UnknownWindowError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The account that a dataset's releases are charged to, and its limit.

    dataset:  the contract that is read, for the statement only: it is no part of the key.
    delta:    the purse of δ at which ε is read.
    failures: the purse of δ that the events' own δ's are summed against.
    """

    dataset: str
    subjects: str
    unit: UnitKind
    window: str
    epsilon: Decimal
    delta: Decimal
    failures: Decimal = Decimal(0)

    @property
    def account(self) -> str:
        """The key: subjects, unit and window, and nothing that a request could choose."""
        return f"{self.subjects}\x1f{self.unit}\x1f{self.window}"

    @property
    def limit(self) -> Limit:
        """The ceiling of this account."""
        return Limit(
            epsilon=self.epsilon, delta=self.delta, window=self.window, failures=self.failures
        )

    @property
    def label(self) -> str:
        """What the unit is called; a commercial unit is never called personal data."""
        return COMMERCIAL_LABEL if self.unit == "commercial" else self.unit

    def __str__(self) -> str:
        return f"{self.subjects} ({self.label}, {self.window})"


@dataclass(frozen=True, slots=True)
class Charge:
    """`releases` times `event`, to be set aside in the account of `scope`.

    event: what one release does to one unit of `scope`.
    delta: the δ at which the order states its ε; None where that is the scope's own.
    spare: how many of the releases the ε that the order states leaves out, because they are only
           there for rounds that come to nothing.
    """

    scope: Scope
    event: Event
    releases: int
    delta: Decimal | None = None
    spare: int = 0

    @property
    def whole(self) -> Event:
        """All releases together."""
        return Repeated(self.event, self.releases)

    @property
    def stated(self) -> Event:
        """The releases that the order states the ε of."""
        return Repeated(self.event, self.releases - self.spare)

    def with_stated(self, count: int) -> "Charge":
        """Return the charge with so many releases that the order states, and the same spare."""
        return replace(self, releases=count + self.spare)

    def with_spare(self, count: int) -> "Charge":
        """Return the charge with so many more releases, of which the stated ε knows nothing."""
        return replace(self, releases=self.releases + count, spare=self.spare + count)


def scopes_of(
    dataset: str,
    contracts: Iterable[DataContract],
    windows: Mapping[str, tuple[str, ...]],
    read: tuple[str, ...] = (),
) -> tuple[Scope, ...]:
    """Return every account that reading `dataset` charges, the contract's own unit first.

    contracts: all contracts of the node: whoever shares subjects or a table shares the accounts.
    windows:   subjects → labels of the windows opened for them, in order of opening; where nothing
               was opened, every label that a contract over those subjects states.
    read:      the windows that are read; empty for all. Windows of other units need not begin at
               the same rows: each pays in those of these names that it has, in all if it has none,
               and a row is read only if it is paid for in every unit.

    Raises:
        MalformedContractError: no contract has that name.
        UnitMismatchError: an account would have to be charged in a unit that the contract does not
            relate to its own.
        UnknownWindowError: `read` names a window that was never opened.
    """
    known = tuple(contracts)
    wanted = _named(dataset, known)
    scopes: list[Scope] = []
    for unit in paid(wanted, known):
        stated = [u.limit for u in units_of(known) if u.subjects == unit.subjects]
        opened = windows.get(unit.subjects) or tuple(sorted({limit.window for limit in stated}))
        own = read if unit.subjects == wanted.subjects else tuple({*read} & {*opened})
        scopes += [
            _scope(dataset, unit, window, _binding(stated, window, opened))
            for window in _chosen(unit.subjects, opened, own)
        ]
    return tuple(scopes)


def scope_of(dataset: str, contracts: Iterable[DataContract]) -> Scope:
    """Return the account of the dataset's own unit and of the window that its contract names.

    Raises:
        MalformedContractError: no contract has that name.
        UnitMismatchError: see `scopes_of`.
    """
    known = tuple(contracts)
    label = _named(dataset, known).limit.window
    scopes = scopes_of(dataset, known, {})
    return next(scope for scope in scopes if scope.window == label)


def charges(
    contract: DataContract,
    contracts: Iterable[DataContract],
    windows: Mapping[str, tuple[str, ...]],
    event: Event,
    releases: int,
    read: tuple[str, ...] = (),
) -> tuple[Charge, ...]:
    """Return what `releases` times `event` charges, one entry per account of `scopes_of`.

    event: what one release does to one unit of `contract`.

    Raises:
        MalformedContractError, UnitMismatchError, UnknownWindowError: see `scopes_of`.
    """
    return charges_together((contract,), contracts, windows, event, releases, read)


def charges_together(
    joined: Sequence[DataContract],
    contracts: Iterable[DataContract],
    windows: Mapping[str, tuple[str, ...]],
    event: Event,
    releases: int,
    read: tuple[str, ...] = (),
) -> tuple[Charge, ...]:
    """Return what `releases` times `event` over rows of several contracts charges.

    joined: the contracts that are read. They are joined by the unit of the first, so that its
            account is one and is charged once; so is every account that several of them share.
    event:  what one release does to one unit of them.

    Raises:
        MalformedContractError, UnitMismatchError, UnknownWindowError: see `scopes_of`.
    """
    known = tuple(contracts)
    groups, delta = reached(joined, known), stated_delta(joined)
    scopes: dict[str, Scope] = {}
    for contract in joined:
        for scope in scopes_of(contract.name, known, windows, read):
            scopes.setdefault(scope.account, scope)
    return tuple(
        Charge(scope, _grouped(event, groups[scope.subjects]), releases, delta)
        for scope in scopes.values()
    )


def stated_delta(read: Sequence[DataContract]) -> Decimal:
    """Return the δ at which an order over these contracts states its ε: the smallest of theirs."""
    return min(contract.limit.delta for contract in read)


def _named(dataset: str, known: Sequence[DataContract]) -> DataContract:
    for contract in known:
        if contract.name == dataset:
            return contract
    raise MalformedContractError(f"this node has no data contract named {dataset}")


def _chosen(subjects: str, opened: tuple[str, ...], read: tuple[str, ...]) -> tuple[str, ...]:
    strange = [window for window in read if window not in opened]
    if strange:
        raise UnknownWindowError(
            f"no window {strange[0]} was opened for {subjects}; name one of {', '.join(opened)}"
        )
    return tuple(window for window in opened if not read or window in read)


def _binding(stated: Sequence[Limit], window: str, opened: tuple[str, ...]) -> Sequence[Limit]:
    """Return the limits that hold in `window`: all but those stated for another opened window."""
    others = set(opened) - {window}
    return [limit for limit in stated if limit.window not in others] or stated


def _scope(dataset: str, unit: PaidUnit, window: str, limits: Sequence[Limit]) -> Scope:
    return Scope(
        dataset=dataset,
        subjects=unit.subjects,
        unit=unit.kind,
        window=window,
        epsilon=min(limit.epsilon for limit in limits),
        delta=min(limit.delta for limit in limits),
        failures=min(limit.failures for limit in limits),
    )


def _grouped(event: Event, size: int) -> Event:
    return event if size == 1 else Grouped(event, size)


@dataclass(frozen=True, slots=True)
class Price:
    """What an admitted order costs an account, at the account's δ.

    total: ε of everything spent, pending and wanted together; at most the limit.
    """

    total: float
    _before: tuple[Event, ...]
    _wanted: Event
    _delta: float

    @property
    def requested(self) -> float:
        """Return ε of the wanted releases alone."""
        return accountant.epsilon([self._wanted], self._delta)

    @property
    def held(self) -> float:
        """Return ε of everything spent or pending before."""
        return accountant.epsilon(self._before, self._delta)


@dataclass(frozen=True, slots=True)
class Asked:
    """One charge, beside everything that its account has spent and holds pending."""

    charge: Charge
    spent: Sequence[Event]
    pending: Sequence[Event]

    @property
    def held(self) -> tuple[Event, ...]:
        """Everything that counts already."""
        return (*self.spent, *self.pending)


def admit(asked: Sequence[Asked]) -> tuple[Price, ...]:
    """Return the price in every account, or refuse all: a run is paid everywhere or not at all.

    Raises:
        InsufficientBudgetError: of the first purse that cannot pay, with those of all others in
            `others`; its `affordable`, or its `releases`, would pass in all of them.
    """
    prices, refused = [], []
    for one in asked:
        price, whys = _weighed(one)
        prices.append(price)
        refused += whys
    if refused:
        raise _together(asked, refused)
    return tuple(prices)


def _together(
    asked: Sequence[Asked], refused: Sequence[InsufficientBudgetError]
) -> InsufficientBudgetError:
    """Return the first refusal, with the others and with what would pass in every account."""
    if _noise_helps(refused):
        return refused[0].among(refused[1:], nearest(asked))
    fewer = _fewer(asked)
    first, *others = (why.with_releases(fewer) for why in refused)
    return first.among(others, 0.0)


def charge(scope: Scope, spent: Sequence[Event], pending: Sequence[Event], wanted: Event) -> Price:
    """Return the price of `wanted` on top of what is spent and pending, or refuse.

    Raises:
        InsufficientBudgetError: one of the two purses of the account would be overdrawn.
    """
    return admit([Asked(Charge(scope, wanted, 1), spent, pending)])[0]


def affordable(scope: Scope, held: Sequence[Event], wanted: Event) -> float:
    """Return the greatest ε, down to 2 digits, at which `wanted` with more noise would be admitted.

    0.0 when no amount of noise up to a million times the wanted one is enough.
    """
    return nearest([Asked(Charge(scope, wanted, 1), held, ())])


def nearest(asked: Sequence[Asked]) -> float:
    """Return the greatest ε, down to 2 digits, at which the order would pass in every account.

    It is the ε that an order states: of the first charge, at that charge's δ; 0.0 when no amount
    of noise up to a million times the wanted one is enough.
    """
    factor = least_factor(lambda noise: all(_fits(one, noise) for one in asked))
    if factor is None:
        return 0.0
    first = asked[0].charge
    delta = float(first.scope.delta if first.delta is None else first.delta)
    price = accountant.epsilon([quieter(first.stated, factor)], delta)
    # A little less, so that noise calibrated to this ε is not below the noise that fits.
    return max(0.0, int((Decimal(str(price)) - Decimal("0.0002")) * 100) / 100)


def _fits(one: Asked, factor: Decimal) -> bool:
    scope, wanted = one.charge.scope, quieter(one.charge.whole, factor)
    return accountant.epsilon([*one.held, wanted], float(scope.delta)) <= float(scope.epsilon)


def _fewer(asked: Sequence[Asked]) -> int:
    """Return the most releases, noised as they are wanted, that every purse could pay."""
    low, high = 0, min(one.charge.releases - one.charge.spare for one in asked)
    while low < high:
        middle = (low + high + 1) // 2
        few = [replace(one, charge=one.charge.with_stated(middle)) for one in asked]
        low, high = (low, middle - 1) if any(_weighed(one)[1] for one in few) else (middle, high)
    return low


def _weighed(one: Asked) -> tuple[Price, list[InsufficientBudgetError]]:
    """Return the price in one account, and a refusal by each of its purses that cannot pay."""
    scope, held, wanted = one.charge.scope, one.held, one.charge.whole
    delta = float(scope.delta)
    total = accountant.epsilon([*held, wanted], delta)
    refused = []
    if total > float(scope.epsilon):
        alone = accountant.epsilon([wanted], delta)
        refused.append(_poor(scope, accountant.epsilon(held, delta), alone))
    if own_delta([*held, wanted]) > scope.failures:
        refused.append(_unreliable(one))
    return Price(total, held, wanted, delta), refused


def _poor(scope: Scope, before: float, requested: float) -> InsufficientBudgetError:
    limit = float(scope.epsilon)
    return InsufficientBudgetError(
        requested=requested,
        remaining=max(0.0, limit - before),
        spent=before,
        limit=limit,
        scope=str(scope),
    )


def _unreliable(one: Asked) -> InsufficientBudgetError:
    scope, before, requested = one.charge.scope, own_delta(one.held), own_delta([one.charge.whole])
    left = max(Decimal(0), scope.failures - before)
    return InsufficientBudgetError(
        requested=float(requested),
        remaining=float(left),
        spent=float(before),
        limit=float(scope.failures),
        scope=str(scope),
        purse="failures",
    )


def _noise_helps(refused: Sequence[InsufficientBudgetError]) -> bool:
    return all(why.purse == "epsilon" for why in refused)
