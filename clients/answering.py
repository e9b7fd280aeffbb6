"""A node's answer to a joint question: committed to, put on one list, revealed on that list alone.

Whatever is promised is on disk before it is said, and said again with the same bytes. The question
follows from the signed order and from the key that is added up here. A process that finds an answer
of an earlier one repeats what that one said and reveals on a certified list; it signs no list that
the earlier one did not, for the folder may have been put back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from clients.answer_store import AnswerStore, Asked
from clients.errors import MisstatedOrderError, RefusedWorkError
from clients.opening import require_threshold
from clients.settings import NodeSettings
from federation.joint_keys import Package, pack, unpack
from federation.joint_questions import question_of
from federation.membership import Roster
from federation.orders import WorkOrder
from federation.secure_sums import signers
from federation.tasks import QueryTask
from secure_compute.errors import PeerProtocolError, RefusedRequestError
from secure_compute.threshold import party as parties
from secure_compute.threshold.joint import JointKey
from secure_compute.threshold.listing import Commitment, Endorsement, listing
from secure_compute.threshold.party import Answered, Party
from secure_compute.threshold.question import Question

MOST_OPEN: Final = 4096
"""How many queries one process keeps in mind between its answer and their end."""

Values = Callable[[], Sequence[int]]
"""Gives the cells of this node's partial with its noise in them, [width]."""


@dataclass(frozen=True, slots=True)
class Posed:
    """A question under the joint key that this node added up."""

    question: Question
    joint: JointKey


class Answering:
    """The joint questions of one node."""

    def __init__(self, settings: NodeSettings, roster: Roster, store: AnswerStore) -> None:
        self._settings = settings
        self._roster = roster
        self._store = store
        self._signed: dict[str, str] = {}  # by query of this process: the list it signed, or ""

    def pose(self, order: WorkOrder, package: bytes) -> Posed:
        """Return what an order asks under a key, which is added up from its parts here.

        Raises:
            RefusedWorkError: fewer keyholders open the key than this node wants; or the order
                names no key to seal an answer to.
            FederationError, SecureComputeError: it is no key of the roster's keyholders; or no list
                of the order's cohort could hide anybody.
        """
        if not QueryTask.from_json(order.parameters).sealing:
            raise MisstatedOrderError("it names no key to seal what opens its answer to")
        joint = Package.read(package).assemble(self._roster, self._settings.threshold)
        require_threshold(self._settings, joint.terms)
        question = question_of(order, self._roster, joint.terms, joint.digest)
        question.require_joint(signers(self._roster), joint)
        return Posed(question, joint)

    def promised(self, question: Question) -> bytes | None:
        """Return the commitment that was made to a question; None for one that may be answered.

        No row has a say.

        Raises:
            RefusedRequestError: the query was answered under another key, or the key served
                another one.
        """
        known = self._known(question)
        return None if known is None else known.commitment.to_bytes()

    def commit(self, order: WorkOrder, posed: Posed, release: str, values: Values) -> bytes:
        """Return this node's commitment; its ciphertexts and the promise are on disk.

        release: under which key this is charged. values: asked once nothing speaks against it.

        Raises:
            RefusedRequestError: the query was answered under another key, or the key served
                another one.
            LocalProtocolError: a value is beyond the bound.
        """
        if (promised := self.promised(posed.question)) is not None:
            return promised
        self._remember(order.id)
        asked = Asked(posed.question, release, order.expires)
        cells = values()

        def step(state: Party) -> tuple[Party, bytes, Sequence[bytes]]:
            sign, on = self._settings.identity.sign, signers(self._roster)
            after, said, chunks = parties.submit(
                state, on, posed.question, posed.joint, cells, sign
            )
            return after, said.to_bytes(), chunks

        return self._store.answer(asked, step)

    def endorse(self, query: str, commitments: bytes) -> bytes:
        """Return this node's signature on the one list of a query's commitments, packed.

        Raises:
            RefusedWorkError: it was not answered here, or by an earlier process that did not sign
                this list.
            RefusedRequestError: another list was signed, or ours is not on it as we made it.
            SecureComputeError: a commitment is forged, of another question, or too few are here.
        """
        asked = self._store.asked(query)
        said = _read(commitments)
        if not self._store.party().answer(query).endorsed:
            self._store.show(query, commitments)
        listed = listing(asked.question, said).digest
        self._require_own(query, listed)
        self._require_only(query, listed)
        sign = self._settings.identity.sign

        def step(state: Party) -> tuple[Party, bytes]:
            after, endorsed = parties.endorse(state, asked.question, said, sign)
            return after, endorsed.to_bytes()

        return self._knowing(query, listed, self._store.change(step))

    def reveal(self, query: str, endorsements: bytes, commitments: bytes = b"") -> bytes:
        """Return the packed ciphertexts of a query whose list a quorum signed.

        commitments: the list, packed; b"" for the one that was shown when it was signed.

        Raises:
            RefusedWorkError: it was not answered here, or it is over.
            RefusedRequestError: another list was signed here, or ours is not on this one.
            SecureComputeError: no quorum signed the list, or a signature is none.
        """
        asked, made = self._store.asked(query), self._store.chunks(query)
        said = _read(commitments or asked.commitments)
        signed = [Endorsement.read(wire) for wire in unpack(endorsements)]
        listed = listing(asked.question, said).digest
        self._require_only(query, listed)

        def step(state: Party) -> tuple[Party, bytes]:
            after, shown = parties.reveal(state, asked.question, said, signed, made)
            return after, pack(shown)

        return self._knowing(query, listed, self._store.change(step))

    def parties_on(self, query: str, commitments: bytes = b"") -> tuple[str, ...]:
        """Return whose answers a list sums; commitments: as in `reveal`.

        Raises:
            RefusedWorkError: the query was not answered here, or it is over.
            SecureComputeError: a commitment is forged, of another question, or too few are here.
        """
        asked = self._store.asked(query)
        return listing(asked.question, _read(commitments or asked.commitments)).parties

    def release_of(self, query: str) -> str:
        """Return under which key a query's release was to be charged.

        Raises:
            RefusedWorkError: it was not answered here, or it is over.
        """
        return self._store.asked(query).release

    def forget(self, query: str, until: float = 0) -> None:
        """A query is over, and so is all that expired by `until`: nothing of it is revealed."""
        self._store.forget(query, until)
        self._signed.pop(query, None)

    def _remember(self, query: str) -> None:
        self._signed[query] = ""
        while len(self._signed) > MOST_OPEN:
            self._signed.pop(next(iter(self._signed)))

    def _known(self, question: Question) -> Answered | None:
        """Return what was promised for this very question, if anything was for its query."""
        for answer in self._store.party().answers:
            if answer.query == question.query and answer.commitment.question != question.digest:
                raise RefusedRequestError("this query was answered under another key")
            if answer.query == question.query:
                return answer
            if answer.key == question.key:
                raise RefusedRequestError("this key served a query: a key is used once, take a new")
        return None

    def _require_own(self, query: str, listed: str) -> None:
        """Accept a list of a query that this process answered, or that an earlier one signed."""
        if query not in self._signed and self._store.party().answer(query).endorsed != listed:
            raise RefusedWorkError(
                "an earlier process answered this query, and no list is signed now that it did not "
                "sign; if the others are enough without, show what they signed"
            )

    def _require_only(self, query: str, listed: str) -> None:
        """Accept a list if this process knows of no other, whatever the disk has forgotten."""
        if self._signed.get(query, "") not in {"", listed}:
            raise RefusedRequestError("another list of this query was signed here")

    def _knowing(self, query: str, listed: str, said: bytes) -> bytes:
        if query in self._signed:
            self._signed[query] = listed
        return said


def _read(commitments: bytes) -> list[Commitment]:
    found = [Commitment.read(wire) for wire in unpack(commitments)]
    if not found:
        raise PeerProtocolError("no commitments were shown for this query")
    return found
