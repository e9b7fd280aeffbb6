"""Every release is made at most once: its reply is kept, then charged, then sent.

What can be read only with something that follows is kept and sent first, and charged before that
follows.

What left is given again with the same bytes. What was kept and never charged has not left: the law
and the accounts are asked again before it does.
"""

from collections.abc import Callable

from clients.books import Books
from clients.errors import RefusedWorkError
from clients.judgement import Judge
from clients.letters import Letters, Reply
from clients.outbox import Outbox
from clients.turns import Turns
from clients.witnessing import Witnessing
from federation.envelopes import Envelope
from federation.orders import SignedOrder, WorkOrder
from secure_compute.canonical import digest


class Releasing:
    """The releases of one node."""

    def __init__(
        self,
        judge: Judge,
        books: Books,
        outbox: Outbox,
        witnessing: Witnessing,
        letters: Letters,
        turns: Turns,
    ) -> None:
        self._judge = judge
        self._books = books
        self._outbox = outbox
        self._witnessing = witnessing
        self._letters = letters
        self._turns = turns

    def once(
        self,
        letter: Envelope,
        signed: SignedOrder,
        given: str,
        make: Callable[[], Reply],
        *,
        masked: bool = False,
    ) -> Reply:
        """Return the reply to a letter that asks for a release; it is charged.

        given: the digest of what the release is made from; with the letter's order, kind and
               sequence it names the release.
        masked: whether nobody can read it unless enough others answer too.

        Raises:
            UnsureError: witnesses have not spoken yet.
            RefusedWorkError: it left before and its bytes are gone; the law refuses it now; or too
                many rounds came to nothing.
        """
        key = self.key(letter, given)
        with self._turns.of(letter.order):
            kept, settled = self._outbox.reply(key), self._books.is_settled(letter.order, key)
            if kept is None or not settled:
                self._witnessing.require_sure()
                self._witnessing.require_witnessed(letter.order)
            if kept is None:
                self._require_of_use(letter, signed.order, key, settled=settled)
                wire = self._letters.seal(letter, self._letters.with_ledgers(letter, make))
                kept = self._outbox.keep(key, wire, letter.order, letter.sequence)
            elif not settled:
                self._judge.again(signed)
            self._books.settle(letter.order, key, masked=masked)
        return self._letters.as_kept(letter, kept)

    def promised(
        self, letter: Envelope, signed: SignedOrder, given: str, make: Callable[[], Reply]
    ) -> Reply:
        """Return the reply to a letter that asks for the one promise of an order's one release.

        given: as in `once`; `paid` charges under the same name before the release itself leaves.

        Raises:
            UnsureError: witnesses have not spoken yet.
            RefusedWorkError: it was charged before and the promise is gone; or something else was
                promised.
        """
        if letter.sequence:
            raise RefusedWorkError(
                "a second promise is asked for, of an order that has one release"
            )
        key = self.key(letter, given)
        with self._turns.of(letter.order):
            kept = self._outbox.reply(key)
            if kept is None:
                settled = self._books.is_settled(letter.order, key)
                self._witnessing.require_sure()
                self._require_of_use(letter, signed.order, key, settled=settled)
                if self._outbox.releases(letter.order):
                    raise RefusedWorkError("this order was answered, under another key")
                wire = self._letters.seal(letter, make())
                kept = self._outbox.keep(key, wire, letter.order, letter.sequence)
        return self._letters.as_kept(letter, kept)

    def paid(self, signed: SignedOrder, key: str, make: Callable[[], Reply]) -> Reply:
        """Return what was promised under `key`; it is charged, or was.

        What an order may cost was charged whole where a later process found it open.

        make: makes the reply anew each time, of the same bytes, once nothing speaks against it.

        Raises:
            UnsureError: witnesses have not spoken yet, or not put their names to the reservation.
            RefusedWorkError: the law refuses it now.
            PolicyError: nothing is set aside for it any more.
        """
        order = signed.order.id
        with self._turns.of(order):
            settled = self._books.is_settled(order, key)
            self._witnessing.require_sure()
            self._witnessing.require_witnessed(order)
            if not settled:
                self._judge.still(signed)
            reply = make()
            if not settled and not self._books.is_doubted(order):
                self._books.settle(order, key)
        return reply

    @staticmethod
    def key(letter: Envelope, given: str) -> str:
        """Return the name of the release that a letter asks for; see `once`."""
        return digest([letter.order, letter.kind.value, letter.sequence, given])

    def _require_of_use(
        self, letter: Envelope, order: WorkOrder, key: str, *, settled: bool
    ) -> None:
        """Accept a release that did not leave before, for a round that may still be made."""
        if settled:
            raise RefusedWorkError(
                "this release left before and its bytes are gone; fresh noise has its own price"
            )
        if self._outbox.abandoned(key, letter.order, letter.sequence) > order.abandoned:
            raise RefusedWorkError("more rounds came to nothing than the order lets go to waste")
