"""Asks several parties at once, and again where a ledger lacked a word of its witnesses.

A node that is unsure says what it lacks: statements about its head, because its process has just
started or its clock leapt, or cosignatures over a reservation. The word is fetched from the other
nodes and the same question is put again with it.

Every node with a ledger is a witness of all others, whoever is asked to spend. What it does as a
witness is put into exchanges that take place anyway, and nobody waits long for it: ten seconds, and
in the same job not again, as long as the others are enough.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from aggregator.errors import AggregatorError
from aggregator.jobs import Jobs
from aggregator.letters import Answer, Desk, Silence
from aggregator.transport import Transport
from aggregator.witnessing import Relay, statements
from federation.ledger import seen
from federation.messages import PROPOSING, SPENDING, Kind
from policies.parties import DATA_ROLES, PartyId, Role
from secure_compute.canonical import JSON
from secure_compute.entropy import SystemEntropy

log = logging.getLogger(__name__)

ATTEMPTS: Final = 3
"""How often one question is put: a node may lack statements first and a cosignature then."""

WITNESS_SECONDS: Final = 10.0

_CARRIERS: Final = (SPENDING | {Kind.LEDGER_WITNESS, Kind.QUERY_ENDORSE}) - PROPOSING
"""Letters in which cosignatures ride; what proposes an order comes before any of them."""

_SHOWING: Final = _CARRIERS - {Kind.QUERY_OPEN, Kind.KEYS_BEGIN}
"""Letters in which heads ride, because whoever answers them says something of the heads."""

_LEDGER: Final = frozenset({Kind.LEDGER_SEEN, Kind.LEDGER_WITNESS, Kind.ROSTER_SHOW})


@dataclass(frozen=True, slots=True)
class Question:
    """What one party is asked.

    shows: heads ride in it, where its kind carries them.
    """

    kind: Kind
    blobs: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    body: Mapping[str, JSON] = field(default_factory=dict)
    shows: bool = True

    @property
    def is_ledgers(self) -> bool:
        """Whether it is about ledgers or members alone; then nobody waits long for the answer."""
        return self.kind in _LEDGER

    def helped(self, blobs: Mapping[str, bytes]) -> "Question":
        """Return the question with what the one who is asked lacked."""
        return replace(self, blobs={**self.blobs, **blobs})


class Asking:
    """Puts questions; `present` says which nodes are worth waiting for.

    What is asked of an order that trains travels over `training`, all else over `transport`.
    """

    def __init__(
        self,
        desk: Desk,
        jobs: Jobs,
        transport: Transport,
        relay: Relay,
        present: Callable[[], Collection[PartyId]] | None = None,
        training: Transport | None = None,
    ) -> None:
        self._desk = desk
        self._jobs = jobs
        self._transport = transport
        self._training = training or transport
        self._trains = False
        self._relay = relay
        self._present = present
        self._sure: set[PartyId] = set()
        self._silent: set[PartyId] = set()
        self.exchanges = 0
        """How often letters went out in this job, as far as this process knows."""

    def begin(self, kind: str = "") -> None:
        """Another job, of an order of this kind: whoever was silent is waited for again."""
        self._silent.clear()
        self.exchanges = 0
        self._trains = kind == "train"

    def ask(
        self, order: str, sequence: int, questions: Mapping[PartyId, Question], timeout: float
    ) -> dict[PartyId, Answer]:
        """Return the usable answers; whoever gave none is noted for whoever watches."""
        answers: dict[PartyId, Answer] = {}
        pending = dict(questions)
        for attempt in range(1, ATTEMPTS + 1):
            found = self._put(order, sequence, pending, timeout)
            unsure = {
                party: answer
                for party, answer in found.items()
                if answer.envelope.kind is Kind.LEDGER_UNSURE
            }
            answers |= {party: a for party, a in found.items() if party not in unsure}
            if not unsure:
                break
            if attempt == ATTEMPTS or (attempt > 1 and all(pending[p].is_ledgers for p in unsure)):
                self._give_up(order, unsure, pending)
                break
            helps = self._fetch(order, unsure)
            pending = {party: pending[party].helped(helps.get(party, {})) for party in unsure}
        return answers

    def with_witnesses(self, questions: Mapping[PartyId, Question]) -> dict[PartyId, Question]:
        """Return the questions, with one for everybody else to cosign the heads it has not seen."""
        asked = {party: self.witness_question(party) for party in self.witnesses()}
        return {**asked, **questions}

    def with_unconfirmed(self, questions: Mapping[PartyId, Question]) -> dict[PartyId, Question]:
        """Return the questions, with one for every other witness that may still be unsure.

        It says so in the same exchange, and what it lacks is fetched for all of them together.
        """
        unsure = set(self.witnesses()) - self._sure
        asked = {party: self.witness_question(party, show=False) for party in sorted(unsure)}
        return {**asked, **questions}

    def witness(self, order: str, *, show: bool = True) -> None:
        """Show every witness the heads that it has not cosigned, and what witnesses said of its.

        Whoever has nothing to see is not asked. Without `show` there is nothing to cosign.
        """
        self._relay.renew()
        asked = {
            party: self.witness_question(party, show=show)
            for party in self.witnesses()
            if self._relay.lines(party) or (show and self._relay.heads(party))
        }
        self.ask(order, 0, asked, WITNESS_SECONDS)

    def collect(self) -> None:
        """Have the head of every log as it stands."""
        asked = {party: self.witness_question(party, show=False) for party in self.witnesses()}
        self.ask("", 0, asked, WITNESS_SECONDS)

    def witness_question(self, party: PartyId, *, show: bool = True) -> Question:
        """Return a request to cosign what rides in it; its bytes are never those of another."""
        nonce, sizes = SystemEntropy().bytes(16).hex(), self._relay.wanted(party)
        return Question(Kind.LEDGER_WITNESS, {}, {"nonce": nonce, "sizes": sizes}, shows=show)

    def witnesses(self) -> list[PartyId]:
        """Return the nodes that are asked as witnesses.

        Who is away, or was silent in this job, is left out as long as the others are enough for
        every one of them.
        """
        nodes = self._nodes()
        heard = [party for party in nodes if party not in self._silent]
        return heard if all(self._suffice(heard, party) for party in heard) else nodes

    def there(self) -> list[PartyId]:
        """Return the parties that have a node, those that are there if that is known."""
        return self._nodes()

    def are_there(self, parties: Collection[PartyId]) -> bool:
        """Return whether all of them are there, as far as that is known."""
        return set(parties) <= set(self._nodes())

    def is_heard(self, party: PartyId) -> bool:
        """Return whether a party is there, as far as is known, and was not silent in this job."""
        return party in self._nodes() and party not in self._silent

    def likely(self, parties: Collection[PartyId]) -> list[PartyId]:
        """Return the parties, those first that are there and were not silent in this job."""
        there = self._nodes()
        return sorted(parties, key=lambda party: (party in self._silent, party not in there, party))

    def _suffice(self, heard: Collection[PartyId], party: PartyId) -> bool:
        roster = self._desk.roster
        among = seen.speakers(roster, party)
        there = {among[other] for other in heard if other in among}
        return len(there) >= seen.quorum(roster, party)

    def _nodes(self) -> list[PartyId]:
        """Return the parties that have a node, those that are there if that is known."""
        parties = [m.party for m in self._desk.roster.active(*DATA_ROLES, Role.KEYHOLDER)]
        try:
            there = parties if self._present is None else self._present()
        except AggregatorError:
            there = parties
        return [party for party in parties if party in there]

    def _put(
        self, order: str, sequence: int, questions: Mapping[PartyId, Question], timeout: float
    ) -> dict[PartyId, Answer]:
        """Put each question once."""
        if not questions:
            return {}
        self._relay.renew()
        sent = {party: self._blobs(party, question) for party, question in questions.items()}
        letters = {
            party: self._desk.write(q.kind, party, order, sequence, q.body, sent[party])
            for party, q in questions.items()
        }
        sooner = {p: min(timeout, WITNESS_SECONDS) for p, q in questions.items() if q.is_ledgers}
        answers: dict[PartyId, Answer] = {}
        begun = time.monotonic()
        replies = self._carrier(questions)(letters, timeout, sooner)
        self._tell(order, questions, time.monotonic() - begun)
        for party, reply in replies.items():
            question = questions[party]
            read = self._read(order, sequence, party, question, reply)
            if isinstance(read, Answer):
                answers[party] = read
                self._relay.take(read.envelope)
                if read.envelope.kind is not Kind.LEDGER_UNSURE:
                    self._relay.arrived(party, sent[party])
            elif not question.is_ledgers:
                self._jobs.note(order, stage="silence", party=party, reason=read.reason)
        self._relay.keep()
        return answers

    def _carrier(self, questions: Mapping[PartyId, Question]) -> Transport:
        """Return what carries an exchange; words of ledgers alone are no part of training."""
        ledgers_alone = all(question.is_ledgers for question in questions.values())
        return self._training if self._trains and not ledgers_alone else self._transport

    def _tell(self, order: str, questions: Mapping[PartyId, Question], seconds: float) -> None:
        self.exchanges += 1
        kinds = Counter(question.kind.value for question in questions.values())
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        log.info("order %s: %s in %.2f s", order[:12] or "-", said, seconds)

    def _blobs(self, party: PartyId, question: Question) -> dict[str, bytes]:
        showing = question.shows and question.kind in _SHOWING
        heads = self._relay.heads(party) if showing else {}
        lines = self._relay.lines(party) if question.kind in _CARRIERS else {}
        return {**question.blobs, **heads, **lines}

    def _read(
        self, order: str, sequence: int, party: PartyId, question: Question, reply: bytes | str
    ) -> Answer | Silence:
        """Read one reply, and remember of its sender what it says about its process."""
        self._sure.discard(party)
        if isinstance(reply, str):
            self._silent.add(party)
            return Silence(f"{party}: {reply}")
        self._silent.discard(party)
        read = self._desk.read(question.kind, order, sequence, party, reply)
        if isinstance(read, Silence):
            return read
        if read.envelope.kind is Kind.REFUSED and question.kind not in PROPOSING:
            return Silence(f"{party} refused: {read.envelope.body}")
        if read.envelope.body.get("lacks") != "seen" and question.kind is not Kind.ROSTER_SHOW:
            self._sure.add(party)
        return read

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
            asked = {party: self.witness_question(party) for party in self.witnesses()}
            self._put(order, 0, asked, WITNESS_SECONDS)
        if not nonces:
            return {}
        replies = self._put(order, 0, self._inquiries(nonces), WITNESS_SECONDS).values()
        said = [reply.envelope for reply in replies]
        return {party: statements(said, party) for party in nonces}

    def _inquiries(self, nonces: Mapping[PartyId, str]) -> dict[PartyId, Question]:
        asked = {}
        for witness in self.witnesses():
            about: dict[str, JSON] = {p: n for p, n in nonces.items() if p != witness}
            if about:
                asked[witness] = Question(Kind.LEDGER_SEEN, body={"about": about})
        return asked

    def _give_up(
        self, order: str, unsure: Mapping[PartyId, Answer], asked: Mapping[PartyId, Question]
    ) -> None:
        for party, answer in unsure.items():
            lacks = answer.envelope.body.get("lacks")
            why = (
                "too few witnesses vouch for its ledger"
                if lacks == "seen"
                else "too few witnesses have put their names to its reservation"
            )
            if asked[party].is_ledgers:
                self._silent.add(party)
            else:
                self._jobs.note(order, stage="silence", party=party, reason=f"{party}: {why}")
