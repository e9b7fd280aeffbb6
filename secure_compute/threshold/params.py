"""The one parameter set, and what its noise leaves: bounds that hold always, not on average.

BFV over X^8192 + 1 with a 60-bit plain modulus t and ciphertexts modulo q, the product of three
56-bit primes; keys also modulo a 40-bit prime, which the library's encryptor divides by. Ternary
secrets, errors of a centred binomial of 42 coins: 128 bits of security for 208 bits of modulus
(Albrecht et al., Homomorphic Encryption Security Standard 2018, table 1: at most 218 for n = 8192).

Values stand in the coefficients: nothing is ever multiplied, so coefficients add independently.
"""

from math import comb
from typing import Final

from secure_compute.errors import LocalProtocolError

NAME: Final = "threshold-bfv-8192-t60"
SLOTS: Final = 8192
PRIMES: Final = (72057594037338113, 72057594037370881, 72057594037616641)
KEY_PRIMES: Final = (*PRIMES, 1099511480321)
PLAIN_MODULUS: Final = 1152921504606830593
LARGEST: Final = PLAIN_MODULUS // 2
"""The largest absolute value of a sum that opens to itself."""

ERROR_COINS: Final = 21
"""An error is the difference of two sums of so many coins: at most 21, variance 10.5."""

SMUDGE_BITS: Final = 98
"""A smudge is uniform in [−2^98, 2^98)."""

MAX_KEYHOLDERS: Final = 7
MAX_PARTIES: Final = 1000
LIFETIME: Final = 1 << 20
"""Ciphertexts of 8192 slots that a federation opens before its parameters are looked at again."""

HIDING: Final = 40
"""Bits of statistical distance that smudging keeps over that lifetime, at least."""

MODULUS: Final = PRIMES[0] * PRIMES[1] * PRIMES[2]


def piece_count(keyholders: int, threshold: int) -> int:
    """Return how many pieces a key has: one for each set of n − t + 1 keyholders.

    Raises:
        LocalProtocolError: fewer than two must answer, or there are too many keyholders.
    """
    if not 2 <= threshold <= keyholders <= MAX_KEYHOLDERS:
        raise LocalProtocolError(
            f"{threshold} of {keyholders} keyholders: 2 to {MAX_KEYHOLDERS} hold a key and at "
            "least 2 of them open, or one alone could read everybody"
        )
    return comb(keyholders, threshold - 1)


def ciphertext_noise(parties: int, pieces: int) -> int:
    """Return the largest noise in any coefficient of a sum of honest ciphertexts.

    Of each: rounding both polynomials by the key's own prime, (1 + |s|₁)/2 with |s|₁ ≤ 8192·pieces;
    what remains of encryption behind it, below 1; rounding q·m/t, 1/2.
    """
    return parties * (SLOTS // 2 * pieces + 2)


def opening_noise(parties: int, pieces: int) -> int:
    """Return the largest noise in any coefficient of a sum with every piece's smudge in it."""
    return ciphertext_noise(parties, pieces) + (pieces << SMUDGE_BITS)


def budget_bits(parties: int, pieces: int) -> int:
    """Return how many times, in bits, the noise at opening could double before a value changed."""
    return (MODULUS // (2 * PLAIN_MODULUS * opening_noise(parties, pieces))).bit_length() - 1


def hiding_bits(parties: int, pieces: int, ciphertexts: int = LIFETIME) -> int:
    """Return −log₂, rounded down, of what all openings together tell beyond the sums.

    A smudge moved by B is at statistical distance B/2^99 from one that is not; the union is over
    all coefficients of all ciphertexts.
    """
    told = ciphertext_noise(parties, pieces) * SLOTS * ciphertexts
    return SMUDGE_BITS + 1 - (told - 1).bit_length()


def require_safe(parties: int, pieces: int) -> None:
    """Accept so many ciphertexts in one sum.

    Raises:
        LocalProtocolError: the sum might not open, or smudging would not hide its noise.
    """
    if not 1 <= parties <= MAX_PARTIES or budget_bits(parties, pieces) < 3:
        raise LocalProtocolError(f"a sum over {parties} parties might not open to what it is")
    if hiding_bits(parties, pieces) < HIDING:
        raise LocalProtocolError(
            f"with {parties} parties and {pieces} pieces smudging hides too little: ask fewer "
            "parties, or share keys among fewer keyholders"
        )
