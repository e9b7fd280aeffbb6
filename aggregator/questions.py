"""Sees a joint question through under a key that nobody holds alone.

    commit → endorse → reveal → open, one exchange each, on disk before the next one's letters leave

The aggregator carries letters and reads none of the answer: what opens it comes in boxes for
whoever asked. The letter that proposes a question asks for the commitment too; who refuses or does
not commit is left out. Once a list is signed it is the only one, so that a party on it that shows
nothing ends the question. A keyholder that does not answer is done without, as long as enough
others do.

What others must have witnessed rides along. Reservations come with the commitments and are cosigned
while the list is signed, before ciphertexts leave. Keyholders write the list down in that exchange,
and that is cosigned while ciphertexts are shown, before a partial leaves.
"""

from collections.abc import Mapping

from aggregator.asking import Asking, Question
from aggregator.boxes import boxes_of, told_ahead
from aggregator.certifying import read_chunks, read_commitment, read_endorsement, totals
from aggregator.errors import AbandonedError
from aggregator.inviting import Inviting
from aggregator.jobs import Job, Jobs
from aggregator.key_pool import KeyPool
from aggregator.letters import Answer
from aggregator.question_steps import QuestionSteps
from aggregator.stepping import COMMITTED, ENDORSED, LETTER_SECONDS, REVEALED, Going, Stepping
from federation.joint_keys import Package, pack, unpack, views
from federation.joint_questions import question_of
from federation.kept_answers import KeptAnswer
from federation.membership import Roster
from federation.messages import Kind
from federation.orders import WorkOrder
from federation.slots import slot_seconds
from federation.tasks import QueryTask
from policies.parties import PartyId, Role
from secure_compute.threshold.listing import Commitment, Listing, listing
from secure_compute.threshold.question import Question as Joint


class Questions:
    """Performs the exchanges of joint questions."""

    def __init__(
        self,
        asking: Asking,
        inviting: Inviting,
        jobs: Jobs,
        pool: KeyPool,
        steps: QuestionSteps,
        roster: Roster,
        threshold: int,
    ) -> None:
        self._asking = asking
        self._inviting = inviting
        self._stepping = Stepping(asking, jobs, steps)
        self._pool = pool
        self._roster = roster
        self._threshold = threshold

    def keyholders_heard(self) -> list[PartyId]:
        """Return the keyholders that are there, as far as is known."""
        holders = [member.party for member in self._roster.active(Role.KEYHOLDER)]
        return [party for party in holders if self._asking.is_heard(party)]

    def require_keyholders(self) -> None:
        """Return if enough keyholders are there to open an answer; asked until something is spent.

        Raises:
            AbandonedError: they are not.
        """
        there = self.keyholders_heard()
        if len(there) < self._threshold:
            holders = [member.party for member in self._roster.active(Role.KEYHOLDER)]
            away = " and ".join(party for party in holders if party not in there)
            raise AbandonedError(
                f"{len(there)} of at least {self._threshold} keyholders are there to open an "
                f"answer, and {away} do not answer; have one of them started, then ask anew. "
                "Nothing was spent."
            )

    def answer(self, job: Job, order: WorkOrder) -> KeptAnswer:
        """Return the answer, sealed; a crash takes it up at the last step that was over.

        Raises:
            RefusedError: too many refused it.
            AbandonedError: too few saw it through; the message says what that cost.
        """
        wire = self._pool.hand(job.id)
        if not wire:
            raise AbandonedError("no key is left for this question. Nothing was spent.")
        going = Going(job, order, Package.read(wire), wire)
        listed = self._list(going, self._question(going))
        lists = {"commitments": _packed(listed), "endorsements": self._signed(going, listed)}
        shown = self._shown(going, listed, lists)
        chunks = {f"of:{party}": blob for party, blob in shown.items()}
        parts = {"order": job.wire, **lists, **chunks}
        boxes = boxes_of(self._stepping, going, parts, going.spent(listed.parties))
        sums = totals(listed, {party: views(blob) for party, blob in shown.items()})
        return KeptAnswer(wire, tuple(unpack(lists["commitments"])), sums, boxes)

    def late(self, job: Job) -> list[str]:
        """Return who had no answer in its slot, and was left out."""
        return sorted(self._stepping.late(job))

    def _question(self, going: Going) -> Joint:
        joint = going.package.assemble(self._roster, self._threshold)
        return question_of(going.order, self._roster, joint.terms, joint.digest)

    def _list(self, going: Going, question: Joint) -> Listing:
        """Return the list of all who committed; who has not is left out for good."""

        def read(party: str, answer: Answer) -> bytes:
            return read_commitment(question, party, answer.envelope.blobs["commitment"]).to_bytes()

        found = self._stepping.steps.kept(going.job.id, COMMITTED)
        if not found:
            self.require_keyholders()
            parts = {"order": going.job.wire, "key": going.wire}
            asked = Question(Kind.QUERY_COMMIT, parts)
            seconds = LETTER_SECONDS + slot_seconds(QueryTask.from_json(going.order.parameters))
            invited = self._inviting.invite(going.job, going.order, asked, seconds)
            found = self._stepping.read(going.job, invited.accepted, read)
            going.late.update(self._stepping.late(going.job))
            willing, cost = tuple(map(PartyId, found)), going.spent(())
            self._inviting.require_enough(going.job, going.order, willing, invited.refused, cost)
            self._stepping.keep(going.job, COMMITTED, found)
        going.late.update(self._stepping.late(going.job))  # also those of before a crash
        return listing(question, map(Commitment.read, found.values()))

    def _signed(self, going: Going, listed: Listing) -> bytes:
        """Return a quorum's signatures on the list, packed."""

        def read(party: str, answer: Answer) -> bytes:
            return read_endorsement(listed, party, answer.envelope.blobs["endorsement"]).to_bytes()

        found = self._stepping.steps.kept(going.job.id, ENDORSED)
        if not found:
            self.require_keyholders()
            said = _packed(listed)
            asked = _to_all(listed, Question(Kind.QUERY_ENDORSE, {"commitments": said}))
            beside = self._asking.with_witnesses(told_ahead(self._stepping, going, said))
            found = self._stepping.ask(going.job, asked, read, beside=beside)
            if len(found) < listed.question.quorum:
                raise AbandonedError(
                    f"{len(found)} of at least {listed.question.quorum} parties signed the list of "
                    "what is to be summed, and there is no second list of a question. Nothing was "
                    "shown or opened, and nothing was spent; the order can be written anew."
                )
            self._stepping.keep(going.job, ENDORSED, found)
        return pack([*found.values()])

    def _shown(self, going: Going, listed: Listing, lists: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return the ciphertexts of everybody on the list, packed, by party; lists: what is shown.

        Everybody else cosigns what keyholders have written down.
        """

        def read(party: str, answer: Answer) -> bytes:
            blob = answer.envelope.blobs["chunks"]
            read_chunks(listed, party, blob)  # packed once more they would be the same bytes
            return blob

        found = self._stepping.steps.kept(going.job.id, REVEALED)
        if not found:
            self.require_keyholders()
            asked = _to_all(listed, Question(Kind.QUERY_REVEAL, lists))
            beside = self._asking.with_witnesses({})
            found = self._stepping.ask(going.job, asked, read, beside=beside)
            if missing := [party for party in listed.parties if party not in found]:
                raise AbandonedError(
                    f"{' and '.join(missing)} committed to a part of the sum and did not show it; "
                    "the list was signed with it and there is no second one: nothing was opened. "
                    f"{going.spent(found, missing)}"
                )
            self._stepping.keep(going.job, REVEALED, found)
        return found


def _to_all(listed: Listing, question: Question) -> dict[PartyId, Question]:
    return {PartyId(party): question for party in listed.parties}


def _packed(listed: Listing) -> bytes:
    return pack([said.to_bytes() for said in listed.commitments])
