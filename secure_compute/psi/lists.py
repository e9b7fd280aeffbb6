"""One side's list: identifiers and fillers hashed to points, masked by a scalar of this session.

A list is as long as the cap, always: what is missing is filled with points of random bytes before
anything is masked, so that a list's length and the work it takes say nothing of the set.

All of a session's chance comes from one seed of 32 fresh bytes. Whoever is shown seed and set can
make the same bytes again (`audit`); so the seed is as secret as the scalar that it decides.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from secure_compute.primitives.multiples import BASE, multiples
from secure_compute.primitives.seed_stream import SeedStream
from secure_compute.psi.masking import Spread, hashed_and_masked
from secure_compute.psi.messages import Kind, write
from secure_compute.psi.sets import Chosen
from secure_compute.psi.terms import Role, Terms

SCALAR: Final = 32
_FILLER: Final = 32
_LABEL: Final = b"entrepot.psi-tag/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """A list before it is sent, in the order of its points.

    owners: the identifier of each point, None for a filler.
    """

    scalar: bytes = field(repr=False)
    points: tuple[bytes, ...] = field(repr=False)
    owners: tuple[str | None, ...] = field(repr=False)


def chance(seed: bytes, terms: Terms, role: Role) -> SeedStream:
    """Return the chance of one side in one session; it is never that of another one."""
    return SeedStream(seed, f"entrepot.psi/1 {role.value} {terms.digest}".encode())


def masked_list(
    terms: Terms, role: Role, chosen: Chosen, stream: SeedStream, spread: Spread
) -> Masked:
    """Return the set and its fillers, as many as the cap, masked by a fresh scalar and shuffled."""
    missing = terms.cap(role) - len(chosen.identifiers)
    scalar = stream.bytes(SCALAR)
    fillers = [stream.bytes(_FILLER) for _ in range(missing)]
    session = bytes.fromhex(terms.digest)
    messages = [session + b"\0" + text.encode() for text in chosen.identifiers]
    messages += [session + b"\1" + filler for filler in fillers]
    points = hashed_and_masked(scalar, messages, spread)
    owners = (*chosen.identifiers, *(None for _ in fillers))
    placed = sorted(zip(points, owners, strict=True), key=lambda pair: pair[0])
    return Masked(
        scalar=scalar,
        points=tuple(point for point, _ in placed),
        owners=tuple(owner for _, owner in placed),
    )


def list_message(terms: Terms, mine: Masked) -> bytes:
    """Return the receiver's list: its scalar times the base point, and the points."""
    return write(terms, Kind.LIST, multiples(mine.scalar, BASE) + b"".join(mine.points))


def tags(terms: Terms, points: Iterable[bytes]) -> list[bytes]:
    """Return the tag of each point that both scalars masked, in order.

    A hash, so that points of a known relation, as P and 2P, have tags of none.
    """
    start = hashlib.sha256(_LABEL + bytes.fromhex(terms.digest))
    return [_finished(start.copy(), point)[: terms.tag_bytes] for point in points]


def _finished(found: "hashlib._Hash", point: bytes) -> bytes:
    found.update(point)
    return found.digest()
