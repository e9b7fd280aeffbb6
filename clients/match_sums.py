"""The steps of a match that sums: what `clients.matching` says where a size would be told alone."""

import json
from typing import TypeAlias

from clients.errors import RefusedWorkError
from clients.match_results import Found
from secure_compute.entropy import Entropy
from secure_compute.psi import session, summing
from secure_compute.psi.amounts import Amounts, value_of
from secure_compute.psi.masking import Spread
from secure_compute.psi.opening import Bound
from secure_compute.psi.session import Answered
from secure_compute.psi.sets import Book
from secure_compute.psi.terms import Terms

Made: TypeAlias = tuple[bytes, Book, Found]
"""What is said, the book after it, and what this end learns."""


def reply(
    book: Book, bound: Bound, amounts: Amounts, listed: bytes, chance: Entropy, spread: Spread
) -> tuple[bytes, Book]:
    """Return the sender's masked lists with its sealed numbers, and the book after them."""
    after, _, message = summing.reply(book, bound, amounts, listed, chance, spread)
    return message, after


def conclude(book: Book, bound: Bound, chance: Entropy, reply: bytes, spread: Spread) -> Made:
    """Return what the receiver weighs, and the size that it counted."""
    _, blinded, _ = session.blind(Book(), bound, chance, spread)
    after, size, message = summing.choose(book, blinded, reply, spread)
    return message, after, Found(size=size.noised)


def hear(book: Book, terms: Terms, seed: bytes, chosen: bytes, *, answered: bool) -> Made:
    """Return the sum with the sender's noise, told once, and what the sender learns.

    Raises:
        RefusedWorkError: this end sealed no numbers that could have been weighed.
    """
    if not answered:
        raise RefusedWorkError("this end of the match has given no reply yet")
    after, found, message = summing.release(book, Answered(terms=terms, seed=seed), chosen)
    return message, after, _found(found)


def take(book: Book, terms: Terms, seed: bytes, counted: str, told: bytes) -> Made:
    """Return what the receiver learns; nothing is said.

    counted: the size that stands in this node's file, as `Found.summary` writes it.

    Raises:
        RefusedWorkError: this end has counted nothing yet.
    """
    if not counted:
        raise RefusedWorkError("this end of the match has counted nobody yet")
    size = int(json.loads(counted)["size"])
    after, found = summing.take(book, terms, seed, size, told)
    return b"", after, _found(found)


def _found(found: summing.Sum) -> Found:
    value = value_of(found.terms)
    return Found(size=found.size, total=format(value.spelled(found.total), "f"), unit=value.unit)
