"""States as bytes, so that whoever was killed goes on from what it last wrote down.

They are read back from one's own disk. A keyholder's holds the seeds of its pieces: the caller
keeps the file to itself.
"""

from typing import Final

from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import LocalProtocolError, PeerProtocolError, SecureComputeError
from secure_compute.secagg.epoch import Epoch, Member
from secure_compute.threshold.joint import KeyCommitment
from secure_compute.threshold.listing import Commitment
from secure_compute.threshold.party import Answered, Party
from secure_compute.threshold.pieces import Piece
from secure_compute.threshold.pool import Key, Keyholder
from secure_compute.threshold.terms import Terms

VERSION: Final = 1


def keyholder_to_bytes(keyholder: Keyholder) -> bytes:
    """Return the one spelling of a keyholder's state; secrets stand in it as hexadecimal digits."""
    return canonical.encode(
        {
            "state": "entrepot.threshold-keyholder",
            "v": VERSION,
            "me": keyholder.me,
            "epoch": _epoch_to_json(keyholder.epoch),
            "pairs": [[party, key.hex()] for party, key in keyholder.pairs],
            "position": keyholder.position,
            "keys": [_key_to_json(key) for key in keyholder.keys],
            "queries": keyholder.queries,
        }
    )


def keyholder_from_bytes(data: bytes) -> Keyholder:
    """Read what `keyholder_to_bytes` wrote.

    Raises:
        LocalProtocolError: it is no state of this version: answer nothing rather than guess.
    """
    try:
        made = _keyholder(canonical.decode(data))
    except (SecureComputeError, ValueError, TypeError) as why:
        raise LocalProtocolError("the stored state of a keyholder is damaged") from why
    if keyholder_to_bytes(made) != data:
        raise LocalProtocolError("the stored state of a keyholder is of another version")
    return made


def party_to_bytes(party: Party) -> bytes:
    """Return the one spelling of an input party's state."""
    return canonical.encode(
        {
            "state": "entrepot.threshold-party",
            "v": VERSION,
            "me": party.me,
            "answers": [
                [a.query, a.key, a.commitment.to_bytes().hex(), a.endorsed, a.revealed]
                for a in party.answers
            ],
        }
    )


def party_from_bytes(data: bytes) -> Party:
    """Read what `party_to_bytes` wrote.

    Raises:
        LocalProtocolError: it is no state of this version: answer nothing rather than guess.
    """
    try:
        made = _party(canonical.decode(data))
    except (SecureComputeError, ValueError, TypeError) as why:
        raise LocalProtocolError("the stored state of an input party is damaged") from why
    if party_to_bytes(made) != data:
        raise LocalProtocolError("the stored state of an input party is of another version")
    return made


def _keyholder(value: JSON) -> Keyholder:
    match value:
        case {
            "me": str(me),
            "epoch": epoch,
            "pairs": list(pairs),
            "position": int(position),
            "keys": list(keys),
            "queries": list(queries),
        } if type(position) is int:
            return Keyholder(
                me=me,
                epoch=_epoch(epoch),
                pairs=tuple((party, bytes.fromhex(key)) for party, key in map(_two, pairs)),
                position=position,
                keys=tuple(map(_key, keys)),
                queries=tuple(map(_two, queries)),
            )
    raise PeerProtocolError("not the state of a keyholder")


def _key_to_json(key: Key) -> dict[str, JSON]:
    return {
        "terms": key.terms.to_json(),
        "pieces": [[piece.place, piece.seed.hex()] for piece in key.pieces],
        "commitments": [said.to_bytes().hex() for said in key.commitments],
        "shown": key.shown,
        "query": key.query,
        "listing": key.listing,
    }


def _key(value: JSON) -> Key:
    match value:
        case {
            "terms": terms,
            "pieces": list(pieces),
            "commitments": list(commitments),
            "shown": bool(shown),
            "query": str(query),
            "listing": str(listing),
        }:
            wires = (bytes.fromhex(str(wire)) for wire in commitments)
            return Key(
                terms=Terms.from_json(terms),
                pieces=tuple(map(_piece, pieces)),
                commitments=tuple(map(KeyCommitment.read, wires)),
                shown=shown,
                query=query,
                listing=listing,
            )
    raise PeerProtocolError("not the state of a key")


def _piece(value: JSON) -> Piece:
    match value:
        case [int(place), str(seed)] if type(place) is int:
            return Piece(place, bytes.fromhex(seed))
    raise PeerProtocolError("not a piece")


def _party(value: JSON) -> Party:
    match value:
        case {"me": str(me), "answers": list(answers)}:
            return Party(me=me, answers=tuple(map(_answered, answers)))
    raise PeerProtocolError("not the state of an input party")


def _answered(value: JSON) -> Answered:
    match value:
        case [str(query), str(key), str(wire), str(endorsed), bool(revealed)]:
            said = Commitment.read(bytes.fromhex(wire))
            return Answered(
                query=query, key=key, commitment=said, endorsed=endorsed, revealed=revealed
            )
    raise PeerProtocolError("not what was promised for a query")


def _epoch_to_json(epoch: Epoch) -> dict[str, JSON]:
    return {
        "federation": epoch.federation,
        "roster": epoch.roster,
        "number": epoch.number,
        "members": [member.to_json() for member in epoch.members],
    }


def _epoch(value: JSON) -> Epoch:
    match value:
        case {
            "federation": str(federation),
            "roster": str(roster),
            "number": int(number),
            "members": list(members),
        } if type(number) is int:
            return Epoch(
                federation=federation,
                roster=roster,
                number=number,
                members=tuple(map(Member.from_json, members)),
            )
    raise PeerProtocolError("not an epoch")


def _two(value: JSON) -> tuple[str, str]:
    match value:
        case [str(first), str(second)]:
            return first, second
    raise PeerProtocolError("not a pair of strings")
