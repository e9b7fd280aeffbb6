"""How every session begins: each side commits to its set, and reads what the other committed to.

    open_session ─ bind ─ then `session` for a size, `summing` for a sum, or `tokens` for members

`(book, state, message) → (book', state', message')`: book' is written before message' is sent.
"""

from dataclasses import dataclass, field

from secure_compute.errors import LocalProtocolError
from secure_compute.psi.amounts import Amounts, amounts_place
from secure_compute.psi.messages import COMMITMENT, COMMITS, read, write
from secure_compute.psi.sets import Book, Chosen
from secure_compute.psi.terms import Reveals, Role, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """This side committed to its set and waits for the other's commitment."""

    terms: Terms
    role: Role
    chosen: Chosen = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Both sides are bound to one set each."""

    terms: Terms
    role: Role
    chosen: Chosen = field(repr=False)


def open_session(
    book: Book, terms: Terms, role: Role, chosen: Chosen, amounts: Amounts | None = None
) -> tuple[Book, Opened, bytes]:
    """Begin a session with the set of this window; the message is this side's commitment.

    amounts: the numbers of the sender's set, for a sum.

    Raises:
        SessionUsedError: a session of this id was begun before.
        SecondSetError: this side committed to another set for this window and approval.
        LocalProtocolError: the set is larger than the contract's cap, or numbers are missing, or
            are of nobody.
    """
    commitment = commitment_of(terms, role, chosen, amounts)
    after = _bound(book.take(terms, "open"), terms, role, commitment)
    opened = Opened(terms=terms, role=role, chosen=chosen)
    return after, opened, write(terms, COMMITS[role], commitment)


def bind(book: Book, opened: Opened, wire: bytes) -> tuple[Book, Bound]:
    """Take the other side's commitment.

    Raises:
        SecondSetError: it committed to another set before, for this window and approval.
        PeerProtocolError: it is no commitment of this session.
        SessionUsedError: a commitment was taken before.
    """
    terms, role = opened.terms, opened.role
    commitment = read(terms, COMMITS[role.other], wire)
    after = _bound(book.take(terms, "bind"), terms, role.other, commitment)
    return after, Bound(terms=terms, role=role, chosen=opened.chosen)


def commitment_of(terms: Terms, role: Role, chosen: Chosen, amounts: Amounts | None) -> bytes:
    """Return what one side commits to: its set, and the sender of a sum to its numbers too.

    Raises:
        LocalProtocolError: numbers are missing, of nobody, or not of this set.
    """
    if (amounts is not None) != (terms.reveals is Reveals.SUM and role is Role.SENDER):
        raise LocalProtocolError("the sender of a sum brings numbers, and nobody else does")
    own = chosen.commitment(terms, role)
    if amounts is None:
        return own
    amounts.by_identifier(chosen)
    return own + amounts.commitment(terms)


def _bound(book: Book, terms: Terms, role: Role, commitment: bytes) -> Book:
    after = book.bind(terms, terms.party(role), commitment[:COMMITMENT])
    if len(commitment) == COMMITMENT:
        return after
    return after.bind_amounts(terms, amounts_place(terms), commitment[COMMITMENT:])


def require(bound: Bound, role: Role, *reveals: Reveals) -> Terms:
    """Return the terms if this step is this side's, in a session that tells one of `reveals`.

    Raises:
        LocalProtocolError: it is not.
    """
    if bound.role is not role:
        raise LocalProtocolError(f"this step is the {role.value}'s")
    if bound.terms.reveals not in reveals:
        raise LocalProtocolError(f"this session tells {bound.terms.reveals.value} alone")
    return bound.terms
