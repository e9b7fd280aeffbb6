"""What each side is bound to: one set for a window and approval, and each step of a session once.

The book is written to disk before a message that it allows is sent. It holds commitments and the
names of steps, no identifier and no key.
"""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Final

from secure_compute import canonical
from secure_compute.entropy import Entropy
from secure_compute.errors import (
    LocalProtocolError,
    PeerProtocolError,
    SecondSetError,
    SessionUsedError,
)
from secure_compute.psi.identifiers import Collected
from secure_compute.psi.terms import VERSION, Role, Terms

SALT: Final = 32


@dataclass(frozen=True, slots=True)
class Chosen:
    """The set that a party brings to every session of one window and approval.

    salt: kept beside the set: with another one the commitment would be another.
    """

    identifiers: tuple[str, ...] = field(repr=False)
    salt: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if list(self.identifiers) != sorted(set(self.identifiers)) or len(self.salt) != SALT:
            raise LocalProtocolError("a set is sorted, holds nobody twice, and has a salt")

    @classmethod
    def of(cls, collected: Collected, entropy: Entropy) -> "Chosen":
        """Return the set, with a fresh salt."""
        return cls(collected.identifiers, entropy.bytes(SALT))

    def commitment(self, terms: Terms, role: Role) -> bytes:
        """Return 32 bytes that bind to this set and say nothing of it.

        Raises:
            LocalProtocolError: the set is larger than the contract's cap.
        """
        if len(self.identifiers) > terms.cap(role):
            raise LocalProtocolError(f"a set holds at most {terms.cap(role)} identifiers here")
        found = hashlib.sha256(self.salt + bytes.fromhex(place(terms, terms.party(role))))
        for text in self.identifiers:
            raw = text.encode()
            found.update(len(raw).to_bytes(4, "big") + raw)
        return found.digest()


@dataclass(frozen=True, slots=True)
class Book:
    """What one side has seen. sets: (place, commitment), both hexadecimal; steps: what was done."""

    sets: tuple[tuple[str, str], ...] = ()
    steps: tuple[str, ...] = ()

    def bind(self, terms: Terms, party: str, commitment: bytes) -> "Book":
        """Return the book with this party bound to this set, for this window and approval.

        Raises:
            SecondSetError: it is bound to another one.
        """
        after = self._bound(place(terms, party), commitment)
        if after is None:
            raise SecondSetError(
                f"{party} committed to another set for window {terms.window}: ask for an approval "
                "of its own for this one"
            )
        return after

    def bind_amounts(self, terms: Terms, here: str, commitment: bytes) -> "Book":
        """Return the book with the sender bound to the numbers of its set, of one column.

        here: `amounts.amounts_place`.

        Raises:
            SecondSetError: it is bound to others.
        """
        after = self._bound(here, commitment)
        if after is None:
            raise SecondSetError(
                f"{terms.sender} committed to other numbers of the same people for window "
                f"{terms.window}: what is corrected counts from the next window on"
            )
        return after

    def take(self, terms: Terms, step: str) -> "Book":
        """Return the book with this step taken.

        Raises:
            SessionUsedError: it was taken before: two answers in one session would show more than
                one noised size.
        """
        here = f"{canonical.digest([terms.federation, terms.session])}:{step}"
        if here in self.steps:
            raise SessionUsedError(f"the step '{step}' of session {terms.session} was taken before")
        return replace(self, steps=(*self.steps, here))

    def _bound(self, here: str, commitment: bytes) -> "Book | None":
        said = commitment.hex()
        before = dict(self.sets).get(here)
        if before is None:
            return replace(self, sets=tuple(sorted((*self.sets, (here, said)))))
        return self if before == said else None

    def to_bytes(self) -> bytes:
        """Return the one spelling of the book."""
        return canonical.encode(
            {"state": "entrepot.psi-book", "v": VERSION, "sets": self.sets, "steps": self.steps}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Book":
        """Read what `to_bytes` wrote.

        Raises:
            LocalProtocolError: it is no book of this version: begin nothing rather than guess.
        """
        try:
            value = canonical.decode(data)
        except PeerProtocolError as why:
            raise LocalProtocolError("the stored book of matched sets is damaged") from why
        match value:
            case {"sets": list(sets), "steps": list(steps)}:
                made = cls(tuple(map(_pair, sets)), tuple(map(str, steps)))
                if made.to_bytes() == data:
                    return made
        raise LocalProtocolError("the stored book of matched sets is of another version")


def place(terms: Terms, party: str) -> str:
    """Return what one set is committed for: a party, a window, an approval, a kind, its bounds.

    Its bounds are what it was chosen by, the party's cap and `most`. A set that was chosen by
    others is never brought: beyond the cap it would be refused, and how large it is would be told;
    with more of one person than `most` it would be charged too little.

    Raises:
        LocalProtocolError: the party is no end of this session.
    """
    return canonical.digest(
        {
            "place": "entrepot.psi-set",
            "v": VERSION,
            "federation": terms.federation,
            "party": party,
            "window": terms.window,
            "approval": terms.approval,
            "kind": terms.kind.value,
            "cap": terms.cap(terms.role(party)),
            "most": terms.most,
        }
    )


def _pair(value: object) -> tuple[str, str]:
    match value:
        case [str(here), str(said)]:
            return here, said
    raise LocalProtocolError("the stored book of matched sets is of another version")
