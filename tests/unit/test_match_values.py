"""What a match may sum: bounds, steps and units of the contract, or one sentence that says why."""

from dataclasses import replace
from decimal import Decimal
from importlib.resources import files

import pytest

from experiments.matching import published_people, read_bound
from federation.errors import MalformedOrderError
from federation.match_values import require_value, value_for
from policies.contracts import Column, load_contract
from policies.parties import Grade

PEOPLE = published_people()
HALF = Decimal("0.5")


def with_column(**fields):
    named = Column(**{"name": "x", "type": "float", "grade": Grade.S2, **fields})
    return replace(PEOPLE, columns=(*PEOPLE.columns, named))


def test_a_value_follows_from_contract_price_and_bound():
    value = value_for(PEOPLE, "spent", HALF, 1)
    assert (value.low, value.high, value.step, value.unit) == (0, 5000, "0.1", "EUR")
    assert value.scale == 20_000
    tighter = value_for(PEOPLE, "spent", HALF, 1, Decimal(200), "EUR")
    assert (tighter.high, tighter.step, tighter.scale) == (2000, "0.1", 8000)
    finer = value_for(PEOPLE, "spent", HALF, 1, Decimal(50))
    assert (finer.high, finer.step) == (5000, "0.01")


@pytest.mark.parametrize(
    ("low", "high", "kind", "found"),
    [
        ("0", "100", "integer", (0, 100, "1")),
        ("-30", "7", "integer", (-30, 7, "1")),
        ("0", "1e7", "integer", (0, 10_000, "1000")),
        ("-0.005", "0.016", "float", (-1, 2, "0.01")),
    ],
)
def test_steps_are_whole_and_bounds_are_rounded_outwards(low, high, kind, found):
    contract = with_column(type=kind, low=Decimal(low), high=Decimal(high))
    value = value_for(contract, "x", HALF, 2)
    assert (value.low, value.high, value.step) == found
    assert value.scale == 8 * (found[1] - min(found[0], 0))
    require_value(value, contract)


@pytest.mark.parametrize(
    ("column", "bound", "unit", "why"),
    [
        ("spend", None, None, "did you mean 'spent'"),
        ("zzz", None, None, "choose from spent"),
        ("email", None, None, "no bounds"),
        ("customer_id", None, None, "columns with bounds: spent"),
        ("spent", "600", None, "between 0 and 500 EUR"),
        ("spent", "0", None, "above 0"),
        ("spent", "NaN", None, "above 0"),
        ("spent", "100", "USD", "is in EUR, the bound in USD"),
    ],
)
def test_what_cannot_be_summed_is_one_sentence(column, bound, unit, why):
    with pytest.raises(MalformedOrderError, match=why):
        value_for(PEOPLE, column, HALF, 1, None if bound is None else Decimal(bound), unit)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"high": 5001}, "between 0 and 500"),
        ({"low": -1}, "the order between"),
        ({"unit": "USD"}, "in EUR, the bound in USD"),
        ({"column": "spend"}, "did you mean"),
        ({"column": "customer_id"}, "no bounds"),
    ],
)
def test_a_node_holds_an_order_to_its_contract(changes, why):
    value = value_for(PEOPLE, "spent", HALF, 1)
    require_value(value, PEOPLE)
    require_value(replace(value, high=7), PEOPLE)
    with pytest.raises(MalformedOrderError, match=why):
        require_value(replace(value, **changes), PEOPLE)


def test_the_column_has_its_bound_in_the_published_contract():
    text = (files("experiments") / "parties" / "matching" / "people.toml").read_text("utf-8")
    contract = load_contract(text.replace("${epsilon}", "1").replace("${delta}", "1e-6"))
    assert contract.column("spent").unit == "EUR"


def test_a_bound_and_its_unit_are_told_from_other_settings():
    assert read_bound(["cap=3", "unit=EUR", "bound=2"]) == ("2", "EUR", ["cap=3"])
    assert read_bound(["bound"]) == (None, None, ["bound"])
