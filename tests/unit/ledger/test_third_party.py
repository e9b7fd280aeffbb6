"""What a verifier that knows nothing of this code base says of our checkpoints and proofs."""

import pytest
from cryptography.exceptions import InvalidSignature

from federation.ledger import merkle, notes, witness
from federation.ledger.notes import COSIGNATURE, NamedKey
from federation.ledger.store import reading, writing
from tests.ledgers import KEYS, NOW, Party, ordinary, origin

tlog = pytest.importorskip("tlog_scales.tlog")
signing = pytest.importorskip("tlog_scales.signing")


@pytest.fixture
def party() -> Party:
    party = Party("cn", KEYS["cn"])
    for number in range(200):
        party.append(ordinary(f"order-{number}"))
    return party


@pytest.fixture
def note(party: Party) -> str:
    with writing(party.log.engine) as connection:
        return party.log.checkpoint(connection)


def test_it_accepts_our_checkpoint(note: str) -> None:
    theirs = tlog.Checkpoint.from_text(note)
    theirs.verify(signing.Vkey.from_string(str(NamedKey(origin("cn"), KEYS["cn"].verify_key))))
    assert (theirs.origin, theirs.size) == (origin("cn"), 800)
    assert theirs.serialize() == note


def test_it_accepts_our_cosignature(note: str) -> None:
    whole = note + witness.cosign(note, origin("eu"), KEYS["eu"], NOW)
    vkey = signing.Vkey.from_string(str(NamedKey(origin("eu"), KEYS["eu"].verify_key, COSIGNATURE)))
    theirs = tlog.Checkpoint.from_text(whole)
    theirs.verify(vkey)
    line = theirs.signatures[1]
    assert signing.Ed25519CosignatureVerifier.get_timestamp(line.payload) == NOW


def test_it_refuses_them_over_another_head(note: str) -> None:
    whole = note + witness.cosign(note, origin("eu"), KEYS["eu"], NOW)
    other = tlog.Checkpoint.from_text(whole.replace("\n800\n", "\n801\n"))
    for key, algorithm in ((KEYS["cn"], 1), (KEYS["eu"], COSIGNATURE)):
        name = origin("cn") if algorithm == 1 else origin("eu")
        vkey = signing.Vkey.from_string(str(NamedKey(name, key.verify_key, algorithm)))
        with pytest.raises(InvalidSignature):
            other.verify(vkey)


def test_we_accept_its_checkpoint(note: str) -> None:
    ours = notes.read(note).checkpoint
    signer = signing.PlainEd25519Signer(ours.origin, KEYS["cn"].seed)
    theirs = tlog.Checkpoint.make_signed(ours.origin, ours.size, ours.root, [signer])
    key = NamedKey(ours.origin, KEYS["cn"].verify_key)
    assert notes.open_note(theirs.serialize(), key) == ours


@pytest.mark.parametrize("old", [0, 1, 2, 255, 256, 257, 511, 512, 700, 799, 800])
def test_it_accepts_our_consistency_proofs(party: Party, old: int) -> None:
    with reading(party.log.engine) as connection:
        proof = list(party.log.consistency(connection, old, 800))
        roots = party.log.root(connection, old), party.log.root(connection, 800)
    tlog.ConsistencyProof(old, 800, proof).check(*roots)
    if proof:
        with pytest.raises(tlog.ConsistencyProofInvalid):
            tlog.ConsistencyProof(old, 800, [bytes(32), *proof[1:]]).check(*roots)


@pytest.mark.parametrize("number", [0, 1, 254, 255, 256, 511, 700, 799])
def test_it_accepts_our_inclusion_proofs(party: Party, number: int) -> None:
    with reading(party.log.engine) as connection:
        proof = list(party.log.inclusion(connection, number))
        leaf = merkle.leaf_hash(party.log.entries(connection, number, number + 1)[0])
        root = party.log.root(connection)
    tlog.InclusionProof(number, 800, proof).check(leaf, root)
