"""Whoever changes anything in a log, a proof, a note or an export is found, whatever the change."""

import hashlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import BadProofError, FederationError, LedgerMismatchError
from federation.ledger import merkle, notes
from federation.ledger.entries import Entry, EntryKind, encode
from federation.ledger.export import Export, LogExport
from federation.ledger.trust import Trust
from federation.ledger.verify import verify
from federation.ledger.witness import WitnessRequest, cosign, examine
from policies.budget.events import (
    Approximate,
    Composed,
    DiscreteGaussian,
    DiscreteLaplace,
    Gaussian,
    Grouped,
    Mixture,
    Repeated,
    SampledGaussian,
    Skellam,
    dumps,
)
from tests.ledgers import (
    FEDERATION,
    KEYS,
    TRUST,
    Party,
    export,
    founded,
    named_key,
    ordinary,
    origin,
    signed,
)

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=70)


def slow_root(leaves: list[bytes]) -> bytes:
    """Return the root of RFC 6962 by pairing up, level by level; an odd one goes up as it is."""
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = [level[k : k + 2] for k in range(0, len(level), 2)]
        level = [
            hashlib.sha256(b"\1" + b"".join(pair)).digest() if len(pair) == 2 else pair[0]
            for pair in pairs
        ]
    return level[0] if level else hashlib.sha256(b"").digest()


def subtree_of(leaves: list[bytes]) -> merkle.Subtree:
    return lambda level, index: slow_root(leaves[index << level : (index + 1) << level])


@given(LEAVES)
def test_every_root_is_that_of_pairing_up(leaves: list[bytes]) -> None:
    assert merkle.root(len(leaves), subtree_of(leaves)) == slow_root(leaves)
    assert merkle.roots(leaves, range(len(leaves)))[len(leaves) // 2] == slow_root(
        leaves[: len(leaves) // 2]
    )


@given(LEAVES, st.data())
def test_a_changed_leaf_is_in_no_tree(leaves: list[bytes], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(leaves) - 1))
    other = data.draw(st.binary(max_size=8).filter(lambda leaf: leaf != leaves[number]))
    proof = merkle.inclusion(number, len(leaves), subtree_of(leaves))
    root = slow_root(leaves)
    merkle.verify_inclusion(merkle.leaf_hash(leaves[number]), number, len(leaves), proof, root)
    with pytest.raises(BadProofError):
        merkle.verify_inclusion(merkle.leaf_hash(other), number, len(leaves), proof, root)


@given(LEAVES, st.data())
def test_a_changed_proof_proves_nothing(leaves: list[bytes], data: st.DataObject) -> None:
    size = len(leaves)
    old = data.draw(st.integers(1, size))
    proof = list(merkle.consistency(old, size, subtree_of(leaves)))
    roots = slow_root(leaves[:old]), slow_root(leaves)
    merkle.verify_consistency(old, size, proof, *roots)
    wrong = data.draw(st.lists(st.sampled_from([*proof, bytes(32)]), max_size=len(proof) + 2))
    if wrong != proof:
        with pytest.raises(BadProofError):
            merkle.verify_consistency(old, size, wrong, *roots)


@given(LEAVES, st.data())
def test_no_head_continues_another_past(leaves: list[bytes], data: st.DataObject) -> None:
    """Whatever proof is made up of the hashes at hand, a changed past is not continued."""
    size = len(leaves)
    old = data.draw(st.integers(1, size))
    number = data.draw(st.integers(0, old - 1))
    changed = [*leaves]
    changed[number] += b"!"
    for prover in (leaves, changed):
        proof = merkle.consistency(old, size, subtree_of(prover))
        with pytest.raises(BadProofError):
            merkle.verify_consistency(old, size, proof, slow_root(leaves[:old]), slow_root(changed))


# -- bytes -----------------------------------------------------------------------------------------


@cache
def file() -> bytes:
    parties = founded()
    parties["cn"].append(ordinary("order-late"))
    return export(parties).to_bytes()


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_byte_of_an_export_can_be_changed(place: int, change: int) -> None:
    data = bytearray(file())
    data[place % len(data)] ^= change
    with pytest.raises(LedgerMismatchError):
        verify(Export.from_bytes(bytes(data)), TRUST)


# -- whole lies, well signed -----------------------------------------------------------------------

TOKEN = st.sampled_from(["o", "p", "r0", "entrepot/demo/cn", "entrepot/demo/eu", "a" * 200])
LABEL = st.sampled_from(["customers", "2026", "\u5ba2\u6237", " ", "x" * 100])
HEX = st.sampled_from(["0" * 64, "ab" * 32])
COUNT = st.sampled_from([0, 1, 2, 1000, 2**53, 2**62, 2**63 - 1])
PRICE = st.sampled_from(
    ["0", "0.5", "1", "8", "0." + "0" * 59 + "1", "0." + "9" * 60, "9" * 20, "9" * 20 + ".9"]
)
NUMBER = st.sampled_from(["0.0000001", "0." + "0" * 30 + "1", "0.5", "1", "10", "9" * 30])
PART = st.sampled_from(["0.0000001", "0.01", "0.9999999999", "1"])
WHOLE = st.sampled_from([1, 2, 1000, 10**6])
NOISE = st.one_of(
    st.builds(Gaussian, NUMBER),
    st.builds(SampledGaussian, PART, NUMBER),
    st.builds(DiscreteGaussian, NUMBER, NUMBER),
    st.builds(DiscreteLaplace, WHOLE, NUMBER),
    st.builds(Skellam, PART, NUMBER, NUMBER, NUMBER),
    st.builds(lambda noise: Mixture(noise, ["0.25", "0", "0.75"]), NUMBER),
)
EVENT = st.recursive(
    NOISE,
    lambda inner: st.one_of(
        st.builds(Repeated, inner, WHOLE),
        st.builds(Grouped, inner, WHOLE),
        st.builds(Approximate, inner, PART),
        st.builds(lambda *all_of: Composed(all_of), inner, inner),
    ),
    max_leaves=3,
).map(dumps)
LIMIT = {
    "account": st.sampled_from(["a\x1fb\x1fc", "customers\x1fcustomer\x1f2026"]),
    "dataset": LABEL,
    "subjects": LABEL,
    "unit": TOKEN,
    "window": LABEL,
    "epsilon": PRICE,
    "delta": PRICE,
    "failures": PRICE,
}
CHARGES = st.lists(
    st.fixed_dictionaries({**LIMIT, "event": EVENT, "releases": COUNT, "spare": COUNT}),
    min_size=1,
    max_size=2,
)
BODIES = {
    EntryKind.RESERVED: {"charges": CHARGES},
    EntryKind.SETTLED: {"release": TOKEN, "masked": st.integers(0, 1)},
    EntryKind.CLOSED: {},
    EntryKind.GIVEN_BACK: {"release": TOKEN, "statements": st.lists(HEX, max_size=3)},
    EntryKind.LIMIT_SET: LIMIT,
    EntryKind.WINDOW_OPENED: {"subjects": LABEL, "window": LABEL, "sequence": COUNT},
    EntryKind.CHECKPOINT_SEEN: {
        "origin": TOKEN,
        "size": COUNT,
        "root": HEX,
        "key": st.sampled_from(["00000000", named_key("cn").id.hex(), named_key("eu").id.hex()]),
        "signature": st.sampled_from(["0" * 128, "f" * 128]),
    },
}
ENTRY = st.sampled_from(sorted(BODIES)).flatmap(
    lambda kind: st.builds(
        Entry,
        st.just(kind),
        COUNT,
        st.sampled_from(["", "o", "p"]),
        st.fixed_dictionaries(dict(BODIES[kind])),
    )
)


@settings(max_examples=400, deadline=None)
@given(st.lists(ENTRY, min_size=1, max_size=6), st.integers(0, 2**64 - 1))
def test_whatever_a_log_says_and_signs_is_judged(entries: list[Entry], at: int) -> None:
    """No entry, however absurd, ends the verifier in any other way than a verdict."""
    encoded = [encode(entry) for entry in entries]
    note = signed("cn", len(encoded), merkle.roots(encoded)[len(encoded)]).note
    lines = "".join(cosign(note, origin(n), KEYS[n], at) for n in ("eu", "br"))
    whole = Export(FEDERATION, (LogExport.of(origin("cn"), encoded, note, note + lines),))
    for trust in (TRUST, None):
        try:
            verdict = verify(Export.from_bytes(whole.to_bytes()), trust)
        except LedgerMismatchError as why:
            assert "entrepot/demo/cn" in str(why)
        else:
            assert verdict.entries == len(entries)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 300))
def test_no_part_of_an_export_can_be_left_out(place: int, length: int) -> None:
    data = file()
    start = place % len(data)
    cut = data[:start] + data[start + 1 + length :]
    with pytest.raises(LedgerMismatchError):
        verify(Export.from_bytes(cut), TRUST)


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.integers(1, 127))
def test_no_sign_of_a_trust_file_can_be_changed_unnoticed(place: int, change: int) -> None:
    text = str(TRUST)
    k = place % len(text)
    other = text[:k] + chr(ord(text[k]) ^ change) + text[k + 1 :]
    try:
        found = Trust.parse(other)
    except FederationError:
        return
    assert found != TRUST
    assert str(found) == other


@cache
def request() -> tuple[notes.Checkpoint, bytes]:
    party = Party("cn", KEYS["cn"])
    party.append(ordinary())
    last = notes.read(party.request().note).checkpoint
    party.append([*ordinary("order-2"), *ordinary("order-3")])
    return last, party.request().to_bytes()


@settings(max_examples=300)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_byte_of_a_head_for_a_witness_can_be_changed(place: int, change: int) -> None:
    last, good = request()
    data = bytearray(good)
    data[place % len(data)] ^= change
    with pytest.raises(FederationError):
        examine(last, WitnessRequest.from_bytes(bytes(data)), named_key("cn"))
