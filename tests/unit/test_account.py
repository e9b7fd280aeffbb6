"""Admission: composed, not added; keyed by subjects, not by names; refused with what would pass."""

from decimal import Decimal

import pytest

from policies.budget import accountant
from policies.budget.account import Scope, affordable, charge, scope_of
from policies.budget.dampening import quieter
from policies.budget.events import Composed, Event, Gaussian, Repeated, SampledGaussian
from policies.budget.statement import draw_up
from policies.contracts import DataContract, load_contract
from policies.errors import InsufficientBudgetError, MalformedContractError, UnitMismatchError

CONTRACT = """
name = "{name}"
version = 1
table = "{name}.parquet"
subjects = "{subjects}"
[unit]
kind = "{unit}"
columns = ["customer_id"]
rows = 8
[limit]
epsilon = "{epsilon}"
delta = "1e-6"
window = "{window}"
[[columns]]
name = "customer_id"
type = "integer"
grade = "S3"
"""


def contract(
    name: str,
    subjects: str = "customers",
    unit: str = "customer",
    epsilon: str = "3",
    window: str = "2025",
) -> DataContract:
    return load_contract(
        CONTRACT.format(name=name, subjects=subjects, unit=unit, epsilon=epsilon, window=window)
    )


def scope(epsilon: str = "3") -> Scope:
    return scope_of("orders", [contract("orders", epsilon=epsilon)])


def test_another_contract_over_the_same_subjects_is_the_same_account() -> None:
    contracts = [contract("orders", epsilon="3"), contract("returns", epsilon="1.5")]
    first, second = (scope_of(name, contracts) for name in ("orders", "returns"))
    assert first.account == second.account
    assert first.epsilon == second.epsilon == Decimal("1.5")


def test_other_subjects_or_windows_are_other_accounts() -> None:
    contracts = [
        contract("orders"),
        contract("shops", subjects="shops", unit="commercial"),
        contract("old", window="2024", epsilon="1"),
    ]
    scopes = [scope_of(item.name, contracts) for item in contracts]
    assert len({item.account for item in scopes}) == 3
    assert scopes[0].epsilon == 3


def test_the_same_customers_under_a_weaker_unit_are_refused() -> None:
    contracts = [contract("orders"), contract("lines", unit="order")]
    with pytest.raises(UnitMismatchError, match="of kind customer over customers"):
        scope_of("lines", contracts)
    assert scope_of("orders", contracts).unit == "customer"


def test_an_unknown_dataset_has_no_account() -> None:
    with pytest.raises(MalformedContractError, match="payments"):
        scope_of("payments", [contract("orders")])


def test_a_commercial_account_is_never_called_personal() -> None:
    shops = scope_of("shops", [contract("shops", subjects="shops", unit="commercial")])
    assert "commercial confidentiality" in str(shops)
    assert draw_up(shops, ["shops"], [], [], 0).unit == "commercial confidentiality"


def test_prices_compose_and_are_not_added() -> None:
    one = Gaussian("4")
    price = charge(scope(), [one, one], [], one)
    alone = accountant.epsilon([one], 1e-6)
    assert price.requested == alone
    assert price.total == accountant.epsilon([one] * 3, 1e-6) < 3 * alone
    assert price.held == accountant.epsilon([one] * 2, 1e-6)


def test_what_is_pending_counts_like_what_is_spent() -> None:
    held = [Repeated(Gaussian("4"), 4)]
    for spent, pending in ((held, []), ([], held)):
        with pytest.raises(InsufficientBudgetError) as caught:
            charge(scope(), spent, pending, Repeated(Gaussian("4"), 2))
        assert caught.value.spent == accountant.epsilon(held, 1e-6)
        assert caught.value.limit == 3.0
        assert caught.value.remaining == pytest.approx(3.0 - caught.value.spent)


def test_a_limit_can_be_used_to_its_last_digit() -> None:
    event = Gaussian("4")
    exact = accountant.epsilon([event], 1e-6)
    assert charge(scope(str(exact)), [], [], event).total == exact
    with pytest.raises(InsufficientBudgetError):
        charge(scope(str(round(exact - 0.0001, 4))), [], [], event)


@pytest.mark.parametrize(
    "wanted",
    [Gaussian("1"), Repeated(SampledGaussian("0.05", "1.2"), 300), Composed((Gaussian("2"),) * 3)],
)
def test_the_suggested_epsilon_would_pass(wanted: Event) -> None:
    held = [Repeated(Gaussian("4"), 2)]
    with pytest.raises(InsufficientBudgetError) as caught:
        charge(scope(), held, [], wanted)
    suggested = caught.value.affordable
    assert suggested > 0
    assert caught.value.override == f"privacy.epsilon={suggested:.2f}"
    factor = Decimal(1)
    while accountant.epsilon([quieter(wanted, factor)], 1e-6) > suggested:
        factor *= Decimal("1.02")
    charge(scope(), held, [], quieter(wanted, factor))


def test_nothing_is_suggested_when_nothing_would_pass() -> None:
    held = [Gaussian("1")]
    assert affordable(scope("1"), held, Gaussian("1")) == 0.0
    with pytest.raises(InsufficientBudgetError, match="nothing more") as caught:
        charge(scope("1"), held, [], Gaussian("1"))
    assert caught.value.override is None


def test_a_statement_adds_up_to_the_gate() -> None:
    spent, pending = [Repeated(Gaussian("4"), 2)], [Gaussian("4")]
    told = draw_up(scope(), ["returns", "orders"], spent, pending, 2)
    assert told.dataset == "orders, returns"
    assert told.epsilon_spent + told.epsilon_pending == pytest.approx(
        accountant.epsilon([*spent, *pending], 1e-6)
    )
    assert told.remaining == pytest.approx(3 - told.epsilon_spent - told.epsilon_pending)
