"""Asks several parties at once, and again where a ledger lacked a word of its witnesses.

A node that is unsure says what it lacks: statements about its head, because its process has just
started or its clock leapt, or a cosignature over a reservation. The word is fetched from the other
nodes and the same question is put again with it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from aggregator.errors import AggregatorError
from aggregator.jobs import Jobs
from aggregator.letters import Answer, Desk, Silence
from aggregator.witnessing import Relay, statements
from federation.messages import SPENDING, Kind
from policies.parties import DATA_ROLES, PartyId, Role
from secure_compute.canonical import JSON
from secure_compute.entropy import SystemEntropy

ATTEMPTS: Final = 3
"""How often one question is put: a node may lack statements first and a cosignature then."""

WITNESS_SECONDS: Final = 10.0

_CARRIERS: Final = (SPENDING | {Kind.LEDGER_WITNESS}) - {Kind.OFFER}
"""Letters in which heads and cosignatures ride; an offer comes before any of them."""

_LEDGER: Final = frozenset({Kind.LEDGER_SEEN, Kind.LEDGER_WITNESS})


class Transport(Protocol):
    """Carries sealed letters out and brings sealed replies back."""

    def __call__(
        self, requests: Mapping[PartyId, bytes], timeout: float
    ) -> Mapping[PartyId, bytes | str]:
        """Return a reply per party, or the reason why there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What one party is asked."""

    kind: Kind
    blobs: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    body: Mapping[str, JSON] = field(default_factory=dict)

    def helped(self, blobs: Mapping[str, bytes]) -> "Question":
        """Return the question with what the one who is asked lacked."""
        return replace(self, blobs={**self.blobs, **blobs})


class Asking:
    """Puts questions over one transport; `present` says which nodes are worth waiting for."""

    def __init__(
        self,
        desk: Desk,
        jobs: Jobs,
        transport: Transport,
        relay: Relay,
        present: Callable[[], Collection[PartyId]] | None = None,
    ) -> None:
        self._desk = desk
        self._jobs = jobs
        self._transport = transport
        self._relay = relay
        self._present = present

    def ask(
        self, order: str, sequence: int, questions: Mapping[PartyId, Question], timeout: float
    ) -> dict[PartyId, Answer]:
        """Return the usable answers; whoever gave none is noted for whoever watches."""
        answers: dict[PartyId, Answer] = {}
        pending = dict(questions)
        for attempt in range(1, ATTEMPTS + 1):
            found = self._put(order, sequence, pending, timeout)
            unsure = {p: a for p, a in found.items() if a.envelope.kind is Kind.LEDGER_UNSURE}
            answers |= {party: a for party, a in found.items() if party not in unsure}
            if not unsure:
                break
            if attempt == ATTEMPTS:
                self._give_up(order, unsure)
                break
            helps = self._fetch(order, unsure)
            pending = {party: pending[party].helped(helps.get(party, {})) for party in unsure}
        return answers

    def witness(self, order: str, parties: Sequence[PartyId]) -> dict[PartyId, Answer]:
        """Show each of `parties` the heads it has not seen, and bring back what it says of them."""
        questions = {party: self.witness_question(party) for party in parties}
        return self._put(order, 0, questions, WITNESS_SECONDS)

    def witness_question(self, party: PartyId) -> Question:
        """Return a request to cosign what rides in it; its bytes are never those of another."""
        nonce, sizes = SystemEntropy().bytes(16).hex(), self._relay.wanted(party)
        return Question(Kind.LEDGER_WITNESS, body={"nonce": nonce, "sizes": sizes})

    def nodes(self) -> list[PartyId]:
        """Return the parties that have a node, those that are there if that is known."""
        parties = [m.party for m in self._desk.roster.with_role(*DATA_ROLES, Role.KEYHOLDER)]
        try:
            there = parties if self._present is None else self._present()
        except AggregatorError:
            there = parties
        return [party for party in parties if party in there]

    def _put(
        self, order: str, sequence: int, questions: Mapping[PartyId, Question], timeout: float
    ) -> dict[PartyId, Answer]:
        """Put each question once."""
        letters, sent = {}, {}
        for party, question in questions.items():
            riding = self._relay.parts(party) if question.kind in _CARRIERS else {}
            sent[party] = {**question.blobs, **riding}
            letters[party] = self._desk.write(
                question.kind, party, order, sequence, question.body, sent[party]
            )
        answers: dict[PartyId, Answer] = {}
        for party, reply in self._transport(letters, timeout).items():
            kind = questions[party].kind
            read = (
                Silence(f"{party}: {reply}")
                if isinstance(reply, str)
                else self._desk.read(kind, order, sequence, party, reply)
            )
            if isinstance(read, Answer) and (
                kind is Kind.OFFER or read.envelope.kind is not Kind.REFUSED
            ):
                answers[party] = read
                self._relay.take(read.envelope)
                if read.envelope.kind is not Kind.LEDGER_UNSURE:
                    self._relay.arrived(party, sent[party])
            elif kind not in _LEDGER:
                why = read.reason if isinstance(read, Silence) else str(read.envelope.body)
                self._jobs.note(order, stage="silence", party=party, reason=why)
        return answers

    def _fetch(
        self, order: str, unsure: Mapping[PartyId, Answer]
    ) -> dict[PartyId, dict[str, bytes]]:
        """Return, per unsure party, the blobs that it lacked; cosignatures ride by themselves."""
        nonces = {
            party: str(answer.envelope.body.get("nonce"))
            for party, answer in unsure.items()
            if answer.envelope.body.get("lacks") == "seen"
        }
        if nonces.keys() != unsure.keys():
            self.witness(order, self.nodes())
        if not nonces:
            return {}
        replies = self._put(order, 0, self._inquiries(nonces), WITNESS_SECONDS).values()
        said = [reply.envelope for reply in replies]
        return {party: statements(said, party) for party in nonces}

    def _inquiries(self, nonces: Mapping[PartyId, str]) -> dict[PartyId, Question]:
        asked = {}
        for witness in self.nodes():
            about: dict[str, JSON] = {p: n for p, n in nonces.items() if p != witness}
            if about:
                asked[witness] = Question(Kind.LEDGER_SEEN, body={"about": about})
        return asked

    def _give_up(self, order: str, unsure: Mapping[PartyId, Answer]) -> None:
        for party, answer in unsure.items():
            lacks = answer.envelope.body.get("lacks")
            why = (
                "too few witnesses vouch for its ledger"
                if lacks == "seen"
                else "no witness has put its name to its reservation"
            )
            self._jobs.note(order, stage="silence", party=party, reason=f"{party}: {why}")
