"""Who is in both sets: to the receiver alone, or to both as tokens that align their rows.

    receiver   open_session ─ bind ─ blind ───────────── intersect, or join
    sender     open_session ─ bind ───────── reply ────────────────── align

There is no noise here, and no step without an `Approval`: none of them can be called without the
value that only two signed consents make.

A join token is a name for one person in one session. Fillers have tokens too, so the other side's
list of tokens does not tell how large its set is; which of one's own people are in it, it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from secure_compute.entropy import Entropy
from secure_compute.errors import LocalProtocolError
from secure_compute.psi.consent import Approval, require_approval
from secure_compute.psi.lists import Masked, chance, list_message, masked_list, tags
from secure_compute.psi.masking import Spread, alone, masked
from secure_compute.psi.messages import Kind, cut, read, read_points, require_distinct, write
from secure_compute.psi.opening import Bound, require
from secure_compute.psi.session import SEED, read_list
from secure_compute.psi.sets import Book, Chosen
from secure_compute.psi.terms import TOKEN_BYTES, Reveals, Role, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The receiver sent its list."""

    terms: Terms
    mine: Masked = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replied:
    """The sender gave its reply. theirs: the tokens that it made of the receiver's list."""

    terms: Terms
    mine: Masked = field(repr=False)
    theirs: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """own: (identifier, token) of each person of one's own set; others: the other side's tokens."""

    own: tuple[tuple[str, bytes], ...] = field(repr=False)
    others: frozenset[bytes] = field(repr=False)

    @property
    def common(self) -> tuple[tuple[str, bytes], ...]:
        """Return own people who are in the other set too, in the order of their tokens."""
        both = (pair for pair in self.own if pair[1] in self.others)
        return tuple(sorted(both, key=lambda pair: pair[1]))


def blind(
    book: Book, bound: Bound, approval: Approval, entropy: Entropy, spread: Spread = alone
) -> tuple[Book, Listed, bytes]:
    """The receiver masks its list.

    Raises:
        LocalProtocolError: this side is not the receiver, or the approval is for other terms.
        SessionUsedError: a list of this session was made before.
    """
    terms = require(bound, Role.RECEIVER, Reveals.INTERSECTION, Reveals.JOIN_TOKENS)
    require_approval(approval, terms)
    after = book.take(terms, "list")
    stream = chance(entropy.bytes(SEED), terms, Role.RECEIVER)
    mine = masked_list(terms, Role.RECEIVER, bound.chosen, stream, spread)
    return after, Listed(terms=terms, mine=mine), list_message(terms, mine)


def reply(
    book: Book,
    bound: Bound,
    approval: Approval,
    wire: bytes,
    entropy: Entropy,
    spread: Spread = alone,
) -> tuple[Book, Replied, bytes]:
    """The sender masks both lists and keeps the receiver's order.

    Raises:
        PeerProtocolError: it is no list of this session; a point is of low order, stands twice or
            in a second spelling.
        LocalProtocolError: this side is not the sender, or the approval is for other terms.
        SessionUsedError: this session was answered before.
    """
    terms = require(bound, Role.SENDER, Reveals.INTERSECTION, Reveals.JOIN_TOKENS)
    require_approval(approval, terms)
    after = book.take(terms, "reply")
    replied = _replied(terms, bound.chosen, entropy.bytes(SEED), wire, spread)
    return after, replied, _message(replied)


def disclosing_reply(
    terms: Terms, chosen: Chosen, seed: bytes, wire: bytes, spread: Spread = alone
) -> bytes:
    """Return the sender's reply to a list: a function of set, seed and list, as an audit needs."""
    return _message(_replied(terms, chosen, seed, wire, spread))


def intersect(
    book: Book, listed: Listed, approval: Approval, wire: bytes, spread: Spread = alone
) -> tuple[Book, tuple[str, ...]]:
    """Return who of the receiver's set is in the sender's too, sorted.

    Raises:
        PeerProtocolError: it is no reply of this session, or its points must not be masked.
        LocalProtocolError: the session makes tokens, or the approval is for other terms.
        SessionUsedError: a reply of this session was read before.
    """
    after, found, mine = _matched(book, listed, approval, wire, spread, Reveals.INTERSECTION)
    here = set(mine)
    pairs = zip(listed.mine.owners, found, strict=True)
    return after, tuple(sorted(own for own, tag in pairs if own is not None and tag in here))


def join(
    book: Book, listed: Listed, approval: Approval, wire: bytes, spread: Spread = alone
) -> tuple[Book, Tokens, bytes]:
    """Return the receiver's tokens, and the message that gives the sender its own.

    Raises:
        PeerProtocolError: it is no reply of this session, or its points must not be masked.
        LocalProtocolError: the session makes no tokens, or the approval is for other terms.
        SessionUsedError: a reply of this session was read before.
    """
    after, found, theirs = _matched(book, listed, approval, wire, spread, Reveals.JOIN_TOKENS)
    message = write(listed.terms, Kind.TOKENS, b"".join(theirs))
    return after, _tokens(listed.mine, found, theirs), message


def align(book: Book, replied: Replied, approval: Approval, wire: bytes) -> tuple[Book, Tokens]:
    """Return the sender's tokens.

    Raises:
        PeerProtocolError: these are no tokens of this session.
        LocalProtocolError: the approval is for other terms.
        SessionUsedError: tokens of this session were read before.
    """
    require_approval(approval, replied.terms)
    found = cut(read(replied.terms, Kind.TOKENS, wire), TOKEN_BYTES)
    after = book.take(replied.terms, "align")
    return after, _tokens(replied.mine, found, replied.theirs)


def _replied(terms: Terms, chosen: Chosen, seed: bytes, wire: bytes, spread: Spread) -> Replied:
    _, points = read_list(terms, wire)
    mine = masked_list(terms, Role.SENDER, chosen, chance(seed, terms, Role.SENDER), spread)
    theirs = tags(terms, require_distinct(masked(mine.scalar, points, spread)))
    return Replied(terms=terms, mine=mine, theirs=tuple(theirs))


def _message(replied: Replied) -> bytes:
    content = b"".join((*replied.theirs, *replied.mine.points))
    return write(replied.terms, Kind.REPLY, content)


def _matched(
    book: Book,
    listed: Listed,
    approval: Approval,
    wire: bytes,
    spread: Spread,
    reveals: Reveals,
) -> tuple[Book, list[bytes], list[bytes]]:
    """Return the tags of the receiver's list, in its order, and those of the sender's, in its."""
    terms = listed.terms
    require_approval(approval, terms)
    if terms.reveals is not reveals:
        raise LocalProtocolError(f"this session tells {terms.reveals.value} alone")
    content = read(terms, Kind.REPLY, wire)
    end = terms.tag_bytes * terms.tags
    points = read_points(content[end:])
    theirs = tags(terms, require_distinct(masked(listed.mine.scalar, points, spread)))
    return book.take(terms, "conclude"), cut(content[:end], terms.tag_bytes), theirs


def _tokens(mine: Masked, found: list[bytes], others: Sequence[bytes]) -> Tokens:
    pairs = zip(mine.owners, found, strict=True)
    own = tuple(sorted((owner, token) for owner, token in pairs if owner is not None))
    return Tokens(own=own, others=frozenset(others))
