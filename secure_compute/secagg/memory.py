"""States as bytes, so that a party that was killed goes on from what it last wrote down.

They are read back from one's own disk and hold secrets: the caller keeps the file to itself.
"""

from collections.abc import Mapping
from typing import Final

from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import LocalProtocolError, SecureComputeError
from secure_compute.secagg.aggregator import Gathering, Phase
from secure_compute.secagg.epoch import Epoch, Member
from secure_compute.secagg.messages import Message
from secure_compute.secagg.node import Node, Round
from secure_compute.secagg.ratchet import Pair
from secure_compute.secagg.terms import Terms

VERSION: Final = 1
_COLLECTED: Final = ("uploads", "reveals", "certificates", "openings")


def node_to_bytes(node: Node) -> bytes:
    """Return the one spelling of a node's state; secrets stand in it as hexadecimal digits."""
    return canonical.encode(
        {
            "state": "entrepot.secagg-node",
            "v": VERSION,
            "me": node.me,
            "federation": node.epoch.federation,
            "roster": node.epoch.roster,
            "epoch": node.epoch.number,
            "members": [member.to_json() for member in node.epoch.members],
            "chains": [[party, key.hex()] for party, key in node.chains],
            "position": node.position,
            "answered": node.answered,
            "round": None if node.round is None else _round_to_json(node.round),
        }
    )


def node_from_bytes(data: bytes) -> Node:
    """Read what `node_to_bytes` wrote.

    Raises:
        LocalProtocolError: it is no state of this version: withdraw rather than guess.
    """
    try:
        made = _node(canonical.decode(data))
    except (SecureComputeError, ValueError, TypeError) as why:
        raise LocalProtocolError("the stored state of a node is damaged") from why
    if made is None or node_to_bytes(made) != data:
        raise LocalProtocolError("the stored state of a node is of another version")
    return made


def gathering_to_bytes(state: Gathering) -> bytes:
    """Return the length of the canonical part, that part, and all collected messages."""
    terms = state.terms
    wires = {
        name: [message.to_bytes(terms) for message in getattr(state, name)] for name in _COLLECTED
    }
    head: dict[str, JSON] = {
        "state": "entrepot.secagg-gathering",
        "v": VERSION,
        "terms": terms.to_json(),
        "phase": state.phase.value,
        "survivors": state.survivors,
        "reason": state.reason,
        "sizes": {name: [len(wire) for wire in wires[name]] for name in _COLLECTED},
    }
    encoded = canonical.encode(head)
    blobs = (wire for name in _COLLECTED for wire in wires[name])
    return b"".join((len(encoded).to_bytes(4, "big"), encoded, *blobs))


def gathering_from_bytes(data: bytes) -> Gathering:
    """Read what `gathering_to_bytes` wrote.

    Raises:
        LocalProtocolError: it is no state of this version.
    """
    end = 4 + int.from_bytes(data[:4], "big")
    try:
        made = _gathering(canonical.decode(data[4:end]), memoryview(data)[end:])
    except (SecureComputeError, ValueError, TypeError, KeyError) as why:
        raise LocalProtocolError("the stored state of a round is damaged") from why
    if made is None or gathering_to_bytes(made) != data:
        raise LocalProtocolError("the stored state of a round is of another version")
    return made


def _round_to_json(now: Round) -> dict[str, JSON]:
    return {
        "terms": now.terms.to_json(),
        "share": now.share.hex(),
        "link": now.link.hex(),
        "pairs": [
            [pair.party, pair.mask.hex(), pair.outgoing.hex(), pair.incoming.hex()]
            for pair in now.pairs
        ],
        "revealed": now.revealed,
        "certified": now.certified,
        "opened": now.opened,
    }


def _node(value: object) -> Node | None:
    match value:
        case {
            "me": str(me),
            "federation": str(federation),
            "roster": str(roster),
            "epoch": int(number),
            "members": list(members),
            "chains": list(chains),
            "position": int(position),
            "answered": list(answered),
            "round": now,
        }:
            epoch = Epoch(
                federation=federation,
                roster=roster,
                number=int(number),
                members=tuple(map(Member.from_json, members)),
            )
            return Node(
                me=me,
                epoch=epoch,
                chains=tuple((str(party), bytes.fromhex(key)) for party, key in chains),
                position=int(position),
                answered=tuple(map(int, answered)),
                round=None if now is None else _round(now),
            )
    return None


def _round(value: object) -> Round:
    match value:
        case {
            "terms": terms,
            "share": str(share),
            "link": str(link),
            "pairs": list(pairs),
            "revealed": list(revealed),
            "certified": list(certified),
            "opened": bool(opened),
        }:
            return Round(
                terms=Terms.from_json(terms),
                share=bytes.fromhex(share),
                link=bytes.fromhex(link),
                pairs=tuple(Pair(str(p), *map(bytes.fromhex, keys)) for p, *keys in pairs),
                revealed=tuple(map(str, revealed)),
                certified=tuple(map(str, certified)),
                opened=opened,
            )
    raise LocalProtocolError("the stored round is of another version")


def _gathering(head: object, blobs: memoryview) -> Gathering | None:
    match head:
        case {
            "terms": said,
            "phase": str(phase),
            "survivors": list(survivors),
            "reason": str(reason),
            "sizes": dict(sizes),
        }:
            terms = Terms.from_json(said)
            found: dict[str, tuple[Message, ...]] = {}
            for name in _COLLECTED:
                found[name], blobs = _messages(sizes, name, blobs, terms)
            return Gathering(
                terms=terms,
                phase=Phase(phase),
                survivors=tuple(map(str, survivors)),
                reason=reason,
                **found,
            )
    return None


def _messages(
    sizes: Mapping[str, list[int]], name: str, blobs: memoryview, terms: Terms
) -> tuple[tuple[Message, ...], memoryview]:
    messages = []
    for size in sizes[name]:
        messages.append(Message.read(bytes(blobs[:size]), terms))
        blobs = blobs[size:]
    return tuple(messages), blobs
