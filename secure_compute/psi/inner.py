"""Inner products of one party's numbers with another's choices: neither sees the other's.

    holder    Key.generate ─ seal(values) ───────────────── open
    chooser                          choose(weights, added) ┘

The holder encrypts its numbers under its own key, 8192 to a polynomial: v(X) = Σ vₖ Xᵏ. The chooser
multiplies by w(X) = w₀ − Σ wₖ X^(8192−k), so that the constant coefficient of the product modulo
X^8192 + 1 is Σ vₖ wₖ; adds up all pieces; and sends back the second polynomial of the result, and
of the first its constant coefficient alone: that opens to the sum and whatever the chooser added.

What hides the choices. The other coefficients of the first polynomial are not sent: a holder that
seals other things than numbers would read them there, above the smudge and below a plaintext's
unit, whatever covered the plaintext. The second polynomial is hidden by a fresh encryption of zero
under the holder's public key, whose uniform half nobody chose: it is read from SHAKE256. The noise
is hidden by a smudge of 2^98, beyond whatever the choices can make of it by 2^40 and more for all
answers (`require_hidden`). What hides the numbers is the holder's key, of one session.

Parameters, samplers and wire are those of `threshold`: numpy alone reads what came from outside.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secure_compute.entropy import Entropy
from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.primitives.seed_stream import SEED_SIZE, SeedStream
from secure_compute.threshold.params import (
    ERROR_COINS,
    LARGEST,
    MODULUS,
    PLAIN_MODULUS,
    PRIMES,
    SLOTS,
    SMUDGE_BITS,
)
from secure_compute.threshold.residues import from_bytes, size, to_bytes, width
from secure_compute.threshold.ring import DATA, Residues
from secure_compute.threshold.sampling import error, public_polynomial, smudge, ternary

Integers: TypeAlias = NDArray[np.int64]

NAME_SIZE: Final = 32
POLYNOMIAL: Final = size(PRIMES)
COEFFICIENT: Final = sum(map(width, PRIMES))
ANSWER: Final = COEFFICIENT + POLYNOMIAL
HIDING: Final = 40
MOST_ANSWERS: Final = 1024
MOST_VALUE: Final = 1 << 32
MOST_WEIGHT: Final = 1 << 16

_DELTA: Final = MODULUS // PLAIN_MODULUS
_SCALE: Final = DATA.constant(np.array([[_DELTA % prime] for prime in PRIMES], np.int64))
_REST: Final = (MODULUS % PLAIN_MODULUS) / PLAIN_MODULUS
_ROUNDED: Final = 1 << 9
"""What scaling a number of 60 bits by q/t in floating point may err."""

_HALF: Final = 30  # a plaintext is lifted in two halves
_STEP: Final = DATA.constant(np.array([[(1 << _HALF) % prime] for prime in PRIMES], np.int64))
_LABEL: Final = b"entrepot.psi-inner/1 "


@dataclass(frozen=True, slots=True)
class Key:
    """The holder's key of one session: its secret, and the half that a chooser hides behind."""

    secret: Residues = field(repr=False)
    public: bytes = field(repr=False)

    @classmethod
    def generate(cls, entropy: Entropy) -> "Key":
        """Return a fresh key."""
        name, stream = entropy.bytes(NAME_SIZE), SeedStream(entropy.bytes(SEED_SIZE), _LABEL + b"k")
        secret = DATA.forward(DATA.lift(ternary(stream)))
        masked = DATA.multiply(_uniform(name, 0), DATA.constant(secret))
        body = DATA.add(DATA.forward(DATA.lift(error(stream))), DATA.negate(masked))
        return cls(secret, name + to_bytes(body, PRIMES))

    def seal(self, values: Integers, entropy: Entropy) -> bytes:
        """Return the numbers encrypted, 8192 to a piece of 172 kB.

        values: [n] of absolute value up to 2^32.

        Raises:
            LocalProtocolError: there are none, or one is too large.
        """
        _require_within(values, MOST_VALUE)
        name = entropy.bytes(NAME_SIZE)
        stream = SeedStream(entropy.bytes(SEED_SIZE), _LABEL + b"v")
        secret, pieces = DATA.constant(self.secret), [name]
        for place, piece in enumerate(_pieces(values)):
            noisy = DATA.add(DATA.lift(error(stream)), _scaled(piece))
            masked = DATA.multiply(_uniform(name, place), secret)
            body = DATA.add(DATA.forward(noisy), DATA.negate(masked))
            pieces.append(to_bytes(body, PRIMES))
        return b"".join(pieces)

    def open(self, answer: bytes) -> int:
        """Return the constant coefficient of a chooser's answer, between ±2^59.

        Raises:
            PeerProtocolError: it is no ciphertext.
        """
        if len(answer) != ANSWER:
            raise PeerProtocolError(f"an answer has {ANSWER} bytes, not {len(answer)}")
        first = _coefficient(answer[:COEFFICIENT])
        second = from_bytes(answer[COEFFICIENT:], PRIMES)
        turned = DATA.inverse(DATA.multiply(second, DATA.constant(self.secret)))
        pairs = zip(first, turned[:, 0], PRIMES, strict=True)
        return _decoded([(one + int(other)) % prime for one, other, prime in pairs])


def choose(
    public: bytes,
    sealed: bytes,
    choices: Sequence[Integers],
    added: Sequence[int],
    entropy: Entropy,
) -> list[bytes]:
    """Return, for each choice, the sum that it makes of the sealed numbers, with `added` on top.

    choices: each [n], one weight for every number; added: per choice, what hides its sum from the
             holder, or the noise that it is told with.

    Raises:
        PeerProtocolError: the key or the numbers cannot be read.
        LocalProtocolError: a weight is too large, or smudging would not hide the choices.
    """
    require_hidden(choices)
    stream = SeedStream(entropy.bytes(SEED_SIZE), _LABEL + b"c")
    key, pieces = _read(public, 1)[0], _read(sealed, -(-len(choices[0]) // SLOTS))
    return [
        _chosen(key, pieces, choice, extra, stream)
        for choice, extra in zip(choices, added, strict=True)
    ]


def require_hidden(choices: Sequence[Integers]) -> None:
    """Accept choices whose trace in the noise is hidden by the smudge.

    Raises:
        LocalProtocolError: there are too many, or their weights are too large together.
    """
    if not 0 < len(choices) <= MOST_ANSWERS:
        raise LocalProtocolError(f"a session answers 1 to {MOST_ANSWERS} choices")
    for choice in choices:
        _require_within(choice, MOST_WEIGHT)
        told = _noise(choice) * SLOTS * MOST_ANSWERS
        if told << HIDING > 1 << (SMUDGE_BITS + 1):
            raise LocalProtocolError("the weights are so large that smudging would not hide them")


def _noise(choice: Integers) -> int:
    """Return the most noise besides the smudge, in any coefficient of an answer.

    Of every number its error and its rounding, times its weight; of the encryption of zero, two
    errors times a ternary polynomial and one besides; and the rounding of what is added.
    """
    fresh = (ERROR_COINS + 1) * int(np.abs(choice).sum())
    return fresh + 2 * ERROR_COINS * SLOTS + ERROR_COINS + _ROUNDED


def _chosen(
    key: tuple[Residues, Residues],
    pieces: Sequence[tuple[Residues, Residues]],
    choice: Integers,
    added: int,
    stream: SeedStream,
) -> bytes:
    blind = DATA.constant(DATA.forward(DATA.lift(ternary(stream))))
    first, second = (DATA.multiply(half, blind) for half in key)
    for (body, uniform), piece in zip(pieces, _pieces(choice), strict=True):
        turned = DATA.constant(DATA.forward(DATA.lift(_turned(piece))))
        first = DATA.add(first, DATA.multiply(body, turned))
        second = DATA.add(second, DATA.multiply(uniform, turned))
    hidden = DATA.add(smudge(stream), DATA.lift(error(stream)))
    hidden = DATA.add(hidden, _scaled(np.array([added % PLAIN_MODULUS], np.int64)))
    constant = DATA.add(DATA.inverse(first), hidden)[:, 0]  # and no other coefficient
    second = DATA.add(second, DATA.forward(DATA.lift(error(stream))))
    told = (int(r).to_bytes(width(p), "little") for r, p in zip(constant, PRIMES, strict=True))
    return b"".join(told) + to_bytes(second, PRIMES)


def _coefficient(wire: bytes) -> list[int]:
    """Return the residues of one coefficient.

    Raises:
        PeerProtocolError: one is not below its prime.
    """
    found, start = [], 0
    for prime in PRIMES:
        residue = int.from_bytes(wire[start : start + width(prime)], "little")
        if residue >= prime:
            raise PeerProtocolError("a residue is not below its prime")
        found.append(residue)
        start += width(prime)
    return found


def _turned(weights: Integers) -> Integers:
    """Return w₀ − Σ wₖ X^(8192−k)."""
    turned = np.zeros(SLOTS, np.int64)
    turned[0] = weights[0]
    turned[SLOTS - np.arange(1, len(weights))] = -weights[1:]
    return turned


def _scaled(values: Integers) -> Residues:
    """Return [up to 8192] plaintexts times q/t, rounded, as residues."""
    padded = np.zeros(SLOTS, np.int64)
    padded[: len(values)] = values
    low = padded & ((1 << _HALF) - 1)
    high = DATA.multiply(DATA.lift((padded - low) >> _HALF), _STEP)
    whole = DATA.multiply(DATA.add(high, DATA.lift(low)), _SCALE)
    return DATA.add(whole, DATA.reduce(_broadcast(np.rint(padded * _REST).astype(np.int64))))


def _broadcast(values: Integers) -> Residues:
    return np.broadcast_to(values, (len(PRIMES), SLOTS))


def _decoded(residues: Sequence[int]) -> int:
    whole = 0
    for residue, prime in zip(residues, PRIMES, strict=True):
        rest = MODULUS // prime
        whole += residue * rest * pow(rest, -1, prime)
    found = (whole % MODULUS * PLAIN_MODULUS * 2 + MODULUS) // (2 * MODULUS) % PLAIN_MODULUS
    return found - PLAIN_MODULUS if found > LARGEST else found


def _uniform(name: bytes, place: int) -> Residues:
    """Return the uniform half of one ciphertext, in `forward` form, that nobody chose."""
    return public_polynomial(f"inner/{name.hex()}/{place}")[: len(PRIMES)]


def _read(wire: bytes, count: int) -> list[tuple[Residues, Residues]]:
    name, rest = wire[:NAME_SIZE], wire[NAME_SIZE:]
    if len(name) != NAME_SIZE or len(rest) != count * POLYNOMIAL:
        raise PeerProtocolError(f"{count} pieces have {NAME_SIZE + count * POLYNOMIAL} bytes")
    bodies = (rest[at : at + POLYNOMIAL] for at in range(0, len(rest), POLYNOMIAL))
    return [(from_bytes(body, PRIMES), _uniform(name, n)) for n, body in enumerate(bodies)]


def _pieces(values: Integers) -> Iterator[Integers]:
    return (values[at : at + SLOTS] for at in range(0, len(values), SLOTS))


def _require_within(values: Integers, most: int) -> None:
    if values.ndim != 1 or not values.size or int(np.abs(values).max()) > most:
        raise LocalProtocolError(f"numbers of an inner product are between ±{most}, one at least")
