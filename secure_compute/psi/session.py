"""How many people two sets have in common, with noise that the receiver cannot take off again.

    receiver   open_session ─ bind ─ blind ───────────── conclude ─ tell
    sender     open_session ─ bind ───────── reply ─────────────── hear

The sender adds z matches to what the receiver counts: points D = r·G among its own, and r·(a·G)
among the receiver's, both before it masks them, both lists shuffled as wholes. Every list has the
same number of dummies; z of them match. `dummies` says how z is drawn and what it costs.

The size is what the *receiver* may know. What the sender or anybody else is told carries the
receiver's own draw on top, made before its list was sent: the sender knows z.
"""

from dataclasses import dataclass, field
from typing import Final

from secure_compute.entropy import Entropy
from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.primitives.multiples import BASE, multiples
from secure_compute.primitives.seed_stream import SeedStream
from secure_compute.psi.dummies import Law
from secure_compute.psi.lists import SCALAR, Masked, chance, list_message, masked_list, tags
from secure_compute.psi.masking import Spread, alone, masked
from secure_compute.psi.messages import (
    NUMBER,
    POINT,
    Kind,
    cut,
    read,
    read_points,
    require_distinct,
    write,
)
from secure_compute.psi.opening import Bound, require
from secure_compute.psi.sets import Book, Chosen
from secure_compute.psi.terms import Reveals, Role, Terms

SEED: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Blinded:
    """The receiver sent its list. added: its own draw, for what it tells; seed: for an audit."""

    terms: Terms
    scalar: bytes = field(repr=False)
    added: int = field(repr=False)
    seed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The sender gave its reply. seed: for an audit."""

    terms: Terms
    seed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What the receiver learns: |X ∩ Y| + η of the sender. It may be below zero.

    added: this side's own draw, which whoever is told sees on top.
    """

    terms: Terms
    noised: int
    added: int = field(repr=False)

    @property
    def scale(self) -> int:
        """Return the scale of the noise; its standard deviation is about 1.4 times that."""
        return _law(self.terms).scale


def blind(
    book: Book, bound: Bound, entropy: Entropy, spread: Spread = alone
) -> tuple[Book, Blinded, bytes]:
    """The receiver masks its list.

    Raises:
        LocalProtocolError: this side is not the receiver, or the session tells something else.
        SessionUsedError: a list of this session was made before.
    """
    terms = require(bound, Role.RECEIVER, Reveals.SIZE, Reveals.SUM)
    after = book.take(terms, "list")
    seed = entropy.bytes(SEED)
    mine, added = receiver_list(terms, bound.chosen, seed, spread)
    blinded = Blinded(terms=terms, scalar=mine.scalar, added=added, seed=seed)
    return after, blinded, list_message(terms, mine)


def reply(
    book: Book, bound: Bound, wire: bytes, entropy: Entropy, spread: Spread = alone
) -> tuple[Book, Answered, bytes]:
    """The sender masks both lists, with its dummies among them.

    Raises:
        PeerProtocolError: it is no list of this session; a point is of low order, stands twice or
            in a second spelling.
        LocalProtocolError: this side is not the sender, or the session tells something else.
        SessionUsedError: this session was answered before.
    """
    terms = require(bound, Role.SENDER, Reveals.SIZE)
    after = book.take(terms, "reply")
    seed = entropy.bytes(SEED)
    message = sender_reply(terms, bound.chosen, seed, wire, spread)
    return after, Answered(terms=terms, seed=seed), message


def conclude(
    book: Book, blinded: Blinded, wire: bytes, spread: Spread = alone
) -> tuple[Book, Size]:
    """The receiver counts.

    Raises:
        PeerProtocolError: it is no reply of this session; a point is of low order, stands twice or
            in a second spelling.
        SessionUsedError: a reply of this session was counted before.
    """
    found = matches(blinded.terms, blinded.scalar, wire, spread)
    return book.take(blinded.terms, "conclude"), size_of(blinded, found)


def tell(book: Book, size: Size) -> tuple[Book, bytes]:
    """The receiver tells the sender: the noised size with its own noise on top.

    It is a release about the receiver's people, of the price of `Law.event`, charged there.

    Raises:
        SessionUsedError: it was told before.
    """
    after = book.take(size.terms, "tell")
    return after, write(size.terms, Kind.TOLD, told(size).to_bytes(NUMBER, "big", signed=True))


def hear(answered: Answered, wire: bytes) -> int:
    """Return the size that the receiver told, with the noise of both.

    Raises:
        PeerProtocolError: it is no such message of this session.
    """
    return int.from_bytes(read(answered.terms, Kind.TOLD, wire), "big", signed=True)


def matches(terms: Terms, scalar: bytes, wire: bytes, spread: Spread = alone) -> list[bool]:
    """Return of each of the sender's points, in their order, whether its tag came back.

    Raises:
        PeerProtocolError: it is no reply of this session, or its points must not be masked.
    """
    found, points = read_reply(terms, wire)
    mine = tags(terms, require_distinct(masked(scalar, points, spread)))
    return [tag in found for tag in mine]


def size_of(blinded: Blinded, found: list[bool]) -> Size:
    """Return what the receiver learns of its matches."""
    noised = sum(found) - _law(blinded.terms).shift
    return Size(terms=blinded.terms, noised=noised, added=blinded.added)


def told(size: Size) -> int:
    """Return the size with the receiver's own noise on top."""
    return size.noised + size.added - _law(size.terms).shift


def receiver_list(
    terms: Terms, chosen: Chosen, seed: bytes, spread: Spread = alone
) -> tuple[Masked, int]:
    """Return the receiver's list and its draw: a function of set and seed."""
    stream = chance(seed, terms, Role.RECEIVER)
    mine = masked_list(terms, Role.RECEIVER, chosen, stream, spread)
    return mine, _law(terms).draw(stream)


def sender_reply(
    terms: Terms, chosen: Chosen, seed: bytes, wire: bytes, spread: Spread = alone
) -> bytes:
    """Return the sender's reply to a list: a function of set, seed and list."""
    found, points = replied(terms, chosen, seed, wire, spread)
    return write(terms, Kind.REPLY, b"".join((*found, *(point for point, _ in points))))


def replied(
    terms: Terms, chosen: Chosen, seed: bytes, wire: bytes, spread: Spread = alone
) -> tuple[list[bytes], list[tuple[bytes, str | None]]]:
    """Return the tags of the receiver's list, and the sender's points: both ascending.

    A point stands with its identifier; fillers and dummies with None.

    Raises:
        PeerProtocolError: it is no list of this session, or one that must not be masked.
    """
    key, theirs = read_list(terms, wire)
    stream = chance(seed, terms, Role.SENDER)
    mine = masked_list(terms, Role.SENDER, chosen, stream, spread)
    dummies, twins = _dummies(_law(terms), key, stream)
    products = require_distinct(masked(mine.scalar, [*theirs, *twins], spread))
    made_up = [(point, None) for point in masked(mine.scalar, dummies, spread)]
    points = [*zip(mine.points, mine.owners, strict=True), *made_up]
    return sorted(tags(terms, products)), sorted(points, key=lambda pair: pair[0])


def read_list(terms: Terms, wire: bytes) -> tuple[bytes, list[bytes]]:
    """Return the receiver's key and its points.

    Raises:
        PeerProtocolError: it is no list of this session, or one that must not be masked.
    """
    content = read(terms, Kind.LIST, wire)
    key = read_points(content[:POINT])[0]
    return key, read_points(content[POINT:])


def read_reply(terms: Terms, wire: bytes) -> tuple[set[bytes], list[bytes]]:
    """Return the tags of the receiver's list and the sender's points.

    Raises:
        PeerProtocolError: it is no reply of this session, its tags are not sorted, or its points
            must not be masked.
    """
    content = read(terms, Kind.REPLY, wire)
    end = terms.tag_bytes * terms.tags
    found = cut(content[:end], terms.tag_bytes)
    if found != sorted(found):
        raise PeerProtocolError("the tags are not in ascending order")
    return set(found), read_points(content[end : end + POINT * terms.points])


def sealed_part(terms: Terms, wire: bytes) -> bytes:
    """Return what stands in a reply behind tags and points: the sealed numbers of a sum.

    Raises:
        PeerProtocolError: it is no reply of this session.
    """
    return read(terms, Kind.REPLY, wire)[terms.tag_bytes * terms.tags + POINT * terms.points :]


def _dummies(law: Law, key: bytes, stream: SeedStream) -> tuple[list[bytes], list[bytes]]:
    """Return dummies for the sender's list and as many for the receiver's; z of them are pairs.

    key: a·G. A pair is (r·G, r·a·G); the others are r·G and r'·a·G. The work is the same for all z.
    """
    matching = law.draw(stream)
    dummies, twins = [], []
    for place in range(law.slots):
        pair = multiples(stream.bytes(SCALAR), BASE + key)
        other = multiples(stream.bytes(SCALAR), key)
        dummies.append(pair[:POINT])
        twins.append(pair[POINT:] if place < matching else other)
    return dummies, twins


def _law(terms: Terms) -> Law:
    if terms.dummies is None:
        raise LocalProtocolError("a session without dummies tells no size")
    return terms.dummies
