"""One party's ciphertext as bytes, and the sum of all parties', which needs no key.

A ciphertext is its two polynomials, 344,064 bytes for 8192 cells. Its hash takes the question, the
party and the chunk, so that nobody can commit to bytes it has not seen by repeating a hash.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from secure_compute import canonical
from secure_compute.canonical import digest_bytes
from secure_compute.errors import FaultyPartyError, LocalProtocolError, PeerProtocolError
from secure_compute.threshold import residues
from secure_compute.threshold.listing import Listing
from secure_compute.threshold.params import PRIMES, SLOTS
from secure_compute.threshold.residues import Wire
from secure_compute.threshold.ring import DATA, Residues

HALF: Final = residues.size(PRIMES)
SIZE: Final = 2 * HALF
_AT_ONCE: Final = 60  # residues of 56 bits that 62 bits hold the sum of, what is left of others too


def to_bytes(ciphertext: Residues) -> bytes:
    """Return [2, 3, 8192] residues as 344,064 bytes."""
    return b"".join(residues.to_bytes(half, PRIMES) for half in ciphertext)


def from_bytes(wire: Wire) -> Residues:
    """Read what `to_bytes` wrote.

    Raises:
        PeerProtocolError: another length, a residue that is not below its prime, or a second
            polynomial of zeros, with which the first is the plaintext for all to read.
    """
    return read_into(np.empty((2, len(PRIMES), SLOTS), dtype=np.int64), wire)


def read_into(made: Residues, wire: Wire) -> Residues:
    """Return `made`, [2, 3, 8192], with the ciphertext in it: `from_bytes` without an allocation.

    Raises:
        PeerProtocolError: as `from_bytes` has it; what stands in `made` then means nothing.
    """
    if len(wire) != SIZE:
        raise PeerProtocolError(f"a ciphertext has {SIZE} bytes, not {len(wire)}")
    residues.read_into(made.reshape(-1, SLOTS), wire, 2 * PRIMES)
    if not made[1].any():
        raise PeerProtocolError("the second polynomial of a ciphertext is zero: nothing is hidden")
    return made


def digest(wire: Wire, question: str, party: str, chunk: int) -> str:
    """Return what a party commits to: SHA-256 over question, party, chunk and ciphertext."""
    head = canonical.encode(["entrepot.threshold", "ciphertext", question, party, chunk])
    hashed = hashlib.sha256(head)
    hashed.update(wire)
    return hashed.hexdigest()


@dataclass(frozen=True)
class _Sum:
    listing: Listing
    chunk: int
    ciphertext: Residues = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the sum's bytes, in hexadecimal."""
        return digest_bytes(to_bytes(self.ciphertext))


class Total(_Sum):
    """The sum of one chunk over a list, added up here: `add` makes it, and nothing else does."""


class Relayed(_Sum):
    """What somebody says the sum is; it counts once enough keyholders signed that they made it."""


def add(listing: Listing, chunk: int, shown: Mapping[str, Wire]) -> Total:
    """Return the sum of one chunk. shown: every listed party's ciphertext.

    Raises:
        PeerProtocolError: one is missing, or the sum hides nothing.
        FaultyPartyError: one is not what its party committed to, or no ciphertext.
    """
    if not 0 <= chunk < listing.question.layout.chunks:
        raise LocalProtocolError(f"the question has no chunk {chunk}")
    total = np.zeros((2, len(PRIMES), SLOTS), dtype=np.int64)
    one, question = np.empty_like(total), listing.question.digest
    for place, (party, hashed) in enumerate(listing.chunk(chunk).items()):
        if party not in shown:
            raise PeerProtocolError(f"the ciphertext of {party} is missing: the list needs it")
        if digest(shown[party], question, party, chunk) != hashed:
            raise FaultyPartyError(
                party, why="or the way here changed a ciphertext that was committed to"
            )
        total += _read(one, shown[party], party)
        if place % _AT_ONCE == _AT_ONCE - 1:
            total = DATA.reduce(total)
    total = DATA.reduce(total)
    if not total[1].any():
        raise PeerProtocolError("the ciphertexts cancel: their sum would hide nothing")
    return Total(listing, chunk, total)


def relayed(listing: Listing, chunk: int, wire: bytes) -> Relayed:
    """Return the sum that the aggregator says it is, for a recipient who fetches no ciphertexts.

    Raises:
        PeerProtocolError: it is no ciphertext.
    """
    return Relayed(listing, chunk, from_bytes(wire))


def _read(made: Residues, wire: Wire, party: str) -> Residues:
    try:
        return read_into(made, wire)
    except PeerProtocolError as why:
        raise FaultyPartyError(party, why=f"committed to no ciphertext: {why}") from why
