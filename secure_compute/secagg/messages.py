"""What nodes send, signed, and what the aggregator asks, unsigned: nothing it says is believed.

A node's statement is never sent: both sides know its fields, and the receiver writes it down itself
before it checks the signature. Only the content, the signature and four bytes travel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from secure_compute import canonical
from secure_compute.canonical import digest_bytes
from secure_compute.errors import (
    BadSignatureError,
    NotCanonicalError,
    PeerProtocolError,
    RefusedRequestError,
)
from secure_compute.primitives.signature import SIGNATURE_SIZE
from secure_compute.secagg.terms import Terms

VERSION: Final = 1
HEADER_SIZE: Final = 4


class Kind(IntEnum):
    """The messages of a node, in the order of a round; the first four answer the aggregator."""

    UPLOAD = 1
    REVEAL = 2
    CERTIFY = 3
    OPEN = 4
    WITHDRAW = 5


@dataclass(frozen=True, slots=True)
class Message:
    """A node's message. party: who is said to have sent it; content: bytes by kind."""

    kind: Kind
    party: str
    signature: bytes
    content: bytes = field(repr=False)

    def to_bytes(self, terms: Terms) -> bytes:
        """Return version, kind, the sender's place in the cohort, signature and content."""
        place = terms.cohort.index(self.party)
        return b"".join(
            (bytes((VERSION, self.kind)), place.to_bytes(2, "big"), self.signature, self.content)
        )

    @classmethod
    def read(cls, wire: bytes, terms: Terms) -> "Message":
        """Read what `to_bytes` wrote; whether it is genuine is for `verify` to see.

        Raises:
            PeerProtocolError: it is too short, of another version or kind, or of nobody.
        """
        if len(wire) < HEADER_SIZE + SIGNATURE_SIZE or wire[0] != VERSION:
            raise PeerProtocolError("not a message of this version")
        place = int.from_bytes(wire[2:HEADER_SIZE], "big")
        if wire[1] not in set(Kind) or place >= len(terms.cohort):
            raise PeerProtocolError("a message of an unknown kind, or of nobody in the cohort")
        end = HEADER_SIZE + SIGNATURE_SIZE
        return cls(Kind(wire[1]), terms.cohort[place], wire[HEADER_SIZE:end], wire[end:])


def statement(
    terms: Terms, kind: Kind, party: str, survivors: Sequence[str], content: bytes
) -> bytes:
    """Return the canonical bytes that a node signs.

    survivors: U; the dropped are the rest of the cohort. Empty in an upload and a withdrawal.
    """
    return canonical.encode(
        {
            "statement": f"entrepot.secagg-{kind.name.lower()}",
            "v": VERSION,
            "session": terms.session,
            "round": terms.round,
            "terms": terms.digest,
            "party": party,
            "sets": sets_digest(terms, survivors) if survivors else "",
            "content": digest_bytes(content),
        }
    )


def sets_digest(terms: Terms, survivors: Sequence[str]) -> str:
    """Return SHA-256 over the survivors and the dropped, each sorted, in hexadecimal."""
    dropped = sorted(set(terms.cohort) - set(survivors))
    return canonical.digest({"survivors": sorted(survivors), "dropped": dropped})


def verify(terms: Terms, message: Message, survivors: Sequence[str] = ()) -> None:
    """Return if the named party, of this cohort, signed this message of this round.

    Raises:
        PeerProtocolError: the party is not of the cohort.
        BadSignatureError: it did not sign this: not these bytes, or not for this round or set.
    """
    member = terms.find(message.party)
    said = statement(terms, message.kind, message.party, survivors, message.content)
    try:
        member.identity.verify(message.signature, said)
    except BadSignatureError as why:
        raise BadSignatureError(
            f"not signed by {message.party}, or not for this round and these survivors: "
            f"{message.kind.name.lower()}"
        ) from why


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the aggregator asks of a node. certificate: (party, signature) pairs, for OPEN alone."""

    kind: Kind
    terms: str
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    certificate: tuple[tuple[str, bytes], ...] = ()

    def to_bytes(self) -> bytes:
        """Return the length of the canonical part, that part, and the signatures."""
        head = canonical.encode(
            {
                "statement": "entrepot.secagg-request",
                "v": VERSION,
                "kind": int(self.kind),
                "terms": self.terms,
                "survivors": self.survivors,
                "dropped": self.dropped,
                "signers": [party for party, _ in self.certificate],
            }
        )
        signatures = b"".join(signature for _, signature in self.certificate)
        return len(head).to_bytes(4, "big") + head + signatures

    @classmethod
    def read(cls, wire: bytes) -> "Request":
        """Read what `to_bytes` wrote.

        Raises:
            PeerProtocolError: it is no request of this version.
        """
        end = 4 + int.from_bytes(wire[:4], "big")
        try:
            head = canonical.decode(wire[4:end])
        except NotCanonicalError as why:
            raise PeerProtocolError("a request is cut, or not in canonical form") from why
        match head:
            case {
                "kind": 2 | 3 | 4 as kind,
                "terms": str(terms),
                "survivors": list(survivors),
                "dropped": list(dropped),
                "signers": list(signers),
            } if all(isinstance(name, str) for name in (*survivors, *dropped, *signers)):
                made = cls(
                    kind=Kind(kind),
                    terms=terms,
                    survivors=tuple(map(str, survivors)),
                    dropped=tuple(map(str, dropped)),
                    certificate=_signatures(tuple(map(str, signers)), wire[end:]),
                )
                if made.to_bytes() == wire:
                    return made
        raise PeerProtocolError("not a request of this version")


def require_sets(terms: Terms, request: Request, me: str) -> tuple[str, ...]:
    """Return the survivors, sorted, if they and the dropped are the cohort and enough survive.

    Raises:
        RefusedRequestError: a set names a party twice or one that is unknown, the two overlap or
            leave somebody out, fewer than t survive, or this node is not among them.
    """
    survivors, dropped = request.survivors, request.dropped
    named = (*survivors, *dropped)
    if len(set(named)) != len(named):
        raise RefusedRequestError("a party stands twice among survivors and dropped")
    if set(named) != set(terms.cohort):
        raise RefusedRequestError("survivors and dropped together are not the cohort")
    if len(survivors) < terms.parameters.threshold:
        raise RefusedRequestError(
            f"{len(survivors)} survive and at least {terms.parameters.threshold} must: a smaller "
            "sum could show one party's input"
        )
    if me not in survivors:
        raise RefusedRequestError(f"{me} is asked to answer and is not among the survivors")
    return tuple(sorted(survivors))


def _signatures(signers: tuple[str, ...], blob: bytes) -> tuple[tuple[str, bytes], ...]:
    if len(blob) != SIGNATURE_SIZE * len(signers):
        raise PeerProtocolError("a certificate has one signature of 64 bytes for each signer")
    cut = range(0, len(blob), SIGNATURE_SIZE)
    return tuple(
        (who, blob[at : at + SIGNATURE_SIZE]) for who, at in zip(signers, cut, strict=True)
    )
