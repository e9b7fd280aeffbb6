"""What a secure sum costs: processor time of one node and of the aggregator, and bytes on the wire.

Processor time of this process (`process_time`), the least of several repetitions: what a machine
does beside it adds waiting, not work. The noise of the layers is given, not drawn: drawing it is
measured with the sampler.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from secure_compute.entropy import Entropy, SystemEntropy
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.primitives.signature import SigningKey
from secure_compute.secagg import aggregator, node, ratchet, sharing, upload
from secure_compute.secagg.aggregator import Gathering, Phase
from secure_compute.secagg.commitments import self_commitment
from secure_compute.secagg.epoch import Epoch, Identity, Roster, advertise, gather
from secure_compute.secagg.masks import add_masks
from secure_compute.secagg.messages import Message, Request
from secure_compute.secagg.node import Node
from secure_compute.secagg.params import Parameters
from secure_compute.secagg.ring import Integers
from secure_compute.secagg.terms import Terms
from secure_compute.secagg.unmasking import Sum

Result = dict[str, Any]
_REPETITIONS: Final = 5
LONG: Final = 10_000_000
WIDE: Final = 100_000
_LIMITS: Final = {
    "secagg_mask_ms_10x10m": ("limit", 60.0),
    "secagg_upload_ms_10x10m": ("limit", 600.0),
    "secagg_control_bytes_per_peer": ("limit", 64.0),
}


def run(full: bool) -> list[Result]:
    """Return the results; a secure sum has nothing that `full` would measure more of."""
    del full
    beside = {
        **_LIMITS,
        "secagg_mask_ms_10x10m_32": ("flwr's masks alone", _flower_ms(10, LONG // 10)),
    }
    return [
        _result(name, value, *beside.get(name, ("", None))) for name, value in measure().items()
    ]


def _result(name: str, value: float, peer: str, peer_value: float | None) -> Result:
    unit = "B" if "bytes" in name else "ms"
    return {
        "name": name,
        "value": round(value, 1),
        "unit": unit,
        "peer": peer,
        "peer_value": peer_value,
    }


def _flower_ms(organisations: int, dimension: int) -> float:
    """Return what Flower's SecAgg+ takes for a node's masks of 10 M values, drawn at a tenth.

    Its masks come from a generator that is no cryptographic one, from seeds of 32 bits.
    """
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    each = _least_ms(lambda: pseudo_rand_gen(b"\x07" * 32, 1 << 32, [(dimension,)]), 3)
    return round(organisations * each * LONG / dimension, 1)


def measure() -> dict[str, float]:
    """Return milliseconds and bytes by name: 10 × 10 M at 16 and 32 bits, and 100 × 100 k."""
    ten, hundred = _Cohort(10, 3), _Cohort(100, 33)
    million, many = LONG, WIDE
    return {
        "secagg_epoch_ms_100": hundred.epoch_ms,
        "secagg_mask_ms_10x10m": _masks_ms(ten, million, 16),
        "secagg_mask_ms_10x10m_20": _masks_ms(ten, million, 20),
        "secagg_mask_ms_10x10m_32": _masks_ms(ten, million, 32),
        "secagg_upload_ms_10x10m": _upload_ms(ten, million, 16),
        "secagg_upload_ms_10x10m_20": _upload_ms(ten, million, 20),
        "secagg_upload_ms_10x10m_32": _upload_ms(ten, million, 32),
        "secagg_control_bytes_per_peer": _control(ten),
        "secagg_control_bytes_per_peer_8": _control(_Cohort(8, 1)),
        "secagg_control_bytes_per_peer_100": _control(hundred),
        **_prefixed("10x10m_16", _round(ten, million, 16, lost=1, silent=1)),
        **_prefixed("100x100k_32", _round(hundred, many, 32, lost=5, silent=5)),
    }


class _Cohort:
    """An epoch of so many organisations, with the keys and first states of all."""

    def __init__(self, organisations: int, colluding: int) -> None:
        names = [f"node-{number:03}" for number in range(organisations)]
        entropy = SystemEntropy()
        self.parameters = Parameters.least(organisations, colluding)
        self.identity = {name: SigningKey(entropy.bytes(32)) for name in names}
        secrets = {name: AgreementKey(entropy.bytes(32)) for name in names}
        identities = tuple(Identity(n, n, key.verify_key) for n, key in self.identity.items())
        self.epoch = _epoch(Roster("bench", "0" * 64, identities), secrets, self.identity)
        started = time.process_time()
        self.nodes = {name: node.join(self.epoch, name, secrets[name]) for name in names}
        self.epoch_ms = 1e3 * (time.process_time() - started) / organisations

    def terms(self, dimension: int, bits: int) -> Terms:
        return Terms.of(
            self.epoch,
            session="bench",
            round=0,
            cohort=list(self.nodes),
            parameters=replace(self.parameters, ring_bits=bits),
            dimension=dimension,
        )


def _epoch(
    roster: Roster, secrets: Mapping[str, AgreementKey], identity: Mapping[str, SigningKey]
) -> Epoch:
    said = [advertise(roster, 1, name, secret) for name, secret in secrets.items()]
    signed = [replace(s, signature=identity[s.party].sign(s.statement())) for s in said]
    return gather(roster, 1, signed)


def _least_ms(what: Callable[[], object], repetitions: int = _REPETITIONS) -> float:
    found = []
    for _ in range(repetitions):
        started = time.process_time()
        what()
        found.append(time.process_time() - started)
    return 1e3 * min(found)


def _masks_ms(cohort: _Cohort, dimension: int, bits: int) -> float:
    """Seeds, the self mask and its shares, sealing, and all masks of one upload."""
    terms, me = cohort.terms(dimension, bits), min(cohort.nodes)
    residues = np.zeros(dimension, terms.parameters.ring.dtype)
    entropy = SystemEntropy()

    def once() -> None:
        pairs, _ = ratchet.begin(cohort.nodes[me].chains, 0, terms, me)
        seed = _shared(terms, pairs, me, entropy)
        add_masks(residues, [(seed, 1), *((pair.mask, 1) for pair in pairs)])

    return _least_ms(once)


def _shared(terms: Terms, pairs: tuple[ratchet.Pair, ...], me: str, entropy: Entropy) -> bytes:
    secret = sharing.draw(entropy)
    seed = ratchet.self_seed(terms, sharing.to_bytes(secret))
    n, t = terms.parameters.organisations, terms.parameters.threshold
    commitment = self_commitment(terms.digest, sharing.to_bytes(secret))
    shares = dict(zip(terms.cohort, sharing.split(secret, t, n, entropy), strict=True))
    for pair in pairs:
        share = sharing.to_bytes(shares[pair.party])
        ratchet.seal_share(pair.outgoing, commitment, me, pair.party, share)
    return seed


def _upload_ms(cohort: _Cohort, dimension: int, bits: int) -> float:
    """Everything from integers to signed bytes, with layers of noise that are given."""
    terms, me = cohort.terms(dimension, bits), min(cohort.nodes)
    vector, noise = np.arange(dimension, dtype=np.int64), np.ones(dimension, np.int64)

    def once() -> None:
        _submit(cohort, me, terms, vector, noise)[1].to_bytes(terms)

    return _least_ms(once, 3)


def _submit(
    cohort: _Cohort, party: str, terms: Terms, vector: Integers, noise: Integers
) -> tuple[Node, Message]:
    sign = cohort.identity[party].sign
    fresh = cohort.nodes[party]
    return node.submit(fresh, terms, vector, lambda _, __: noise, SystemEntropy(), sign)


def _control(cohort: _Cohort) -> float:
    terms = cohort.terms(1, 32)
    return upload.control_bytes(terms) / (len(terms.cohort) - 1)


def _prefixed(name: str, values: Mapping[str, float]) -> Result:
    return {f"secagg_{key}_{name}": value for key, value in values.items()}


def _round(
    cohort: _Cohort, dimension: int, bits: int, *, lost: int, silent: int
) -> dict[str, float]:
    """A whole round: some lost before their upload, some silent in the last phase."""
    terms = cohort.terms(dimension, bits)
    vector, noise = np.arange(dimension, dtype=np.int64) % 100, np.ones(dimension, np.int64)
    state, nodes, spent = Gathering(terms=terms), dict(cohort.nodes), _Spent()
    for party in terms.cohort[lost:]:
        nodes[party], message = _submit(cohort, party, terms, vector, noise)
        state, _ = aggregator.receive(state, message)
    state, asked = aggregator.close(state)
    while asked:
        quiet = silent if state.phase is Phase.OPENING else 0
        for party, request in asked[quiet:]:
            nodes[party], message = spent.answer(nodes[party], request, cohort.identity[party])
            state, asked = spent.receive(state, message)
        if quiet:
            state, asked = aggregator.close(state)
    started = time.process_time()
    result = aggregator.combine(state, lambda _, __: noise)
    combined = 1e3 * (time.process_time() - started)
    _require_exact(terms, result, vector)
    return {
        "node_answers_ms": 1e3 * spent.node / len(result.survivors),
        "receive_ms": 1e3 * spent.aggregator,
        "unmask_ms": combined,
        "request_bytes": float(spent.largest),
    }


class _Spent:
    """Processor time of answers, summed over nodes, and of receiving them."""

    def __init__(self) -> None:
        self.node = self.aggregator = 0.0
        self.largest = 0

    def answer(self, state: Node, request: Request, key: SigningKey) -> tuple[Node, Message]:
        started = time.process_time()
        answered = node.answer(state, request, key.sign)
        self.node += time.process_time() - started
        self.largest = max(self.largest, len(request.to_bytes()))
        return answered

    def receive(self, state: Gathering, message: Message) -> tuple[Gathering, Any]:
        started = time.process_time()
        received = aggregator.receive(state, message)
        self.aggregator += time.process_time() - started
        return received


def _require_exact(terms: Terms, result: Sum, vector: Integers) -> None:
    layers = terms.parameters.dropouts * len(result.survivors)
    left = layers - sum(map(len, result.layers.values()))
    if not np.array_equal(result.values, len(result.survivors) * vector + left):
        raise AssertionError("the sum is not exact")
