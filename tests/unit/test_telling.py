"""Entries in plain words: every kind, both languages, and nothing that a writer smuggles in."""

import re
from typing import Any

import pytest

from experiments.telling import moment, plain, tell, title, told
from experiments.words import LANGUAGES, catalogue
from federation.ledger.entries import FIELDS, Entry, EntryKind
from policies.budget.events import Gaussian, dumps

DIGEST = "ab" * 32

CHARGE = {
    "account": "customers\x1fcustomer\x1f2025",
    "dataset": "orders",
    "subjects": "customers",
    "unit": "customer",
    "window": "2025",
    "epsilon": "3.5",
    "delta": "0.000001",
    "failures": "0",
    "event": dumps(Gaussian("10")),
    "releases": 11,
    "spare": 3,
}
LIMIT = {name: CHARGE[name] for name in FIELDS[EntryKind.LIMIT_SET]}

BODIES: dict[EntryKind, dict[str, Any]] = {
    EntryKind.JOINED: {
        "party": "merchant-br",
        "role": "merchant",
        "jurisdiction": "BR",
        "identity": DIGEST,
        "epoch": 1,
        "contact": "",
    },
    EntryKind.LEFT: {"party": "merchant-br", "epoch": 2},
    EntryKind.POLICY_CHANGED: {"policy": DIGEST, "previous": ""},
    EntryKind.CONTRACT_CHANGED: {"contract": "orders", "version": 2, "digest": DIGEST},
    EntryKind.WINDOW_OPENED: {"subjects": "customers", "window": "2026", "sequence": 2},
    EntryKind.INGESTED: {"subjects": "customers", "commitment": DIGEST},
    EntryKind.LIMIT_SET: LIMIT,
    EntryKind.PROPOSED: {
        "proposer": "analyst",
        "purpose": "fraud_detection",
        "contract": "orders",
        "epsilon": "1.9987",
    },
    EntryKind.APPROVED: {"policy": DIGEST, "reasons": ["BASE-001"]},
    EntryKind.REFUSED: {"policy": DIGEST, "kind": "policy", "reasons": ["CN-001", "CN-005"]},
    EntryKind.RESERVED: {"charges": [CHARGE]},
    EntryKind.SETTLED: {"release": DIGEST, "masked": 0},
    EntryKind.CLOSED: {},
    EntryKind.GIVEN_BACK: {"release": DIGEST, "statements": [DIGEST] * 3},
    EntryKind.OPENED: {"listing": DIGEST},
    EntryKind.MATCHED: {"partner": "merchant-br", "step": "list", "given": DIGEST},
    EntryKind.DISCLOSED: {
        "partner": "merchant-br",
        "subjects": "customers",
        "reveals": "join_tokens",
        "receiver": "payments-eu",
        "cap": 20000,
        "basis": "contract",
        "terms": DIGEST,
        "approval": DIGEST,
    },
    EntryKind.RELEASED: {"recipients": ["analyst", "merchant-br"], "rule": "EU-004"},
    EntryKind.DELIVERED: {"past": DIGEST, "recipients": ["analyst"]},
    EntryKind.CROSSED: {
        "kind": "train.update",
        "recipient": "aggregator",
        "origin": "BR",
        "destination": "EU",
        "bytes": 20_800,
        "rule": "BR-004",
    },
    EntryKind.CHECKPOINT_SEEN: {
        "origin": "entrepot/demo/merchant-br",
        "size": 7,
        "root": DIGEST,
        "key": "0a1b2c3d",
        "signature": "ab" * 64,
    },
    EntryKind.KEY_ROTATED: {
        "party": "merchant-br",
        "previous": DIGEST,
        "identity": "cd" * 32,
        "signature": "ef" * 64,
    },
    EntryKind.KEY_REPLACED: {
        "party": "merchant-br",
        "previous": DIGEST,
        "identity": "cd" * 32,
        "signature": "ef" * 64,
    },
    EntryKind.ROSTER_CHANGED: {"epoch": 4, "digest": DIGEST},
    EntryKind.ROSTER_REFUSED: {"party": "aggregator", "digest": DIGEST, "reason": "older"},
}

SAID = {
    EntryKind.REFUSED: "the order was refused (policy): CN-001, CN-005",
    EntryKind.RESERVED: "11 releases were set aside in customers (customer, 2025)",
    EntryKind.CROSSED: "clipped and noised model update went to aggregator (BR → EU, 20.8 kB), "
    "under BR-004",
    EntryKind.RELEASED: "the result was released to analyst, merchant-br, under EU-004",
    EntryKind.CHECKPOINT_SEEN: "saw entrepot/demo/merchant-br at 7 entries, root abababababab",
}


@pytest.mark.parametrize("kind", EntryKind)
def test_every_kind_is_told_in_words_in_both_languages(kind: EntryKind) -> None:
    entry = Entry(kind, 1_793_000_000, "", BODIES[kind])  # a body that a ledger may keep
    said = told(kind, entry.body)
    assert "=" not in said.en  # the fields as they are would be the way out for unknown kinds
    assert re.search("[一-鿿]", said.zh)
    assert said.en == SAID.get(kind, said.en)
    for language in LANGUAGES:
        assert title(kind, language) != kind.value or language == "en"
    assert f"entry_kind.{kind.value}" in catalogue()


def test_an_unknown_kind_and_a_body_that_lacks_something_show_their_fields() -> None:
    assert tell("rewritten", {"b": "x", "a": 1}, "en") == "a=1 b=x"
    assert tell("settled", {"what": "x"}, "zh") == "what=x"


ATTACKS = (
    "a\nb",
    "a\r\x1b[2K\x1b[1Aforged",
    "\x9b31m",
    "a\u2028b\u2029c",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "zero\u200bwidth",
    "bell\x07",
    "tag\U000e0041",
    "half\ud800",
)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("kind", [kind for kind in EntryKind if BODIES[kind]])
def test_no_text_of_an_entry_can_move_break_or_turn_a_line(kind: EntryKind, attack: str) -> None:
    def poisoned(value: Any) -> Any:
        match value:
            case str():
                return attack
            case list():
                return [poisoned(item) for item in value]
            case dict():
                return {name: poisoned(item) for name, item in value.items()}
        return value

    for language in LANGUAGES:
        said = tell(kind, poisoned(BODIES[kind]), language)
        assert said.isprintable()
        assert tell(attack, {attack: attack}, language).isprintable()
        assert title(attack, language).isprintable()


def test_an_escape_cannot_be_typed_and_length_is_bounded() -> None:
    assert plain("\n") == "\\x0a"
    assert plain("\\x0a") == "\\\\x0a"
    assert plain("\u202e") == "\\u202e"
    assert plain("\U000e0041") == "\\U000e0041"
    assert len(plain("x" * 10_000)) == 80
    assert plain("x" * 81).endswith("…")
    assert plain("x" * 80) == "x" * 80
    assert plain("仓库 ü") == "仓库 ü"


def test_moments_are_utc_and_no_number_breaks_them() -> None:
    assert moment(1_793_000_000) == "2026-10-26 07:33:20"
    assert moment(2**63) == str(2**63)
