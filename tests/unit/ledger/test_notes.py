"""Checkpoints, keys and cosignatures have one spelling, known byte for byte."""

import json
from pathlib import Path

import pytest

from federation.errors import MalformedNoteError, UntrustedNoteError
from federation.ledger import notes, witness
from federation.ledger.notes import COSIGNATURE, Checkpoint, NamedKey, origin_of
from secure_compute.primitives.signature import SigningKey

V = json.loads((Path(__file__).parents[2] / "vectors" / "checkpoints.json").read_text())
GOOD = V["good"]
KEY, WITNESS = (SigningKey(bytes.fromhex(V[seed])) for seed in ("log_seed", "witness_seed"))
HEAD = Checkpoint(V["origin"], V["size"], bytes.fromhex(V["root"]))
NAMED = NamedKey(HEAD.origin, KEY.verify_key)
BY = "entrepot/demo/merchant-eu"


def test_what_is_signed_is_known_to_the_byte() -> None:
    assert notes.sign(HEAD, KEY) == GOOD["note"]
    assert str(NAMED) == GOOD["vkey"]
    assert witness.cosign(GOOD["note"], BY, WITNESS, V["at"]) == GOOD["cosignature"]


def test_what_was_printed_is_read_back() -> None:
    assert notes.open_note(GOOD["note"], NAMED) == HEAD
    assert NamedKey.parse(GOOD["vkey"]) == NAMED
    at = witness.open_cosignature(GOOD["note"], GOOD["cosignature"], BY, WITNESS.verify_key)
    assert at == V["at"]
    both = notes.read(GOOD["note"] + GOOD["cosignature"])
    assert (len(both.lines), str(both)) == (2, GOOD["note"] + GOOD["cosignature"])


@pytest.mark.parametrize("name", V["bad_note"])
def test_a_note_in_another_spelling_is_refused(name: str) -> None:
    assert V["bad_note"][name] != GOOD["note"]
    with pytest.raises(MalformedNoteError):
        notes.read(V["bad_note"][name])


@pytest.mark.parametrize("name", V["bad_key"])
def test_a_key_in_another_spelling_is_refused(name: str) -> None:
    assert V["bad_key"][name] != GOOD["vkey"]
    with pytest.raises(MalformedNoteError):
        NamedKey.parse(V["bad_key"][name])


def test_a_note_of_another_log_or_key_is_refused() -> None:
    with pytest.raises(UntrustedNoteError, match="not of entrepot/demo/other"):
        notes.open_note(GOOD["note"], NamedKey("entrepot/demo/other", KEY.verify_key))
    with pytest.raises(UntrustedNoteError, match="not signed by the key"):
        notes.open_note(GOOD["note"], NamedKey(HEAD.origin, WITNESS.verify_key))


def test_a_signature_over_another_head_is_refused() -> None:
    other = GOOD["note"].replace("\n42\n", "\n43\n")
    with pytest.raises(UntrustedNoteError, match="at 43 entries"):
        notes.open_note(other, NAMED)
    with pytest.raises(UntrustedNoteError, match="did not cosign"):
        witness.open_cosignature(other, GOOD["cosignature"], BY, WITNESS.verify_key)


def test_a_cosignature_binds_its_time_and_its_witness() -> None:
    line = notes.read_lines(GOOD["cosignature"])[0]
    later = notes.Line(line.name, line.key_id, bytes(7) + b"\x01" + line.signature[8:])
    with pytest.raises(UntrustedNoteError, match="did not cosign"):
        witness.open_cosignature(GOOD["note"], str(later), BY, WITNESS.verify_key)
    renamed = notes.Line("entrepot/demo/x", line.key_id, line.signature)
    for wrong in (str(renamed), GOOD["cosignature"]):
        with pytest.raises(UntrustedNoteError, match="did not cosign"):
            witness.open_cosignature(GOOD["note"], wrong, "entrepot/demo/x", WITNESS.verify_key)


def test_a_signature_is_no_cosignature() -> None:
    own = GOOD["note"].split("\n\n")[1]
    with pytest.raises(MalformedNoteError):
        witness.open_cosignature(GOOD["note"], own, HEAD.origin, KEY.verify_key)
    assert NAMED.id != NamedKey(HEAD.origin, KEY.verify_key, COSIGNATURE).id


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "ä", "a/b", "x" * 65, "-a"])
def test_a_party_without_a_plain_name_keeps_no_log(name: str) -> None:
    with pytest.raises(MalformedNoteError):
        origin_of("demo", name)
    with pytest.raises(MalformedNoteError):
        origin_of(name, "cn")


@pytest.mark.parametrize("size", [-1, 1 << 63])
def test_a_head_has_a_size(size: int) -> None:
    with pytest.raises(MalformedNoteError):
        Checkpoint(HEAD.origin, size, HEAD.root)
