"""What each identifier of the sender's set counts with, and the commitment to it.

The set is the one of every other session of its window. Its numbers are committed to beside it, for
a column and its bounds: of one place there is one set, and of one column of it one list of numbers.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.entropy import Entropy
from secure_compute.errors import IdentifierError, LocalProtocolError
from secure_compute.psi.identifiers import Kind, brought
from secure_compute.psi.identifiers import canonical as spelled
from secure_compute.psi.sets import SALT, Chosen, place
from secure_compute.psi.terms import VERSION, Role, Terms
from secure_compute.psi.values import Value

_NUMBER: Final = 8


@dataclass(frozen=True, slots=True)
class Amounts:
    """The number of each identifier of a set, in its order, in steps.

    salt: kept beside them: with another one the commitment would be another.
    """

    steps: tuple[int, ...] = field(repr=False)
    salt: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.salt) != SALT:
            raise LocalProtocolError("the numbers of a set have a salt")

    @classmethod
    def of(cls, steps: Sequence[int], entropy: Entropy) -> "Amounts":
        """Return the numbers, with a fresh salt."""
        return cls(tuple(steps), entropy.bytes(SALT))

    def commitment(self, terms: Terms) -> bytes:
        """Return 32 bytes that bind to these numbers and say nothing of them.

        Raises:
            LocalProtocolError: the session sums nothing, or a number is out of its bounds.
        """
        value = value_of(terms)
        if any(number and value.clip(number) != number for number in self.steps):
            raise LocalProtocolError("a number of the set is beyond the bounds of its column")
        found = hashlib.sha256(self.salt + bytes.fromhex(amounts_place(terms)))
        for number in self.steps:
            found.update(number.to_bytes(_NUMBER, "big", signed=True))
        return found.digest()

    def by_identifier(self, chosen: Chosen) -> dict[str, int]:
        """Return the number of each identifier.

        Raises:
            LocalProtocolError: they are of another set.
        """
        if len(self.steps) != len(chosen.identifiers):
            raise LocalProtocolError("these numbers are not of this set")
        return dict(zip(chosen.identifiers, self.steps, strict=True))


def value_of(terms: Terms) -> Value:
    """Return what a session sums.

    Raises:
        LocalProtocolError: it sums nothing.
    """
    if terms.value is None:
        raise LocalProtocolError("a session without a value sums nothing")
    return terms.value


def amounts_place(terms: Terms) -> str:
    """Return what numbers are committed for: the place of the sender's set, column, bounds, step.

    So numbers that count one person at most `most` identifiers serve no session of another `most`.
    Not the noise: it says nothing of what the numbers are.
    """
    told: dict[str, JSON] = {
        name: part for name, part in value_of(terms).to_json().items() if name != "scale"
    }
    here = place(terms, terms.party(Role.SENDER))
    return canonical.digest(
        {"place": "entrepot.psi-amounts", "v": VERSION, "set": here, "of": told}
    )


def summed(
    kind: Kind,
    rows: Iterable[tuple[str, str | None, int | None]],
    identifiers: Sequence[str],
    *,
    most: int,
    value: Value,
) -> tuple[int, ...]:
    """Return what each of `identifiers` counts with.

    A person counts with the sum of the person's rows, clipped, at each identifier that `brought`
    names; an identifier that several people bring counts with all of them, clipped again. So one
    person more or less moves at most `most` numbers, each within the bounds or to 0 and back.

    rows: of (person, identifier, steps); what is None is not there.
    """
    owned: dict[str, set[str]] = defaultdict(set)
    worth: dict[str, int] = {}
    for person, raw, steps in rows:
        if steps is not None:
            worth[person] = worth.get(person, 0) + value.clip(steps)
        if raw is not None:
            _own(owned[person], kind, raw)
    found: dict[str, int] = {}
    for person, texts in owned.items():
        for text in brought(texts, most) if person in worth else ():
            found[text] = found.get(text, 0) + value.clip(worth[person])
    return tuple(value.clip(found[text]) if text in found else 0 for text in identifiers)


def _own(texts: set[str], kind: Kind, raw: str) -> None:
    try:
        texts.add(spelled(kind, raw))
    except IdentifierError:
        return  # counted where the set is collected
