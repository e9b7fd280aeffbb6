"""Sees a joint question through under a key that nobody holds alone.

    commit → endorse → reveal → open, each on disk before the next one's letters leave

The aggregator carries letters and reads none of the answer: what opens it comes in boxes for
whoever asked. A party that does not commit is left out. Once a list is signed it is the only one,
so that a party on it that shows nothing ends the question: what was committed to is spent. A
keyholder that does not answer is done without, as long as enough others do.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from aggregator.asking import Asking, Question
from aggregator.boxes import boxes_of, told_ahead
from aggregator.certifying import read_chunks, read_commitment, read_endorsement, totals
from aggregator.errors import AbandonedError
from aggregator.jobs import Job, Jobs
from aggregator.key_pool import KeyPool
from aggregator.letters import Answer
from aggregator.question_steps import QuestionSteps
from aggregator.stepping import COMMITTED, ENDORSED, REVEALED, Going, Stepping
from federation.joint_keys import Package, pack, unpack
from federation.joint_questions import question_of
from federation.kept_answers import KeptAnswer
from federation.membership import Roster
from federation.messages import Kind
from federation.orders import WorkOrder
from policies.parties import PartyId, Role
from secure_compute.secagg.params import least_threshold
from secure_compute.threshold.listing import Commitment, Listing, listing
from secure_compute.threshold.question import MINIMUM
from secure_compute.threshold.question import Question as Joint

COMMIT_SECONDS: Final = 60.0
"""How long a party may read its rows."""


def fewest(order: WorkOrder, threshold: int) -> int:
    """Return how many parties must take part in a question, so that its list can be certified."""
    return max(order.minimum, MINIMUM, least_threshold(len(order.cohort), threshold - 1))


class Questions:
    """Performs the exchanges of joint questions."""

    def __init__(
        self,
        asking: Asking,
        jobs: Jobs,
        pool: KeyPool,
        steps: QuestionSteps,
        roster: Roster,
        threshold: int,
    ) -> None:
        self._asking = asking
        self._stepping = Stepping(asking, jobs, steps)
        self._pool = pool
        self._roster = roster
        self._threshold = threshold

    def keyholders_heard(self) -> list[PartyId]:
        """Return the keyholders that are there, as far as is known."""
        holders = [member.party for member in self._roster.with_role(Role.KEYHOLDER)]
        return [party for party in holders if self._asking.is_heard(party)]

    def require_keyholders(self) -> None:
        """Return if enough keyholders are there to open an answer, before anything is spent.

        Raises:
            AbandonedError: they are not.
        """
        there = self.keyholders_heard()
        if len(there) < self._threshold:
            holders = [member.party for member in self._roster.with_role(Role.KEYHOLDER)]
            away = " and ".join(party for party in holders if party not in there)
            raise AbandonedError(
                f"{len(there)} of at least {self._threshold} keyholders are there to open an "
                f"answer, and {away} do not answer; have one of them started, then ask anew. No "
                "row was read, and nothing was spent."
            )

    def answer(self, job: Job, order: WorkOrder, willing: Sequence[PartyId]) -> KeptAnswer:
        """Return the answer, sealed; a crash takes it up at the last step that was over.

        Raises:
            AbandonedError: too few saw it through; the message says what that cost.
        """
        wire = self._pool.hand(job.id)
        if not wire:
            raise AbandonedError("no key is left for this question. Nothing was spent.")
        going = Going(job, order, Package.read(wire), wire)
        listed = self._list(going, self._question(going), willing)
        lists = {"commitments": _packed(listed), "endorsements": self._signed(going, listed)}
        parts = {"order": job.wire, "key": wire, **lists}
        shown = self._shown(going, listed, lists, parts)
        chunks = {f"of:{party}": blob for party, blob in shown.items()}
        boxes = boxes_of(self._stepping, going, parts | chunks, going.spent(listed.parties))
        sums = totals(listed, {party: unpack(blob) for party, blob in shown.items()})
        return KeptAnswer(wire, tuple(unpack(lists["commitments"])), sums, boxes)

    def _question(self, going: Going) -> Joint:
        joint = going.package.assemble(self._roster, self._threshold)
        return question_of(going.order, self._roster, joint.terms, joint.digest)

    def _list(self, going: Going, question: Joint, willing: Sequence[PartyId]) -> Listing:
        """Return the list of all who committed; who has not is left out for good."""

        def read(party: str, answer: Answer) -> bytes:
            return read_commitment(question, party, answer.envelope.blobs["commitment"]).to_bytes()

        found = self._stepping.steps.kept(going.job.id, COMMITTED)
        if not found:
            self.require_keyholders()
            asked = dict.fromkeys(willing, Question(Kind.QUERY_COMMIT, {"key": going.wire}))
            found = self._stepping.ask(going.job, asked, read, seconds=COMMIT_SECONDS)
            if len(found) < question.needed:
                raise AbandonedError(
                    f"{len(found)} of at least {question.needed} parties took part in the "
                    f"question, and nothing was opened. {going.spent(found)}"
                )
            self._stepping.keep(going.job, COMMITTED, found)
        return listing(question, map(Commitment.read, found.values()))

    def _signed(self, going: Going, listed: Listing) -> bytes:
        """Return a quorum's signatures on the list, packed."""

        def read(party: str, answer: Answer) -> bytes:
            return read_endorsement(listed, party, answer.envelope.blobs["endorsement"]).to_bytes()

        found = self._stepping.steps.kept(going.job.id, ENDORSED)
        if not found:
            question = Question(Kind.QUERY_ENDORSE, {"commitments": _packed(listed)})
            found = self._stepping.ask(going.job, _to_all(listed, question), read)
            if len(found) < listed.question.quorum:
                raise AbandonedError(
                    f"{len(found)} of at least {listed.question.quorum} parties signed the list of "
                    "what is to be summed, and there is no second list of a question: nothing was "
                    f"shown or opened. {going.spent(listed.parties)}"
                )
            self._stepping.keep(going.job, ENDORSED, found)
        return pack([*found.values()])

    def _shown(
        self, going: Going, listed: Listing, lists: Mapping[str, bytes], parts: Mapping[str, bytes]
    ) -> dict[str, bytes]:
        """Return the ciphertexts of everybody on the list, packed, by party.

        lists: what parties are shown; parts: what keyholders are shown in the same exchange, so
        that others have cosigned what they write down when the ciphertexts are here.
        """

        def read(party: str, answer: Answer) -> bytes:
            return pack(read_chunks(listed, party, answer.envelope.blobs["chunks"]))

        found = self._stepping.steps.kept(going.job.id, REVEALED)
        if not found:
            asked = _to_all(listed, Question(Kind.QUERY_REVEAL, lists))
            ahead = told_ahead(self._stepping, going, parts)
            found = self._stepping.ask(going.job, asked | ahead, read)
            if missing := [party for party in listed.parties if party not in found]:
                raise AbandonedError(
                    f"{' and '.join(missing)} committed to a part of the sum and did not show it; "
                    "the list was signed with it and there is no second one: nothing was opened. "
                    f"{going.spent(listed.parties)}"
                )
            self._stepping.keep(going.job, REVEALED, found)
            self._asking.witness(going.job.id)
        return found


def _to_all(listed: Listing, question: Question) -> dict[PartyId, Question]:
    return {PartyId(party): question for party in listed.parties}


def _packed(listed: Listing) -> bytes:
    return pack([said.to_bytes() for said in listed.commitments])
