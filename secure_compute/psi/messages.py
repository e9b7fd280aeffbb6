"""What the two send: bytes of a length that the terms decide, to be sealed in signed envelopes.

version (1) ‖ kind (1) ‖ digest of the terms (32) ‖ content. Points are in ascending order of their
bytes, which shuffles them: a masked point says nothing of where its identifier stood.
"""

from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Final

from secure_compute.errors import PeerProtocolError
from secure_compute.psi import elligator
from secure_compute.psi.inner import ANSWER, NAME_SIZE, POLYNOMIAL
from secure_compute.psi.terms import TOKEN_BYTES, VERSION, Reveals, Role, Terms
from secure_compute.threshold.params import SLOTS

POINT: Final = 32
COMMITMENT: Final = 32
NUMBER: Final = 8
HEADER: Final = 34
SEALED_KEY: Final = NAME_SIZE + POLYNOMIAL
"""The key that a sum's numbers are sealed under, before them in a reply."""

SAMPLED: Final = 64
"""Points of each list whose curve is looked at; see SPEC, "The points"."""


class Kind(IntEnum):
    """Which message this is. Each side has a commitment of its own kind: none can be sent back."""

    RECEIVER_COMMITS = 1
    SENDER_COMMITS = 2
    LIST = 3
    REPLY = 4
    TOLD = 5
    TOKENS = 6
    CHOICE = 7
    SUMMED = 8


COMMITS: Final = {Role.RECEIVER: Kind.RECEIVER_COMMITS, Role.SENDER: Kind.SENDER_COMMITS}


def length(terms: Terms, kind: Kind) -> int:
    """Return how long the content of a message is."""
    lengths = {
        Kind.RECEIVER_COMMITS: COMMITMENT,
        Kind.SENDER_COMMITS: COMMITMENT * (2 if terms.reveals is Reveals.SUM else 1),
        Kind.LIST: POINT * (1 + terms.receiver_cap),
        Kind.REPLY: terms.tag_bytes * terms.tags + POINT * terms.points + sealed(terms),
        Kind.TOLD: NUMBER,
        Kind.TOKENS: TOKEN_BYTES * terms.sender_cap,
        Kind.CHOICE: NUMBER + ANSWER,
        Kind.SUMMED: NUMBER,
    }
    return lengths[kind]


def sealed(terms: Terms) -> int:
    """Return how many bytes of a reply are the sealed numbers of its points, and their key."""
    if terms.reveals is not Reveals.SUM:
        return 0
    return SEALED_KEY + NAME_SIZE + POLYNOMIAL * -(-terms.points // SLOTS)


def write(terms: Terms, kind: Kind, content: bytes) -> bytes:
    """Return the message."""
    return bytes([VERSION, kind]) + bytes.fromhex(terms.digest) + content


def read(terms: Terms, kind: Kind, wire: bytes) -> bytes:
    """Return the content of a message.

    Raises:
        PeerProtocolError: another version, kind, session or length.
    """
    if wire[:2] != bytes([VERSION, kind]):
        raise PeerProtocolError(f"a {kind.name.lower()} message of version {VERSION} is due")
    if wire[2:HEADER] != bytes.fromhex(terms.digest):
        raise PeerProtocolError("the message is of another session, or of other terms")
    wanted = HEADER + length(terms, kind)
    if len(wire) != wanted:
        raise PeerProtocolError(f"the message has {len(wire)} bytes and the terms say {wanted}")
    return wire[HEADER:]


def cut(content: bytes, size: int) -> list[bytes]:
    """Return the pieces of `size` bytes that `content` consists of."""
    return [content[at : at + size] for at in range(0, len(content), size)]


def read_points(content: bytes) -> list[bytes]:
    """Return the points of a list.

    Raises:
        PeerProtocolError: a point cut off, twice, out of order or in a second spelling, or a list
            made of hashes that were never mapped to the curve.
    """
    if len(content) % POINT:
        raise PeerProtocolError(f"the last point of the list is not of {POINT} bytes")
    points = cut(content, POINT)
    if any(left >= right for left, right in pairwise(points)):
        raise PeerProtocolError("the points are not in ascending order, or one stands twice")
    if any(point[31] >= 0x7F and _is_second_spelling(point) for point in points):
        raise PeerProtocolError("a point is not written in its one spelling, below p")
    if not all(elligator.is_on_curve(_number(point)) for point in points[:SAMPLED]):
        raise PeerProtocolError(
            "points lie on the twist: raw hashes leak a bit each, so the peer must map them"
        )
    return points


def require_distinct(products: Sequence[bytes]) -> list[bytes]:
    """Return the masked points, all different.

    Raises:
        PeerProtocolError: two points became one: they differed by a point of low order, which would
            mark one identifier.
    """
    if len(set(products)) != len(products):
        raise PeerProtocolError("two points of the list are one but for a point of low order")
    return list(products)


def _is_second_spelling(point: bytes) -> bool:
    return _number(point) >= elligator.P


def _number(point: bytes) -> int:
    return int.from_bytes(point, "little")
