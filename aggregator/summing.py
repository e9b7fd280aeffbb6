"""Sees a round's secure sums through: asks the nodes, checks what comes, writes before it asks on.

The shell around `secure_compute.secagg.aggregator`. What was gathered is on disk before the next
request leaves, because nodes sign one set of survivors and no second one: after a crash the same
requests go out again, and nodes answer with the same bytes.

A round of several groups has a sum of each. All are asked in the same exchanges and written down in
one piece, so that they take as long as the slowest of them. One that comes to nothing is lost, and
the round with it only where too few are left to drop the highest and the lowest of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a round's sums came to.

    sums:    those that were opened, each with its terms.
    waiting: parties that answered in a sum that came to nothing; the next round may ask them.
    """

    sums: tuple[tuple[Terms, Sum], ...]
    waiting: tuple[PartyId, ...]

    @property
    def survivors(self) -> frozenset[str]:
        """The parties whose units are in an opened sum."""
        return frozenset(party for _, found in self.sums for party in found.survivors)


@dataclass(frozen=True, slots=True)
class _Lost:
    """A sum that came to nothing, why, and who of it may take part in the next round."""

    reason: str
    waiting: tuple[PartyId, ...]


class Summing:
    """Performs the exchanges of secure sums."""

    def __init__(self, asking: Asking, jobs: Jobs) -> None:
        self._asking = asking
        self._jobs = jobs

    def gather(
        self,
        job: Job,
        recipe: SumRecipe,
        terms: Sequence[Terms],
        parts: Mapping[str, bytes],
        fewest: int = 1,
    ) -> Gathered:
        """Return the sums of one round; `parts` is what every node computes its own from.

        terms: one for each sum; no party is in two of them. fewest: sums that must be opened.

        Raises:
            AbandonedError: too few took part, or what they said cannot be put together.
        """
        states, number = self._begun(job, terms), terms[0].round
        while any(state.phase not in _OVER for state in states):
            states = self._exchange(job, states, parts)
            self._jobs.keep_gathering(job.id, number, _packed(states))
        return self._opened(job, recipe, states, fewest)

    def _opened(
        self, job: Job, recipe: SumRecipe, states: Sequence[Gathering], fewest: int
    ) -> Gathered:
        made = [(state.terms, _result(recipe, state)) for state in states]
        sums = tuple((terms, one) for terms, one in made if isinstance(one, Sum))
        lost = [(terms, one) for terms, one in made if isinstance(one, _Lost)]
        if len(sums) < fewest:
            raise AbandonedError(_too_few(len(states), fewest, lost))
        for terms, one in lost:
            told = {"round": terms.round + 1, "parties": terms.cohort}
            self._jobs.note(job.id, stage="group_lost", reason=one.reason, **told)
        return Gathered(sums, tuple(party for _, one in lost for party in one.waiting))

    def _begun(self, job: Job, terms: Sequence[Terms]) -> list[Gathering]:
        kept = self._jobs.gathering(job.id, terms[0].round)
        states = [] if kept is None else _unpacked(kept, len(terms))
        same = [state.terms for state in states] == [*terms]
        return states if same else [Gathering(terms=each) for each in terms]

    def _exchange(
        self, job: Job, states: Sequence[Gathering], parts: Mapping[str, bytes]
    ) -> list[Gathering]:
        """Return the states after one exchange; who was silent in it is lost where need be."""
        cohort = sorted(party for state in states for party in state.terms.cohort)
        asked = [_questions(state, parts, cohort) for state in states]
        collecting = any(state.phase is Phase.COLLECTING for state in states)
        seconds = UPLOAD_SECONDS if collecting else ANSWER_SECONDS
        questions = {party: put for each in asked for party, put in each.items()}
        answers = self._asking.ask(job.id, states[0].terms.round, questions, seconds)
        return [
            self._after(job, state, {p: answers[p] for p in put if p in answers})
            for state, put in zip(states, asked, strict=True)
        ]

    def _after(self, job: Job, state: Gathering, answers: Mapping[PartyId, Answer]) -> Gathering:
        if state.phase in _OVER:
            return state
        after = state
        for party, answer in answers.items():
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


def _questions(
    state: Gathering, parts: Mapping[str, bytes], cohort: Sequence[str]
) -> dict[PartyId, Question]:
    """Return what a sum asks next; uploads are asked of a group with the names of the whole round.

    Each node derives its group from them, and is told none.
    """
    if state.phase is Phase.COLLECTING:
        question = Question(Kind.SUM_ROUND, parts, {"cohort": list(cohort)})
        return {PartyId(party): question for party in state.waiting_for}
    return {
        PartyId(party): Question(Kind.SUM_ASK, {"request": request.to_bytes()})
        for party, request in aggregator.requests(state)
    }


def _result(recipe: SumRecipe, state: Gathering) -> Sum | _Lost:
    """Return the sum, or why there is none; who was there, and is not named for it, may go on."""
    if state.phase is Phase.ABANDONED:
        return _Lost(state.reason, _there(state))
    try:
        return aggregator.combine(state, expander(recipe, state.terms))
    except FaultyPartyError as why:
        reason = f"it cannot be opened: {why}"
        named = why.parties
        return _Lost(reason, tuple(PartyId(p) for p in state.survivors if p not in named))


def _there(state: Gathering) -> tuple[PartyId, ...]:
    """Return who answered last: whoever was silent then is out, as after any round."""
    came = (state.openings, state.certificates, state.reveals, state.uploads)
    last = next((messages for messages in came if messages), ())
    return tuple(sorted(PartyId(message.party) for message in last))


def _too_few(count: int, fewest: int, lost: Sequence[tuple[Terms, _Lost]]) -> str:
    round_, reasons = lost[0][0].round + 1, "; ".join(one.reason for _, one in lost)
    if count == 1:
        return f"round {round_} was abandoned: {reasons}"
    return (
        f"round {round_} was abandoned: {count - len(lost)} of {count} groups came to a sum and "
        f"{fewest} must; {reasons}"
    )


def _packed(states: Sequence[Gathering]) -> bytes:
    """Return all states, each but the last behind its length."""
    *wires, last = (memory.gathering_to_bytes(state) for state in states)
    return b"".join((*(len(wire).to_bytes(8, "big") + wire for wire in wires), last))


def _unpacked(kept: bytes, count: int) -> list[Gathering]:
    states = []
    for _ in range(count - 1):
        size, kept = int.from_bytes(kept[:8], "big"), kept[8:]
        states.append(memory.gathering_from_bytes(kept[:size]))
        kept = kept[size:]
    return [*states, memory.gathering_from_bytes(kept)]
