"""Parameters, layers of noise, rings, shares, masks, commitments: each by itself."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from Crypto.Cipher import AES
from hypothesis import given
from hypothesis import strategies as st

from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.primitives.keystream import CHUNK
from secure_compute.secagg import sharing
from secure_compute.secagg.commitments import layer_seed, link_after
from secure_compute.secagg.layers import base_share, carried, kept_share, layer_share
from secure_compute.secagg.masks import add_masks
from secure_compute.secagg.params import Parameters, least_threshold
from secure_compute.secagg.ring import Ring
from tests.seeded import SeededEntropy

EVERY = [
    (n, c, t)
    for n in range(3, 13)
    for c in range(1, n - 1)
    for t in range((n + c) // 2 + 1, n + 1)
    if t - c >= 2
]


def parameters(n, c, t, bits=32):
    return Parameters(organisations=n, colluding=c, threshold=t, ring_bits=bits)


# -- parameters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "c", "t", "dropouts"),
    [(3, 1, 3, 0), (8, 1, 5, 3), (8, 3, 6, 2), (10, 3, 7, 3), (100, 33, 67, 33)],
)
def test_the_least_threshold_is_more_than_half_of_all_and_the_colluding(n, c, t, dropouts):
    assert least_threshold(n, c) == t
    assert Parameters.least(n, c).dropouts == dropouts


@pytest.mark.parametrize(
    ("n", "c", "t", "bits", "why"),
    [
        (8, 0, 5, 32, "at least 1 organisation"),
        (8, 1, 4, 32, "threshold is at least 5"),
        (8, 3, 5, 32, "threshold is at least 6"),
        (8, 1, 9, 32, "cannot be 9 of 8"),
        (2, 1, 2, 32, "3 to 65535"),
        (3, 2, 3, 32, "fewer than 2 honest"),
        (8, 1, 5, 24, "16, 20, 32 bits"),
    ],
)
def test_numbers_that_protect_nobody_are_refused_with_the_reason(n, c, t, bits, why):
    with pytest.raises(LocalProtocolError, match=why):
        parameters(n, c, t, bits)


def test_all_reasons_are_told_at_once():
    with pytest.raises(LocalProtocolError) as told:
        parameters(2, 0, 9, 64)
    for why in ("organisations", "collude", "cannot be 9", "bits"):
        assert why in str(told.value)


def test_any_two_sets_of_t_share_an_honest_organisation():
    for n, c, t in EVERY:
        if n <= 8:
            honest = set(range(n - c))
            smallest = min(len(set(a) & set(b) & honest) for a, b in _pairs(n, t))
            assert smallest >= 1, (n, c, t)


def _pairs(n, t):
    sets = list(combinations(range(n), t))
    return ((sets[0], other) for other in sets) if t > n // 2 + 1 else combinations(sets, 2)


def test_parameters_are_read_strictly():
    good = parameters(8, 1, 5).to_json()
    assert Parameters.from_json(good) == parameters(8, 1, 5)
    for bad in ({**good, "more": 1}, {**good, "threshold": 4}, {**good, "colluding": True}, {}):
        with pytest.raises(PeerProtocolError):
            Parameters.from_json(bad)


# -- layers of noise -------------------------------------------------------------------------------


def test_the_sum_carries_exactly_what_its_survivors_need():
    for n, c, t in EVERY:
        p = parameters(n, c, t)
        for dropped in range(p.dropouts + 1):
            survivors = n - dropped
            assert carried(p, dropped) == Fraction(survivors, survivors - c)
            layers = [layer_share(p, k) for k in range(1, p.dropouts + 1)]
            all_of_it = base_share(p) + sum(layers)
            surplus = sum(layers[dropped:])
            assert survivors * (all_of_it - surplus) == carried(p, dropped)


def test_what_any_coalition_cannot_know_is_never_below_the_whole_noise():
    for n, c, t in EVERY:
        p = parameters(n, c, t)
        for dropped in range(p.dropouts + 1):
            for colluders in range(c + 1):
                assert (n - dropped - colluders) * kept_share(p, dropped) >= 1
            assert (n - dropped - c) * kept_share(p, dropped) == 1


def test_silence_in_phase_b_only_leaves_more():
    p = parameters(8, 1, 5)
    everything = base_share(p) + sum(layer_share(p, k) for k in (1, 2, 3))
    assert everything == Fraction(1, p.threshold - p.colluding)
    assert all(layer_share(p, k) > 0 for k in (1, 2, 3))


def test_there_is_no_layer_beyond_the_tolerated_dropouts():
    for layer in (0, 4):
        with pytest.raises(LocalProtocolError, match="layers 1 to 3"):
            layer_share(parameters(8, 1, 5), layer)


# -- rings -----------------------------------------------------------------------------------------


@given(st.sampled_from([16, 20, 32]), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_what_is_packed_is_read_back(bits, values):
    ring = Ring(bits)
    residues = ring.lift(np.array(values, np.int64))
    packed = ring.pack(residues)
    assert len(packed) == ring.size(len(values)) == -(-len(values) * bits // 8)
    half = 1 << (bits - 1)
    wanted = [(value + half) % (2 * half) - half for value in values]
    assert ring.centre(ring.unpack(packed, len(values))).tolist() == wanted
    assert ring.centre(residues).tolist() == wanted
    assert ring.pack(ring.unpack(packed, len(values))) == packed


def test_twenty_bits_lie_two_to_five_bytes_little_endian():
    packed = Ring(20).pack(np.array([0x12345, 0xABCDE, 0x00F01], np.uint32))
    assert packed == (0x12345 | 0xABCDE << 20).to_bytes(5, "little") + bytes.fromhex("010f00")
    assert Ring(16).pack(np.array([0x1234], np.uint16)) == b"\x34\x12"


def test_vectors_of_another_length_or_padding_are_refused():
    for bits, dimension in ((16, 3), (20, 3), (32, 3)):
        ring = Ring(bits)
        good = ring.pack(np.zeros(dimension, ring.dtype))
        for bad in (good[:-1], good + b"\0", b""):
            with pytest.raises(PeerProtocolError, match="bytes"):
                ring.unpack(bad, dimension)
    with pytest.raises(PeerProtocolError, match="padding"):
        Ring(20).unpack(bytes(7) + b"\x10", 3)


# -- shares ----------------------------------------------------------------------------------------


def test_any_threshold_of_shares_opens_and_one_fewer_says_nothing():
    secret = sharing.draw(SeededEntropy(3))
    shares = dict(enumerate(sharing.split(secret, 3, 5, SeededEntropy(4)), start=1))
    for points in combinations(shares, 3):
        weight = dict(zip(points, sharing.weights(points), strict=True))
        assert sharing.combine(shares, weight) == secret
    # For two shares every secret is as possible as every other: some third share gives it.
    weight = dict(zip((1, 2, 3), sharing.weights((1, 2, 3)), strict=True))
    known = weight[1] * shares[1] + weight[2] * shares[2]
    for other in (0, 1, sharing.PRIME - 1):
        third = (other - known) * pow(weight[3], -1, sharing.PRIME) % sharing.PRIME
        assert sharing.combine({**shares, 3: third}, weight) == other


def test_shares_are_field_elements_of_32_bytes():
    assert sharing.from_bytes(sharing.to_bytes(5)) == 5
    for bad in (b"", bytes(31), b"\xff" * 32, sharing.PRIME.to_bytes(32, "big")):
        with pytest.raises(PeerProtocolError, match="field element"):
            sharing.from_bytes(bad)
    for secret, threshold, count in ((-1, 2, 3), (sharing.PRIME, 2, 3), (1, 4, 3), (1, 0, 3)):
        with pytest.raises(LocalProtocolError):
            sharing.split(secret, threshold, count, SeededEntropy(1))


def test_a_draw_is_repeated_until_it_is_below_the_prime():
    answers = [b"\xff" * 32, bytes(31) + b"\x06"]

    class Twice:
        def bytes(self, count):
            assert count == 32
            return answers.pop(0)

    assert sharing.draw(Twice()) == 3


# -- masks -----------------------------------------------------------------------------------------


def keystream(seed, count):
    """The second implementation: AES-256-CTR as pycryptodome has it."""
    return AES.new(seed, AES.MODE_CTR, nonce=b"", initial_value=bytes(16)).encrypt(bytes(count))


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
@pytest.mark.parametrize("size", [1, CHUNK // 4, CHUNK // 2 + 1, CHUNK + 3])
def test_a_mask_is_the_keystream_of_its_seed(dtype, size):
    seeds = [(bytes([number]) * 32, sign) for number, sign in ((1, 1), (2, -1), (3, 1))]
    start = np.arange(size).astype(dtype)
    made = start.copy()
    add_masks(made, seeds)
    for seed, sign in seeds:
        mask = np.frombuffer(keystream(seed, start.nbytes), dtype)
        start = start + mask if sign > 0 else start - mask
    assert np.array_equal(made, start)
    add_masks(made, [(seed, -sign) for seed, sign in seeds])
    assert np.array_equal(made, np.arange(size).astype(dtype))


def test_a_link_gives_every_later_layer_and_none_before():
    first = bytes(range(32))
    links = [link_after(first, steps) for steps in range(4)]
    assert link_after(links[1], 2) == links[3]
    assert len(set(links)) == 4
    seeds = {layer_seed("t", link, layer) for layer, link in enumerate(links, start=1)}
    assert len(seeds) == 4
    assert layer_seed("u", first, 1) not in seeds
