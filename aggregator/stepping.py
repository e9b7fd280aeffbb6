"""One step of a joint question: ask all at once, read what comes, write down what counts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aggregator.asking import Asking, Question
from aggregator.errors import AggregatorError
from aggregator.jobs import Checkpoint, Job, Jobs
from aggregator.letters import UNREADABLE, Answer
from aggregator.question_steps import QuestionSteps
from federation.joint_keys import Package
from federation.orders import WorkOrder
from policies.parties import PartyId

COMMITTED, ENDORSED, REVEALED = _STEPS = ("committed", "endorsed", "revealed")

LETTER_SECONDS: Final = 30.0
"""How long whoever reads no rows is waited for."""


@dataclass(frozen=True, slots=True)
class Going:
    """A question on its way. wire: its key's package as it is shown."""

    job: Job
    order: WorkOrder
    package: Package = field(repr=False)
    wire: bytes = field(repr=False)

    @property
    def keyholders(self) -> tuple[PartyId, ...]:
        """Who holds its key."""
        return tuple(PartyId(party) for party in self.package.terms.parties)

    def spent(self, parties: Iterable[str]) -> str:
        """Return what it cost if it comes to nothing now, in words."""
        names = ", ".join(sorted(parties))
        if not names:
            return "Nothing is known to be spent; `entrepot budget show` says what is."
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
        seconds: float = LETTER_SECONDS,
        sequence: int = 0,
    ) -> dict[str, bytes]:
        """Return what could be read of the answers; who sent another is as good as silent."""
        found = {}
        for party, answer in self.asking.ask(job.id, sequence, questions, seconds).items():
            if questions[party].once:
                continue
            try:
                found[str(party)] = read(party, answer)
            except (*UNREADABLE, AggregatorError) as why:
                self.jobs.note(job.id, stage="silence", party=party, reason=f"{party}: {why}")
        return found

    def keep(self, job: Job, step: str, found: Mapping[str, bytes]) -> None:
        """Make a step durable: from here on a crash never repeats it."""
        self.steps.keep(job.id, step, found)
        parties = tuple(map(PartyId, found))
        self.jobs.commit_round(job.id, Checkpoint(1 + _STEPS.index(step), b"", b"", parties))
        self.jobs.note(job.id, stage=step, parties=parties)
