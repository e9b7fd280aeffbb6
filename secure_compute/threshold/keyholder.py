"""What a keyholder demands before it helps to open: `(state, list) → state'`, then fixed strings.

    expect ─ one list for a query, one query for a key, whoever certifies it; write state' down
    bind ─ that list is certified; write state' down
    partial ─ c₁·s + smudge of a piece, for the sum that was added up here

**Write state' to disk before any partial is sent.** A partial says nothing new when it is asked for
again: it is the same string for every quorum, retry and restart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from secure_compute import canonical
from secure_compute.canonical import digest_bytes
from secure_compute.errors import LocalProtocolError, PeerProtocolError, RefusedRequestError
from secure_compute.primitives.signature import SIGNATURE_SIZE
from secure_compute.secagg.epoch import Roster
from secure_compute.threshold import pieces
from secure_compute.threshold.ciphertext import HALF, Total
from secure_compute.threshold.listing import Endorsement, Listing, certify
from secure_compute.threshold.pool import Keyholder, with_key
from secure_compute.threshold.statements import Sign, split
from secure_compute.threshold.terms import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """One piece's part in opening one chunk, for the question's recipient alone.

    listing, total: hashes of the certified list and of the sum that was added up.
    place:          which piece; wire: its 172,032 bytes.
    """

    question: str
    listing: str
    keyholder: str
    recipient: str
    chunk: int
    total: str
    place: int
    wire: bytes = field(repr=False)
    signature: bytes = b""

    def statement(self) -> bytes:
        """Return the canonical bytes that the keyholder signs."""
        return canonical.encode(
            {
                "statement": "entrepot.threshold-partial",
                "v": VERSION,
                "question": self.question,
                "listing": self.listing,
                "keyholder": self.keyholder,
                "recipient": self.recipient,
                "chunk": self.chunk,
                "total": self.total,
                "place": self.place,
                "partial": digest_bytes(self.wire),
            }
        )

    def to_bytes(self) -> bytes:
        """Return the signature, the partial, and the statement behind them."""
        return self.signature + self.wire + self.statement()

    @classmethod
    def read(cls, data: bytes) -> "Partial":
        """Read what `to_bytes` wrote; whether the signature holds is for `combine` to see.

        Raises:
            PeerProtocolError: it is no partial of this version.
        """
        end = SIGNATURE_SIZE + HALF
        signature, value = split(data[:SIGNATURE_SIZE] + data[end:])
        match value:
            case {
                "question": str(question),
                "listing": str(listing),
                "keyholder": str(keyholder),
                "recipient": str(recipient),
                "chunk": int(chunk),
                "total": str(total),
                "place": int(place),
            } if type(chunk) is int and type(place) is int:
                made = cls(
                    question=question,
                    listing=listing,
                    keyholder=keyholder,
                    recipient=recipient,
                    chunk=chunk,
                    total=total,
                    place=place,
                    wire=data[SIGNATURE_SIZE:end],
                    signature=signature,
                )
                if made.to_bytes() == data:
                    return made
        raise PeerProtocolError("not a partial of this version")


def expect(keyholder: Keyholder, roster: Roster, name: str, listed: Listing) -> Keyholder:
    """Return the state that will bind this list of its query and no other, once it is certified.

    So what is written down of a list can be witnessed while it is being signed. Nothing is opened
    of a list that is expected: `partial` wants one that is bound.

    roster: whose members this side verified; name: id of the key.

    Raises:
        RefusedRequestError: another list of this query is expected or bound, or the key serves
            another query.
        RosterError, PeerProtocolError: the question is of another roster, key or cohort.
        LocalProtocolError: sums under this key might not open, or smudging would not hide them.
    """
    question = listed.question
    key = keyholder.key(name)
    key.terms.require_epoch(keyholder.epoch)
    question.require(roster, key.terms, key.digest)
    if not key.shown:
        raise PeerProtocolError("this key was not made to the end")
    if dict(keyholder.queries).get(question.query, listed.digest) != listed.digest:
        raise RefusedRequestError("another list of this query was opened, and a query has one")
    if key.query not in {"", question.query}:
        raise RefusedRequestError("this key serves another query: a key is used once")
    queries = dict(keyholder.queries) | {question.query: listed.digest}
    served = replace(key, query=question.query)
    return with_key(replace(keyholder, queries=tuple(queries.items())), served)


def bind(
    keyholder: Keyholder,
    roster: Roster,
    name: str,
    listed: Listing,
    endorsements: Sequence[Endorsement],
) -> Keyholder:
    """Return the state that holds this list as the only one of its query.

    Raises:
        as `expect` does, and
        as `certify` does: the list has no quorum's signatures.
    """
    expected = expect(keyholder, roster, name, listed)
    certify(listed, endorsements)
    return with_key(expected, replace(expected.key(name), listing=listed.digest))


def partial(keyholder: Keyholder, name: str, total: Total, place: int, sign: Sign) -> Partial:
    """Return one piece's part in opening a sum that `ciphertext.add` made here.

    Raises:
        RefusedRequestError: the sum is not of the list that was bound.
        PeerProtocolError: we hold no such piece.
        LocalProtocolError: the key is retired, or somebody else says what the sum is.
    """
    if type(total) is not Total:
        raise LocalProtocolError("a keyholder opens only what was added up here")
    key, question = keyholder.key(name), total.listing.question
    if (key.query, key.listing) != (question.query, total.listing.digest):
        raise RefusedRequestError("no such list is bound to this key: nothing of it is opened")
    if place not in key.terms.held_by(keyholder.me):
        raise PeerProtocolError(f"{keyholder.me} holds no piece {place} of this key")
    for piece in key.pieces:
        if piece.place == place:
            wire = pieces.partial(piece, key.terms, total.ciphertext[1])
            return _signed(keyholder.me, total, place, wire, sign)
    raise LocalProtocolError("this key was retired")


def _signed(me: str, total: Total, place: int, wire: bytes, sign: Sign) -> Partial:
    made = Partial(
        question=total.listing.question.digest,
        listing=total.listing.digest,
        keyholder=me,
        recipient=total.listing.question.recipient,
        chunk=total.chunk,
        total=total.digest,
        place=place,
        wire=wire,
    )
    return replace(made, signature=sign(made.statement()))
