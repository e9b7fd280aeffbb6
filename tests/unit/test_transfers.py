"""Nothing crosses without a rule on record, whatever asks: rule, artefact, placement, and law."""

import itertools
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine import objections
from policies.errors import MisplacedError, NoMechanismError, NotForThereError
from policies.law.packs import packs
from policies.parties import Grade, Jurisdiction, territory
from policies.transfers import (
    Artefact,
    Cleared,
    Placed,
    Transfer,
    clear_for,
    destinations_of,
    leaves,
    place,
    rule_for,
)
from tests.unit.test_engine import changed, law_of

CN, EU, UK, US, CA, BR, CH = (
    Jurisdiction(code) for code in ("CN", "EU", "UK", "US", "US-CA", "BR", "CH")
)
VECTORS = tomllib.loads(
    (Path(__file__).parents[1] / "vectors" / "transfers.toml").read_text(encoding="utf-8")
)
POSTS = ("results", "aggregator", "key")
places = st.sampled_from(Jurisdiction)


def each(name: str) -> list[Any]:
    """Every crossing of a vector, as (from, to, for, vector)."""
    return [
        (Jurisdiction(row["from"]), Jurisdiction(to), post, row)
        for row in VECTORS[name]
        for to, post in itertools.product(row["to"], row["for"])
    ]


def test_what_is_on_record_names_its_rule_law_and_day() -> None:
    for origin, to, post, row in each("good"):
        found = rule_for(origin, to, True, place=post)
        assert found.id == row["rule"]
        assert found.law
        assert found.mechanism
        assert date.fromisoformat(found.as_of) == packs()[Jurisdiction(territory(origin))].as_of


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("bad_")])
def test_what_is_not_on_record_has_no_rule(name: str) -> None:
    for origin, to, post, _ in each(name):
        with pytest.raises(NoMechanismError, match=f"from {territory(origin)} to {territory(to)}"):
            rule_for(origin, to, True, place=post)


def test_the_vectors_leave_no_crossing_out() -> None:
    said = {(territory(a), territory(b), post) for name in VECTORS for a, b, post, _ in each(name)}
    lands = {territory(place) for place in Jurisdiction}
    assert {(a, b, p) for a in lands for b in lands for p in POSTS if a != b} <= said


@given(places, places)
def test_nobodys_person_and_home_need_no_mechanism(origin: Jurisdiction, to: Jurisdiction) -> None:
    home = territory(origin)
    if home == territory(to):
        assert rule_for(origin, to, True) == rule_for(origin, to, False)
        assert rule_for(origin, to, True).id == f"{home}-HOME"
    else:
        assert rule_for(origin, to, False).mechanism == "not_personal"


@given(places, st.sampled_from(POSTS))
def test_california_is_the_us_to_everybody(origin: Jurisdiction, post: Any) -> None:
    def said(to: Jurisdiction) -> Transfer | None:
        try:
            return rule_for(origin, to, True, place=post)
        except NoMechanismError:
            return None

    assert said(CA) == said(US)
    assert destinations_of(CA, True) == destinations_of(US, True)


def test_a_mechanism_ends_with_its_last_day() -> None:
    assert rule_for(EU, UK, True, on=date(2031, 12, 27)).id == "EU-T01"
    with pytest.raises(NoMechanismError):
        rule_for(EU, UK, True, on=date(2031, 12, 28))
    assert rule_for(EU, CH, True, on=date(2050, 1, 1)).id == "EU-T02"


@pytest.mark.parametrize("node", [CN, EU, UK, US, CA, BR, CH])
def test_the_law_and_the_border_agree(node: Jurisdiction) -> None:
    """Two readers of one pack: the Cedar texts and the rule of a message."""
    law = law_of(node)
    low = {"action": "query", "purpose": "market_statistics", "epsilon": "0.1"}
    home = territory(node)
    plain = {"jurisdiction": node, "recipients": [home], "aggregator": home, "keyholder": home}
    for to, post in itertools.product(Jurisdiction, POSTS):
        there = {"results": {"recipients": [to]}, "aggregator": {"aggregator": to}}
        request = changed(**{**low, **plain, **there.get(post, {"keyholder": to})})
        (reasons,) = objections([request], law)
        try:
            rule_for(node, to, True, place=post)  # type: ignore[arg-type]
        except NoMechanismError:
            assert reasons, (node, to, post)
        else:
            assert not reasons, (node, to, post, reasons)


# -- artefacts -------------------------------------------------------------------------------------


def artefact(*origin: Jurisdiction, to: tuple[Jurisdiction, ...] = (EU, UK), **other: Any) -> Any:
    values = {"kind": "model", "grade": Grade.S3, "personal": True, **other}
    return Artefact(origin=frozenset(origin), destinations=frozenset(to), **values)


def test_an_artefact_is_cleared_under_a_rule_of_every_origin() -> None:
    cleared = clear_for(artefact(CN, EU, UK), UK)
    assert [rule.id for rule in cleared.rules] == ["CN-T01", "EU-T01", "UK-HOME"]
    assert cleared.destination is UK


def test_one_origin_without_a_mechanism_keeps_it_here() -> None:
    with pytest.raises(NoMechanismError, match="from CN to US"):
        clear_for(artefact(EU, CN, to=(US,)), US)
    assert clear_for(artefact(EU, to=(US,)), US).rules[0].id == "EU-T04"


def test_an_artefact_goes_nowhere_but_to_its_own_destinations() -> None:
    with pytest.raises(NotForThereError, match="BR"):
        clear_for(artefact(EU), BR)
    with pytest.raises(NotForThereError):
        artefact(EU, to=())
    with pytest.raises(NotForThereError):
        artefact()
    assert clear_for(artefact(EU, to=(US,)), CA)  # the border is the territory's


@pytest.mark.parametrize("kind", ["agreement", "key", "record"])
def test_what_says_nothing_of_rows_needs_no_mechanism(kind: str) -> None:
    assert clear_for(artefact(CN, to=(US,), kind=kind), US).rules[0].id == "CN-FREE"


@pytest.mark.parametrize("kind", ["model", "update", "answer"])
def test_what_is_made_of_rows_about_nobody_needs_none(kind: str) -> None:
    firms = artefact(CN, to=(US,), kind=kind, personal=False)
    assert clear_for(firms, US).rules[0].id == "CN-FREE"


@given(st.sets(places, min_size=1), st.sets(places, min_size=1), places)
def test_cleared_means_meant_for_there_and_ruled_by_all(
    origins: set[Jurisdiction], to: set[Jurisdiction], there: Jurisdiction
) -> None:
    def allowed(origin: Jurisdiction) -> bool:
        return there in destinations_of(origin, True)

    thing = artefact(*origins, to=tuple(to))
    wanted = territory(there) in map(territory, to) and all(map(allowed, origins))
    try:
        found = clear_for(thing, there)
    except (NoMechanismError, NotForThereError):
        assert not wanted
    else:
        assert wanted
        assert {rule.id[:2] for rule in found.rules} == {territory(o) for o in origins}


# -- placement -------------------------------------------------------------------------------------


def test_a_run_of_everybody_with_its_sums_in_the_eu_and_its_key_in_switzerland() -> None:
    placed = place(Jurisdiction, True, EU, [CH])
    assert placed.origins == set(Jurisdiction)
    assert (placed.aggregator, placed.keyholders) == (EU, {CH})


def test_everybody_who_is_misplaced_is_named_at_once() -> None:
    with pytest.raises(MisplacedError) as caught:
        place([CN, EU, UK], True, US, [CN, CH])
    said = str(caught.value)
    for fault in (
        "from CN to US for an aggregator",
        "from EU to US for an aggregator",
        "from UK to US for an aggregator",
        "from EU to CN for the key",
        "from UK to CN for the key",
    ):
        assert fault in said
    assert "from CN to CN" not in said
    assert "to CH" not in said


def test_a_run_about_nobody_may_be_placed_anywhere() -> None:
    assert place([CN, EU], False, US, [CN]).aggregator is US


def test_proofs_are_minted() -> None:
    for proof in (Cleared, Placed):
        with pytest.raises(TypeError, match="minted"):
            proof(None, None, None)


@pytest.mark.parametrize(
    ("home", "recipients", "aggregator", "keyholder", "abroad"),
    [
        ("CN", ["CN"], "CN", None, False),
        ("US", ["US-CA"], "US", "US-CA", False),
        ("US-CA", ["US"], "US", None, False),
        ("CN", ["EU"], "CN", None, True),
        ("CN", ["CN"], "EU", None, True),
        ("CN", ["CN"], "CN", "CH", True),
        ("CN", [], "CN", "CN", False),
    ],
)
def test_something_leaves_when_any_of_it_does(
    home: str, recipients: list[str], aggregator: str, keyholder: str | None, abroad: bool
) -> None:
    assert leaves(home, recipients, aggregator, keyholder) is abroad
