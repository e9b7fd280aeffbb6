"""Carries a match between its two ends: sealed bytes of lengths that the terms decide.

    commit (both) → list → reply → conclude → hear → take (of a sum)

The aggregator keeps no state of it: taken up again after a crash it asks from the beginning, and
either end says again what it said. It learns lengths, times, and of a size and a sum what the ends
tell whoever asked: the numbers with the noise of both ends.
"""

from collections.abc import Mapping
from typing import Any, Final

from aggregator.asking import Asking, Question
from aggregator.errors import AbandonedError, MalformedReplyError
from aggregator.jobs import Job, Jobs
from federation.envelopes import Envelope
from federation.matching import PRICED, task_of
from federation.messages import Kind
from federation.orders import WorkOrder
from federation.pairing import PAIR_KEY
from federation.secure_sums import pack_keys, unpack_keys
from policies.parties import PartyId

MATCH_SECONDS: Final = 600.0
"""A hundred thousand identifiers a side take half a minute of a core; millions take their time."""

SAID: Final = "said"
_COMMIT, _LIST, _REPLY, _CONCLUDE, _HEAR, _TAKE = range(6)


def paired(order: WorkOrder, accepted: Mapping[PartyId, Envelope]) -> bytes:
    """Return the keys that both ends sent for each other, receiver first; empty for who did not."""
    keys = [accepted[p].blobs.get(PAIR_KEY, b"") if p in accepted else b"" for p in order.cohort]
    return pack_keys(keys)


class Matching:
    """Asks the two ends of a match, one step after the other."""

    def __init__(self, asking: Asking, jobs: Jobs) -> None:
        self._asking = asking
        self._jobs = jobs

    def carry(self, job: Job, order: WorkOrder) -> dict[str, Any]:
        """See a match through; return what whoever asked may know of it.

        Raises:
            AbandonedError: an end did not say what was due.
        """
        task = task_of(order)
        receiver, sender = task.receiver, task.sender
        ends = (receiver, sender)
        said = self._ask(job, order, _COMMIT, {party: {} for party in ends})
        commits = {party: _part(said[party]) for party in ends}
        self._jobs.note(job.id, stage="both_committed", parties=list(ends))
        listed = self._one(job, order, _LIST, receiver, {"commit": commits[sender]})
        brought = {"commit": commits[receiver], "list": _part(listed)}
        reply = self._one(job, order, _REPLY, sender, brought)
        self._jobs.note(job.id, stage="both_masked", parties=list(ends))
        told = self._one(job, order, _CONCLUDE, receiver, {"reply": _part(reply)})
        result: dict[str, Any] = {"match": task.mode, "parties": list(ends)}
        if task.mode in PRICED:
            result["size"] = _number(told, "size")
        if task.mode == "intersection":
            return result
        heard = self._one(job, order, _HEAR, sender, {"conclude": _part(told)})
        if task.mode == "sum":
            result["sum"] = _number(heard, "sum")
            self._one(job, order, _TAKE, receiver, {"hear": _part(heard)})
        return result

    def _one(
        self, job: Job, order: WorkOrder, step: int, party: PartyId, parts: Mapping[str, bytes]
    ) -> Envelope:
        return self._ask(job, order, step, {party: parts})[party]

    def _ask(
        self, job: Job, order: WorkOrder, step: int, parts: Mapping[PartyId, Mapping[str, bytes]]
    ) -> dict[PartyId, Envelope]:
        """Return what was said in a step by everybody who was asked."""
        keys = dict(zip(order.cohort, unpack_keys(self._jobs.keys(job.id) or b""), strict=True))
        partner = dict(zip(order.cohort, reversed(order.cohort), strict=True))
        questions = {
            party: Question(Kind.MATCH_STEP, {PAIR_KEY: keys[partner[party]], **brought})
            for party, brought in parts.items()
        }
        answers = self._asking.ask(job.id, step, questions, MATCH_SECONDS)
        silent = sorted(set(parts) - set(answers))
        if silent:
            raise AbandonedError(
                f"{' and '.join(silent)} did not see the match through; their operators find why "
                "in their logs"
            )
        return {party: answer.envelope for party, answer in answers.items()}


def _part(letter: Envelope) -> bytes:
    return letter.blobs.get(SAID, b"")


def _number(letter: Envelope, what: str) -> int:
    match letter.body.get(what):
        case int(number) if not isinstance(number, bool):
            return number
    raise MalformedReplyError(f"{letter.sender} was to tell a {what} and told none")
