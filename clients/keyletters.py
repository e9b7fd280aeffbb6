"""The keyholder's letters: a key per query, and one sum opened under it.

Both are kept, so that what is asked again is answered with the same bytes. A process opens only
sums whose query it took on itself: the folder may be a copy that was put back, and the query may
have opened another list since.
"""

from clients.errors import RefusedWorkError
from clients.judgement import Judge
from clients.keyholding import Keyholding
from clients.letters import Letters, Reply, reply_of
from clients.outbox import Outbox
from clients.recording import Recorder
from clients.witnessing import Witnessing
from federation.envelopes import Envelope
from federation.messages import Kind
from federation.orders import SignedOrder
from federation.riding import RIDING
from secure_compute.canonical import digest, digest_bytes

MOST_OPEN = 4096
"""How many queries one process keeps in mind between the key and the sum."""


class KeyLetters:
    """What one node answers as a keyholder."""

    def __init__(
        self,
        judge: Judge,
        outbox: Outbox,
        keyholding: Keyholding,
        witnessing: Witnessing,
        recorder: Recorder,
        letters: Letters,
    ) -> None:
        self._judge = judge
        self._outbox = outbox
        self._keyholding = keyholding
        self._witnessing = witnessing
        self._recorder = recorder
        self._letters = letters
        self._own: dict[str, None] = {}

    def offer(self, letter: Envelope) -> Reply:
        """Offer a query's key; the letter is kept, because holders make a release per letter."""
        signed = self._letters.order_in(letter, letter.blobs.get("order", b""))
        key = digest([letter.order, letter.kind.value])
        kept = self._outbox.reply(key)
        if kept is None:
            self._witnessing.require_sure()
            self._judge.as_keyholder(signed)
            self._take_on(letter.order, signed)
            made = self._letters.with_ledgers(letter, lambda: self._public_key(signed))
            kept = self._outbox.keep(key, self._letters.seal(letter, made))
        return self._letters.as_kept(letter, kept)

    def open(self, letter: Envelope, signed: SignedOrder) -> Reply:
        """Open the one sum of a query that this process took on.

        Raises:
            UnsureError: witnesses have not spoken yet.
            RefusedWorkError: an earlier process took the query on.
        """
        self._witnessing.require_sure()
        parts = {name: part for name, part in letter.blobs.items() if name not in RIDING}
        listing = {name: digest_bytes(part) for name, part in parts.items()}
        key = digest([letter.order, letter.kind.value, letter.sequence, listing])
        kept = self._outbox.reply(key)
        if kept is None:
            self._judge.as_keyholder(signed)
            self._require_own(letter.order)
            made = self._letters.with_ledgers(letter, lambda: self._sum(signed, parts))
            kept = self._outbox.keep(key, self._letters.seal(letter, made))
        return self._letters.as_kept(letter, kept)

    def _take_on(self, order: str, signed: SignedOrder) -> None:
        if self._outbox.accepted(order) is None:
            self._recorder.approved(order)
            self._remember(order)
        self._require_own(order)
        self._outbox.accept(order, signed.wire)

    def _remember(self, order: str) -> None:
        self._own[order] = None
        if len(self._own) > MOST_OPEN:
            self._own.pop(next(iter(self._own)))

    def _require_own(self, order: str) -> None:
        if order not in self._own:
            raise RefusedWorkError(
                "this query was taken on before this process started, which cannot know what it "
                "opened since; write the order anew"
            )

    def _public_key(self, signed: SignedOrder) -> Reply:
        return Reply(Kind.QUERY_PUBLIC_KEY, {}, self._keyholding.offer_key(signed.order))

    def _sum(self, signed: SignedOrder, parts: dict[str, bytes]) -> Reply:
        opened = self._keyholding.open_sum(signed.order, parts)
        return reply_of(
            Kind.QUERY_OPENED,
            {
                "values": list(opened.values),
                "contributors": list(opened.contributors),
                "listing": opened.listing,
            },
        )
