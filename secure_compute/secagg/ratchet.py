"""From what a pair shares to what it uses in one round, and no way back.

    chain key at r ──"next"──> chain key at r + 1 ──> …     the old one is deleted
          ├──"mask"──> seed of the pair mask of round r
          └──"box"───> two keys, one for the share that each seals to the other

Every derivation takes the digest of the round's terms, hence its session, number, cohort, keys and
parameters. A stolen state opens the round that the node is in and later ones, no earlier one.
"""

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from secure_compute import canonical
from secure_compute.primitives import derivation, sealing
from secure_compute.secagg.sharing import SIZE
from secure_compute.secagg.terms import Terms

Chains: TypeAlias = tuple[tuple[str, bytes], ...]

SEALED_SIZE: Final = SIZE + sealing.OVERHEAD


@dataclass(frozen=True, slots=True)
class Pair:
    """What this node and `party` share in one round.

    mask:     seed of the pair mask.
    outgoing: key of the share sealed to the party; incoming: of the one that the party sealed.
    """

    party: str
    mask: bytes = field(repr=False)
    outgoing: bytes = field(repr=False)
    incoming: bytes = field(repr=False)


def advance(chains: Chains, steps: int) -> Chains:
    """Return the chains `steps` rounds further on."""
    for _ in range(steps):
        chains = tuple((p, derivation.expand(k, "entrepot.secagg", "next")) for p, k in chains)
    return chains


def begin(chains: Chains, position: int, terms: Terms, me: str) -> tuple[tuple[Pair, ...], Chains]:
    """Return what is shared with each peer of the cohort, and the chains after this round."""
    here = advance(chains, terms.round - position)
    keys = dict(here)
    pairs = tuple(_pair(keys[party], terms, me, party) for party in terms.peers(me))
    return pairs, advance(here, 1)


def self_seed(terms: Terms, secret: bytes) -> bytes:
    """Return the seed of the self mask that `secret` makes in this round."""
    return derivation.expand(secret, "entrepot.secagg", "self", terms.digest)


def seal_share(key: bytes, commitment: bytes, sender: str, receiver: str, share: bytes) -> bytes:
    """Return a share sealed for `receiver`, 48 bytes.

    The key serves one message. The nonce is the head of the sender's self commitment, fresh with
    every draw of a self mask, so that even a round begun twice from a restored disk has two nonces.
    """
    return sealing.seal(key, commitment[: sealing.NONCE_SIZE], share, _context(sender, receiver))


def open_share(key: bytes, commitment: bytes, sender: str, receiver: str, sealed: bytes) -> bytes:
    """Return the share that `sender` sealed.

    Raises:
        PeerProtocolError: the key is another, or the sealed bytes are.
    """
    nonce = commitment[: sealing.NONCE_SIZE]
    return sealing.open_sealed(key, nonce, sealed, _context(sender, receiver))


def _pair(key: bytes, terms: Terms, me: str, party: str) -> Pair:
    def derive(label: str, *ends: str) -> bytes:
        return derivation.expand(key, "entrepot.secagg", label, terms.digest, *ends)

    return Pair(party, derive("mask"), derive("box", me, party), derive("box", party, me))


def _context(sender: str, receiver: str) -> bytes:
    return canonical.encode(["entrepot.secagg", "share", sender, receiver])
