"""A cohort that sums under masks, in memory: keys, an epoch, nodes and a whole round."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from secure_compute.primitives.agreement import AgreementKey
from secure_compute.primitives.signature import SigningKey
from secure_compute.secagg import aggregator, node
from secure_compute.secagg.aggregator import Gathering, Phase
from secure_compute.secagg.epoch import Epoch, EpochKey, Identity, Roster, advertise, gather
from secure_compute.secagg.messages import Kind, Message, Request
from secure_compute.secagg.node import Node
from secure_compute.secagg.params import Parameters
from secure_compute.secagg.ring import Integers
from secure_compute.secagg.terms import Terms
from secure_compute.secagg.unmasking import Sum
from tests.seeded import SeededEntropy

FEDERATION = "harbour"
ROSTER = hashlib.sha256(b"roster").hexdigest()


def names(count: int) -> tuple[str, ...]:
    return tuple(f"node-{number:03}" for number in range(count))


@lru_cache
def signing_key(party: str) -> SigningKey:
    return SigningKey(hashlib.sha256(b"identity " + party.encode()).digest())


def agreement_key(party: str, epoch: int = 1) -> AgreementKey:
    return AgreementKey(hashlib.sha256(f"agreement {epoch} {party}".encode()).digest())


def roster(parties: Collection[str], digest: str = ROSTER, organisation=str) -> Roster:
    return Roster(
        FEDERATION,
        digest,
        tuple(Identity(p, organisation(p), signing_key(p).verify_key) for p in parties),
    )


def epoch_key(party: str, on: Roster, epoch: int = 1) -> EpochKey:
    said = advertise(on, epoch, party, agreement_key(party, epoch))
    return replace(said, signature=signing_key(party).sign(said.statement()))


def make_epoch(parties: Collection[str], digest: str = ROSTER, organisation=str) -> Epoch:
    on = roster(parties, digest, organisation)
    return gather(on, 1, [epoch_key(party, on) for party in parties])


def no_noise(seed: bytes, layer: int) -> Integers:
    raise AssertionError("there are no layers here")


def expander(dimension: int) -> Callable[[bytes, int], Integers]:
    """Made-up noise of a layer: any function of seed and layer will do."""

    def expand(seed: bytes, layer: int) -> Integers:
        octets = hashlib.shake_256(seed + bytes([layer])).digest(dimension)
        return np.frombuffer(octets, np.int8).astype(np.int64)

    return expand


@dataclass
class Cohort:
    """Nodes and the terms of their round; `nodes` is replaced as they go on."""

    terms: Terms
    nodes: dict[str, Node]
    entropy: SeededEntropy

    @property
    def expand(self) -> Callable[[bytes, int], Integers]:
        return expander(self.terms.dimension)

    def sign(self, party: str) -> Callable[[bytes], bytes]:
        return signing_key(party).sign

    def submit(self, party: str, vector: Integers, terms: Terms | None = None) -> Message:
        self.nodes[party], message = node.submit(
            self.nodes[party],
            terms or self.terms,
            vector,
            self.expand,
            self.entropy,
            self.sign(party),
        )
        return message

    def answer(self, party: str, request: Request) -> Message:
        self.nodes[party], message = node.answer(self.nodes[party], request, self.sign(party))
        return message

    def withdraw(self, party: str, terms: Terms | None = None) -> Message:
        self.nodes[party], message = node.withdraw(
            self.nodes[party], terms or self.terms, self.sign(party)
        )
        return message

    def request(self, kind: Kind, survivors: Collection[str], signers: Collection[str] = ()):
        """A request for the sets; `signers` sign the certificate with their real keys."""
        dropped = tuple(p for p in self.terms.cohort if p not in survivors)
        return Request(
            kind=kind,
            terms=self.terms.digest,
            survivors=tuple(sorted(survivors)),
            dropped=dropped,
            certificate=tuple((p, self.certificate(p, survivors)) for p in signers),
        )

    def certificate(self, party: str, survivors: Collection[str]) -> bytes:
        from secure_compute.secagg.messages import statement

        return self.sign(party)(statement(self.terms, Kind.CERTIFY, party, sorted(survivors), b""))


def cohort(
    organisations: int,
    colluding: int = 1,
    *,
    threshold: int | None = None,
    ring_bits: int = 32,
    dimension: int = 5,
    session: str = "order-1",
    number: int = 0,
    seed: int = 1,
) -> Cohort:
    least = Parameters.least(organisations, colluding, ring_bits)
    parameters = replace(least, threshold=threshold) if threshold else least
    joined = everybody(organisations)
    terms = Terms.of(
        joined["node-000"].epoch,
        session=session,
        round=number,
        cohort=names(organisations),
        parameters=parameters,
        dimension=dimension,
    )
    return Cohort(terms, dict(joined), SeededEntropy(seed))


@lru_cache
def everybody(count: int) -> Mapping[str, Node]:
    """The first states of an epoch of so many, each of an organisation of its own."""
    epoch = make_epoch(names(count))
    return {p: node.join(epoch, p, agreement_key(p)) for p in names(count)}


def vectors(cohort: Cohort, seed: int = 0) -> dict[str, Integers]:
    """Vectors that are as large as the ring allows them to be in a sum that does not wrap."""
    reach = (1 << (cohort.terms.parameters.ring_bits - 1)) // (2 * len(cohort.terms.cohort))
    reach -= 128 * cohort.terms.parameters.dropouts
    generator = np.random.default_rng(seed)
    return {
        party: generator.integers(-reach, reach, cohort.terms.dimension)
        for party in cohort.terms.cohort
    }


Silent = Mapping[Kind, Collection[str]]
"""From which message on a party says nothing more."""


def speaks(party: str, kind: Kind, silent: Silent | None) -> bool:
    return not any(party in who for since, who in (silent or {}).items() if since <= kind)


def play(cohort: Cohort, inputs: Mapping[str, Integers], silent: Silent | None = None) -> Gathering:
    """Run a round to its end with the product's own reducers."""
    state, asked = Gathering(terms=cohort.terms), ()
    for party, vector in inputs.items():
        if speaks(party, Kind.UPLOAD, silent):
            state, asked = aggregator.receive(state, cohort.submit(party, vector))
    while state.phase not in (Phase.OPENED, Phase.ABANDONED):
        before = state.phase, state.survivors
        for party, request in asked:
            if speaks(party, request.kind, silent):
                state, asked = aggregator.receive(state, cohort.answer(party, request))
        if (state.phase, state.survivors) == before:
            state, asked = aggregator.close(state)
    return state


def wanted(cohort: Cohort, inputs: Mapping[str, Integers], result: Sum) -> Integers:
    """The plain sum: inputs of the survivors and the layers of theirs that were not removed."""
    total = np.zeros(cohort.terms.dimension, np.int64)
    for party in result.survivors:
        total += inputs[party] + kept_noise(cohort, party, result.layers[party])
    return total


def kept_noise(cohort: Cohort, party: str, removed: Collection[int]) -> Integers:
    from secure_compute.secagg.commitments import layer_seed, link_after

    now = cohort.nodes[party].round
    total = np.zeros(cohort.terms.dimension, np.int64)
    for layer in range(1, cohort.terms.parameters.dropouts + 1):
        if layer not in removed:
            link = link_after(now.link, layer - 1)
            total += cohort.expand(layer_seed(cohort.terms.digest, link, layer), layer)
    return total
