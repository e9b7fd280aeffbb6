"""One step of a joint question: ask all at once, read what comes, write down what counts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aggregator.asking import Asking, Question
from aggregator.errors import AggregatorError, LateError
from aggregator.jobs import Checkpoint, Job, Jobs
from aggregator.letters import UNREADABLE, Answer
from aggregator.question_steps import QuestionSteps
from federation.joint_keys import Package
from federation.orders import WorkOrder
from policies.parties import PartyId

COMMITTED, ENDORSED, REVEALED = _STEPS = ("committed", "endorsed", "revealed")

LATE: Final = "late"
"""The stage of the note that says who had no answer in its slot."""

LETTER_SECONDS: Final = 30.0
"""How long whoever reads no rows is waited for."""


@dataclass(frozen=True, slots=True)
class Going:
    """A question on its way.

    wire: its key's package as it is shown; late: who had no answer in its slot, and is charged.
    """

    job: Job
    order: WorkOrder
    package: Package = field(repr=False)
    wire: bytes = field(repr=False)
    late: set[str] = field(default_factory=set)

    @property
    def key(self) -> str:
        """The id of its key, by which keyholders know it."""
        return self.package.terms.digest

    @property
    def keyholders(self) -> tuple[PartyId, ...]:
        """Who holds its key."""
        return tuple(PartyId(party) for party in self.package.terms.parties)

    def spent(self, parties: Iterable[str], perhaps: Iterable[str] = ()) -> str:
        """Return what it cost if it comes to nothing now, in words.

        perhaps: who may have sent what never came.
        """
        names = ", ".join(sorted({*parties, *self.late}))
        if not names:
            return "Nothing is known to be spent; `entrepot budget show` says what is."
        also = ", ".join(sorted(perhaps))
        names += f", and may be at {also}" if also else ""
        return (
            f"ε {self.order.epsilon} is spent at {names}; the order can be written anew, at its "
            "price."
        )


@dataclass(frozen=True, slots=True)
class Stepping:
    """Performs the steps of joint questions over one transport."""

    asking: Asking
    jobs: Jobs
    steps: QuestionSteps

    def ask(
        self,
        job: Job,
        questions: Mapping[PartyId, Question],
        read: Callable[[str, Answer], bytes],
        *,
        beside: Mapping[PartyId, Question] | None = None,
        sequence: int = 0,
    ) -> dict[str, bytes]:
        """Return what could be read of the answers.

        beside: what others are asked in the same exchange; of their answers only words of ledgers
                are read.
        """
        asked = {**(beside or {}), **questions}
        answers = self.asking.ask(job.id, sequence, asked, LETTER_SECONDS)
        return self.read(job, {p: a for p, a in answers.items() if p in questions}, read)

    def read(
        self, job: Job, answers: Mapping[PartyId, Answer], read: Callable[[str, Answer], bytes]
    ) -> dict[str, bytes]:
        """Return what could be read; who sent something else is as good as silent."""
        found = {}
        for party, answer in answers.items():
            try:
                found[str(party)] = read(party, answer)
            except (*UNREADABLE, AggregatorError) as why:
                stage = LATE if isinstance(why, LateError) else "silence"
                self.jobs.note(job.id, stage=stage, party=party, reason=f"{party}: {why}")
        return found

    def late(self, job: Job) -> set[str]:
        """Return who said that it had no answer in its slot."""
        notes = self.jobs.notes(job.id)
        return {str(note["party"]) for _, note in notes if note["stage"] == LATE}

    def keep(self, job: Job, step: str, found: Mapping[str, bytes]) -> None:
        """Make a step durable: from here on a crash never repeats it."""
        self.steps.keep(job.id, step, found)
        parties = tuple(map(PartyId, found))
        self.jobs.commit_round(job.id, Checkpoint(1 + _STEPS.index(step), b"", b"", parties))
        self.jobs.note(job.id, stage=step, parties=parties)
