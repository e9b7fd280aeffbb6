"""Covers: what is sealed opens for whom it is for, in its federation, and nowhere else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import errors
from federation.covers import KEY_NAME, MAGIC, OVERHEAD, cover, is_cover, uncover
from federation.envelopes import open_envelope
from federation.errors import MalformedMessageError, MisdirectedMessageError, UnsealableError
from secure_compute import errors as sums
from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.primitives.hpke import PRIVATE_SIZE, OpeningKey, SealingKey
from tests.covers import BAD, LETTER, OPENING, PIN, ROSTER, SIGNED, TABLE, flipped, sealed, to
from tests.rosters import bare, opening

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "covers.json").read_text())


def opened(wire):
    """What the aggregator makes of what reached it: open, verify, then parse."""
    return open_envelope(uncover(wire, [OPENING], TABLE, PIN), ROSTER, TABLE).envelope


def named(error):
    return getattr(errors, error, None) or getattr(sums, error)


def test_the_good_cover_opens_to_the_letter_that_was_signed():
    wire = bytes.fromhex(VECTORS["good"]["wire"])
    assert uncover(wire, [OPENING], TABLE, PIN) == SIGNED
    assert opened(wire) == LETTER
    assert VECTORS["pin"] == PIN and VECTORS["opening"] == OPENING.seed.hex()


@pytest.mark.parametrize("name", VECTORS["bad"])
def test_bad_covers(name):
    vector = VECTORS["bad"][name]
    with pytest.raises(named(vector["error"])) as refused:
        opened(bytes.fromhex(vector["wire"]))
    assert type(refused.value).__name__ == vector["error"]


def test_the_vectors_are_all_that_can_be_wrong():
    assert {n: v["error"] for n, v in VECTORS["bad"].items()} == {n: e for n, (e, _) in BAD.items()}
    for error, make in BAD.values():
        with pytest.raises(named(error)):
            opened(make())


@given(st.binary(max_size=5000))
@settings(max_examples=30)
def test_what_is_sealed_is_what_opens(data):
    wire = sealed(data)
    assert uncover(wire, [OPENING], TABLE, PIN) == data
    assert is_cover(wire) and len(wire) == len(data) + OVERHEAD


@given(st.integers(0, len(SIGNED) + OVERHEAD - 1))
@settings(max_examples=60)
def test_no_bit_of_a_cover_may_change(at):
    with pytest.raises((MalformedMessageError, MisdirectedMessageError)):
        opened(flipped(sealed(), at))


def test_the_same_letter_is_another_cover_each_time_and_the_header_names_the_recipient_alone():
    first, second, third = sealed(), sealed(), sealed(b"another message")
    header = len(MAGIC) + KEY_NAME
    assert first[:header] == second[:header] == third[:header]
    assert first[header : header + 64] != second[header : header + 64]
    assert first[-64:] != second[-64:]
    assert sealed(recipient=to("eu"))[:header] != first[:header]
    assert b'"sender"' in SIGNED and b'"sender"' not in first


def test_a_member_without_a_sealing_key_is_sent_nothing():
    with pytest.raises(UnsealableError, match="hub has no sealing key"):
        cover(SIGNED, bare(to()), PIN)


def test_a_sealing_key_of_low_order_seals_nothing():
    weak = SealingKey(to().sealing.hex[:-64] + "00" * 32)
    with pytest.raises(UnsealableError, match="low order"):
        cover(SIGNED, replace(to(), sealing=weak), PIN)


@pytest.mark.parametrize("text", ["", "00", "FF" * 1216, "ff" * 1216, "zz" * 1216])
def test_what_is_no_sealing_key_is_refused(text):
    with pytest.raises(LocalProtocolError):
        SealingKey(text)


def test_an_opening_key_has_its_size_and_never_prints_itself():
    with pytest.raises(LocalProtocolError):
        OpeningKey(bytes(PRIVATE_SIZE - 1))
    assert OPENING.seed.hex()[:16] not in repr(OPENING) and "seed" not in repr(OPENING)


def test_both_halves_of_the_key_are_needed():
    """A key with one half right opens nothing: neither half alone carries the secret."""
    other = opening("other").seed
    for seed in (OPENING.seed[:64] + other[64:], other[:64] + OPENING.seed[64:]):
        with pytest.raises(PeerProtocolError):
            OpeningKey(seed).open(to().sealing.seal(b"data", b"info"), b"info")
    assert OPENING.open(to().sealing.seal(b"data", b"info"), b"info") == b"data"
