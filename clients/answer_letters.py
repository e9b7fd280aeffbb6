"""A node's letters of a joint question: a commitment that is charged, one list, one revealing.

The commitment is the release: it is kept, charged and sent once. What follows reveals nothing that
was not charged, and is answered from what is on disk: the same bytes, however often it is asked.
"""

from collections.abc import Callable

from clients.answering import Answering, Values
from clients.books import Books
from clients.errors import RefusedWorkError
from clients.judgement import Judge
from clients.key_letters import part
from clients.letters import Letters, Reply, reply_of
from clients.outbox import Outbox
from clients.questions import Questions
from clients.releasing import Releasing
from federation.envelopes import Envelope
from federation.messages import Kind
from federation.orders import SignedOrder

CellsOf = Callable[[SignedOrder], Values]
"""Gives the maker of a node's noised cells for an order."""


class AnswerLetters:
    """What one node answers as a party of joint questions."""

    def __init__(
        self,
        judge: Judge,
        books: Books,
        outbox: Outbox,
        answering: Answering,
        questions: Questions,
        releasing: Releasing,
        letters: Letters,
        cells_of: CellsOf,
    ) -> None:
        self._judge = judge
        self._books = books
        self._outbox = outbox
        self._answering = answering
        self._questions = questions
        self._releasing = releasing
        self._letters = letters
        self._cells_of = cells_of

    def commit(self, letter: Envelope, signed: SignedOrder) -> Reply:
        """Evaluate the plan, add noise, encrypt, and commit; it is charged here.

        Raises:
            UnsureError: witnesses have not spoken yet.
            RefusedWorkError: the law refuses it now; or it left before and its bytes are gone.
            FederationError, SecureComputeError: the key is none, or the question hides nobody.
        """
        self._answering.forget("", self._judge.now())
        posed = self._answering.pose(signed.order, part(letter, "key"))
        release = self._releasing.key(letter, posed.joint.digest)
        cells = self._cells_of(signed)

        def make() -> Reply:
            commitment = self._answering.commit(signed.order, posed, release, cells)
            return reply_of(Kind.QUERY_COMMITTED, commitment=commitment)

        return self._releasing.once(letter, signed, posed.joint.digest, make)

    def endorse(self, letter: Envelope, signed: SignedOrder) -> Reply:
        """Sign the one list of all commitments."""
        self._require_charged(signed)
        shown = part(letter, "commitments")
        with self._questions.signing(
            signed.order, self._answering.parties_on(signed.order.id, shown)
        ):
            said = self._answering.endorse(signed.order.id, shown)
        return reply_of(Kind.QUERY_ENDORSED, endorsement=said)

    def reveal(self, letter: Envelope, signed: SignedOrder) -> Reply:
        """Reveal the ciphertexts on the list that a quorum signed."""
        self._require_charged(signed)
        shown = letter.blobs.get("commitments", b"")
        endorsed = part(letter, "endorsements")
        with self._questions.signing(
            signed.order, self._answering.parties_on(signed.order.id, shown)
        ):
            chunks = self._answering.reveal(signed.order.id, endorsed, shown)
        return reply_of(Kind.QUERY_REVEALED, chunks=chunks)

    def close(self, order: str) -> None:
        """A query is over: nothing of it is revealed any more."""
        self._answering.forget(order, self._judge.now())

    def _require_charged(self, signed: SignedOrder) -> None:
        """Accept a query whose answer the books say was charged, and whose order has not expired.

        Raises:
            RefusedWorkError: it was not, or it has: books and answers are not of one day.
        """
        order = signed.order
        if self._judge.is_expired(signed):
            self._answering.forget(order.id)
            raise RefusedWorkError("the order of this query has expired")
        if not self._books.is_settled(order.id, self._answering.release_of(order.id)):
            raise RefusedWorkError(
                "the books do not say that this answer was charged: books and answers are not of "
                "one day, and nothing is revealed"
            )
