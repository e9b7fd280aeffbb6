"""Whether an account can pay, as arithmetic on values: nothing here stores, waits or reads a clock.

An account is keyed by whose privacy is spent, not by who asks or under which name: contracts over
the same subjects share one account and its smallest limit. ε's are never added: all events, spent
and pending, are composed with the wanted ones, and the accountant prices them together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Final, assert_never

from policies.budget import accountant
from policies.budget.events import Composed, Event, Gaussian, Repeated, SampledGaussian
from policies.contracts import COMMERCIAL_LABEL, DataContract, Limit, UnitKind
from policies.errors import InsufficientBudgetError, MalformedContractError, UnitMismatchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The account that a dataset's releases are charged to, and its limit.

    dataset: the contract that is read, for the statement only: it is no part of the key.
    """

    dataset: str
    subjects: str
    unit: UnitKind
    window: str
    epsilon: Decimal
    delta: Decimal

    @property
    def account(self) -> str:
        """The key: subjects, unit and window, and nothing that a request could choose."""
        return f"{self.subjects}\x1f{self.unit}\x1f{self.window}"

    @property
    def limit(self) -> Limit:
        """The ceiling of this account."""
        return Limit(epsilon=self.epsilon, delta=self.delta, window=self.window)

    def __str__(self) -> str:
        unit = COMMERCIAL_LABEL if self.unit == "commercial" else self.unit
        return f"{self.subjects} ({unit}, {self.window})"


def scope_of(dataset: str, contracts: Iterable[DataContract]) -> Scope:
    """Return the account that reading `dataset` charges, given all contracts of the node.

    Whoever reads rows of the same subjects in the same window pays from one account under the
    smallest limit, whatever unit an order names.

    Raises:
        MalformedContractError: no contract has that name.
        UnitMismatchError: contracts over these subjects protect different units.
    """
    known = tuple(contracts)
    wanted = next((contract for contract in known if contract.name == dataset), None)
    if wanted is None:
        raise MalformedContractError(f"this node has no data contract named {dataset}")
    group = [contract for contract in known if contract.subjects == wanted.subjects]
    other = next((c for c in group if c.unit.kind != wanted.unit.kind), None)
    if other is not None:
        raise UnitMismatchError(
            f"contracts {wanted.name} and {other.name} are both about {wanted.subjects} but "
            f"protect {wanted.unit.label} and {other.unit.label}; give both the same unit"
        )
    sharing = [contract.limit for contract in group if contract.limit.window == wanted.limit.window]
    return Scope(
        dataset=dataset,
        subjects=wanted.subjects,
        unit=wanted.unit.kind,
        window=wanted.limit.window,
        epsilon=min(limit.epsilon for limit in sharing),
        delta=min(limit.delta for limit in sharing),
    )


@dataclass(frozen=True, slots=True)
class Price:
    """What an admitted order costs, at the account's δ.

    requested: ε of the wanted releases alone.
    held:      ε of everything spent or pending before.
    total:     ε of all of it together; at most the limit.
    """

    requested: float
    held: float
    total: float


def charge(scope: Scope, spent: Sequence[Event], pending: Sequence[Event], wanted: Event) -> Price:
    """Return the price of `wanted` on top of what is spent and pending, or refuse.

    Raises:
        InsufficientBudgetError: all of it together is above the limit.
    """
    delta, limit = float(scope.delta), float(scope.epsilon)
    held = [*spent, *pending]
    total = accountant.epsilon([*held, wanted], delta)
    before = accountant.epsilon(held, delta)
    requested = accountant.epsilon([wanted], delta)
    if total > limit:
        raise InsufficientBudgetError(
            requested=requested,
            remaining=max(0.0, limit - before),
            spent=before,
            limit=limit,
            scope=str(scope),
            affordable=affordable(scope, held, wanted),
        )
    return Price(requested, before, total)


_STEPS: Final = 24


def affordable(scope: Scope, held: Sequence[Event], wanted: Event) -> float:
    """Return the greatest ε, down to 2 digits, at which `wanted` with more noise would be admitted.

    0.0 when no amount of noise up to a million times the wanted one is enough.
    """
    delta, limit = float(scope.delta), float(scope.epsilon)

    def fits(step: int) -> bool:
        return accountant.epsilon([*held, quieter(wanted, _factor(step))], delta) <= limit

    low, high = 0, _STEPS * 20
    if not fits(high):
        return 0.0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    price = accountant.epsilon([quieter(wanted, _factor(high))], delta)
    # A little less, so that noise calibrated to this ε is not below the noise that fits.
    return int((Decimal(str(price)) - Decimal("0.0002")) * 100) / 100


def _factor(step: int) -> Decimal:
    """Return 2^(step / 24): a ladder of noise, about 3 % a step."""
    return Decimal(f"{2 ** (step / _STEPS):.6g}")


def quieter(event: Event, factor: Decimal) -> Event:
    """Return `event` with every noise multiplier `factor` times as large, rounded up."""
    match event:
        case Gaussian():
            return Gaussian(_scaled(event.noise_multiplier, factor))
        case SampledGaussian():
            return SampledGaussian(event.sampling_rate, _scaled(event.noise_multiplier, factor))
        case Repeated():
            return Repeated(quieter(event.event, factor), event.count)
        case Composed():
            return Composed(tuple(quieter(part, factor) for part in event.events))
        case other:
            assert_never(other)


def _scaled(multiplier: Decimal, factor: Decimal) -> Decimal:
    return (multiplier * factor).quantize(Decimal("0.001"), rounding=ROUND_CEILING)
