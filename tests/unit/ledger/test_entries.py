"""A ledger keeps a closed set of typed fields, in one spelling, and nothing else."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import MalformedEntryError
from federation.ledger.entries import FIELDS, Entry, EntryKind, commit, decode, encode
from tests.ledgers import EVENT, NOW, limit

SHA = "0123456789abcdef" * 4
BODIES = {
    EntryKind.JOINED: {
        "party": "cn",
        "role": "warehouse",
        "jurisdiction": "CN",
        "identity": SHA,
        "epoch": 1,
        "contact": "",
    },
    EntryKind.LEFT: {"party": "cn", "epoch": 2},
    EntryKind.POLICY_CHANGED: {"policy": SHA, "previous": ""},
    EntryKind.CONTRACT_CHANGED: {"contract": "订单", "version": 2, "digest": SHA},
    EntryKind.WINDOW_OPENED: {"subjects": "customers", "window": "2026 上半年", "sequence": 1},
    EntryKind.INGESTED: {"subjects": "customers", "commitment": SHA},
    EntryKind.LIMIT_SET: limit(),
    EntryKind.PROPOSED: {
        "proposer": "ana",
        "purpose": "demand_forecasting",
        "contract": "orders",
        "epsilon": "0.5",
    },
    EntryKind.APPROVED: {"policy": SHA, "reasons": ["cn.transfer"]},
    EntryKind.REFUSED: {"policy": SHA, "kind": "train", "reasons": ["floor", "purpose"]},
    EntryKind.RESERVED: {"charges": [{**limit(), "event": EVENT, "releases": 3, "spare": 1}]},
    EntryKind.SETTLED: {"release": "3/abc", "masked": 0},
    EntryKind.CLOSED: {},
    EntryKind.GIVEN_BACK: {"release": "3/abc", "statements": [SHA, SHA]},
    EntryKind.OPENED: {"listing": SHA},
    EntryKind.MATCHED: {"partner": "merchant-br", "step": "list", "given": SHA},
    EntryKind.DISCLOSED: {
        "partner": "merchant-br",
        "subjects": "customers",
        "reveals": "join_tokens",
        "receiver": "payments-eu",
        "cap": 20000,
        "basis": "contract",
        "terms": SHA,
        "approval": SHA,
    },
    EntryKind.RELEASED: {"recipients": ["ana"], "rule": "cn.transfer"},
    EntryKind.DELIVERED: {"past": SHA, "recipients": ["ana"]},
    EntryKind.CROSSED: {
        "kind": "train.update",
        "recipient": "hub",
        "origin": "CN",
        "destination": "EU",
        "bytes": 4096,
        "rule": "cn.transfer",
    },
    EntryKind.CHECKPOINT_SEEN: {
        "origin": "entrepot/demo/cn",
        "size": 7,
        "root": SHA,
        "key": "0a1b2c3d",
        "signature": "ab" * 64,
    },
    EntryKind.KEY_ROTATED: {
        "party": "cn",
        "previous": SHA,
        "identity": SHA,
        "signature": SHA + SHA,
    },
    EntryKind.KEY_REPLACED: {
        "party": "cn",
        "previous": SHA,
        "identity": SHA,
        "signature": SHA + SHA,
    },
    EntryKind.ROSTER_CHANGED: {"epoch": 2, "digest": SHA},
    EntryKind.ROSTER_REFUSED: {"party": "hub", "digest": SHA, "reason": "forked"},
}
PERSONAL = ["Li Lei", "lei@example.com", "+86 10 1234", "1999-05-01 12:00", "No. 1 Long Street"]


def test_every_kind_has_a_body_here() -> None:
    assert BODIES.keys() == FIELDS.keys() == set(EntryKind)


@pytest.mark.parametrize("kind", EntryKind)
def test_an_entry_is_read_back_from_its_one_spelling(kind: EntryKind) -> None:
    entry = Entry(kind, NOW, "order-1", BODIES[kind])
    data = encode(entry)
    assert decode(data) == entry
    canonical = json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"))
    assert json.loads(data)["body"] == BODIES[kind]
    assert json.loads(canonical) == json.loads(data)


def test_the_spelling_is_known_to_the_byte() -> None:
    entry = Entry(EntryKind.SETTLED, 7, "o-1", {"release": "3/a", "masked": 0})
    assert encode(entry) == (
        b'{"at":7,"body":{"masked":0,"release":"3/a"},"kind":"settled","order":"o-1","version":1}'
    )


@pytest.mark.parametrize("kind", EntryKind)
def test_another_field_is_refused(kind: EntryKind) -> None:
    with pytest.raises(MalformedEntryError, match="exactly the fields"):
        Entry(kind, NOW, "", {**BODIES[kind], "remark": "anything"})
    for name in BODIES[kind]:
        rest = {key: value for key, value in BODIES[kind].items() if key != name}
        with pytest.raises(MalformedEntryError, match="exactly the fields"):
            Entry(kind, NOW, "", rest)


FIELDS_OF_ALL = [(kind, name) for kind in EntryKind for name in BODIES[kind]]
WRONG = [None, True, -1, 1.5, 2**63, "", " ", "a" * 300, b"x", {}, ["ok", 3], [[]], "a\nb", "\x1f"]


@pytest.mark.parametrize(("kind", "name"), FIELDS_OF_ALL)
def test_a_field_of_another_type_is_refused(kind: EntryKind, name: str) -> None:
    for wrong in WRONG:
        if wrong == "" and kind in {EntryKind.JOINED, EntryKind.POLICY_CHANGED, EntryKind.REFUSED}:
            continue
        if name in {"contract", "dataset", "subjects", "window"} and wrong == " ":
            continue  # contracts name things in printable text
        with pytest.raises(MalformedEntryError):
            Entry(kind, NOW, "", {**BODIES[kind], name: wrong})


@pytest.mark.parametrize(("kind", "name"), FIELDS_OF_ALL)
@pytest.mark.parametrize("value", PERSONAL)
def test_no_field_takes_a_person(kind: EntryKind, name: str, value: str) -> None:
    """Labels are written by contracts, in any script; nothing else takes free text."""
    if name in {"contract", "dataset", "subjects", "window"}:
        return
    with pytest.raises(MalformedEntryError):
        Entry(kind, NOW, "", {**BODIES[kind], name: value})
    with pytest.raises(MalformedEntryError):
        Entry(kind, NOW, value, BODIES[kind])


@pytest.mark.parametrize("name", [*limit(), "event", "releases"])
@pytest.mark.parametrize("wrong", [None, "", 1.5, -1, ["x"], "a\nb", "1e-9", "0.50", ".5", "05"])
def test_a_charge_is_typed_too(name: str, wrong: object) -> None:
    charge = BODIES[EntryKind.RESERVED]["charges"][0]
    if (
        name in {"dataset", "subjects", "window", "unit"}
        and isinstance(wrong, str)
        and len(wrong) > 1
    ):
        wrong = "a\nb"
    with pytest.raises(MalformedEntryError):
        Entry(EntryKind.RESERVED, NOW, "", {"charges": [{**charge, name: wrong}]})
    with pytest.raises(MalformedEntryError):
        Entry(EntryKind.RESERVED, NOW, "", {"charges": []})


def test_a_failed_message_holds_no_value() -> None:
    with pytest.raises(MalformedEntryError) as caught:
        Entry(EntryKind.SETTLED, NOW, "", {"release": "secret value", "masked": 0})
    assert "secret" not in str(caught.value)


BAD_BYTES = [
    b"",
    b"{}",
    b"[]",
    b"\xff",
    b'{"at":7,"body":{},"kind":"closed","order":"o","version":2}',
    b'{"at":7,"body":{},"kind":"closed","order":"o","version":1} ',
    b' {"at":7,"body":{},"kind":"closed","order":"o","version":1}',
    b'{"body":{},"at":7,"kind":"closed","order":"o","version":1}',
    b'{"at":7,"at":7,"body":{},"kind":"closed","order":"o","version":1}',
    b'{"at": 7,"body":{},"kind":"closed","order":"o","version":1}',
    b'{"at":7.0,"body":{},"kind":"closed","order":"o","version":1}',
    b'{"at":true,"body":{},"kind":"closed","order":"o","version":1}',
    b'{"at":7,"body":{},"kind":"forgotten","order":"o","version":1}',
    b'{"at":7,"body":{},"kind":"closed","order":"o","version":1}{}',
    b'{"at":7,"body":{},"kind":"closed","more":1,"order":"o","version":1}',
    b'{"at":7,"body":{"sequence":1,"subjects":"\\u0061","window":"w"},"kind":"window_opened","order":"","version":1}',
    b'{"at":7,"body":{"sequence":1,"subjects":"\\ud800","window":"w"},"kind":"window_opened","order":"","version":1}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("data", BAD_BYTES)
def test_other_bytes_are_no_entry(data: bytes) -> None:
    with pytest.raises(MalformedEntryError):
        decode(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_is_another_entry_or_none(place: int, change: int) -> None:
    data = bytearray(encode(Entry(EntryKind.RESERVED, NOW, "order-1", BODIES[EntryKind.RESERVED])))
    data[place % len(data)] ^= change
    try:
        entry = decode(bytes(data))
    except MalformedEntryError:
        return
    assert encode(entry) == bytes(data)


def test_a_commitment_binds_and_hides() -> None:
    salt, other = bytes(range(32)), bytes(32)
    found = commit(b"someone@example.com", salt)
    ipad = bytes(b ^ 0x36 for b in salt) + b"\x36" * 32
    opad = bytes(b ^ 0x5C for b in salt) + b"\x5c" * 32
    inner = hashlib.sha256(ipad + b"someone@example.com").digest()
    assert found == hashlib.sha256(opad + inner).hexdigest()
    assert len({found, commit(b"someone@example.com", other), commit(b"another", salt)}) == 3
    joined = {**BODIES[EntryKind.JOINED], "contact": found}
    assert decode(encode(Entry(EntryKind.JOINED, NOW, "", joined))).body["contact"] == found


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_commitment_needs_a_whole_salt(size: int) -> None:
    with pytest.raises(MalformedEntryError):
        commit(b"value", bytes(size))
