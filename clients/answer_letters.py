"""A node's letters of a joint question: a commitment, one list, one revealing that is charged.

The revealing is the release: nobody learns a number of any row from a commitment, which is the hash
of ciphertexts that stay here. What is set aside when an order is agreed to is charged before they
leave, and has its witnesses by then. A commitment leaves at the end of its slot: everything that
may refuse it without a look at the rows does so before and at once; whatever happens after the
first row was read looks like a table that took too long. That there is none in time is charged at
once, since it may depend on rows. What is said is answered from what is on disk: the same bytes,
however often it is asked.
"""

from collections.abc import Callable, Sequence
from threading import Event

from clients.answering import Answering, Posed, Values
from clients.books import Books
from clients.errors import RefusedWorkError
from clients.judgement import Judge
from clients.key_letters import part
from clients.letters import Letters, Reply, reply_of
from clients.questions import Questions
from clients.releasing import Releasing
from clients.slots import Slots
from clients.verdicts import Agreed
from federation.envelopes import Envelope
from federation.messages import Kind
from federation.orders import SignedOrder
from federation.slots import late, slot_seconds
from federation.tasks import QueryTask
from policies.parties import PartyId

CellsOf = Callable[[SignedOrder, Agreed | None], Values]
"""Gives the maker of a node's noised cells for an order, agreed to just now or some time before.

The law is asked before a row is read.
"""


class AnswerLetters:
    """What one node answers as a party of joint questions."""

    def __init__(
        self,
        judge: Judge,
        books: Books,
        answering: Answering,
        questions: Questions,
        releasing: Releasing,
        letters: Letters,
        cells_of: CellsOf,
        slots: Slots,
        party: PartyId,
    ) -> None:
        self._judge = judge
        self._books = books
        self._answering = answering
        self._questions = questions
        self._releasing = releasing
        self._letters = letters
        self._cells_of = cells_of
        self._slots = slots
        self._party = party

    def commit(self, letter: Envelope, signed: SignedOrder, agreed: Agreed | None) -> Reply:
        """Evaluate the plan, add noise, encrypt, and commit.

        Raises:
            UnsureError: witnesses have not spoken yet.
            RefusedWorkError: the law refuses it now; or it left before and its bytes are gone.
            FederationError, SecureComputeError: the key is none or was used, or the question hides
                nobody.
        """
        self._answering.forget("", self._judge.now())
        posed = self._answering.pose(signed.order, part(letter, "key"))
        release = self._releasing.key(letter, posed.joint.digest)

        def make() -> Reply:
            said = self._in_its_slot(signed, posed, release, agreed)
            return reply_of(Kind.QUERY_COMMITTED, commitment=said)

        return self._letters.with_ledgers(
            letter, lambda: self._releasing.promised(letter, signed, posed.joint.digest, make)
        )

    def _in_its_slot(
        self, signed: SignedOrder, posed: Posed, release: str, agreed: Agreed | None
    ) -> bytes:
        """Return the commitment at the end of its slot, or as many zeros, which are charged."""
        order, question = signed.order, posed.question
        if (promised := self._answering.promised(question)) is not None:
            return promised
        cells, over = self._cells_of(signed, agreed), Event()
        said = self._slots.fill(
            f"the answer to order {order.id[:12]}",
            slot_seconds(QueryTask.from_json(order.parameters)),
            lambda: self._answering.commit(order, posed, release, _in_time(cells, over)),
        )
        if said is not None:
            return said
        over.set()
        self._books.settle(order.id, release)
        return late(question, self._party)

    def endorse(self, letter: Envelope, signed: SignedOrder) -> Reply:
        """Sign the one list of all commitments."""
        self._require_known(signed)
        shown = part(letter, "commitments")

        def sign() -> Reply:
            with self._questions.signing(
                signed.order, self._answering.parties_on(signed.order.id, shown)
            ):
                said = self._answering.endorse(signed.order.id, shown)
            return reply_of(Kind.QUERY_ENDORSED, endorsement=said)

        return self._letters.with_words(letter, sign)

    def reveal(self, letter: Envelope, signed: SignedOrder) -> Reply:
        """Reveal the ciphertexts on the list that a quorum signed; it is charged here.

        Raises:
            UnsureError: witnesses have not spoken yet, or not put their names to the reservation.
            RefusedWorkError: it was not answered here, it is over, or the law refuses it now.
            FederationError, SecureComputeError: no quorum signed the list, or ours is not on it.
        """
        release = self._require_known(signed)
        shown = letter.blobs.get("commitments", b"")
        endorsed = part(letter, "endorsements")

        def show() -> Reply:
            with self._questions.signing(
                signed.order, self._answering.parties_on(signed.order.id, shown)
            ):
                chunks = self._answering.reveal(signed.order.id, endorsed, shown)
            return reply_of(Kind.QUERY_REVEALED, chunks=chunks)

        return self._letters.with_words(letter, lambda: self._releasing.paid(signed, release, show))

    def close(self, order: str) -> None:
        """A query is over: nothing of it is revealed any more."""
        self._answering.forget(order, self._judge.now())

    def _require_known(self, signed: SignedOrder) -> str:
        """Return under which key a query is charged that is paid for and has not expired.

        Raises:
            RefusedWorkError: they have not, or it is: books and answers are not of one day.
        """
        order = signed.order
        if self._judge.is_expired(signed):
            self._answering.forget(order.id)
            raise RefusedWorkError("the order of this query has expired")
        release = self._answering.release_of(order.id)
        if order.id not in self._books.open_orders() and not (
            self._books.is_settled(order.id, release) or self._books.is_doubted(order.id)
        ):
            raise RefusedWorkError(
                "the books do not say that this answer was paid for: books and answers are not of "
                "one day, and nothing is revealed"
            )
        return release


def _in_time(cells: Values, over: Event) -> Values:
    """Return what makes cells, unless the slot is over by then: nothing is promised of those."""

    def made() -> Sequence[int]:
        found = cells()
        if over.is_set():
            raise RefusedWorkError("the slot was over before the rows were read")
        return found

    return made
