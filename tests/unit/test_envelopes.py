"""Envelopes: what was sealed is what is opened, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.envelopes import Envelope, open_envelope, parse, seal
from federation.errors import MalformedMessageError, MisdirectedMessageError, UnknownPartyError
from federation.membership import Member, Roster
from federation.messages import Kind
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.errors import BadSignatureError
from secure_compute.primitives.signature import SigningKey

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(32))
ALICE, BOB = PartyId("warehouse-cn"), PartyId("aggregator")
ROSTER = Roster(
    "test",
    1,
    (
        Member(ALICE, "Alice Ltd", Role.WAREHOUSE, Jurisdiction.CN, KEY.verify_key),
        Member(BOB, "Bob SA", Role.AGGREGATOR, Jurisdiction.EU, OTHER.verify_key),
    ),
)
LETTER = Envelope(Kind.PONG, ALICE, BOB, "o1", 3, {"round": 3}, {"b": b"xyz", "a": b""})


def test_what_was_sealed_is_opened() -> None:
    assert open_envelope(seal(LETTER, KEY), ROSTER, BOB).envelope == LETTER


@given(
    st.dictionaries(st.text(max_size=5), st.binary(max_size=50), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(-(2**60), 2**60) | st.text(), max_size=3),
)
def test_round_trip_of_any_content(blobs: dict[str, bytes], body: dict[str, int | str]) -> None:
    letter = Envelope(Kind.PONG, ALICE, BOB, "", 0, body, blobs)
    assert open_envelope(seal(letter, KEY), ROSTER, BOB).envelope == letter


@pytest.mark.parametrize("position", range(0, len(seal(LETTER, KEY)), 3))
def test_bad_any_flipped_byte_is_refused(position: int) -> None:
    wire = bytearray(seal(LETTER, KEY))
    wire[position] ^= 1
    with pytest.raises((MalformedMessageError, BadSignatureError, UnknownPartyError)):
        open_envelope(bytes(wire), ROSTER, BOB)


def test_bad_another_key() -> None:
    with pytest.raises(BadSignatureError):
        open_envelope(seal(LETTER, OTHER), ROSTER, BOB)


def test_bad_recipient() -> None:
    with pytest.raises(MisdirectedMessageError):
        open_envelope(seal(LETTER, KEY), ROSTER, ALICE)


def test_bad_tail_that_no_signature_covers() -> None:
    with pytest.raises(MalformedMessageError):
        open_envelope(seal(LETTER, KEY) + b"!", ROSTER, BOB)


def test_bad_unknown_sender() -> None:
    with pytest.raises(UnknownPartyError):
        open_envelope(seal(LETTER, KEY), Roster("test", 1, ()), BOB)


@given(st.binary(max_size=200))
def test_bad_noise_never_parses(noise: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        parse(b"ENTR\x01" + noise)
