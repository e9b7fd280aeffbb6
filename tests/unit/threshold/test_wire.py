"""Every parser: what was printed is read, anything else is refused with an error of ours."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secure_compute import canonical
from secure_compute.errors import LocalProtocolError, PeerProtocolError, SecureComputeError
from secure_compute.threshold import ciphertext, pool, residues
from secure_compute.threshold.joint import KeyCommitment
from secure_compute.threshold.keyholder import Partial
from secure_compute.threshold.listing import Commitment, Endorsement
from secure_compute.threshold.memory import (
    keyholder_from_bytes,
    keyholder_to_bytes,
    party_from_bytes,
    party_to_bytes,
)
from secure_compute.threshold.params import KEY_PRIMES, PRIMES, SLOTS
from secure_compute.threshold.pool import Deal
from secure_compute.threshold.question import Question
from secure_compute.threshold.terms import Terms
from tests.joined import HOLDERS, PARTIES, answered, begin, make_key, terms_of

VECTORS = Path(__file__).parents[2] / "vectors" / "threshold" / "bad_polynomials.json"


def read_json(reader):
    return lambda wire: reader(canonical.decode(wire))


@pytest.fixture(scope="module")
def asked():
    return answered(make_key(3, 2), {name: [1, 2] for name in PARTIES[:3]})


@pytest.fixture(scope="module")
def printed(asked):
    """Of each parser: how it reads, and something that it reads."""
    _, deals = begin(terms_of(3, 2))
    bound = asked.bind(HOLDERS[0])
    part = asked.partials(HOLDERS[0], asked.totals(), bound)[0]
    name = PARTIES[0]
    return {
        "deal": (Deal.read, deals[0].to_bytes()),
        "key commitment": (KeyCommitment.read, asked.made.commitments[0].to_bytes()),
        "commitment": (Commitment.read, asked.commitments[name].to_bytes()),
        "endorsement": (Endorsement.read, asked.endorsements[name].to_bytes()),
        "partial": (Partial.read, part.to_bytes()),
        "terms": (read_json(Terms.from_json), canonical.encode(asked.made.terms.to_json())),
        "question": (read_json(Question.from_json), canonical.encode(asked.question.to_json())),
        "keyholder": (keyholder_from_bytes, keyholder_to_bytes(bound)),
        "party": (party_from_bytes, party_to_bytes(asked.parties[name])),
    }


KINDS = (
    "deal",
    "key commitment",
    "commitment",
    "endorsement",
    "partial",
    "terms",
    "question",
    "keyholder",
    "party",
)


def again(value):
    if hasattr(value, "to_bytes"):
        return value.to_bytes()
    if hasattr(value, "to_json"):
        return canonical.encode(value.to_json())
    return keyholder_to_bytes(value) if isinstance(value, pool.Keyholder) else party_to_bytes(value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_printed_is_read(kind, printed):
    reader, wire = printed[kind]
    assert again(reader(wire)) == wire


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_spelt_as_it_would_be_printed(kind, printed):
    """Cut, grown, flipped and mixed bytes: refused, or another value in its one spelling."""
    reader, wire = printed[kind]
    chance = random.Random(kind)
    refused = 0
    for _ in range(300):
        spoilt = bytearray(wire)
        # Of a partial, most bytes are residues: what stands around them is aimed at.
        at = chance.choice([chance.randrange(len(wire)), len(wire) - 1 - chance.randrange(300)])
        match chance.randrange(5):
            case 0:
                spoilt[at] ^= 1 << chance.randrange(8)
            case 1:
                del spoilt[at:]
            case 2:
                spoilt[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 3:
                del spoilt[at : at + chance.randrange(1, 40)]
            case 4:
                other = printed[chance.choice(KINDS)][1]
                spoilt[at:] = other[chance.randrange(len(other)) :]
        if spoilt == wire:
            continue
        try:
            made = reader(bytes(spoilt))
        except SecureComputeError:
            refused += 1
        else:
            assert again(made) == spoilt
    assert refused > 100


@pytest.mark.parametrize("kind", ["terms", "question", "keyholder", "party"])
def test_every_field_is_of_its_type(kind, printed):
    reader, wire = printed[kind]
    value = canonical.decode(wire)
    for name in value:
        for strange in (None, True, -1, 2**62, "", "x", "٣", [], ["x"], [[1]], {}, {"v": 1}):
            changed = canonical.encode(value | {name: strange})
            if changed == wire:
                continue
            try:
                made = reader(changed)
            except SecureComputeError:
                continue
            assert again(made) == changed
            assert type(strange) is type(value[name])
        missing = {key: item for key, item in value.items() if key != name}
        with pytest.raises(SecureComputeError):
            reader(canonical.encode(missing))
    with pytest.raises(SecureComputeError):
        reader(canonical.encode(value | {"more": 1}))


def test_damaged_states_say_so(printed):
    for kind in ("keyholder", "party"):
        reader, wire = printed[kind]
        with pytest.raises(LocalProtocolError, match="damaged"):
            reader(wire[:-1])
        value = canonical.decode(wire)
        with pytest.raises(LocalProtocolError, match="another version"):
            reader(canonical.encode(value | {"v": 2}))


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text()), ids=lambda v: v["name"])
def test_bad_polynomials(vector, asked):
    """Each is a ciphertext or a public part that was changed in one way, and why it is refused."""
    primes = {"ciphertext": (*PRIMES, *PRIMES), "part": KEY_PRIMES}[vector["of"]]
    wire = bytearray(
        asked.ciphertexts[PARTIES[0]][0] if vector["of"] == "ciphertext" else asked.made.shown[0]
    )
    starts = [SLOTS * sum(map(residues.width, primes[:place])) for place in range(len(primes))]
    for row, slot, value in vector.get("set", []):
        width = residues.width(primes[row])
        number = primes[row] + value if value <= 0 else value
        at = starts[row] + slot * width
        wire[at : at + width] = number.to_bytes(width, "little")
    for first, last in vector.get("zero", []):
        wire[starts[first] : starts[last] + SLOTS * residues.width(primes[last])] = bytes(
            SLOTS * sum(map(residues.width, primes[first : last + 1]))
        )
    wire = bytes(wire) + bytes(vector.get("grow", 0))
    wire = wire[: len(wire) - vector.get("cut", 0)]

    def read():
        if vector["of"] == "part":
            return residues.from_bytes(wire, KEY_PRIMES)
        return ciphertext.from_bytes(wire)

    if vector["why"]:
        with pytest.raises(PeerProtocolError, match=vector["why"]):
            read()
    else:
        read()


def test_random_bytes_of_the_right_length_are_residues_or_refused():
    chance = random.Random(7)
    for _ in range(5):
        wire = chance.randbytes(ciphertext.SIZE)
        try:
            assert ciphertext.to_bytes(ciphertext.from_bytes(wire)) == wire
        except PeerProtocolError:
            assert b"\xff" in wire


def test_a_long_statement_is_not_even_parsed():
    with pytest.raises(PeerProtocolError, match="impossible length"):
        Commitment.read(bytes(64) + b"[" * (1 << 20))
    with pytest.raises(PeerProtocolError, match="not in canonical form"):
        Endorsement.read(bytes(64) + b"[" * 100_000)


def test_states_that_went_on_differ(asked):
    fresh = asked.made.holders[HOLDERS[0]]
    bound = asked.bind(HOLDERS[0])
    assert keyholder_to_bytes(fresh) != keyholder_to_bytes(bound)
    gone = pool.retire(bound, asked.made.terms.digest)
    assert keyholder_from_bytes(keyholder_to_bytes(gone)) == gone
    assert replace(gone, keys=()) == replace(bound, keys=())


def test_a_ciphertext_is_read_where_it_lies_to_its_last_residue():
    whole = np.array([[prime - 1] * SLOTS for prime in PRIMES] * 2).reshape(2, len(PRIMES), SLOTS)
    wire = ciphertext.to_bytes(whole)
    letter = b"\xff" + wire + b"\xff" * 9
    made = np.full_like(whole, -1)
    assert (ciphertext.read_into(made, memoryview(letter)[1:-9]) == whole).all()
    assert (ciphertext.from_bytes(wire) == whole).all()
    for at in (len(wire) // 2, len(wire)):
        spoilt = wire[: at - 7] + b"\xff" * 7 + wire[at:]
        with pytest.raises(PeerProtocolError, match="below its prime"):
            ciphertext.read_into(made, spoilt)
