"""A question's answer as the aggregator keeps it: everything but what it would take to read it.

The recipient believes none of it. It adds the key up itself, checks every commitment and every
keyholder's signature, and opens the boxes, which are sealed to a key that it alone has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from federation.errors import MalformedMessageError
from federation.joint_keys import pack, unpack
from federation.sealed_answers import Origin, unseal
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.threshold import ciphertext, opening
from secure_compute.threshold.joint import JointKey
from secure_compute.threshold.keyholder import Partial
from secure_compute.threshold.listing import Commitment, Listing, listing
from secure_compute.threshold.question import Question

_MAGIC: Final = b"entrepot answer/1\n"


@dataclass(frozen=True, slots=True)
class Box:
    """What one keyholder sealed for the recipient: its partials, one after another."""

    keyholder: str
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer that nobody has opened.

    totals: the sum of each chunk, as the aggregator says it is: the keyholders signed what it was.
    """

    package: bytes = field(repr=False)
    commitments: tuple[bytes, ...]
    totals: tuple[bytes, ...] = field(repr=False)
    boxes: tuple[Box, ...]

    @property
    def parties(self) -> tuple[str, ...]:
        """Whose cells were summed."""
        return tuple(Commitment.read(wire).party for wire in self.commitments)

    @property
    def keyholders(self) -> tuple[str, ...]:
        """Who helped to open it, sorted."""
        return tuple(sorted({box.keyholder for box in self.boxes}))

    def to_bytes(self) -> bytes:
        """Return the one spelling."""
        boxes = [pack([box.keyholder.encode(), box.sealed]) for box in self.boxes]
        parts = [self.package, pack(self.commitments), pack(self.totals), pack(boxes)]
        return _MAGIC + pack(parts)

    @classmethod
    def read(cls, data: bytes) -> "KeptAnswer":
        """Read what `to_bytes` wrote.

        Raises:
            MalformedMessageError: it is no answer of this version, or not all of one.
        """
        if data.startswith(_MAGIC):
            match unpack(data[len(_MAGIC) :]):
                case [package, commitments, totals, boxes]:
                    read = tuple(_box(blob) for blob in unpack(boxes))
                    return cls(package, tuple(unpack(commitments)), tuple(unpack(totals)), read)
        raise MalformedMessageError("this is no sealed answer of this version")


def open_answer(
    kept: KeptAnswer, question: Question, joint: JointKey, private: AgreementKey
) -> tuple[Listing, tuple[int, ...]]:
    """Return whose cells were summed, and the sums.

    question, joint: as the recipient derived the one and added up the other.

    Raises:
        MalformedMessageError: a box does not hold what a keyholder sends.
        BadSignatureError: a party or a keyholder did not sign what it is said to say.
        PeerProtocolError: a box is for somebody else, a piece is missing, or it is no such sum.
        FaultyPartyError: two keyholders differ, or one answered for another sum.
    """
    listed = listing(question, [Commitment.read(wire) for wire in kept.commitments])
    if len(kept.totals) != question.layout.chunks:
        raise MalformedMessageError("the answer has more or fewer ciphertexts than its question")
    totals = [ciphertext.relayed(listed, at, wire) for at, wire in enumerate(kept.totals)]
    partials = _partials(kept.boxes, question.query, listed.digest, private)
    return listed, opening.combine(joint.terms, totals, partials)


def _partials(
    boxes: Sequence[Box], order: str, listed: str, private: AgreementKey
) -> list[Partial]:
    return [
        Partial.read(wire)
        for box in boxes
        for wire in unseal(box.sealed, private, Origin(order, box.keyholder, listed))
    ]


def _box(blob: bytes) -> Box:
    match unpack(blob):
        case [name, sealed]:
            try:
                return Box(name.decode("ascii"), sealed)
            except UnicodeDecodeError as why:
                raise MalformedMessageError("a box names no keyholder") from why
    raise MalformedMessageError("a box is of one keyholder and holds one sealed part")
