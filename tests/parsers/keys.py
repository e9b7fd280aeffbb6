"""Threshold keys, ciphertexts, lists and partials."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from aggregator import certifying, key_batch
from experiments.bench_threshold import Bench
from federation import (
    joint_keys,
    kept_answers,
    sealed_answers,
)
from policies.parties import PartyId
from secure_compute.entropy import SystemEntropy
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.threshold import ciphertext, keyholder, listing, party, pieces, pool, residues
from secure_compute.threshold import memory as threshold_memory
from secure_compute.threshold.joint import KeyCommitment
from secure_compute.threshold.params import PRIMES
from secure_compute.threshold.question import Question
from secure_compute.threshold.terms import Terms as KeyTerms
from tests.parsers.making import Parser, a_federation, objects, of_value, resigned


@cache
def _bench() -> Bench:
    return Bench(3, 2, 4, 100)


@cache
def _submitted() -> tuple[dict[str, listing.Commitment], dict[str, bytes], dict[str, party.Party]]:
    bench, said, wires, states = _bench(), {}, {}, {}
    for name in bench.parties:
        state, one, made = bench._submitted(name)
        said[name], wires[name], states[name] = one, made[0], state
    return said, wires, states


def _listed() -> listing.Listing:
    return listing.listing(_bench().question, _submitted()[0].values())


def commitment() -> bytes:
    return next(iter(_submitted()[0].values())).to_bytes()


@cache
def _endorsements() -> list[listing.Endorsement]:
    said, _, states = _submitted()
    bench = _bench()
    return [bench._endorsed(name, states[name], list(said.values()))[1] for name in bench.parties]


def endorsement() -> bytes:
    return _endorsements()[0].to_bytes()


@cache
def _said() -> tuple[KeyCommitment, ...]:
    return _bench().states["holder-0"].keys[0].commitments


def package() -> bytes:
    bench = _bench()
    parts = tuple(bench.shown[place] for place in sorted(bench.shown))
    return joint_keys.Package(bench.terms, _said(), parts).to_bytes()


@cache
def _partials() -> list[keyholder.Partial]:
    bench, (said, wires, _) = _bench(), _submitted()
    total = ciphertext.add(_listed(), 0, wires)
    quorum = bench.holders[:2]
    bound = {name: bench._bound(name, list(said.values()), _endorsements()) for name in quorum}
    return [
        keyholder.partial(bound[name], bench.terms.digest, total, at, bench.identity[name].sign)
        for name, places in bench._shares(quorum).items()
        for at in places
    ]


PRIVATE: Final = AgreementKey(bytes(range(1, 33)))


def _kept() -> kept_answers.KeptAnswer:
    listed, grouped = _listed(), {}
    for part in _partials():
        grouped.setdefault(part.keyholder, []).append(part.to_bytes())
    origin = lambda name: sealed_answers.Origin("bench", name, listed.digest)  # noqa: E731
    boxes = tuple(
        kept_answers.Box(n, sealed_answers.seal(w, PRIVATE.public, origin(n), bytes(32)))
        for n, w in grouped.items()
    )
    total = ciphertext.to_bytes(ciphertext.add(listed, 0, _submitted()[1]).ciphertext)
    said = tuple(one.to_bytes() for one in listed.commitments)
    return kept_answers.KeptAnswer(package(), said, (total,), boxes)


def parsers() -> Iterator[Parser]:
    of, bench = "secure_compute.threshold", _bench
    first = lambda: bench().parties[0]  # noqa: E731
    yield Parser(
        (f"{of}.terms.Terms.from_json",),
        of_value(KeyTerms.from_json),
        lambda: objects(bench().terms)(),
    )
    yield Parser(
        (f"{of}.question.Question.from_json",),
        of_value(Question.from_json),
        lambda: objects(bench().question)(),
    )
    yield Parser(
        (f"{of}.joint.KeyCommitment.read", f"{of}.statements.split"),
        KeyCommitment.read,
        lambda: [s.to_bytes() for s in _said()],
    )
    yield Parser(
        (f"{of}.listing.Commitment.read",), listing.Commitment.read, lambda: [commitment()]
    )
    yield Parser(
        (f"{of}.listing.Endorsement.read",), listing.Endorsement.read, lambda: [endorsement()]
    )
    yield Parser(
        (f"{of}.keyholder.Partial.read",),
        keyholder.Partial.read,
        lambda: [part.to_bytes() for part in _partials()[:2]],
    )
    yield Parser((f"{of}.pool.Deal.read",), pool.Deal.read, lambda: [_dealt()[0].to_bytes()])
    yield Parser(
        (f"{of}.pieces.receive",),
        lambda box: pieces.receive(box, *_dealt()[1:]),
        lambda: [_dealt()[0].box],
    )
    yield Parser(
        (
            f"{of}.ciphertext.from_bytes",
            f"{of}.residues.from_bytes",
            f"{of}.ciphertext.relayed",
            f"{of}.ciphertext.read_into",
            f"{of}.residues.read_into",
        ),
        lambda wire: (
            ciphertext.relayed(_listed(), 0, wire),
            residues.from_bytes(wire[: residues.size(PRIMES)], PRIMES),
        ),
        lambda: [_submitted()[1][first()]],
    )
    yield Parser(
        (f"{of}.ciphertext.add", "aggregator.certifying.totals"),
        lambda wire: certifying.totals(
            _listed(), {n: (w,) for n, w in {**_submitted()[1], first(): wire}.items()}
        ),
        lambda: [_submitted()[1][first()]],
    )
    yield Parser(
        (f"{of}.memory.keyholder_from_bytes",),
        threshold_memory.keyholder_from_bytes,
        lambda: [threshold_memory.keyholder_to_bytes(s) for s in bench().states.values()],
    )
    yield Parser(
        (f"{of}.memory.party_from_bytes",),
        threshold_memory.party_from_bytes,
        lambda: [threshold_memory.party_to_bytes(s) for s in _submitted()[2].values()],
    )
    yield Parser(
        ("federation.joint_keys.unpack", "federation.joint_keys.views"),
        joint_keys.unpack,
        lambda: [joint_keys.pack([b"", b"abc", bytes(300)])],
    )
    yield Parser(
        ("federation.joint_keys.Package.read", f"{of}.joint.assemble"),
        lambda blob: _assemble(joint_keys.Package.read(blob)),
        lambda: [package()],
    )
    yield Parser(
        ("federation.kept_answers.KeptAnswer.read", "federation.kept_answers.open_answer"),
        lambda data: kept_answers.open_answer(
            kept_answers.KeptAnswer.read(data), bench().question, bench().joint, PRIVATE
        ),
        lambda: [_kept().to_bytes()],
    )
    yield Parser(
        ("federation.sealed_answers.unseal",),
        lambda box: sealed_answers.unseal(
            box, PRIVATE, sealed_answers.Origin("bench", "holder-0", _listed().digest)
        ),
        lambda: [_kept().boxes[0].sealed],
    )
    signing = lambda: bench().identity[first()]  # noqa: E731
    yield Parser(
        ("aggregator.certifying.read_commitment",),
        lambda wire: resigned(
            signing(), lambda w: certifying.read_commitment(bench().question, first(), w)
        )(wire),
        lambda: [commitment()],
    )
    yield Parser(
        ("aggregator.certifying.read_endorsement",),
        lambda wire: resigned(
            signing(), lambda w: certifying.read_endorsement(_listed(), first(), w)
        )(wire),
        lambda: [endorsement()],
    )
    yield Parser(
        ("aggregator.certifying.read_chunks",),
        lambda blob: certifying.read_chunks(_listed(), first(), blob),
        lambda: [joint_keys.pack([_submitted()[1][first()]])],
    )
    yield Parser(
        ("aggregator.key_batch.packages",),
        lambda data: key_batch.packages(
            a_federation().roster, 2, [bench().terms], joint_keys.unpack(data), _parts_shown()
        ),
        lambda: [joint_keys.pack([one.to_bytes() for one in _said()])],
    )


def _parts_shown() -> dict[PartyId, bytes]:
    bench = _bench()
    made = {name: bench.terms.made_by(name) for name in bench.holders}
    return {
        PartyId(name): joint_keys.pack([bench.shown[place] for place in places])
        for name, places in made.items()
    }


def _assemble(package: joint_keys.Package) -> object:
    return joint_keys.assemble(_bench().terms, package.commitments, dict(enumerate(package.parts)))


@cache
def _dealt() -> Any:
    """A deal, and everything that its receiver knows beside its box."""
    bench = _bench()
    state = pool.join(bench.epoch, "holder-0", bench.secrets["holder-0"])
    deal = pool.begin(state, bench.terms, SystemEntropy())[1][0]
    return (
        deal,
        deal.place,
        bench.terms,
        dict(state.pairs)[deal.receiver],
        "holder-0",
        deal.receiver,
    )
