"""The sum of the sender's numbers over the people in common, each end's noise inside it.

    receiver   open_session ─ bind ─ session.blind ────────── choose ───────── take
    sender     open_session ─ bind ────────────────── reply ───────── release

A size as in `session`, and with the reply the numbers of the sender's points, sealed under a key
of this session (`inner`): fillers and dummies count 0. The receiver knows which points came back,
not whose they are; it weighs those with 1 and all others with 0, adds its own noise, and sends one
ciphertext. The sender opens the sum with the receiver's noise, and tells it with its own on top.

So the sender sees the sum with the receiver's noise, the receiver with the sender's, and whoever
else is told with both. All of it is a function of set, numbers, seed and what the partner said.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from secure_compute.entropy import Entropy
from secure_compute.primitives.seed_stream import SeedStream
from secure_compute.psi import session
from secure_compute.psi.amounts import Amounts, value_of
from secure_compute.psi.inner import Key
from secure_compute.psi.inner import choose as weigh
from secure_compute.psi.masking import Spread, alone
from secure_compute.psi.messages import NUMBER, SEALED_KEY, Kind, read, write
from secure_compute.psi.opening import Bound, require
from secure_compute.psi.session import SEED, Answered, Blinded, Size
from secure_compute.psi.sets import Book, Chosen
from secure_compute.psi.terms import Reveals, Role, Terms

_LABEL: Final = "entrepot.psi-sum/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """What one end learns: size and sum, either with the noise of the other end at least."""

    terms: Terms
    size: int
    total: int = field(repr=False)


def reply(
    book: Book,
    bound: Bound,
    amounts: Amounts,
    wire: bytes,
    entropy: Entropy,
    spread: Spread = alone,
) -> tuple[Book, Answered, bytes]:
    """The sender masks both lists, with its dummies among them, and seals the numbers of its own.

    Raises:
        PeerProtocolError: it is no list of this session, or one that must not be masked.
        LocalProtocolError: this side is not the sender, or the session tells something else.
        SessionUsedError: this session was answered before.
    """
    terms = require(bound, Role.SENDER, Reveals.SUM)
    after = book.take(terms, "reply")
    seed = entropy.bytes(SEED)
    message = summing_reply(terms, bound.chosen, amounts, seed, wire, spread)
    return after, Answered(terms=terms, seed=seed), message


def choose(
    book: Book, blinded: Blinded, wire: bytes, spread: Spread = alone
) -> tuple[Book, Size, bytes]:
    """The receiver counts, tells the size, and weighs the numbers of whoever is in both sets.

    It is a release about the receiver's people: of the size, and of the sum with its own noise.

    Raises:
        PeerProtocolError: it is no reply of this session, or a ciphertext of it cannot be read.
        SessionUsedError: a reply of this session was weighed before.
    """
    after = book.take(blinded.terms, "conclude").take(blinded.terms, "tell")
    size, message = choice(blinded, wire, spread)
    return after, size, message


def release(book: Book, answered: Answered, wire: bytes) -> tuple[Book, Sum, bytes]:
    """The sender opens the sum, and tells it with its own noise on top.

    Raises:
        PeerProtocolError: it is no such message of this session, or no sum of so many people.
        SessionUsedError: it was opened before.
    """
    found, message = released(answered.terms, answered.seed, wire)
    return book.take(answered.terms, "release"), found, message


def take(book: Book, terms: Terms, seed: bytes, size: int, wire: bytes) -> tuple[Book, Sum]:
    """The receiver takes its own noise off the sum that it is told; the sender's stays.

    seed: of its list; size: what it counted, with the sender's noise.

    Raises:
        PeerProtocolError: it is no such message of this session, or no sum of so many people.
        SessionUsedError: it was taken before.
    """
    total = _plausible(terms, told_by(terms, wire) - noise(terms, Role.RECEIVER, seed))
    return book.take(terms, "take"), Sum(terms=terms, size=size, total=total)


def told_by(terms: Terms, wire: bytes) -> int:
    """Return the sum, with the noise of both, in the message that the sender told it by.

    Raises:
        PeerProtocolError: it is no such message of this session.
    """
    return _signed(read(terms, Kind.SUMMED, wire))


def size_in(terms: Terms, wire: bytes) -> int:
    """Return the size, with the noise of both, in the message that the receiver chose by.

    Raises:
        PeerProtocolError: it is no such message of this session.
    """
    return _signed(read(terms, Kind.CHOICE, wire)[:NUMBER])


def noise(terms: Terms, role: Role, seed: bytes) -> int:
    """Return what one end adds to the sum: its seed decides it, before anything is heard."""
    return value_of(terms).draw(_stream(terms, role, seed, "noise"))


def summing_reply(
    terms: Terms,
    chosen: Chosen,
    amounts: Amounts,
    seed: bytes,
    wire: bytes,
    spread: Spread = alone,
) -> bytes:
    """Return the sender's reply to a list: a function of set, numbers, seed and list."""
    found, points = session.replied(terms, chosen, seed, wire, spread)
    worth = amounts.by_identifier(chosen)
    steps = [0 if owner is None else worth[owner] for _, owner in points]
    key, stream = _key(terms, seed), _stream(terms, Role.SENDER, seed, "numbers")
    sealed = key.seal(np.array(steps, np.int64), stream)
    content = (*found, *(point for point, _ in points), key.public, sealed)
    return write(terms, Kind.REPLY, b"".join(content))


def choice(blinded: Blinded, wire: bytes, spread: Spread = alone) -> tuple[Size, bytes]:
    """Return size and message of the receiver: a function of its set, its seed and the reply."""
    terms = blinded.terms
    matches = session.matches(terms, blinded.scalar, wire, spread)
    size = session.size_of(blinded, matches)
    heard = hashlib.sha256(wire).hexdigest()  # no chance is ever used for two replies
    stream = _stream(terms, Role.RECEIVER, blinded.seed, f"choice {heard}")
    sealed, own = session.sealed_part(terms, wire), noise(terms, Role.RECEIVER, blinded.seed)
    weights = np.array(matches, np.int64)
    (answer,) = weigh(sealed[:SEALED_KEY], sealed[SEALED_KEY:], [weights], [own], stream)
    told = session.told(size).to_bytes(NUMBER, "big", signed=True)
    return size, write(terms, Kind.CHOICE, told + answer)


def released(terms: Terms, seed: bytes, wire: bytes) -> tuple[Sum, bytes]:
    """Return sum and message of the sender: a function of its seed and the receiver's choice."""
    content = read(terms, Kind.CHOICE, wire)
    total = _plausible(terms, _key(terms, seed).open(content[NUMBER:]))
    told = total + noise(terms, Role.SENDER, seed)
    found = Sum(terms=terms, size=_signed(content[:NUMBER]), total=total)
    return found, write(terms, Kind.SUMMED, told.to_bytes(NUMBER, "big", signed=True))


def _key(terms: Terms, seed: bytes) -> Key:
    return Key.generate(_stream(terms, Role.SENDER, seed, "key"))


def _plausible(terms: Terms, total: int) -> int:
    people = min(terms.receiver_cap, terms.sender_cap)
    return value_of(terms).require_plausible(total, people)


def _signed(raw: bytes) -> int:
    return int.from_bytes(raw, "big", signed=True)


def _stream(terms: Terms, role: Role, seed: bytes, what: str) -> SeedStream:
    return SeedStream(seed, f"{_LABEL} {what} {role.value} {terms.digest}".encode())
