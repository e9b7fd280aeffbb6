"""From what the aggregator collected to the sum: checks, then arithmetic, never a guess.

A wrong answer is never added up. A pair seed or a link of layer seeds must fit the commitment in
its sender's own upload; a share is read from the dealer's signed upload with the key that the
receiver shows, and authenticated by it; the self mask put together must fit its commitment.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from secure_compute.errors import FaultyPartyError, PeerProtocolError
from secure_compute.secagg import commitments, ratchet, sharing, upload
from secure_compute.secagg.commitments import HASH_SIZE, layer_seed, link_after
from secure_compute.secagg.masks import add_masks
from secure_compute.secagg.messages import Message
from secure_compute.secagg.ring import Integers, Residues
from secure_compute.secagg.terms import Terms
from secure_compute.secagg.upload import Upload

Expand: TypeAlias = Callable[[bytes, int], Integers]
Seeds: TypeAlias = list[tuple[bytes, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The exact sum of the survivors' vectors modulo 2^w, centred.

    values:   [dimension] int64 in [−2^(w−1), 2^(w−1)).
    layers:   by survivor, the noise layers of its own that were removed; () if it was silent in B.
    disputes: (dealer, receiver) pairs whose share did not open: one of the two is at fault.
    """

    values: Integers
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    layers: Mapping[str, tuple[int, ...]]
    disputes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """A party's answer in B, read. keys: by dealer; link, root: of its layers, or empty."""

    party: str
    share: int
    keys: Mapping[str, bytes]
    link: bytes
    root: bytes


def require_reveal(terms: Terms, sent: Upload, message: Message, dropped: Sequence[str]) -> None:
    """Accept pair seeds that are those the sender committed to in its upload.

    Raises:
        FaultyPartyError: they are others, or not one for each of the dropped.
    """
    peers, parts = terms.peers(message.party), _cut(message.content)
    if len(message.content) != HASH_SIZE * (len(dropped) + len(peers) + 1):
        raise FaultyPartyError(message.party, why="revealed another number of seeds than asked")
    seeds = dict(zip(dropped, parts, strict=False))
    leaves = dict(zip(peers, parts[len(dropped) : -1], strict=True))
    root = commitments.pairs_root(terms.digest, leaves.values())
    fits = commitments.rest_commitment(terms.digest, root, parts[-1]) == sent.rest_commitment
    if not fits or any(
        commitments.leaf(terms.digest, seed) != leaves[party] for party, seed in seeds.items()
    ):
        raise FaultyPartyError(message.party, why="revealed other pair seeds than it committed to")


def require_opening(terms: Terms, sent: Upload, message: Message, survivors: Sequence[str]) -> None:
    """Accept an answer of the right form whose layers are those the sender committed to.

    Raises:
        FaultyPartyError: they are others, or something is missing or left over.
    """
    read = read_opening(terms, message, survivors)
    if not read.link:
        return
    steps = terms.parameters.dropouts - (len(terms.cohort) - len(survivors))
    anchor = link_after(read.link, steps)
    if commitments.rest_commitment(terms.digest, read.root, anchor) != sent.rest_commitment:
        raise FaultyPartyError(message.party, why="showed other noise layers than it committed to")


def read_opening(terms: Terms, message: Message, survivors: Sequence[str]) -> Opening:
    """Take an answer in B apart.

    Raises:
        FaultyPartyError: something is missing or left over, or a share is no field element.
    """
    dealers = [party for party in survivors if party != message.party]
    has_layers = len(terms.cohort) - len(survivors) < terms.parameters.dropouts
    parts = _cut(message.content)
    if len(message.content) != HASH_SIZE * (1 + len(dealers) + 2 * has_layers):
        raise FaultyPartyError(message.party, why="opened another number of shares than asked")
    try:
        share = sharing.from_bytes(parts[0])
    except PeerProtocolError as why:
        raise FaultyPartyError(message.party, why="showed an own share that is none") from why
    keys = dict(zip(dealers, parts[1:], strict=False))
    link, root = parts[-2:] if has_layers else (b"", b"")
    return Opening(message.party, share, keys, link, root)


def unmask(
    terms: Terms,
    survivors: tuple[str, ...],
    uploads: Sequence[Message],
    reveals: Sequence[Message],
    openings: Sequence[Message],
    expand: Expand,
) -> Sum:
    """Return the sum over the survivors.

    uploads, reveals, openings: checked messages; those of parties that do not survive are left out.

    Raises:
        FaultyPartyError: a self mask cannot be put together; the dealer, and whoever disputes its
            shares, are named. Without it there is no sum of this round.
    """
    dropped = tuple(party for party in terms.cohort if party not in survivors)
    sent = {m.party: upload.read(terms, m) for m in uploads if m.party in survivors}
    opened = [read_opening(terms, message, survivors) for message in openings]
    selves, disputes = _self_masks(terms, sent, opened)
    masks = selves + _pair_masks(reveals, dropped)
    total = _total(terms, sent)
    add_masks(total, masks)
    layers = dict.fromkeys(survivors, ()) | _remove_layers(total, terms, opened, dropped, expand)
    return Sum(
        values=terms.parameters.ring.centre(total),
        survivors=survivors,
        dropped=dropped,
        layers=layers,
        disputes=disputes,
    )


def _total(terms: Terms, sent: Mapping[str, Upload]) -> Residues:
    total = np.zeros(terms.dimension, terms.parameters.ring.dtype)
    for one in sent.values():
        total += terms.parameters.ring.unpack(one.vector, terms.dimension)
    return total


def _pair_masks(reveals: Sequence[Message], dropped: Sequence[str]) -> Seeds:
    """Return what takes the revealed pair masks away: the opposite of what their owner added."""
    return [
        (seed, -1 if message.party < party else 1)
        for message in reveals
        for party, seed in zip(dropped, _cut(message.content), strict=False)
    ]


def _self_masks(
    terms: Terms, sent: Mapping[str, Upload], opened: Sequence[Opening]
) -> tuple[Seeds, tuple[tuple[str, str], ...]]:
    points = {party: point for point, party in enumerate(terms.cohort, start=1)}
    masks: Seeds = []
    disputes: list[tuple[str, str]] = []
    weights: dict[tuple[int, ...], dict[int, int]] = {}
    for dealer, one in sent.items():
        shares, disputed = _shares(one, opened, points)
        disputes += [(dealer, receiver) for receiver in disputed]
        chosen = tuple(sorted(shares))[: terms.parameters.threshold]
        if len(chosen) < terms.parameters.threshold:
            raise FaultyPartyError(dealer, *disputed, why="dealt or opened shares that do not open")
        if chosen not in weights:
            weights[chosen] = dict(zip(chosen, sharing.weights(chosen), strict=True))
        secret = sharing.to_bytes(sharing.combine(shares, weights[chosen]))
        if commitments.self_commitment(terms.digest, secret) != one.self_commitment:
            raise FaultyPartyError(dealer, why="dealt shares of another mask than it committed to")
        masks.append((ratchet.self_seed(terms, secret), -1))
    return masks, tuple(disputes)


def _shares(
    one: Upload, opened: Sequence[Opening], points: Mapping[str, int]
) -> tuple[dict[int, int], list[str]]:
    """Return the dealer's shares by point, and the receivers whose share did not open."""
    shares, disputed = {}, []
    for opening in opened:
        try:
            shares[points[opening.party]] = _share(one, opening)
        except PeerProtocolError:
            disputed.append(opening.party)
    return shares, disputed


def _share(one: Upload, opening: Opening) -> int:
    if opening.party == one.party:
        return opening.share
    key, sealed = opening.keys[one.party], one.sealed[opening.party]
    return sharing.from_bytes(
        ratchet.open_share(key, one.self_commitment, one.party, opening.party, sealed)
    )


def _remove_layers(
    total: Residues, terms: Terms, opened: Sequence[Opening], dropped: Sequence[str], expand: Expand
) -> dict[str, tuple[int, ...]]:
    surplus = tuple(range(len(dropped) + 1, terms.parameters.dropouts + 1))
    for opening in opened:
        link = opening.link
        for layer in surplus:
            noise = expand(layer_seed(terms.digest, link, layer), layer)
            total -= terms.parameters.ring.lift(noise)
            link = link_after(link, 1)
    return {opening.party: surplus for opening in opened}


def _cut(content: bytes) -> list[bytes]:
    return [content[at : at + HASH_SIZE] for at in range(0, len(content), HASH_SIZE)]
