"""The terms of one session: everything that both parties must agree on, under one digest.

The digest stands in every message, is hashed with every identifier and with every tag: what belongs
to another session, window, kind or cap fits nowhere. Every length of every message follows from the
terms alone, so none of them says anything about a set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final

from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.psi.dummies import Law
from secure_compute.psi.identifiers import Kind
from secure_compute.psi.values import Value

VERSION: Final = 1
MAX_CAP: Final = 1 << 24
MAX_MOST: Final = 1000
MISTAKE_BITS: Final = 40
"""Two different identifiers share a tag in a session with a chance of at most 2^-MISTAKE_BITS."""
TOKEN_BYTES: Final = 16


class Reveals(Enum):
    """What a session tells: a noised size, a noised sum beside it, or who is in both sets."""

    SIZE = "size"
    SUM = "sum"
    INTERSECTION = "intersection"
    JOIN_TOKENS = "join_tokens"


class Role(Enum):
    """The receiver learns the size or the intersection; the sender has the noise drawn."""

    RECEIVER = "receiver"
    SENDER = "sender"

    @property
    def other(self) -> "Role":
        """The other end."""
        return Role.SENDER if self is Role.RECEIVER else Role.RECEIVER


@dataclass(frozen=True, kw_only=True)
class Terms:
    """One session of two parties.

    session:      id of the signed work order; no two sessions share it.
    window:       the window of the contract, for which each side commits to one set.
    approval:     id of what approved this set in this window; another set needs another.
    receiver_cap, sender_cap: identifiers that each side's contract lets it bring.
    most:         identifiers of one person, at most.
    dummies:      their law, for a size; None for a disclosure of membership.
    value:        what the sender's numbers are, for a sum; None otherwise.
    """

    federation: str
    session: str
    window: str
    approval: str
    kind: Kind
    reveals: Reveals
    receiver: str
    sender: str
    receiver_cap: int
    sender_cap: int
    most: int
    dummies: Law | None
    value: Value | None = None

    def __post_init__(self) -> None:
        reasons = _reasons(self)
        if reasons:
            raise LocalProtocolError("no session has such terms: " + "; ".join(reasons))

    @property
    def discloses(self) -> bool:
        """Whether it tells who is in both sets, which people approve and no noise hides."""
        return self.reveals in {Reveals.INTERSECTION, Reveals.JOIN_TOKENS}

    @property
    def slots(self) -> int:
        """Return the places for dummies in each list that the sender makes."""
        return self.dummies.slots if self.dummies is not None else 0

    @property
    def tags(self) -> int:
        """Return how many tags of the receiver's points come back."""
        return self.receiver_cap + self.slots

    @property
    def points(self) -> int:
        """Return how many points the sender sends."""
        return self.sender_cap + self.slots

    @property
    def tag_bytes(self) -> int:
        """Return the least length at which no two of all pairs are likely to share a tag."""
        if self.reveals is Reveals.JOIN_TOKENS:
            return TOKEN_BYTES
        return (MISTAKE_BITS + (self.tags * self.points - 1).bit_length() + 7) // 8

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return canonical.digest(self.to_json())

    def cap(self, role: Role) -> int:
        """Return how many identifiers this side may bring."""
        return self.receiver_cap if role is Role.RECEIVER else self.sender_cap

    def party(self, role: Role) -> str:
        """Return who takes this role."""
        return self.receiver if role is Role.RECEIVER else self.sender

    def role(self, party: str) -> Role:
        """Return which role a party takes.

        Raises:
            LocalProtocolError: it takes none.
        """
        for role in Role:
            if self.party(role) == party:
                return role
        raise LocalProtocolError(f"{party} is no end of this session")

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        law = self.dummies
        told: dict[str, JSON] = {} if self.value is None else {"value": self.value.to_json()}
        return told | {
            "statement": "entrepot.psi-session",
            "v": VERSION,
            "federation": self.federation,
            "session": self.session,
            "window": self.window,
            "approval": self.approval,
            "kind": self.kind.value,
            "reveals": self.reveals.value,
            "receiver": self.receiver,
            "sender": self.sender,
            "receiver_cap": self.receiver_cap,
            "sender_cap": self.sender_cap,
            "most": self.most,
            "dummies": None if law is None else {"scale": law.scale, "shift": law.shift},
        }

    @classmethod
    def from_json(cls, value: JSON) -> "Terms":
        """Read what `to_json` wrote.

        Raises:
            PeerProtocolError: these are no terms of this version, or terms that are refused.
        """
        try:
            made = _read(value)
            if made is not None and canonical.encode(made.to_json()) == canonical.encode(value):
                return made
        except (LocalProtocolError, ValueError) as why:
            raise PeerProtocolError(f"not the terms of a session of this version: {why}") from why
        raise PeerProtocolError("not the terms of a session of this version")


def _read(value: JSON) -> Terms | None:
    match value:
        case {
            "federation": str(federation),
            "session": str(session),
            "window": str(window),
            "approval": str(approval),
            "kind": str(kind),
            "reveals": str(reveals),
            "receiver": str(receiver),
            "sender": str(sender),
            "receiver_cap": int(receiver_cap),
            "sender_cap": int(sender_cap),
            "most": int(most),
            "dummies": None | dict() as dummies,
            **rest,
        }:
            return Terms(
                federation=federation,
                session=session,
                window=window,
                approval=approval,
                kind=Kind(kind),
                reveals=Reveals(reveals),
                receiver=receiver,
                sender=sender,
                receiver_cap=receiver_cap,
                sender_cap=sender_cap,
                most=most,
                dummies=_law(dummies),
                value=Value.from_json(rest["value"]) if "value" in rest else None,
            )
    return None


def _law(value: Mapping[str, JSON] | None) -> Law | None:
    match value:
        case {"scale": int(scale), "shift": int(shift)}:
            return Law(scale, shift)
    return None


def _reasons(terms: Terms) -> list[str]:
    caps = (terms.receiver_cap, terms.sender_cap)
    names = (terms.federation, terms.session, terms.window, terms.approval)
    reasons = {
        "the two parties are one": terms.receiver == terms.sender,
        "a name or an id is empty": not all((*names, terms.receiver, terms.sender)),
        f"a cap is a whole number, 1 to {MAX_CAP}": not all(
            type(cap) is int and 1 <= cap <= MAX_CAP for cap in caps
        ),
        f"one person has 1 to {MAX_MOST} identifiers at most": (
            type(terms.most) is not int or not 1 <= terms.most <= MAX_MOST
        ),
        "a size is released with dummies, and nothing else is": (
            terms.discloses != (terms.dummies is None)
        ),
        "a sum is of a value, and nothing else is": (
            (terms.reveals is Reveals.SUM) != (terms.value is not None)
        ),
    }
    return [reason for reason, holds in reasons.items() if holds]
