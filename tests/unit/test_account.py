"""Whose account pays, in which units and windows; by composition; refused with a way out."""

from dataclasses import replace
from decimal import Decimal

import pytest

from policies.budget import accountant
from policies.budget.account import (
    Asked,
    Charge,
    Scope,
    admit,
    affordable,
    charge,
    charges,
    scope_of,
    scopes_of,
)
from policies.budget.dampening import quieter
from policies.budget.events import (
    Approximate,
    Composed,
    DiscreteGaussian,
    DiscreteLaplace,
    Event,
    Gaussian,
    Grouped,
    Mixture,
    Repeated,
    SampledGaussian,
    Skellam,
)
from policies.budget.statement import draw_up, lifetime
from policies.contracts import DataContract, load_contract
from policies.errors import (
    InsufficientBudgetError,
    MalformedContractError,
    UnitMismatchError,
    UnknownWindowError,
)

CONTRACT = """
name = "{name}"
version = 1
table = "{table}"
subjects = "{subjects}"
[unit]
kind = "{unit}"
columns = ["{column}"]
rows = 8
[limit]
epsilon = "{epsilon}"
delta = "{delta}"
failures = "{failures}"
window = "{window}"
{also}
[[columns]]
name = "customer_id"
type = "integer"
grade = "S3"
[[columns]]
name = "order_id"
type = "integer"
grade = "S3"
[[columns]]
name = "shop_id"
type = "integer"
grade = "S2"
"""

ALSO = """
[[also]]
kind = "{kind}"
columns = ["{column}"]
subjects = "{subjects}"
touches = {touches}
whole = {whole}
[also.limit]
epsilon = "{epsilon}"
delta = "1e-6"
window = "2025"
"""

COLUMN = {"customer": "customer_id", "order": "order_id", "commercial": "shop_id"}


def also(
    kind: str, subjects: str, touches: int = 1, whole: bool = False, epsilon: str = "9"
) -> str:
    return ALSO.format(
        kind=kind,
        column=COLUMN[kind],
        subjects=subjects,
        touches=touches,
        whole=str(whole).lower(),
        epsilon=epsilon,
    )


def contract(
    name: str,
    subjects: str = "customers",
    unit: str = "customer",
    epsilon: str = "3",
    window: str = "2025",
    delta: str = "1e-6",
    failures: str = "0",
    table: str = "",
    column: str = "",
    further: str = "",
) -> DataContract:
    return load_contract(
        CONTRACT.format(
            name=name,
            table=table or f"{name}.parquet",
            subjects=subjects,
            unit=unit,
            column=column or COLUMN[unit],
            epsilon=epsilon,
            delta=delta,
            failures=failures,
            window=window,
            also=further,
        )
    )


def scope(epsilon: str = "3", failures: str = "0") -> Scope:
    return scope_of("orders", [contract("orders", epsilon=epsilon, failures=failures)])


def accounts(
    dataset: str,
    contracts: list[DataContract],
    windows: dict[str, tuple[str, ...]] | None = None,
    read: tuple[str, ...] = (),
) -> set[str]:
    return {found.account for found in scopes_of(dataset, contracts, windows or {}, read)}


OPENED = {"customers": ("2024", "2025")}
THREE_UNITS = also("order", "orders-of-customers") + also("commercial", "shops", 3, whole=True)


# Nothing that a request or another contract names finds a second account.


def test_a_renamed_contract_finds_the_same_account() -> None:
    old, new = contract("orders"), contract("orders_v2")
    assert accounts("orders", [old], OPENED) == accounts("orders_v2", [new], OPENED)


def test_a_view_finds_the_same_account() -> None:
    contracts = [contract("orders"), contract("orders_view", table="orders.parquet")]
    assert accounts("orders", contracts) == accounts("orders_view", contracts)
    assert len(accounts("orders", contracts)) == 1


def test_a_view_under_other_subjects_pays_in_the_first_ones_account_too() -> None:
    view = contract("view", subjects="shoppers", table="orders.parquet", epsilon="99")
    contracts = [contract("orders", epsilon="1.5"), view]
    for name in ("orders", "view"):
        scopes = {s.subjects: s for s in scopes_of(name, contracts, OPENED)}
        assert scopes.keys() == {"customers", "shoppers"}
        assert scopes["customers"].epsilon == Decimal("1.5")


def test_a_view_pays_in_the_further_units_of_the_table() -> None:
    view = contract("view", table="orders.parquet")
    contracts = [contract("orders", further=THREE_UNITS), view]
    assert accounts("view", contracts) == accounts("orders", contracts)


def test_a_view_with_a_unit_that_does_not_cover_the_tables_people_is_refused() -> None:
    view = contract("view", subjects="baskets", unit="order", table="orders.parquet")
    contracts = [contract("orders"), view]
    with pytest.raises(UnitMismatchError, match="view reads rows of customers"):
        scopes_of("view", contracts, {})


def test_a_split_finds_the_same_account() -> None:
    contracts = [contract("orders"), contract("orders_test", table="orders_late.parquet")]
    assert accounts("orders", contracts) == accounts("orders_test", contracts)


def test_another_unit_finds_the_same_account() -> None:
    coarse = contract("orders")
    fine = contract(
        "baskets", unit="order", further=also("customer", "customers", 8, whole=True, epsilon="2")
    )
    contracts = [coarse, fine]
    (first,), (second,) = (scopes_of(name, contracts, {}) for name in ("orders", "baskets"))
    assert first.account == second.account
    assert first.unit == second.unit == "customer"
    assert first.epsilon == second.epsilon == 2
    (paid,) = charges(fine, contracts, {}, Gaussian("4"), 5)
    assert paid.event == Grouped(Gaussian("4"), 8)


def test_a_unit_called_otherwise_finds_the_same_account() -> None:
    # The rows of a customer under the name of an order: the columns say what is hidden.
    named = contract("view", unit="order", column="customer_id", table="orders.parquet")
    contracts = [contract("orders"), named]
    assert accounts("view", contracts) == accounts("orders", contracts)
    assert len(accounts("view", contracts)) == 1


def test_another_window_label_finds_the_same_accounts() -> None:
    contracts = [contract("orders"), contract("orders_2026", window="2026", epsilon="99")]
    assert accounts("orders", contracts) == accounts("orders_2026", contracts)
    for windows in ({"customers": ("2025",)}, OPENED):
        for name in ("orders", "orders_2026"):
            scopes = scopes_of(name, contracts, windows)
            assert tuple(s.window for s in scopes) == windows["customers"]
            assert scopes[-1].epsilon == 3


def test_a_look_back_pays_in_the_windows_that_it_reads() -> None:
    contracts = [contract("orders", window="2025")]
    assert [s.window for s in scopes_of("orders", contracts, OPENED)] == ["2024", "2025"]
    assert [s.window for s in scopes_of("orders", contracts, OPENED, ("2024",))] == ["2024"]
    asked = [
        Asked(due, [Gaussian("1.8")] if due.scope.window == "2024" else [], [])
        for due in charges(contracts[0], contracts, OPENED, Gaussian("3"), 1)
    ]
    with pytest.raises(InsufficientBudgetError, match=r"customers \(customer, 2024\)"):
        admit(asked)
    admit(asked[1:])


def test_a_window_that_was_never_opened_is_not_read() -> None:
    for name in ("2023", "2026"):
        with pytest.raises(UnknownWindowError, match=f"{name} .* 2024, 2025"):
            scopes_of("orders", [contract("orders")], OPENED, ("2025", name))


def test_another_unit_pays_in_its_windows_of_that_name_or_in_all() -> None:
    contracts = [contract("orders", further=THREE_UNITS)]
    windows = {**OPENED, "shops": ("2024", "2025"), "orders-of-customers": ("a", "b")}
    scopes = scopes_of("orders", contracts, windows, ("2025",))
    assert [(s.subjects, s.window) for s in scopes] == [
        ("customers", "2025"),
        ("orders-of-customers", "a"),
        ("orders-of-customers", "b"),
        ("shops", "2025"),
    ]


def test_a_run_pays_in_all_its_units_at_once() -> None:
    orders = contract("orders", further=THREE_UNITS)
    paid = charges(orders, [orders], {}, Gaussian("4"), 5)
    assert [(due.scope.unit, due.event, due.releases) for due in paid] == [
        ("customer", Gaussian("4"), 5),
        # An order changes one customer's rows: that customer out, and in again.
        ("order", Grouped(Gaussian("4"), 2), 5),
        # A shop comes and goes with three whole customers.
        ("commercial", Grouped(Gaussian("4"), 3), 5),
    ]
    assert paid[0].whole == Repeated(Gaussian("4"), 5)
    twice = charges(orders, [orders], OPENED | {"shops": ("a", "b")}, Gaussian("4"), 5)
    assert len(twice) == 2 + 1 + 2


def test_an_account_shared_by_two_tables_pays_for_the_larger_group() -> None:
    few = contract("few", further=also("order", "orders-of-customers", 1))
    many = contract("many", table="few.parquet", further=also("order", "orders-of-customers", 4))
    sizes = [charges(c, [few, many], {}, Gaussian("4"), 1)[1].event for c in (few, many)]
    assert sizes == [Grouped(Gaussian("4"), 8)] * 2


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


def test_the_smallest_limit_binds_in_both_purses() -> None:
    contracts = [
        contract("orders", epsilon="3", delta="1e-6", failures="1e-9"),
        contract("returns", epsilon="4", delta="1e-7", failures="1e-8"),
        contract("claims", epsilon="5", delta="1e-5", failures="1e-10"),
    ]
    for item in contracts:
        found = scope_of(item.name, contracts)
        assert (found.epsilon, found.delta, found.failures) == (
            3,
            Decimal("1e-7"),
            Decimal("1e-10"),
        )
        assert found.limit.failures == found.failures


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
    told = draw_up(shops, ["shops"], [], [], 0)
    assert told.unit == "commercial confidentiality"
    with pytest.raises(InsufficientBudgetError) as caught:
        charge(shops, [], [], Gaussian("0.1"))
    for text in (str(shops), told.unit, str(caught.value), shops.label, repr(caught.value)):
        assert "person" not in text
        assert "customer" not in text


def test_a_firm_never_takes_over_the_account_of_people() -> None:
    shops = contract("shops", unit="commercial", further=also("customer", "customers", 2))
    contracts = [contract("orders"), shops]
    for name in ("orders", "shops"):
        assert [s.unit for s in scopes_of(name, contracts, {})] == ["customer"]


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


def test_the_purse_of_failures_adds_and_refuses_like_epsilon() -> None:
    event = Approximate(Gaussian("40"), "1e-10")
    account = scope(failures="1e-9")
    charge(account, [Repeated(event, 6)], [Repeated(event, 3)], event)
    for spent, pending in (([Repeated(event, 9)], []), ([], [Repeated(event, 9)])):
        with pytest.raises(InsufficientBudgetError) as caught:
            charge(account, spent, pending, Repeated(event, 2))
        why = caught.value
        assert why.purse == "failures"
        assert (why.requested, why.spent, why.limit) == (2e-10, 9e-10, 1e-9)
        assert why.remaining == pytest.approx(1e-10)
        assert why.override is None


def test_a_refusal_for_failures_names_the_purse_and_what_to_do() -> None:
    event = Approximate(Gaussian("40"), "1e-10")
    wanted = Charge(scope(failures="1e-9"), event, 5)
    with pytest.raises(InsufficientBudgetError, match="failure probability") as caught:
        admit([Asked(wanted, [Repeated(event, 7)], [])])
    assert caught.value.releases == 3
    assert "3 releases or fewer" in str(caught.value)
    with pytest.raises(InsufficientBudgetError, match="without a failure probability") as caught:
        admit([Asked(wanted, [Repeated(event, 10)], [])])
    assert caught.value.releases == 0


def test_a_limit_without_failures_admits_none() -> None:
    with pytest.raises(InsufficientBudgetError) as caught:
        charge(scope(), [], [], Approximate(Gaussian("40"), "1e-30"))
    assert caught.value.purse == "failures"


def test_a_run_is_paid_everywhere_or_nowhere() -> None:
    orders = contract("orders", further=also("order", "baskets", epsilon="0.5") + THREE_UNITS)
    dues = charges(orders, [orders], {}, Gaussian("4"), 2)
    prices = admit([Asked(due, [], []) for due in dues if due.scope.subjects != "baskets"])
    assert len(prices) == 3
    held = {"customers": [Gaussian("2")]}
    with pytest.raises(InsufficientBudgetError) as caught:
        admit([Asked(due, held.get(due.scope.subjects, ()), ()) for due in dues])
    why = caught.value
    assert [each.scope.split(" ")[0] for each in why.every] == ["customers", "baskets"]
    suggested = why.affordable
    assert suggested > 0
    factor = Decimal(1)
    while accountant.epsilon([quieter(dues[0].whole, factor)], 1e-6) > suggested:
        factor *= Decimal("1.02")
    louder = [Charge(due.scope, quieter(due.event, factor), due.releases) for due in dues]
    admit([Asked(due, held.get(due.scope.subjects, ()), ()) for due in louder])


def test_the_suggestion_is_stated_at_the_orders_own_delta() -> None:
    contracts = [contract("orders", epsilon="1"), contract("strict", epsilon="1", delta="1e-9")]
    (due,) = charges(contracts[0], contracts, {}, Gaussian("2"), 1)
    assert due.scope.delta == Decimal("1e-9")
    with pytest.raises(InsufficientBudgetError) as caught:
        admit([Asked(due, [], [])])
    suggested = caught.value.affordable
    noise = Gaussian(accountant.calibrate(1.0, 1, suggested, 1e-6))
    admit([Asked(Charge(due.scope, noise, 1), [], [])])


def test_the_suggestion_leaves_room_for_rounds_that_come_to_nothing() -> None:
    orders = contract("orders", epsilon="2")
    (due,) = charges(orders, [orders], {}, Gaussian("4"), 6)
    with pytest.raises(InsufficientBudgetError) as caught:
        admit([Asked(due.with_spare(3), [], [])])
    suggested = caught.value.affordable
    noise = Gaussian(accountant.calibrate(1.0, 6, suggested, 1e-6))
    admit([Asked(Charge(due.scope, noise, 6).with_spare(3), [], [])])
    with pytest.raises(InsufficientBudgetError):
        louder = Gaussian(accountant.calibrate(1.0, 6, 1.1 * suggested, 1e-6))
        admit([Asked(Charge(due.scope, louder, 6).with_spare(3), [], [])])
    event = Approximate(Gaussian("40"), "1e-10")
    with pytest.raises(InsufficientBudgetError) as caught:
        admit([Asked(Charge(scope(failures="1e-9"), event, 9).with_spare(3), [], [])])
    assert caught.value.releases == 7


@pytest.mark.parametrize(
    "event",
    [
        Gaussian("2"),
        SampledGaussian("0.1", "2"),
        DiscreteGaussian("3", "6"),
        Skellam("0.1", "400", "3", "2"),
        DiscreteLaplace(1, "2"),
        Mixture("2", ("0.9", "0.05", "0.05")),
        Grouped(Gaussian("2"), 3),
        Approximate(Gaussian("2"), "1e-9"),
        Composed((Gaussian("2"), Repeated(Gaussian("3"), 2))),
    ],
)
def test_every_kind_of_noise_can_be_turned_up(event: Event) -> None:
    assert quieter(event, Decimal(1)) == event
    before, after = (accountant.epsilon([quieter(event, Decimal(f))], 1e-6) for f in (1, 3))
    assert 0 < after < before


def test_a_statement_tells_both_purses_and_the_whole_life() -> None:
    event = Approximate(Gaussian("8"), "1e-10")
    spent, pending = [Repeated(event, 2)], [event]
    ever = lifetime([("a", Repeated(event, 2)), ("b", event), ("a", Repeated(event, 2))])
    assert ever == (Repeated(event, 2), event)
    told = draw_up(scope(failures="1e-9"), ["orders"], spent, pending, 2, (*ever, Gaussian("2")))
    assert (told.failures_spent, told.failures_pending, told.failures_limit) == (
        Decimal("2e-10"),
        Decimal("1e-10"),
        Decimal("1e-9"),
    )
    assert told.failures_left == Decimal("7e-10")
    assert told.lifetime == accountant.epsilon([Repeated(event, 3), Gaussian("2")], 1e-6)
    assert told.lifetime_failures == Decimal("3e-10")
    assert told.events == (*spent, *pending)
    alone = draw_up(scope(failures="1e-9"), ["orders"], spent, pending, 2)
    assert alone.lifetime == accountant.epsilon([Repeated(event, 3)], 1e-6)


def test_both_purses_are_named_and_what_is_suggested_passes() -> None:
    event = Approximate(Gaussian("4"), "1e-10")
    wanted = Charge(scope("3", "5e-10"), event, 40)
    with pytest.raises(InsufficientBudgetError) as caught:
        admit([Asked(wanted, [], [])])
    every = caught.value.every
    assert [why.purse for why in every] == ["epsilon", "failures"]
    assert [why.override for why in every] == [None, None]  # more noise fills no purse of failures
    assert {why.releases for why in every} == {5}
    admit([Asked(replace(wanted, releases=5), [], [])])


def test_fewer_releases_are_suggested_only_if_every_purse_of_every_account_pays_them() -> None:
    event = Approximate(Gaussian("4"), "1e-10")
    poor, unsure = scope("1.5", "0.5"), replace(scope("3", "8e-10"), subjects="shops")
    for spare in (0, 2):
        wanted = [Charge(each, event, 12).with_spare(spare) for each in (poor, unsure)]
        with pytest.raises(InsufficientBudgetError) as caught:
            admit([Asked(each, [], []) for each in wanted])
        most = caught.value.releases
        assert most is not None
        passes = []
        for count in range(1, 13):
            few = [replace(each, releases=count + spare) for each in wanted]
            try:
                admit([Asked(each, [], []) for each in few])
            except InsufficientBudgetError:
                continue
            passes.append(count)
        assert most == max(passes, default=0)
    nothing = [Asked(Charge(scope("0.1", "1e-10"), event, 2), [Repeated(event, 1)], [])]
    with pytest.raises(InsufficientBudgetError) as caught:
        admit(nothing)
    assert {why.releases for why in caught.value.every} == {0}
