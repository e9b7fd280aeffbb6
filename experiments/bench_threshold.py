"""What a joint sum under threshold keys costs: processor time by role, and bytes by slot.

Processor time of this process, the least of several repetitions, of the cryptography alone: no
network, no disk, no noise. The critical path is one party's, one keyholder's and the recipient's
work, one after another, since each role works at once; keys are made ahead and do not count to it.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any, Final, TypeVar

from secure_compute.entropy import SystemEntropy
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.primitives.signature import SigningKey
from secure_compute.secagg.epoch import Identity, Roster, advertise, gather
from secure_compute.threshold import ciphertext, joint, keyholder, opening, party, pool
from secure_compute.threshold.joint import JointKey, KeyCommitment
from secure_compute.threshold.keyholder import Partial
from secure_compute.threshold.listing import Commitment, Endorsement, listing
from secure_compute.threshold.params import SLOTS
from secure_compute.threshold.party import Party
from secure_compute.threshold.pool import Keyholder
from secure_compute.threshold.question import Question
from secure_compute.threshold.terms import Terms

Result = dict[str, Any]
Answer = TypeVar("Answer")
_REPETITIONS: Final = 5
PARTIES: Final = 10
CELLS: Final = 100
_LIMITS: Final = {
    "query_crypto_ms": 100.0,
    "bytes_up_per_slot": 42.0,
    "bytes_partial_per_slot": 21.0,
}


def run(full: bool) -> list[Result]:
    """Return the results; 3 of 5 and 4 of 7 keyholders too with `full`."""
    others = [_prefixed(n, t) for n, t in ((5, 3), (7, 4))] if full else []
    values = {**measure(3, 2), **{k: v for other in others for k, v in other.items()}}
    return [_result(name, value) for name, value in values.items()]


def measure(holders: int, threshold: int) -> dict[str, float]:
    """Return milliseconds and bytes by name: 100 cells of 10 parties, by `threshold` keyholders."""
    bench = Bench(holders, threshold)
    key = {f"key_{name}_ms": value for name, value in bench.key_ms.items()}
    steps = bench.steps()
    return {
        "query_crypto_ms": sum(steps.values()),
        **{f"query_{name}_ms": value for name, value in steps.items()},
        **key,
        **bench.bytes(),
    }


def _prefixed(holders: int, threshold: int) -> dict[str, float]:
    measured = measure(holders, threshold)
    return {f"{name}_{threshold}_of_{holders}": value for name, value in measured.items()}


def _result(name: str, value: float) -> Result:
    limit = _LIMITS.get(name)
    return {
        "name": name,
        "value": round(value, 2),
        "unit": "B" if name.startswith("bytes") else "ms",
        "peer": "limit" if limit else "",
        "peer_value": limit,
    }


def _timed(what: Callable[[], Answer]) -> tuple[float, Answer]:
    found: list[tuple[float, Answer]] = []
    for _ in range(_REPETITIONS):
        started = time.process_time()
        answer = what()
        found.append((1e3 * (time.process_time() - started), answer))
    return min(found, key=lambda one: one[0])


class Bench:
    """A finished key of so many keyholders, and a question to so many parties."""

    def __init__(
        self, holders: int, threshold: int, parties: int | None = None, cells: int | None = None
    ) -> None:
        self.cells = CELLS if cells is None else cells
        entropy = SystemEntropy()
        self.holders = [f"holder-{number}" for number in range(holders)]
        self.parties = [f"node-{number:03}" for number in range(parties or PARTIES)]
        names = [*self.holders, *self.parties]
        self.identity = {name: SigningKey(entropy.bytes(32)) for name in names}
        self.secrets = {name: AgreementKey(entropy.bytes(32)) for name in self.holders}
        identities = tuple(Identity(n, n, key.verify_key) for n, key in self.identity.items())
        self.roster = Roster("bench", "0" * 64, identities)
        said = [advertise(self.roster, 1, name, self.secrets[name]) for name in self.holders]
        signed = (replace(s, signature=self.identity[s.party].sign(s.statement())) for s in said)
        self.epoch = gather(self.roster, 1, signed)
        self.terms = Terms.of(self.epoch, keyholders=self.holders, threshold=threshold, serial=0)
        self.states: dict[str, Keyholder] = {}
        self.key_ms: dict[str, float] = {}
        self.joint = self._key()
        self.question = self._question()

    def _key(self) -> JointKey:
        deals: list[pool.Deal] = []
        for name in self.holders:
            state = pool.join(self.epoch, name, self.secrets[name])
            self.states[name], dealt = pool.begin(state, self.terms, SystemEntropy())
            deals.extend(dealt)
        for deal in deals:
            self.states[deal.receiver] = pool.receive(self.states[deal.receiver], deal)
        return self._joined([self._committed(name) for name in self.holders])

    def _committed(self, name: str) -> KeyCommitment:
        sign = self.identity[name].sign
        took, (self.states[name], said) = _timed(
            lambda: pool.commit(self.states[name], self.terms.digest, sign)
        )
        self.key_ms["commit"] = max(took, self.key_ms.get("commit", 0))
        return said

    def _joined(self, commitments: list[KeyCommitment]) -> JointKey:
        shown: dict[int, bytes] = {}
        for name in self.holders:
            for said in commitments:
                self.states[name] = pool.gather(self.states[name], said)
            took, (self.states[name], parts) = _timed(
                lambda name=name: pool.show(self.states[name], self.terms.digest)  # type: ignore[misc]
            )
            self.key_ms["show"] = max(took, self.key_ms.get("show", 0))
            shown.update(parts)
        self.shown = shown
        took, made = _timed(lambda: joint.assemble(self.terms, commitments, shown))
        self.key_ms["assemble"] = took
        return made

    def _question(self) -> Question:
        return Question(
            query="bench",
            plan="0" * 64,
            key=self.joint.digest,
            cohort=tuple(self.roster.find(name) for name in self.parties),
            colluding=1,
            minimum=3,
            recipient="aggregator",
            cells=self.cells,
            reach=10**12,
        )

    def _submitted(self, name: str) -> tuple[Party, Commitment, tuple[bytes, ...]]:
        start, sign = Party(me=name), self.identity[name].sign
        _ = self.joint.uniform  # made once for a key, ahead of every question
        return party.submit(start, self.roster, self.question, self.joint, list(range(CELLS)), sign)

    def steps(self) -> dict[str, float]:
        """Return milliseconds of each step on the critical path, in order."""
        first, took = self.parties[0], {}
        took["submit"], _ = _timed(lambda: self._submitted(first))
        made = {name: self._submitted(name) for name in self.parties}
        said = [commitment for _, commitment, _ in made.values()]
        took["endorse"], _ = _timed(lambda: self._endorsed(first, made[first][0], said))
        signed = [self._endorsed(name, made[name][0], said) for name in self.parties]
        endorsements = [endorsement for _, endorsement in signed]
        state, ours = signed[0][0], made[first][2]
        took["reveal"], _ = _timed(
            lambda: party.reveal(state, self.question, said, endorsements, ours)
        )
        shown = {name: wires[0] for name, (_, _, wires) in made.items()}
        listed = listing(self.question, said)
        took["bind"], _ = _timed(lambda: self._bound(self.holders[0], said, endorsements))
        took["sum"], total = _timed(lambda: ciphertext.add(listed, 0, shown))
        quorum = self.holders[: self.terms.threshold]
        tasks = self._shares(quorum)
        bound = {name: self._bound(name, said, endorsements) for name in quorum}
        busiest = max(quorum, key=lambda name: len(tasks[name]))

        def partials(name: str) -> list[Partial]:
            sign, key = self.identity[name].sign, self.terms.digest
            return [keyholder.partial(bound[name], key, total, at, sign) for at in tasks[name]]

        took["partials"], _ = _timed(lambda: partials(busiest))
        found = list(chain.from_iterable(map(partials, quorum)))
        took["combine"], answer = _timed(lambda: opening.combine(self.terms, [total], found))
        if answer != tuple(PARTIES * cell for cell in range(CELLS)):
            raise AssertionError("the benchmark's own sum is wrong")
        return took

    def _endorsed(
        self, name: str, state: Party, said: list[Commitment]
    ) -> tuple[Party, Endorsement]:
        return party.endorse(state, self.question, said, self.identity[name].sign)

    def _bound(self, name: str, said: list[Commitment], signed: list[Endorsement]) -> Keyholder:
        listed = listing(self.question, said)
        return keyholder.bind(self.states[name], self.roster, self.terms.digest, listed, signed)

    def _shares(self, quorum: list[str]) -> dict[str, list[int]]:
        """Return which pieces each of a quorum answers for: each one once, as evenly as it goes."""
        tasks: dict[str, list[int]] = {name: [] for name in quorum}
        for place, holders in enumerate(self.terms.pieces):
            able = [name for name in quorum if name in holders]
            tasks[min(able, key=lambda name: len(tasks[name]))].append(place)
        return tasks

    def bytes(self) -> dict[str, float]:
        """Return bytes for each slot of a full ciphertext, and those of a whole key."""
        return {
            "bytes_up_per_slot": ciphertext.SIZE / SLOTS,
            "bytes_partial_per_slot": ciphertext.HALF / SLOTS,
            "bytes_partials_per_slot": len(self.terms.pieces) * ciphertext.HALF / SLOTS,
            "bytes_verify_per_slot": PARTIES * ciphertext.SIZE / SLOTS,
            "bytes_joint_key": float(sum(map(len, self.shown.values()))),
        }
