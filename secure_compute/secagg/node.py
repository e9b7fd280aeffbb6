"""A node's side: `(state, what it is asked) → (state', what it answers)`, without disk or network.

**Write state' to disk before the answer is sent.** What a node promises never to do twice stands
in the state alone; an answer that left before it was written can be asked for again after a crash,
with another set. A state that was written and an answer that was not sent do no harm: the same
request gets the same bytes. The one answer that cannot be made again is the upload, which holds the
input: keep its bytes beside the state until the round is over, or withdraw.

    submit ─ reveal (A), as often as D grows ─ certify, for one set ─ unmask (B), for that set
             withdraw, any time before unmask; then nothing more

Rules, all of them per round and kept in `Round`:
* A: |U| ≥ t, U and D together the cohort, me in U. D only grows, and over all repeats at most n − t
  parties' pair seeds leave. Never again after B, nor for another set than was certified.
* certify: one set, which holds nobody revealed in A.
* B: against t signatures by distinct members of U on exactly (U, D), which is the set certified
  here if one was, and holds nobody revealed in A. Another set never.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np

from secure_compute.entropy import Entropy
from secure_compute.errors import (
    LocalProtocolError,
    PeerProtocolError,
    RefusedRequestError,
    RoundUsedError,
)
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.secagg import commitments, ratchet, sharing
from secure_compute.secagg.commitments import layer_seed, link_after
from secure_compute.secagg.epoch import Epoch, agree
from secure_compute.secagg.masks import add_masks
from secure_compute.secagg.messages import Kind, Message, Request, require_sets, statement, verify
from secure_compute.secagg.ratchet import Pair
from secure_compute.secagg.ring import Integers, Residues
from secure_compute.secagg.terms import Terms

Sign: TypeAlias = Callable[[bytes], bytes]
Expand: TypeAlias = Callable[[bytes, int], Integers]
"""expand(seed, layer): the noise of one layer, int64, as long as the vector; the same each time."""

MAX_SKIP: Final = 4096
"""Rounds that may be left out at once: a bound on the hashing that one request can cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a node keeps of the round it is in. Its secrets are deleted when the next one begins.

    share:    this node's own share of its own self mask.
    link:     the first link of the chain of layer seeds.
    pairs:    what it shares with each peer of the cohort, for this round alone.
    revealed: parties whose pair seeds left in A; certified: the one set signed, or ().
    opened:   B was answered, for `certified`.
    """

    terms: Terms
    share: bytes = field(repr=False)
    link: bytes = field(repr=False)
    pairs: tuple[Pair, ...] = field(repr=False)
    revealed: tuple[str, ...] = ()
    certified: tuple[str, ...] = ()
    opened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a node keeps of an epoch.

    chains:   (party, key) for every other member, at `position`.
    position: the lowest number of a round that was never begun nor withdrawn from.
    answered: numbers of the rounds whose B was answered.
    """

    me: str
    epoch: Epoch
    chains: tuple[tuple[str, bytes], ...] = field(repr=False)
    position: int = 0
    answered: tuple[int, ...] = ()
    round: Round | None = None


def join(epoch: Epoch, me: str, secret: AgreementKey) -> Node:
    """Return the first state of an epoch; once it is written, the secret is deleted.

    Raises:
        LocalProtocolError: the epoch names another key as ours.
        FaultyPartyError: a member's key is none.
    """
    return Node(me=me, epoch=epoch, chains=tuple(sorted(agree(epoch, me, secret).items())))


def submit(
    node: Node, terms: Terms, vector: Integers, expand: Expand, entropy: Entropy, sign: Sign
) -> tuple[Node, Message]:
    """Begin a round: mask `vector` and share the key of its self mask among the peers.

    vector: [dimension] int64: the clipped and rounded input with the base noise already in it.
    expand: makes the noise of layers 1 … n − t, which is added here.

    Raises:
        RosterError, PeerProtocolError: the terms are not of this epoch, or this node not of them.
        RoundUsedError: a round of this number or a later one was begun, or it lies too far ahead.
        LocalProtocolError: the vector, or a layer, is not `dimension` integers of 64 bits.
    """
    require_new(node, terms)
    residues = terms.parameters.ring.lift(_checked(vector, terms))
    pairs, chains = ratchet.begin(node.chains, node.position, terms, node.me)
    secret = sharing.draw(entropy)
    link = entropy.bytes(sharing.SIZE)
    n, t = terms.parameters.organisations, terms.parameters.threshold
    shares = sharing.split(secret, t, n, entropy)
    _add_layers(residues, terms, link, expand)
    mask = ratchet.self_seed(terms, sharing.to_bytes(secret))
    signs = [(pair.mask, 1 if node.me < pair.party else -1) for pair in pairs]
    add_masks(residues, [(mask, 1), *signs])
    content = _upload(node.me, terms, secret, shares, link, pairs, residues)
    own = sharing.to_bytes(shares[terms.cohort.index(node.me)])
    begun = Round(terms=terms, share=own, link=link, pairs=pairs)
    after = replace(node, chains=chains, position=terms.round + 1, round=begun)
    return after, _signed(after, terms, Kind.UPLOAD, (), content, sign)


def answer(node: Node, request: Request, sign: Sign) -> tuple[Node, Message]:
    """Answer whatever the aggregator asks of a round that was submitted.

    Raises:
        RefusedRequestError: the answer could open one party's input.
        PeerProtocolError: the request is of another round.
    """
    match request.kind:
        case Kind.REVEAL:
            return reveal(node, request, sign)
        case Kind.CERTIFY:
            return certify(node, request, sign)
        case Kind.OPEN:
            return unmask(node, request, sign)
    raise PeerProtocolError("the aggregator asks for no such thing")


def reveal(node: Node, request: Request, sign: Sign) -> tuple[Node, Message]:
    """Phase A: show the seeds of the pair masks shared with those who dropped out.

    Raises:
        RefusedRequestError: by one of the rules at the head of this module.
        PeerProtocolError: the request is of another round.
    """
    now = _active(node, request)
    survivors = require_sets(now.terms, request, node.me)
    dropped = tuple(sorted(request.dropped))
    if now.opened:
        raise RefusedRequestError("phase B of this round was answered: nothing is revealed after")
    if now.certified and now.certified != survivors:
        raise RefusedRequestError("another set of survivors was certified in this round")
    if not set(now.revealed) <= set(dropped):
        raise RefusedRequestError("one who was said to have dropped out is said to survive")
    if len({*now.revealed, *dropped}) > now.terms.parameters.dropouts:
        raise RefusedRequestError(
            f"more than {now.terms.parameters.dropouts} parties' pair seeds in one round would cut "
            "this node's mask off from the others"
        )
    after = _with_round(node, replace(now, revealed=dropped))
    content = _seeds(now, dropped)
    return after, _signed(after, now.terms, Kind.REVEAL, survivors, content, sign)


def certify(node: Node, request: Request, sign: Sign) -> tuple[Node, Message]:
    """Sign the one set of survivors whose sum may be opened in this round.

    Raises:
        RefusedRequestError: another set was signed, or it holds a party revealed in A.
        PeerProtocolError: the request is of another round.
    """
    now = _active(node, request)
    survivors = require_sets(now.terms, request, node.me)
    after = _with_round(node, _bound_to(now, survivors))
    return after, _signed(after, now.terms, Kind.CERTIFY, survivors, b"", sign)


def unmask(node: Node, request: Request, sign: Sign) -> tuple[Node, Message]:
    """Phase B: show what opens the survivors' self masks, and the surplus layers of own noise.

    Raises:
        RefusedRequestError: by one of the rules at the head of this module.
        BadSignatureError: a signature of the certificate is not its signer's on this set.
        PeerProtocolError: the request is of another round.
    """
    now = _active(node, request)
    survivors = require_sets(now.terms, request, node.me)
    _require_certificate(now.terms, survivors, request)
    after = _with_round(node, replace(_bound_to(now, survivors), opened=True))
    if now.terms.round not in after.answered:
        after = replace(after, answered=(*after.answered, now.terms.round))
    content = _opening(now, node.me, survivors)
    return after, _signed(after, now.terms, Kind.OPEN, survivors, content, sign)


def withdraw(node: Node, terms: Terms, sign: Sign) -> tuple[Node, Message]:
    """State: I did not and will not answer phase B of this round. Its secrets are deleted.

    Raises:
        LocalProtocolError: phase B was answered.
        RosterError: the terms are of another epoch.
    """
    terms.require_epoch(node.epoch)
    terms.find(node.me)
    if terms.round in node.answered:
        raise LocalProtocolError("phase B of this round was answered: that cannot be taken back")
    after = node
    if terms.round >= node.position:
        chains = ratchet.advance(node.chains, _steps(node, terms) + 1)
        after = replace(node, chains=chains, position=terms.round + 1, round=None)
    elif node.round is not None and node.round.terms.round == terms.round:
        after = replace(node, round=None)
    return after, _signed(after, terms, Kind.WITHDRAW, (), b"", sign)


def require_new(node: Node, terms: Terms) -> None:
    """Accept a round that this node may begin; `submit` asks the same.

    Raises:
        RosterError, PeerProtocolError: the terms are not of this epoch, or this node not of them.
        RoundUsedError: a round of this number or a later one was begun, or it lies too far ahead.
    """
    terms.require_epoch(node.epoch)
    terms.find(node.me)
    if terms.round < node.position:
        raise RoundUsedError(
            f"round {terms.round} was begun or passed over and {node.position} is the next: two "
            "uploads under one mask would show their difference"
        )
    _steps(node, terms)


def _steps(node: Node, terms: Terms) -> int:
    if terms.round - node.position > MAX_SKIP:
        raise RoundUsedError(
            f"round {terms.round} lies more than {MAX_SKIP} ahead of {node.position}: begin a new "
            "epoch instead"
        )
    return terms.round - node.position


def _active(node: Node, request: Request) -> Round:
    if node.round is None or node.round.terms.digest != request.terms:
        raise PeerProtocolError("this is not the round that the node is in, or not its terms")
    return node.round


def _bound_to(now: Round, survivors: tuple[str, ...]) -> Round:
    """Return the round bound to `survivors`, for good."""
    if now.certified and now.certified != survivors:
        raise RefusedRequestError("another set of survivors was certified in this round")
    if set(now.revealed) & set(survivors):
        raise RefusedRequestError(
            "the pair seed of a survivor was revealed: with its self mask too it would be naked"
        )
    return replace(now, certified=survivors)


def _require_certificate(terms: Terms, survivors: Sequence[str], request: Request) -> None:
    signers = {party for party, _ in request.certificate}
    if not signers <= set(survivors):
        raise RefusedRequestError("a signer of the certificate is not among the survivors")
    if len(signers) != len(request.certificate) or len(signers) < terms.parameters.threshold:
        raise RefusedRequestError(
            f"a certificate holds the signatures of {terms.parameters.threshold} survivors or "
            "more, each of them once"
        )
    for party, signature in request.certificate:
        verify(terms, Message(Kind.CERTIFY, party, signature, b""), survivors)


def _checked(vector: Integers, terms: Terms) -> Integers:
    if vector.shape != (terms.dimension,) or vector.dtype != np.int64:
        raise LocalProtocolError(f"a vector of {terms.dimension} integers of 64 bits is wanted")
    return vector


def _add_layers(residues: Residues, terms: Terms, link: bytes, expand: Expand) -> None:
    for layer in range(1, terms.parameters.dropouts + 1):
        noise = expand(layer_seed(terms.digest, link, layer), layer)
        residues += terms.parameters.ring.lift(_checked(noise, terms))
        link = link_after(link, 1)


def _upload(
    me: str,
    terms: Terms,
    secret: int,
    shares: Sequence[int],
    link: bytes,
    pairs: Sequence[Pair],
    residues: Residues,
) -> bytes:
    mine = commitments.self_commitment(terms.digest, sharing.to_bytes(secret))
    anchor = link_after(link, terms.parameters.dropouts)
    leaves = [commitments.leaf(terms.digest, pair.mask) for pair in pairs]
    root = commitments.pairs_root(terms.digest, leaves)
    rest = commitments.rest_commitment(terms.digest, root, anchor)
    dealt = dict(zip(terms.cohort, shares, strict=True))
    sealed = [
        ratchet.seal_share(pair.outgoing, mine, me, pair.party, sharing.to_bytes(dealt[pair.party]))
        for pair in pairs
    ]
    return b"".join((mine, rest, *sealed, terms.parameters.ring.pack(residues)))


def _seeds(now: Round, dropped: Sequence[str]) -> bytes:
    digest = now.terms.digest
    seeds = {pair.party: pair.mask for pair in now.pairs}
    leaves = (commitments.leaf(digest, pair.mask) for pair in now.pairs)
    anchor = link_after(now.link, now.terms.parameters.dropouts)
    return b"".join((*(seeds[party] for party in dropped), *leaves, anchor))


def _opening(now: Round, me: str, survivors: Sequence[str]) -> bytes:
    keys = {pair.party: pair.incoming for pair in now.pairs}
    shown = [now.share, *(keys[party] for party in survivors if party != me)]
    dropped = len(now.terms.cohort) - len(survivors)
    if dropped < now.terms.parameters.dropouts:
        leaves = [commitments.leaf(now.terms.digest, pair.mask) for pair in now.pairs]
        root = commitments.pairs_root(now.terms.digest, leaves)
        shown += [link_after(now.link, dropped), root]
    return b"".join(shown)


def _with_round(node: Node, now: Round) -> Node:
    return replace(node, round=now)


def _signed(
    node: Node, terms: Terms, kind: Kind, survivors: Sequence[str], content: bytes, sign: Sign
) -> Message:
    said = statement(terms, kind, node.me, survivors, content)
    return Message(kind, node.me, sign(said), content)
