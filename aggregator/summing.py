"""Sees one secure sum through: asks the nodes, checks what comes, writes down before it asks on.

The shell around `secure_compute.secagg.aggregator`. What was gathered is on disk before the next
request leaves, because nodes sign one set of survivors and no second one: after a crash the same
requests go out again, and nodes answer with the same bytes.
"""

from collections.abc import Mapping
from typing import Final

from aggregator.asking import Asking, Question
from aggregator.errors import AbandonedError
from aggregator.jobs import Job, Jobs
from aggregator.letters import UNREADABLE, Answer
from federation.messages import Kind
from federation.secure_sums import expander
from federation.sum_recipes import SumRecipe
from policies.parties import PartyId
from secure_compute.errors import FaultyPartyError
from secure_compute.secagg import aggregator, memory
from secure_compute.secagg.aggregator import Gathering, Phase
from secure_compute.secagg.messages import Message
from secure_compute.secagg.terms import Terms
from secure_compute.secagg.unmasking import Sum

UPLOAD_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 30.0
"""Opening a sum needs no rows and no waiting: who takes longer is lost."""

_OVER: Final = frozenset({Phase.OPENED, Phase.ABANDONED})


class Summing:
    """Performs the exchanges of secure sums."""

    def __init__(self, asking: Asking, jobs: Jobs) -> None:
        self._asking = asking
        self._jobs = jobs

    def gather(self, job: Job, recipe: SumRecipe, terms: Terms, parts: Mapping[str, bytes]) -> Sum:
        """Return the sum of one round; `parts` is what every node computes its own from.

        Raises:
            AbandonedError: too few took part, or what they said cannot be put together.
        """
        state = self._begun(job, terms)
        while state.phase not in _OVER:
            state = self._exchange(job, state, parts)
            self._jobs.keep_gathering(job.id, terms.round, memory.gathering_to_bytes(state))
        if state.phase is Phase.ABANDONED:
            raise AbandonedError(f"round {terms.round + 1} was abandoned: {state.reason}")
        try:
            return aggregator.combine(state, expander(recipe, terms))
        except FaultyPartyError as why:
            raise AbandonedError(f"round {terms.round + 1} cannot be opened: {why}") from why

    def _begun(self, job: Job, terms: Terms) -> Gathering:
        kept = self._jobs.gathering(job.id, terms.round)
        state = None if kept is None else memory.gathering_from_bytes(kept)
        return Gathering(terms=terms) if state is None or state.terms != terms else state

    def _exchange(self, job: Job, state: Gathering, parts: Mapping[str, bytes]) -> Gathering:
        """Return the state after one exchange; who was silent in it is lost where need be."""
        collecting = state.phase is Phase.COLLECTING
        asked = _uploads(state, parts) if collecting else _requests(state)
        seconds = UPLOAD_SECONDS if collecting else ANSWER_SECONDS
        after = state
        for party, answer in self._asking.ask(job.id, state.terms.round, asked, seconds).items():
            if party in asked:
                after = self._take(job, after, party, answer)
        moved = (after.phase, after.survivors) != (state.phase, state.survivors)
        return after if moved else aggregator.close(after)[0]

    def _take(self, job: Job, state: Gathering, party: PartyId, answer: Answer) -> Gathering:
        """Return the state with one answer; whoever sent another is as good as silent."""
        blobs = answer.envelope.blobs
        try:
            message = Message.read(blobs.get("upload") or blobs.get("answer", b""), state.terms)
            if message.party != party:
                raise FaultyPartyError(party, why=f"sent what {message.party} is said to say")
            return aggregator.receive(state, message)[0]
        except UNREADABLE as why:
            self._jobs.note(job.id, stage="silence", party=party, reason=f"{party}: {why}")
            return state


def _uploads(state: Gathering, parts: Mapping[str, bytes]) -> dict[PartyId, Question]:
    question = Question(Kind.SUM_ROUND, parts, {"cohort": list(state.terms.cohort)})
    return {PartyId(party): question for party in state.waiting_for}


def _requests(state: Gathering) -> dict[PartyId, Question]:
    return {
        PartyId(party): Question(Kind.SUM_ASK, {"request": request.to_bytes()})
        for party, request in aggregator.requests(state)
    }
