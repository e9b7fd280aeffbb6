"""Packs are dated data, say honestly who reviewed them, and are the one home of their facts."""

import dataclasses
import re
from datetime import date
from decimal import Decimal

import pytest

from policies.engine import Deny, Permit, decide, load_law
from policies.errors import MalformedPackError
from policies.law.bundle import SCHEMA_NAME, Caps, bundle, law_text
from policies.law.filling import facts, fingerprint, lapses, uncounted
from policies.law.packs import Mechanism, Pack, load_pack, packs
from policies.parties import Jurisdiction, PartyId, territory
from policies.situations import plain

CAPS = Caps(train_epsilon=Decimal(4), query_epsilon=Decimal("0.5"))
PACKS = packs()
CHINESE = re.compile("[一-鿿]")

MINIMAL = """
jurisdiction = "CN"
name_en = "China"
name_zh = "中国"
as_of = 2026-11-22
reviewed_by = ""
law = "l"
fix_en = "f"
fix_zh = "f"
"""
WAY = """
[[mechanism]]
id = "CN-T01"
to = ["EU"]
covers = ["results"]
kind = "scc"
law = "l"
article = "a"
en = "e"
zh = "z"
"""


def law_with(pack: Pack, node: Jurisdiction = Jurisdiction.CN):
    """The law of a node whose territory's pack is another one."""
    known = {**PACKS, pack.jurisdiction: pack}
    texts = bundle(PartyId("node"), node, CAPS, known)
    return load_law([t for name, t in texts.items() if name != SCHEMA_NAME], texts[SCHEMA_NAME])


def refused(law, node: Jurisdiction = Jurisdiction.CN, **changes) -> list[str]:
    values = {
        key: frozenset(value) if isinstance(value, list) else value
        for key, value in changes.items()
    }
    decision = decide(dataclasses.replace(plain(node), **values), law)
    return [r.id for r in decision.reasons] if isinstance(decision, Deny) else []


def test_every_territory_and_state_has_its_pack() -> None:
    assert set(PACKS) == set(Jurisdiction)


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_a_pack_is_dated_bilingual_and_says_who_reviewed_it(pack: Pack) -> None:
    assert date(2026, 11, 1) <= pack.as_of <= date(2026, 12, 31)
    assert pack.reviewed_by == ""
    assert pack.reviewed_en == "nobody yet: for review by counsel"
    assert CHINESE.search(pack.reviewed_zh)
    assert pack.law
    assert pack.fix_en
    assert CHINESE.search(pack.fix_zh)
    assert len(pack.notes_en) == len(pack.notes_zh)
    for mechanism in pack.mechanisms:
        assert mechanism.law
        assert re.search(r"\d", mechanism.article)
        assert mechanism.en
        assert CHINESE.search(mechanism.zh)
        assert len(mechanism.needs_en) == len(mechanism.needs_zh)
        assert bool(mechanism.watch_en) == bool(mechanism.watch_zh)
        assert mechanism.id.startswith(f"{pack.jurisdiction}-T")


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_a_pack_covers_no_place_twice_for_the_same_and_not_home(pack: Pack) -> None:
    for mechanism in pack.mechanisms:
        assert territory(pack.jurisdiction) not in mechanism.to
        assert not set(mechanism.to) & set(pack.barred)


def test_a_state_of_a_territory_has_no_borders_of_its_own() -> None:
    assert PACKS[Jurisdiction.US_CA].mechanisms == ()
    assert {"us.cedar", "us-ca.cedar"} <= bundle(PartyId("n"), Jurisdiction.US_CA, CAPS).keys()
    assert "us-ca.cedar" not in bundle(PartyId("n"), Jurisdiction.US, CAPS)


@pytest.mark.parametrize("place", [p for p in Jurisdiction if p == territory(p)])
def test_no_list_of_territories_stands_in_a_rule(place: Jurisdiction) -> None:
    """One home per fact: a text of a territory names no territory but through its pack."""
    text = law_text(f"{place.lower()}.cedar")
    rules = "".join(line for line in text.splitlines() if not line.startswith("//"))
    assert not re.search(r'"(CN|EU|UK|US|BR|CH)"', rules)


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_the_written_rules_say_of_which_edition_they_are(pack: Pack) -> None:
    text = bundle(PartyId("n"), pack.jurisdiction, CAPS)[f"{pack.jurisdiction.lower()}.cedar"]
    head = text[: text.index("@id")]
    assert pack.as_of.isoformat() in head
    assert fingerprint(pack) in head
    assert "nobody yet: for review by counsel" in head
    assert "$" not in text


def test_what_is_put_on_record_is_permitted_and_said() -> None:
    china = PACKS[Jurisdiction.CN]
    to_us = dataclasses.replace(
        china.mechanisms[0], id="CN-T02", to=(Jurisdiction.US,), kind="certification"
    )
    more = dataclasses.replace(china, mechanisms=(*china.mechanisms, to_us))
    assert refused(law_with(china), recipients=["US"]) == ["CN-002"]
    assert refused(law_with(more), recipients=["US"]) == []
    fix = law_with(more).reasons["CN-002"].fix_en
    assert fix == "leave out recipients outside CN, EU, UK, BR, CH and US"
    assert law_with(more).digest != law_with(china).digest


def test_what_is_taken_off_the_record_is_refused_everywhere() -> None:
    china = PACKS[Jurisdiction.CN]
    law = law_with(dataclasses.replace(china, mechanisms=()))
    assert refused(law) == []
    assert refused(law, recipients=["EU"]) == ["CN-002"]
    assert refused(law, aggregator="EU") == ["CN-005"]
    assert refused(law, keyholder="EU") == ["CN-004"]


# -- the yearly number -----------------------------------------------------------------------------


def with_strong(*to: str) -> Pack:
    """China's pack with a security assessment for some territories."""
    china = PACKS[Jurisdiction.CN]
    strong = dataclasses.replace(
        china.mechanisms[0],
        id="CN-T09",
        to=tuple(map(Jurisdiction, to)),
        kind="security_assessment",
        counted=False,
    )
    return dataclasses.replace(china, mechanisms=(*china.mechanisms, strong))


def test_above_the_number_only_the_stronger_mechanism_helps() -> None:
    weak, strong = law_with(PACKS[Jurisdiction.CN]), law_with(with_strong("EU"))
    many = {"exported_persons": 100_001}
    assert refused(weak, recipients=["EU"], **many) == ["CN-006"]
    assert refused(strong, recipients=["EU"], **many) == []
    assert refused(strong, recipients=["EU", "UK"], **many) == ["CN-006"]
    assert refused(strong, recipients=["EU"], aggregator="UK", **many) == ["CN-006"]
    assert refused(strong, recipients=["EU"], keyholder="CH", **many) == ["CN-006"]
    assert refused(strong, recipients=["CN"], keyholder="EU", **many) == []


def test_which_territories_are_uncounted() -> None:
    assert uncounted(PACKS[Jurisdiction.CN]) == ("CN",)
    assert uncounted(with_strong("UK", "EU")) == ("CN", "EU", "UK")
    assert uncounted(PACKS[Jurisdiction.EU]) == ("EU", "UK", "CH", "BR", "US", "CN")


# -- last days -------------------------------------------------------------------------------------


def dated(pack: Pack, **days: str) -> Pack:
    """The pack with last days by mechanism id (without the dash)."""
    return dataclasses.replace(
        pack,
        mechanisms=tuple(
            dataclasses.replace(m, valid_until=date.fromisoformat(days[key]))
            if (key := m.id.replace("-", "")) in days
            else m
            for m in pack.mechanisms
        ),
    )


def day(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


def test_a_mechanism_lapses_for_everything_that_it_covered() -> None:
    law = law_with(dated(PACKS[Jurisdiction.CN], CNT01="2028-03-31"))
    for where in ({"recipients": ["BR"]}, {"aggregator": "BR"}, {"keyholder": "BR"}):
        assert refused(law, today=day("2028-03-31"), **where) == []
        assert refused(law, today=day("2028-04-01"), **where) == ["CN-UNTIL-BR"]
    assert refused(law, today=day("2028-04-01"), recipients=["CN"]) == []


def test_a_second_mechanism_carries_on() -> None:
    pack = dated(with_strong("EU"), CNT01="2028-03-31")
    law = law_with(pack)
    assert refused(law, today=day("2029-01-01"), recipients=["EU"]) == []
    assert refused(law, today=day("2029-01-01"), recipients=["UK"]) == ["CN-UNTIL-UK"]
    longer = dated(with_strong("EU"), CNT01="2028-03-31", CNT09="2030-06-30")
    assert [row["day"] for row in lapses(longer) if row["to"] == "EU"] == ["2030-06-30"]


# -- what is no pack -------------------------------------------------------------------------------


def test_the_smallest_pack() -> None:
    pack = load_pack(MINIMAL + WAY)
    assert pack.mechanisms[0] == Mechanism(
        id="CN-T01",
        to=(Jurisdiction.EU,),
        covers=frozenset({"results"}),
        kind="scc",
        law="l",
        article="a",
        en="e",
        zh="z",
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jurisdiction",
        MINIMAL + 'surprise = "x"',
        MINIMAL.replace("2026-11-22", '"2026-11-22"'),
        MINIMAL.replace('"CN"', '"XX"'),
        MINIMAL.replace('law = "l"', "law = 1"),
        MINIMAL.replace('fix_zh = "f"', ""),
        MINIMAL + WAY.replace('"scc"', '"wish"'),
        MINIMAL + WAY.replace('["results"]', '["everything"]'),
        MINIMAL + WAY.replace('["results"]', "[]"),
        MINIMAL + WAY.replace('["EU"]', '["CN"]'),
        MINIMAL + WAY.replace('["EU"]', "[]"),
        MINIMAL + WAY.replace('["EU"]', '["Atlantis"]'),
        MINIMAL + WAY + WAY,
        MINIMAL + WAY + 'valid_until = "soon"',
        MINIMAL + WAY + "counted = 1",
        MINIMAL + 'barred = ["EU"]\n' + WAY,
        MINIMAL + "[export]\npersons = 1",
    ],
)
def test_what_does_not_hold_together_is_no_pack(text: str) -> None:
    with pytest.raises(MalformedPackError):
        load_pack(text)


@pytest.mark.parametrize("sign", ['"', "\\", "\n"])
def test_a_fact_cannot_smuggle_a_rule_into_the_text(sign: str) -> None:
    pack = dataclasses.replace(PACKS[Jurisdiction.CN], reviewed_by=f"x{sign}y")
    with pytest.raises(MalformedPackError):
        facts(pack)
    with pytest.raises(MalformedPackError):
        law_with(pack)


def test_a_risk_assessment_on_record_opens_training_in_california() -> None:
    state = PACKS[Jurisdiction.US_CA]
    assessed = dataclasses.replace(state, records={"risk_assessment": "RA-2026-07"})
    train = dataclasses.replace(
        plain(Jurisdiction.US_CA), action="train", purpose="fraud_prevention"
    )
    without, with_ = law_with(state, state.jurisdiction), law_with(assessed, state.jurisdiction)
    assert isinstance(decide(train, without), Deny)
    assert isinstance(decide(train, with_), Permit)
