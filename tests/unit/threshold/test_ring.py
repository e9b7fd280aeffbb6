"""The arithmetic under keys and ciphertexts, against integers of any size and against SEAL's."""

import hashlib

import numpy as np
import pytest
from tenseal import sealapi

from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.primitives.seed_stream import SeedStream
from secure_compute.threshold import pieces, residues, sampling, scheme
from secure_compute.threshold.opening import scale
from secure_compute.threshold.params import (
    KEY_PRIMES,
    LARGEST,
    MODULUS,
    PLAIN_MODULUS,
    PRIMES,
    SLOTS,
    ciphertext_noise,
)
from secure_compute.threshold.ring import DATA, KEY
from tests.joined import make_key

RANDOM = np.random.default_rng(5)


def polynomial(primes=KEY_PRIMES):
    return np.stack([RANDOM.integers(0, prime, SLOTS) for prime in primes])


def stream(name: bytes) -> SeedStream:
    return SeedStream(hashlib.sha256(name).digest(), b"test")


def joint_secret(made):
    """Everything that all keyholders hold together: what no coalition in these tests has."""
    total = np.zeros(SLOTS, dtype=np.int64)
    seen = {}
    for state in made.holders.values():
        for piece in state.key(made.terms.digest).pieces:
            seen[piece.place] = piece
    for piece in seen.values():
        total += pieces._secret(piece, made.terms)
    return total


def whole(opened):
    """The integer behind the residues of each coefficient."""
    columns = opened.T.tolist()
    units = [(MODULUS // p) * pow(MODULUS // p, -1, p) for p in PRIMES]
    return [sum(x * u for x, u in zip(c, units, strict=True)) % MODULUS for c in columns]


def test_there_and_back_at_both_ends_of_the_range():
    for value in (polynomial(), KEY.modulus - 1 - 0 * polynomial(), 0 * polynomial()):
        assert (KEY.inverse(KEY.forward(value)) == value).all()


def test_products_wrap_round_with_a_minus():
    left, right = polynomial(), polynomial()
    left[:, 100:], right[:, 300:8100] = 0, 0
    made = KEY.inverse(KEY.multiply(KEY.forward(left), KEY.constant(KEY.forward(right))))
    for row, prime in enumerate(KEY_PRIMES):
        a, b = left[row, :100].astype(object), right[row].astype(object)
        want = np.zeros(2 * SLOTS, dtype=object)
        for place in range(100):
            want[place : place + SLOTS] += a[place] * b
        assert made[row].tolist() == ((want[:SLOTS] - want[SLOTS:]) % prime).tolist()


def test_products_are_exact_where_the_quotient_is_hardest():
    for prime_row, prime in enumerate(KEY_PRIMES):
        edges = [0, 1, 2, prime // 2, prime // 2 + 1, prime - 2, prime - 1]
        left = np.zeros((4, 49), dtype=np.int64)
        right = np.zeros((4, 49), dtype=np.int64)
        pairs = [(a, b) for a in edges for b in edges]
        left[prime_row], right[prime_row] = zip(*pairs, strict=True)
        made = KEY.multiply(left, KEY.constant(right))[prime_row]
        assert made.tolist() == [a * b % prime for a, b in pairs]


def test_sums_and_opposites_are_residues():
    a, b = polynomial(), polynomial()
    for row, prime in enumerate(KEY_PRIMES):
        assert KEY.add(a, b)[row].tolist() == [
            (x + y) % prime for x, y in zip(a[row].tolist(), b[row].tolist(), strict=True)
        ]
        assert KEY.negate(a)[row].tolist() == [-x % prime for x in a[row].tolist()]
    assert KEY.lift(np.full(SLOTS, -3)).max(axis=1).tolist() == [p - 3 for p in KEY_PRIMES]


def test_samples_follow_their_laws():
    ternary = sampling.ternary(stream(b"s"))
    assert set(ternary.tolist()) == {-1, 0, 1}
    assert np.abs(np.bincount(ternary + 1) - SLOTS / 3).max() < 6 * (SLOTS * 2 / 9) ** 0.5
    errors = sampling.error(stream(b"e"))
    assert np.abs(errors).max() <= 21
    assert abs(errors.mean()) < 6 * (10.5 / SLOTS) ** 0.5
    assert abs(errors.var() - 10.5) < 6 * 10.5 * (2 / SLOTS) ** 0.5


def test_a_secret_leaves_out_what_three_does_not_divide():
    class Unlucky:
        drawn = 0

        def bytes(self, count):
            self.drawn += 1
            return b"\xff" * (count - 1) + b"\2" if self.drawn < 3 else b"\1" * count

    made = sampling.ternary(Unlucky())
    assert made[:3].tolist() == [1, 1, 0]
    assert not made[2:].any()
    assert made.size == SLOTS


def test_smudges_fill_their_whole_range_and_no_more():
    values = [v - MODULUS if v > MODULUS // 2 else v for v in whole(sampling.smudge(stream(b"m")))]
    assert -(2**98) <= min(values) < -(2**98) + 2**90
    assert 2**98 - 2**90 < max(values) < 2**98
    assert abs(sum(values) / SLOTS) < 6 * 2**98 / (3 * SLOTS) ** 0.5
    assert len({v % 2**20 for v in values}) > SLOTS * 0.98  # the low bits are as random


def test_the_public_polynomial_is_another_for_every_key_and_prime():
    one, other = sampling.public_polynomial("aa" * 32), sampling.public_polynomial("ab" * 32)
    assert (one == sampling.public_polynomial("aa" * 32)).all()
    assert (one != other).all(axis=1).sum() == 4
    assert (one < KEY.modulus).all()
    assert np.abs((one / KEY.modulus).mean(axis=1) - 0.5).max() < 6 / (12 * SLOTS) ** 0.5


def test_scaling_is_what_integers_say():
    opened = polynomial(PRIMES)
    opened[:, 0], opened[:, 1] = 0, np.array(PRIMES) - 1
    values, distance = scale(opened)
    exact = [(PLAIN_MODULUS * x + MODULUS // 2) // MODULUS % PLAIN_MODULUS for x in whole(opened)]
    assert values.tolist() == [v - PLAIN_MODULUS if v > LARGEST else v for v in exact]
    rest = [(PLAIN_MODULUS * x + MODULUS // 2) % MODULUS - MODULUS // 2 for x in whole(opened)]
    assert distance == pytest.approx(max(abs(r) for r in rest) / MODULUS, abs=2**-45)


def test_residues_survive_the_wire_and_nothing_else_does():
    value = polynomial()
    wire = residues.to_bytes(value, KEY_PRIMES)
    assert len(wire) == 212_992 == residues.size(KEY_PRIMES)
    assert (residues.from_bytes(wire, KEY_PRIMES) == value).all()
    for spoilt in (b"", wire[:-1], wire + b"\0", wire[1:]):
        with pytest.raises(PeerProtocolError, match="bytes"):
            residues.from_bytes(spoilt, KEY_PRIMES)
    for place in (0, 7 * SLOTS, 14 * SLOTS):
        spoilt = wire[:place] + b"\xff" * 7 + wire[place + 7 :]
        with pytest.raises(PeerProtocolError, match="below its prime"):
            residues.from_bytes(spoilt, KEY_PRIMES)
    at_prime = PRIMES[0].to_bytes(7, "little") + wire[7:]
    with pytest.raises(PeerProtocolError, match="below its prime"):
        residues.from_bytes(at_prime, KEY_PRIMES)
    with pytest.raises(LocalProtocolError):
        residues.to_bytes(value[:, 1:], KEY_PRIMES)


def test_the_library_has_the_primes_and_the_format_that_are_written_here():
    moduli = sealapi.CoeffModulus.Create(SLOTS, [56, 56, 56, 40])
    assert tuple(m.value() for m in moduli) == KEY_PRIMES
    assert sealapi.PlainModulus.Batching(SLOTS, 60).value() == PLAIN_MODULUS
    assert scheme._context().first_context_data().parms().plain_modulus().value() == PLAIN_MODULUS


def test_numpy_opens_what_the_library_encrypted():
    made = make_key(3, 2)
    values = RANDOM.integers(-LARGEST, LARGEST, SLOTS, endpoint=True)
    values[:2] = LARGEST, -LARGEST
    ct = scheme.encrypt(values, made.joint.public, made.joint.uniform)
    secret = DATA.constant(DATA.forward(DATA.lift(joint_secret(made))))
    opened = DATA.add(ct[0], DATA.inverse(DATA.multiply(DATA.forward(ct[1]), secret)))
    assert scale(opened)[0].tolist() == values.tolist()
    scaled = [PLAIN_MODULUS * x % MODULUS for x in whole(opened)]
    noise = max(min(x, MODULUS - x) for x in scaled) // PLAIN_MODULUS
    assert 0 < noise < ciphertext_noise(1, 3)


def test_the_library_opens_what_numpy_encrypted():
    made = make_key(3, 2)
    secret, values = joint_secret(made), RANDOM.integers(0, PLAIN_MODULUS, SLOTS)
    public, uniform = made.joint.public[:3], made.joint.uniform[:3]
    u = DATA.forward(DATA.lift(sampling.ternary(stream(b"u"))))
    noise = [DATA.lift(sampling.error(stream(name))) for name in (b"e1", b"e2")]
    scaled = [(MODULUS * v + PLAIN_MODULUS // 2) // PLAIN_MODULUS for v in values.tolist()]
    message = np.array([[s % p for s in scaled] for p in PRIMES], dtype=np.int64)
    first, second = (
        DATA.add(DATA.inverse(DATA.multiply(u, DATA.constant(half))), e)
        for half, e in zip((public, uniform), noise, strict=True)
    )
    context = scheme._context()
    head = scheme._words(*context.first_parms_id()) + b"\0" + scheme._words(2, SLOTS, 3)
    tail = np.float64(1).tobytes() + scheme._words(1)
    both = np.stack((DATA.add(first, message), second))
    ct, plain, key = sealapi.Ciphertext(), sealapi.Plaintext(), sealapi.SecretKey()
    scheme._load(ct, head + tail + scheme._array(both))
    lifted = KEY.forward(KEY.lift(secret))
    scheme._load(
        key,
        scheme._words(*context.key_parms_id(), lifted.size)
        + np.float64(1).tobytes()
        + scheme._array(lifted),
    )
    decryptor = sealapi.Decryptor(context, key)
    decryptor.decrypt(ct, plain)
    assert [plain.data(i) for i in range(SLOTS)] == values.tolist()
    assert decryptor.invariant_noise_budget(ct) > 80


@pytest.mark.parametrize("values", [[], [LARGEST + 1], [-LARGEST - 1], [0] * (SLOTS + 1)])
def test_what_would_wrap_is_not_encrypted(values):
    made = make_key(3, 2)
    with pytest.raises(LocalProtocolError):
        scheme.encrypt(np.array(values, np.int64), made.joint.public, made.joint.uniform)
