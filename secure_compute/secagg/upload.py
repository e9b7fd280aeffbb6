"""The content of an upload: two commitments, a sealed share for each peer, the masked vector."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from secure_compute.errors import FaultyPartyError, PeerProtocolError
from secure_compute.primitives.signature import SIGNATURE_SIZE
from secure_compute.secagg import commitments
from secure_compute.secagg.messages import HEADER_SIZE, Message
from secure_compute.secagg.ratchet import SEALED_SIZE
from secure_compute.secagg.terms import Terms

_HEAD: Final = 2 * commitments.SIZE


@dataclass(frozen=True, slots=True)
class Upload:
    """A party's part of the sum, read. sealed: by receiver; vector: as the ring packs it."""

    party: str
    self_commitment: bytes
    rest_commitment: bytes
    sealed: Mapping[str, bytes] = field(repr=False)
    vector: memoryview = field(repr=False)


def read(terms: Terms, message: Message) -> Upload:
    """Take an upload apart.

    Raises:
        FaultyPartyError: it is longer or shorter than these terms make it, or padded wrongly.
    """
    peers, content = terms.peers(message.party), memoryview(message.content)
    start = _HEAD + SEALED_SIZE * len(peers)
    try:
        terms.parameters.ring.require(content[start:], terms.dimension)
    except PeerProtocolError as why:
        raise FaultyPartyError(message.party, why=f"uploaded no vector: {why}") from why
    sealed = {
        peer: bytes(content[at : at + SEALED_SIZE])
        for peer, at in zip(peers, range(_HEAD, start, SEALED_SIZE), strict=True)
    }
    mine, rest = content[: commitments.SIZE], content[commitments.SIZE : _HEAD]
    return Upload(message.party, bytes(mine), bytes(rest), sealed, content[start:])


def control_bytes(terms: Terms) -> int:
    """Return the bytes of one upload beyond the ring's own, all that is sent counted."""
    return HEADER_SIZE + SIGNATURE_SIZE + _HEAD + SEALED_SIZE * (len(terms.cohort) - 1)
