"""Named encryption parameters, refused together when a sum under them could wrap.

BFV with batching: one ciphertext holds `slots` integers modulo `plain_modulus`, and adding
ciphertexts adds slot by slot. Nothing is ever multiplied, so one set serves every query.
"""

from dataclasses import dataclass
from typing import Final

from secure_compute.errors import LocalProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """One BFV parameter set.

    slots:         N, the ring dimension; X^N + 1.
    plain_modulus: t, a prime with t = 1 mod 2N, so that slots add independently.
    modulus_bits:  log2 of the whole ciphertext modulus, the key-switching prime included.
    security:      bits against classical attacks, by the table that `source` names.
    """

    name: str
    slots: int
    plain_modulus: int
    modulus_bits: int
    security: int
    source: str

    def __post_init__(self) -> None:
        if self.plain_modulus % (2 * self.slots) != 1:
            raise LocalProtocolError("the plain modulus does not allow one integer per slot")

    @property
    def largest(self) -> int:
        """The largest absolute value of a sum that decrypts to itself."""
        return self.plain_modulus // 2 - 1

    def require_exact(self, parties: int, reach: int) -> None:
        """Accept values up to ±`reach` from each of `parties`.

        Raises:
            LocalProtocolError: their sum could wrap around, which no decryption would notice.
        """
        if parties < 1 or reach < 0 or parties * reach > self.largest:
            raise LocalProtocolError(
                f"{parties} values up to ±{reach} can wrap modulo {self.plain_modulus}: "
                "bound the values more tightly or count in coarser steps"
            )


QUERY_128: Final = Parameters(
    name="bfv-8192-t60",
    slots=8192,
    plain_modulus=1152921504606830593,
    modulus_bits=218,
    security=128,
    source="Albrecht et al., Homomorphic Encryption Security Standard (2018), table 1: n = 8192, "
    "ternary secret, log q <= 218",
)
"""What every query uses: 60-bit sums, about 432 kB a ciphertext.

218 bits of modulus are SEAL's default for n = 8192 (43, 43, 44, 44, 44); the last prime is for
switching keys, so ciphertexts live under 174 bits. Noise of a fresh ciphertext takes about 2^13 and
a sum of 50 less than 2^19, leaving over 80 bits of room: additions never fail to decrypt.
"""
