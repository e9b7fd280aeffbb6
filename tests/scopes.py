"""Accounts for tests."""

from decimal import Decimal

from policies.budget.account import Scope
from policies.contracts import UnitKind


def scope(
    epsilon: str = "3",
    failures: str = "0",
    *,
    subjects: str = "customers",
    unit: UnitKind = "customer",
    window: str = "2025",
    dataset: str = "orders",
) -> Scope:
    """Return an account at δ = 10⁻⁶."""
    return Scope(
        dataset=dataset,
        subjects=subjects,
        unit=unit,
        window=window,
        epsilon=Decimal(epsilon),
        delta=Decimal("1e-6"),
        failures=Decimal(failures),
    )
