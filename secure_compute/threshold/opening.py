"""From a sum and a partial of every piece to integers: no secret, no library, exact.

    m = ⌊t·x/q⌉ mod t,   x = c₀ + Σ partials mod q

With yᵢ = xᵢ·(q/qᵢ)⁻¹ mod qᵢ, t·x/q = Σ t·yᵢ/qᵢ up to multiples of t. Each summand is cut into its
whole part, exact in 64 bits, and its fraction, whose sum is within 2^-50 of what it should be: far
less than the noise, which is measured by its distance from an integer and must be within the bound
that honest ciphertexts and smudges cannot leave.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secure_compute.errors import FaultyPartyError, PeerProtocolError
from secure_compute.threshold import residues
from secure_compute.threshold.ciphertext import Relayed, Total
from secure_compute.threshold.keyholder import Partial
from secure_compute.threshold.params import (
    LARGEST,
    MODULUS,
    PLAIN_MODULUS,
    PRIMES,
    opening_noise,
)
from secure_compute.threshold.ring import DATA, Residues
from secure_compute.threshold.statements import require_signed
from secure_compute.threshold.terms import Terms

_INVERSE: Final = DATA.constant(
    np.array([[pow(MODULUS // p, -1, p)] for p in PRIMES], dtype=np.int64)
)
_WHOLE: Final = np.array([[PLAIN_MODULUS // p] for p in PRIMES], dtype=np.int64)
_REST: Final = DATA.constant(np.array([[PLAIN_MODULUS % p] for p in PRIMES], dtype=np.int64))
_UNITS: Final = np.array([[pow(p, -1, 1 << 64)] for p in PRIMES], dtype=np.uint64).astype(np.int64)
_ROUNDING: Final = 2.0**-40


def combine(
    terms: Terms, totals: Sequence[Total | Relayed], partials: Sequence[Partial]
) -> tuple[int, ...]:
    """Return the sums of the cells. totals: one for each chunk; a relayed one is
    compared with what the keyholders added up, of whom one at least is honest.

    Raises:
        BadSignatureError: a keyholder did not sign its partial.
        PeerProtocolError: a piece is missing, or what opens is no sum of such cells.
        FaultyPartyError: a keyholder answered for another sum, or two differ on one piece.
    """
    listed = totals[0].listing
    opened = []
    for total in totals:
        ours = [part for part in partials if part.chunk == total.chunk]
        wires = _agreed(terms, total, ours)
        opened.append(_opened(terms, total, wires))
    return listed.question.layout.collect(opened, len(listed.parties))


def scale(opened: Residues) -> tuple[NDArray[np.int64], float]:
    """Return ⌊t·x/q⌉ mod t, centred, and the largest distance of t·x/q from an integer.

    opened: x as residues [3, 8192].
    """
    parts = DATA.multiply(opened, _INVERSE)
    fractions = DATA.multiply(parts, _REST)
    whole = (parts * _REST.value - fractions) * _UNITS + parts * _WHOLE
    fraction = (fractions / DATA.modulus).sum(axis=0)
    rounded = np.rint(fraction)
    values = (whole.sum(axis=0) + rounded.astype(np.int64)) % PLAIN_MODULUS
    centred = np.where(values > LARGEST, values - PLAIN_MODULUS, values)
    return centred, float(np.abs(fraction - rounded).max())


def _agreed(
    terms: Terms, total: Total | Relayed, partials: Sequence[Partial]
) -> Mapping[int, bytes]:
    """Return one partial of each piece, signed for exactly this sum; all of one piece are equal."""
    found: dict[int, Partial] = {}
    for part in partials:
        member = terms.find(part.keyholder)
        require_signed(member.identity, part.keyholder, part.signature, part.statement())
        _require_this_sum(terms, total, part)
        first = found.setdefault(part.place, part)
        if first.wire != part.wire:
            raise FaultyPartyError(
                first.keyholder,
                part.keyholder,
                why="sent two partials of one piece: ask its other holders, and keep both",
            )
    for place, holders in enumerate(terms.pieces):
        if place not in found:
            raise PeerProtocolError(
                f"a partial of piece {place} is missing: ask {' or '.join(holders)}"
            )
    return {place: part.wire for place, part in found.items()}


def _require_this_sum(terms: Terms, total: Total | Relayed, part: Partial) -> None:
    question = total.listing.question
    if part.place not in terms.held_by(part.keyholder):
        raise FaultyPartyError(part.keyholder, why="answered for a piece that it does not hold")
    said = (part.question, part.listing, part.total, part.recipient)
    wanted = (question.digest, total.listing.digest, total.digest, question.recipient)
    if said != wanted:
        raise FaultyPartyError(part.keyholder, why="opened another list, sum or question")


def _opened(terms: Terms, total: Total | Relayed, wires: Mapping[int, bytes]) -> NDArray[np.int64]:
    opened = total.ciphertext[0]
    for place in sorted(wires):
        opened = DATA.add(opened, residues.from_bytes(wires[place], PRIMES))
    values, distance = scale(opened)
    noise = opening_noise(len(total.listing.parties), len(terms.pieces))
    if distance > noise * PLAIN_MODULUS / MODULUS + _ROUNDING:
        raise PeerProtocolError(
            "the sum opens with more noise than honest ciphertexts and partials have: a partial is "
            "wrong, or a party sent no ciphertext under this key; ask every holder of each piece"
        )
    return values
