"""Seven safety rules for Cedar, and what each country's texts decide."""

import dataclasses
import fnmatch
import re
import tomllib
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import cedarpy
import pytest

from clients.policy import load_policy
from policies import engine
from policies.engine import Decision, Deny, Law, Permit, Reason, Request, decide, load_law
from policies.errors import MalformedLawError
from policies.law.bundle import SCHEMA_NAME, Caps, bundle, law_text
from policies.parties import Grade, Jurisdiction, PartyId, Role

CAPS = Caps(train_epsilon=Decimal(4), query_epsilon=Decimal("0.5"))
CASES = tomllib.loads(
    (Path(__file__).parents[1] / "vectors" / "policy_cases.toml").read_text(encoding="utf-8")
)["case"]

PLAIN = Request(
    action="train",
    proposer=PartyId("analyst"),
    proposer_role=Role.ANALYST,
    purpose="fraud_prevention",
    legal_basis="contract",
    node=PartyId("payments-eu"),
    role=Role.PAYMENT_PARTNER,
    jurisdiction=Jurisdiction.EU,
    dataset="payments",
    unit="customer",
    units=frozenset(),
    epsilon="2.0",
    delta="0.000001",
    grouped=frozenset(),
    filtered=frozenset(),
    aggregated=frozenset({Grade.S2}),
    masked=frozenset(),
    joined=frozenset(),
    recipients=frozenset({Jurisdiction.EU, Jurisdiction.UK}),
    aggregator=Jurisdiction.EU,
    keyholder=None,
    today=20_780,
    exported_persons=50_000,
    cohort=4,
    minimum_cohort=3,
    code_matches=True,
    expired=False,
    private=True,
)


@cache
def law_of(jurisdiction: str, extra: str = "", schema: str | None = None) -> Law:
    texts = bundle(PartyId(f"node-{jurisdiction.lower()}"), Jurisdiction(jurisdiction), CAPS)
    rules = [text for name, text in texts.items() if name != SCHEMA_NAME]
    return load_law([*rules, extra], schema or texts[SCHEMA_NAME])


def changed(**changes: Any) -> Request:
    """`PLAIN` with other values; the law must hold for any text, also one no enum knows."""
    values = {
        key: frozenset(value) if isinstance(value, list) else value
        for key, value in changes.items()
    }
    return dataclasses.replace(PLAIN, **values)


def refusals(request: Request, law: Law) -> tuple[Reason, ...]:
    decision = decide(request, law)
    assert isinstance(decision, Deny)
    return decision.reasons


def judged(case: dict[str, Any], node: str) -> Decision:
    """What the law of a node in `node` says to a case."""
    absent = dict.fromkeys(case.get("absent", []))
    return decide(changed(jurisdiction=node, **case.get("given", {}), **absent), law_of(node))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_given_this_the_law_says_that(case: dict[str, Any]) -> None:
    for node in case["nodes"]:
        decision = judged(case, node)
        if not case["refused"]:
            assert isinstance(decision, Permit), (node, decision)
            continue
        assert isinstance(decision, Deny), node
        found = [reason.id for reason in decision.reasons]
        wanted = [rule.format(node=node) for rule in case["refused"]]
        assert len(found) == len(wanted), (node, found)
        assert all(map(fnmatch.fnmatchcase, found, wanted)), (node, found)
        overrides = sorted({reason.override for reason in decision.reasons if reason.override})
        assert overrides == case.get("overrides", []), (node, overrides)


def test_every_rule_of_every_country_speaks_in_a_case() -> None:
    decisions = [judged(case, node) for case in CASES for node in case["nodes"]]
    spoken = {r.id for d in decisions if isinstance(d, Deny) for r in d.reasons}
    known = {rule for node in Jurisdiction for rule in law_of(node).reasons}
    assert known - spoken <= {"NODE-003"}
    law = load_law(*_only_market_statistics())
    assert [r.override for r in refusals(PLAIN, law) if r.id == "NODE-003"] == [None]


def _only_market_statistics() -> tuple[list[str], str]:
    caps = dataclasses.replace(CAPS, purposes=("market_statistics",))
    texts = bundle(PartyId("node"), Jurisdiction.CH, caps)
    schema = texts.pop(SCHEMA_NAME)
    return list(texts.values()), schema


# 1. Always a schema; what does not fit it is refused when it is loaded.


@pytest.mark.parametrize(
    "rule",
    [
        "forbid (principal, action, resource) when { context.cohort_mim < 3 };",
        'forbid (principal, action, resource) when { context.cohort < "3" };',
        'forbid (principal, action, resource) when { context.keyholder == "CN" };',
        'forbid (principal, action == Action::"trian", resource);',
        "forbid (principal, action, resource) when {",
    ],
)
def test_1_a_typo_is_found_when_the_law_is_loaded(rule: str) -> None:
    notes = '@id("X-1") @law("l") @en("e") @zh("z") @fix_en("f") @fix_zh("f") @override("")\n'
    with pytest.raises(MalformedLawError):
        law_of("EU", notes + rule)


# 2. Only a clean allow permits.

NOTES = '@id("{id}") @law("l") @en("e") @zh("z") @fix_en("f") @fix_zh("f") @override("")\n'
OVERFLOW = "forbid (principal, action, resource) when { context.cohort * 9223372036854775807 < 1 };"


def test_2_a_rule_that_cannot_be_evaluated_refuses() -> None:
    law = law_of("EU", NOTES.format(id="X-1") + OVERFLOW)
    assert [reason.id for reason in refusals(PLAIN, law)] == ["LAW-002"]
    both = [reason.id for reason in refusals(changed(expired=True), law)]
    assert both == ["BASE-006", "LAW-002"]


def test_2_a_missing_attribute_is_no_decision_and_refuses() -> None:
    schema = law_text(SCHEMA_NAME).replace("private: Bool,", "private: Bool, transfer: String,")
    assert "transfer" in schema
    assert [reason.id for reason in refusals(PLAIN, law_of("EU", schema=schema))] == ["LAW-002"]


def test_2_an_attribute_of_another_type_refuses() -> None:
    for wrong in (changed(cohort="4"), changed(expired="no"), changed(action="delete")):
        assert refusals(wrong, law_of("EU"))[0].id == "LAW-002"


def test_2_silence_refuses() -> None:
    rule = NOTES.format(id="X-1") + "forbid (principal, action, resource) when { context.expired };"
    law = load_law([rule], law_text(SCHEMA_NAME))
    assert [reason.id for reason in refusals(PLAIN, law)] == ["LAW-001"]


def test_2_an_engine_that_fails_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of order")

    law = law_of("EU")
    monkeypatch.setattr(cedarpy, "is_authorized", broken)
    (reason,) = refusals(PLAIN, law)
    assert reason.id == "LAW-000"
    assert "out of order" not in reason.text_en


# 3. Parsed once.


def test_3_deciding_parses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    law = law_of("EU")
    seen: list[tuple[object, ...]] = []
    real = cedarpy.is_authorized
    monkeypatch.setattr(cedarpy, "is_authorized", lambda *a: seen.append(a) or real(*a))
    assert isinstance(decide(PLAIN, law), Permit)
    assert isinstance(seen[0][1], cedarpy.PolicySet)
    assert isinstance(seen[0][3], cedarpy.Schema)


# 4. The engine rounds up, never the caller.


@pytest.mark.parametrize(
    ("epsilon", "sent"),
    [("0.5", "0.5000"), ("0.50001", "0.5001"), ("1e-9", "0.0001"), ("4", "4.0000")],
)
def test_4_epsilon_is_rounded_up(epsilon: str, sent: str) -> None:
    question = engine._question(changed(epsilon=epsilon))
    assert question["context"]["epsilon"]["__extn"]["arg"] == sent


@pytest.mark.parametrize("epsilon", ["nan", "inf", "-1", "0", "one", "", "1e30", "1e300"])
def test_4_what_is_no_price_is_refused(epsilon: str) -> None:
    assert refusals(changed(epsilon=epsilon), law_of("EU"))
    assert refusals(changed(delta=epsilon), law_of("EU"))


# 5. Reasons are sorted and carry their own names.


def test_5_reasons_come_sorted_under_their_own_names() -> None:
    wrong = changed(expired=True, code_matches=False, private=False, epsilon="9", grouped=["S4"])
    found = [reason.id for reason in refusals(wrong, law_of("EU"))]
    assert found == sorted(found) == ["BASE-005", "BASE-006", "BASE-007", "BASE-009", "NODE-001"]


@pytest.mark.parametrize("node", list(Jurisdiction))
def test_5_every_reason_speaks_both_languages_and_shows_a_way_out(node: Jurisdiction) -> None:
    for reason in law_of(node).reasons.values():
        assert re.search("[一-鿿]", reason.text_zh), reason.id
        assert re.search("[一-鿿]", reason.fix_zh), reason.id
        assert reason.law
        assert reason.fix_en
        assert reason.override is None or "=" in reason.override
        assert "$" not in "".join(filter(None, dataclasses.astuple(reason)))


def test_5_a_cap_is_written_once_and_said_everywhere() -> None:
    caps = dataclasses.replace(CAPS, train_epsilon=Decimal("1.25"))
    texts = bundle(PartyId("node"), Jurisdiction.CH, caps)
    law = load_law(
        [text for name, text in texts.items() if name != SCHEMA_NAME], texts[SCHEMA_NAME]
    )
    (reason,) = refusals(PLAIN, law)
    assert reason.override == "privacy.epsilon=1.25"
    assert "1.25" in reason.text_en
    assert "1.25" in reason.text_zh
    assert isinstance(decide(changed(epsilon="1.25"), law), Permit)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("forbid (principal, action, resource);", "rules has none"),
        ('@id("BASE-001")\npermit (principal, action, resource);', "two have BASE-001"),
        (
            '@id("X-1") @law("l") @en("e")\nforbid (principal, action, resource);',
            "rule X-1 lacks @zh, @fix_en, @fix_zh, @override",
        ),
    ],
)
def test_5_a_rule_without_its_own_name_and_texts_is_no_law(rule: str, why: str) -> None:
    with pytest.raises(MalformedLawError, match=why):
        law_of("EU", rule)


def test_the_rule_that_the_documents_give_asks_a_person() -> None:
    text = (Path(__file__).parents[2] / "clients" / "README.md").read_text(encoding="utf-8")
    (rule,) = re.findall("```cedar\n(.*?)```", text, re.DOTALL)
    law = law_of("EU", rule)
    assert isinstance(decide(dataclasses.replace(PLAIN, epsilon="0.5"), law), Permit)
    dear = dataclasses.replace(PLAIN, epsilon="0.51")
    refused = decide(dear, law)
    assert not isinstance(refused, Permit)
    assert [reason.id for reason in refused.reasons] == ["MINE-001"]
    assert isinstance(decide(dataclasses.replace(dear, approved=True), law), Permit)


# 6. Attributes are the node's: the request has no place for a value that a proposer could slip in.


def test_6_every_attribute_of_the_schema_is_computed_from_the_request() -> None:
    question = engine._question(changed(keyholder=Jurisdiction.CH, exported_persons=1))
    ask = law_text(SCHEMA_NAME).split("type Ask = {")[1].split("};")[0]
    told = set(re.findall(r"^  (\w+)\??:", ask, flags=re.MULTILINE))
    assert question["context"].keys() == told


# 7. Limits with a memory are not Cedar's: the law knows no spend and no count of orders.


def test_7_the_law_has_no_memory() -> None:
    assert not re.search("spent|remaining|balance|orders_so_far", law_text(SCHEMA_NAME))
    law = law_of("EU")
    assert all(isinstance(decide(PLAIN, law), Permit) for _ in range(50))


def test_a_permit_is_minted_and_names_its_law() -> None:
    permit = decide(PLAIN, law_of("EU"))
    assert isinstance(permit, Permit)
    assert permit.law == law_of("EU").digest != law_of("UK").digest
    with pytest.raises(TypeError, match="minted"):
        Permit(PLAIN, permit.law)


@pytest.mark.parametrize("cap", ["0", "-1", "0.00001", "NaN", "Infinity"])
def test_a_cap_that_cedar_cannot_say_is_refused(cap: str) -> None:
    caps = dataclasses.replace(CAPS, query_epsilon=Decimal(cap))
    with pytest.raises(MalformedLawError):
        bundle(PartyId("node"), Jurisdiction.EU, caps)


def test_names_cannot_smuggle_rules_into_the_text() -> None:
    with pytest.raises(MalformedLawError):
        bundle(PartyId('x") permit (principal, action, resource);//'), Jurisdiction.EU, CAPS)
    with pytest.raises(MalformedLawError):
        Caps(train_epsilon=Decimal(1), query_epsilon=Decimal(1), purposes=('a"]',))


def test_a_node_folder_becomes_a_law(tmp_path: Path) -> None:
    with pytest.raises(MalformedLawError, match="needs"):
        load_policy(tmp_path)
    for name, text in bundle(PartyId("node-eu"), Jurisdiction.EU, CAPS).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert isinstance(decide(PLAIN, load_policy(tmp_path)), Permit)


def test_a_law_that_was_changed_is_read_anew(tmp_path: Path) -> None:
    for name, text in bundle(PartyId("node-eu"), Jurisdiction.EU, CAPS).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    before = load_policy(tmp_path)
    (path, *_) = tmp_path.glob("*.cedar")
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}// from now on\n", encoding="utf-8")
    assert load_policy(tmp_path).digest != before.digest
    path.write_text(text, encoding="utf-8")
    assert load_policy(tmp_path) == before
    path.write_text("permit (", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(MalformedLawError):
            load_policy(tmp_path)
