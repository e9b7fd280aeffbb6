"""Inner products of one party's numbers with another's choices: exact, covered, of one length."""

import numpy as np
import pytest

from secure_compute.entropy import SystemEntropy
from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.psi import inner
from secure_compute.psi.inner import (
    ANSWER,
    COEFFICIENT,
    MOST_WEIGHT,
    NAME_SIZE,
    POLYNOMIAL,
    SLOTS,
    Key,
    choose,
)
from secure_compute.threshold.params import LARGEST, PRIMES
from secure_compute.threshold.residues import from_bytes, to_bytes
from secure_compute.threshold.ring import DATA

ENTROPY = SystemEntropy()


@pytest.fixture(scope="module")
def key():
    return Key.generate(ENTROPY)


@pytest.mark.parametrize("count", [1, 2, 100, SLOTS, SLOTS + 1, 20_000])
def test_an_inner_product_is_exact(key, count):
    draw = np.random.default_rng(count)
    values = draw.integers(-50_000, 50_000, count)
    choices = [draw.integers(0, 2, count), np.ones(count, np.int64), np.zeros(count, np.int64)]
    added = [0, -7, 12_345]
    answers = choose(key.public, key.seal(values, ENTROPY), choices, added, ENTROPY)
    expected = [int(values @ choice) + extra for choice, extra in zip(choices, added, strict=True)]
    assert [key.open(answer) for answer in answers] == expected


def test_the_largest_numbers_and_weights_do_not_wrap(key):
    values = np.array([1 << 32, -(1 << 32)] * 4)
    choice = np.array([MOST_WEIGHT, -MOST_WEIGHT] * 4)
    (answer,) = choose(key.public, key.seal(values, ENTROPY), [choice], [0], ENTROPY)
    assert key.open(answer) == 8 << 48


def test_what_the_chooser_adds_hides_the_sum_from_the_holder(key):
    values = np.arange(10)
    for cover in (LARGEST, -LARGEST, 1 << 58):
        (answer,) = choose(key.public, key.seal(values, ENTROPY), [values], [cover], ENTROPY)
        assert (key.open(answer) - cover - 285) % (2 * LARGEST + 1) == 0


def test_of_the_first_polynomial_one_coefficient_is_sent_and_no_other(key):
    """A holder that seals c at X for a number reads c times the choice there, below a unit."""
    (answer,) = choose(key.public, key.seal(np.arange(4), ENTROPY), [np.arange(4)], [0], ENTROPY)
    assert len(answer) == ANSWER == COEFFICIENT + POLYNOMIAL == POLYNOMIAL + POLYNOMIAL // SLOTS


def test_a_holder_that_seals_no_numbers_reads_no_list_of_choices():
    """Both polynomials of a session's key and numbers are c: between the smudge and a unit.

    Were all coefficients of the first polynomial sent, each would show c times a choice.
    """
    large = 1 << 104
    constant = np.array([[large % prime] for prime in PRIMES], np.int64) * np.ones(SLOTS, np.int64)
    body = to_bytes(DATA.reduce(constant), PRIMES)  # the constant polynomial c, in `forward` form
    name = ENTROPY.bytes(NAME_SIZE)
    choice = np.random.default_rng(1).integers(0, 2, SLOTS)
    (answer,) = choose(name + body, name + body, [choice], [0], ENTROPY)
    assert len(answer) == ANSWER
    second = DATA.inverse(from_bytes(answer[COEFFICIENT:], PRIMES))
    high = second[0] > PRIMES[0] // 2
    agree = float((high == (choice == 1)).mean())
    assert 0.45 < agree < 0.55


def coefficient(key, answer):
    """Return the constant coefficient with its noise, before it is rounded to a plaintext."""
    first = inner._coefficient(answer[:COEFFICIENT])
    second = from_bytes(answer[COEFFICIENT:], PRIMES)
    turned = DATA.inverse(DATA.multiply(second, DATA.constant(key.secret)))[:, 0]
    return [
        (one + int(other)) % prime for one, other, prime in zip(first, turned, PRIMES, strict=True)
    ]


def test_the_noise_of_an_answer_says_nothing_of_the_choice(key):
    """What is left beside the plaintext is the smudge: of its size, whatever was chosen."""
    values = np.ones(SLOTS, np.int64)
    sealed = key.seal(values, ENTROPY)
    sizes = []
    for choice in (np.zeros(SLOTS, np.int64), np.ones(SLOTS, np.int64)):
        (answer,) = choose(key.public, sealed, [choice], [0], ENTROPY)
        residues = coefficient(key, answer)
        whole = lifted(residues)
        message = inner._decoded(residues)
        sizes.append(abs(whole - message * inner._DELTA))
    assert all(1 << 80 < size < 1 << 100 for size in sizes)


def lifted(residues):
    from secure_compute.threshold.params import MODULUS

    whole = sum(
        residue * (MODULUS // prime) * pow(MODULUS // prime, -1, prime)
        for residue, prime in zip(residues, PRIMES, strict=True)
    )
    whole %= MODULUS
    return whole - MODULUS if whole > MODULUS // 2 else whole


def test_lengths_say_nothing_and_no_two_seals_are_alike(key):
    first, second = (key.seal(np.full(9, number), ENTROPY) for number in (0, 1 << 32))
    assert len(first) == len(second) and first[:32] != second[:32]
    answers = choose(key.public, first, [np.zeros(9, np.int64)] * 2, [0, 0], ENTROPY)
    assert {len(answer) for answer in answers} == {ANSWER} and answers[0] != answers[1]


def test_another_key_opens_nothing(key):
    values = np.arange(5)
    (answer,) = choose(key.public, key.seal(values, ENTROPY), [values], [0], ENTROPY)
    assert Key.generate(ENTROPY).open(answer) != 30


@pytest.mark.parametrize("wire", [b"", b"\0" * 31, b"\0" * 1000])
def test_what_is_no_key_or_no_answer_is_refused(key, wire):
    with pytest.raises(PeerProtocolError):
        choose(wire, key.seal(np.arange(2), ENTROPY), [np.arange(2)], [0], ENTROPY)
    with pytest.raises(PeerProtocolError):
        choose(key.public, wire, [np.arange(2)], [0], ENTROPY)
    with pytest.raises(PeerProtocolError):
        key.open(wire)


def test_a_residue_that_is_none_is_read_by_nobody(key):
    """Of an answer's coefficient, of its polynomial, of sealed numbers and of a key."""
    sealed = key.seal(np.arange(2), ENTROPY)
    (answer,) = choose(key.public, sealed, [np.arange(2)], [0], ENTROPY)
    for at in (0, COEFFICIENT):
        with pytest.raises(PeerProtocolError, match="below its prime"):
            key.open(answer[:at] + b"\xff" * 8 + answer[at + 8 :])
    for wires in ((key.public, sealed), (sealed, key.public)):
        first, second = (w[:NAME_SIZE] + b"\xff" * 8 + w[NAME_SIZE + 8 :] for w in wires)
        with pytest.raises(PeerProtocolError, match="below its prime"):
            choose(first, wires[1], [np.arange(2)], [0], ENTROPY)
        with pytest.raises(PeerProtocolError, match="below its prime"):
            choose(wires[0], second, [np.arange(2)], [0], ENTROPY)


def test_numbers_that_would_wrap_or_could_not_be_hidden_are_refused(key):
    with pytest.raises(LocalProtocolError):
        key.seal(np.array([(1 << 32) + 1]), ENTROPY)
    with pytest.raises(LocalProtocolError):
        key.seal(np.empty(0, np.int64), ENTROPY)
    sealed = key.seal(np.arange(2), ENTROPY)
    with pytest.raises(LocalProtocolError):
        choose(key.public, sealed, [np.array([MOST_WEIGHT + 1, 0])], [0], ENTROPY)
    with pytest.raises(LocalProtocolError, match="hide"):
        choose(key.public, sealed, [np.full(1 << 20, MOST_WEIGHT)] * 1, [0], ENTROPY)
