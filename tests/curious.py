"""An aggregator that keeps everything it is told, with the secrets of those who work with it.

It works out what its knowledge opens: self masks put together from shares, and which uploads of
honest parties hang together by pair masks that nobody gave away.
"""

from collections.abc import Collection, Iterable

import numpy as np

from secure_compute.errors import PeerProtocolError
from secure_compute.secagg import ratchet, sharing, upload
from secure_compute.secagg.masks import add_masks
from secure_compute.secagg.messages import Kind, Message, Request
from secure_compute.secagg.ring import Integers
from tests.masked import Cohort


class Curious:
    """What it knows: seeds[node, peer], keys[node, dealer], own shares, sets that were opened."""

    def __init__(self, cohort: Cohort, uploads: Iterable[Message], with_: Collection[str] = ()):
        self.cohort, self.terms, self.corrupt = cohort, cohort.terms, set(with_)
        self.uploads = {m.party: upload.read(self.terms, m) for m in uploads}
        self.seeds: dict[tuple[str, str], bytes] = {}
        self.keys: dict[tuple[str, str], bytes] = {}
        self.own: dict[str, int] = {}
        self.sets: dict[str, tuple[str, ...]] = {}
        self.signatures: dict[tuple[tuple[str, ...], str], bytes] = {}
        for party in self.corrupt:
            now = cohort.nodes[party].round
            self.own[party] = sharing.from_bytes(now.share)
            for pair in now.pairs:
                self.seeds[party, pair.party] = pair.mask
                self.keys[party, pair.party] = pair.incoming

    @property
    def honest(self) -> tuple[str, ...]:
        return tuple(party for party in self.terms.cohort if party not in self.corrupt)

    def ask(self, party: str, request: Request) -> bool:
        """Ask one honest node, keep what it tells, and say whether it told."""
        try:
            message = self.cohort.answer(party, request)
        except PeerProtocolError:
            return False
        parts = [message.content[at : at + 32] for at in range(0, len(message.content), 32)]
        survivors = tuple(sorted(request.survivors))
        match request.kind:
            case Kind.REVEAL:
                dropped = sorted(request.dropped)
                self.seeds |= {(party, p): s for p, s in zip(dropped, parts, strict=False)}
            case Kind.CERTIFY:
                self.signatures[survivors, party] = message.signature
            case Kind.OPEN:
                self.own[party] = sharing.from_bytes(parts[0])
                dealers = (p for p in survivors if p != party)
                self.keys |= {(party, d): k for d, k in zip(dealers, parts[1:], strict=False)}
                self.sets[party] = survivors
        return True

    def certified(self, survivors: Collection[str]) -> Request:
        """An OPEN request with every signature it has or can make."""
        chosen = tuple(sorted(survivors))
        request = self.cohort.request(Kind.OPEN, chosen, [p for p in chosen if p in self.corrupt])
        mine = {p: s for (u, p), s in self.signatures.items() if u == chosen}
        together = tuple(sorted((*request.certificate, *mine.items())))
        return Request(
            kind=Kind.OPEN,
            terms=request.terms,
            survivors=request.survivors,
            dropped=request.dropped,
            certificate=together,
        )

    def shares_of(self, dealer: str) -> dict[int, int]:
        one, found = self.uploads[dealer], {}
        for point, party in enumerate(self.terms.cohort, start=1):
            if party == dealer and party in self.own:
                found[point] = self.own[party]
            elif (party, dealer) in self.keys:
                key, sealed = self.keys[party, dealer], one.sealed[party]
                share = ratchet.open_share(key, one.self_commitment, dealer, party, sealed)
                found[point] = sharing.from_bytes(share)
        return found

    def self_mask(self, dealer: str) -> bytes | None:
        """The seed of a self mask, if enough shares of it are known."""
        shares, least = self.shares_of(dealer), self.terms.parameters.threshold
        if len(shares) < least:
            return None
        points = sorted(shares)[:least]
        weight = dict(zip(points, sharing.weights(points), strict=True))
        secret = sharing.to_bytes(sharing.combine(shares, weight))
        return ratchet.self_seed(self.terms, secret)

    def pair_seed(self, one: str, other: str) -> bytes | None:
        return self.seeds.get((one, other), self.seeds.get((other, one)))

    def strip(self, party: str) -> Integers | None:
        """The upload of one party without any mask, if all of them are known."""
        peers = self.terms.peers(party)
        seeds = {peer: self.pair_seed(party, peer) for peer in peers}
        mask = self.self_mask(party)
        if mask is None or None in seeds.values():
            return None
        ring = self.terms.parameters.ring
        residues = ring.unpack(self.uploads[party].vector, self.terms.dimension)
        signed = [(seed, -1 if party < peer else 1) for peer, seed in seeds.items()]
        add_masks(residues, [(mask, -1), *signed])
        return ring.centre(residues)

    def exposed_groups(self) -> list[set[str]]:
        """Sets of honest parties whose uploads' sum can be read, and no smaller part of it.

        Parties hang together if the seed between them is unknown; a group is open if the self mask
        of each member is known.
        """
        groups, left = [], set(self.honest)
        while left:
            group, edge = set(), {left.pop()}
            while edge:
                group |= edge
                near = {b for a in edge for b in left if self.pair_seed(a, b) is None}
                left -= near
                edge = near
            groups.append(group)
        return [g for g in groups if all(p in self.uploads and self.self_mask(p) for p in g)]

    def both_secrets(self) -> set[tuple[str, str]]:
        """(node, party) pairs where an honest node gave away both secrets of one party."""
        return {(k, p) for k, p in self.seeds if k in self.honest and (k, p) in self.keys}


def zeros(cohort: Cohort) -> Integers:
    return np.zeros(cohort.terms.dimension, np.int64)
