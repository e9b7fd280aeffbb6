"""The keyholder's letters: keys made ahead, and one list of each query opened.

Everything is on disk before it is said. An opening stands in the log, and a quorum of other
organisations has put its names to that, before a partial leaves: a folder that is put back later is
found by them, and opens no second list.
"""

from clients.errors import RefusedWorkError
from clients.judgement import Judge
from clients.key_pool import KeyPool
from clients.letters import Letters, Reply, reply_of
from clients.opening import Bound, Opener
from clients.outbox import Outbox
from clients.recording import Recorder
from clients.witnessing import Witnessing
from federation.envelopes import Envelope
from federation.errors import MalformedMessageError
from federation.messages import Kind
from federation.orders import SignedOrder
from policies.parties import Role

CHUNKS_OF = "of:"
"""Before the name of a party: the part of a letter that holds its ciphertexts."""


class KeyLetters:
    """What one node answers as a keyholder."""

    def __init__(
        self,
        judge: Judge,
        outbox: Outbox,
        pool: KeyPool,
        opener: Opener,
        witnessing: Witnessing,
        recorder: Recorder,
        letters: Letters,
    ) -> None:
        self._judge = judge
        self._outbox = outbox
        self._pool = pool
        self._opener = opener
        self._witnessing = witnessing
        self._recorder = recorder
        self._letters = letters

    def join(self, letter: Envelope) -> Reply:
        """Give a fresh key for a pool."""
        self._require_keyholder()
        return reply_of(Kind.KEYS_JOINED, key=self._pool.join(letter.order))

    def begin(self, letter: Envelope) -> Reply:
        """Begin a pool's keys; a process whose ledger nobody vouches for begins none.

        Raises:
            UnsureError: witnesses have not spoken yet.
        """
        self._require_keyholder()
        self._witnessing.require_sure()
        self._opener.require_current()
        serials = _integers(letter, "serials") or ()
        deals = self._pool.begin(letter.order, serials, part(letter, "keys"))
        return reply_of(Kind.KEYS_DEALT, deals=deals)

    def commit(self, letter: Envelope) -> Reply:
        """Commit to the public parts of all pieces that this node holds of a pool."""
        self._require_keyholder()
        commitments = self._pool.commit(letter.order, part(letter, "deals"))
        return reply_of(Kind.KEYS_COMMITTED, commitments=commitments)

    def show(self, letter: Envelope) -> Reply:
        """Show the public parts of the pieces that this node made of a pool."""
        self._require_keyholder()
        parts = self._pool.show(letter.order, part(letter, "commitments"))
        return reply_of(Kind.KEYS_SHOWN, parts=parts)

    def open(self, letter: Envelope) -> Reply:
        """Bind a query's one list, and once that is witnessed answer for pieces.

        The list may be sent ahead, without ciphertexts: what is lacking then is said, and fetched
        while they are on their way.

        Raises:
            UnsureError: witnesses have not spoken yet, or not put their names to the opening.
            RefusedWorkError: the order is none that a key is held for.
        """
        signed = self._letters.order_in(letter, part(letter, "order"))
        self._witnessing.require_sure()
        self._judge.as_keyholder(signed)
        self._opener.retire_expired(self._judge.now())
        bound = self._bound(letter, signed)
        self._witnessing.require_entry_witnessed(self._opener.entry(letter.order))
        return self._letters.with_ledgers(letter, lambda: self._opened(letter, signed, bound))

    def close(self, order: str) -> None:
        """An order is over: whatever key served it is of no more use."""
        if self._is_keyholder():
            self._opener.retire(order)

    def _bound(self, letter: Envelope, signed: SignedOrder) -> Bound:
        if self._outbox.accepted(letter.order) is None:
            self._recorder.approved(letter.order)
            self._outbox.accept(letter.order, signed.wire)
        lists = (part(letter, name) for name in ("key", "commitments", "endorsements"))
        return self._opener.bind(signed.order, *lists)

    def _opened(self, letter: Envelope, signed: SignedOrder, bound: Bound) -> Reply:
        shown = {
            name.removeprefix(CHUNKS_OF): blob
            for name, blob in letter.blobs.items()
            if name.startswith(CHUNKS_OF)
        }
        places = _integers(letter, "places")
        sealed = self._opener.partials(bound, signed.order, shown, places)
        return reply_of(Kind.QUERY_OPENED, sealed=sealed)

    def _is_keyholder(self) -> bool:
        return self._judge.settings.role is Role.KEYHOLDER

    def _require_keyholder(self) -> None:
        if not self._is_keyholder():
            raise RefusedWorkError("this node holds no keys; the roster says who does")


def part(letter: Envelope, name: str) -> bytes:
    """Return a part of a letter.

    Raises:
        MalformedMessageError: it has none of that name.
    """
    try:
        return letter.blobs[name]
    except KeyError as why:
        raise MalformedMessageError(f"the letter lacks its part {name!r}") from why


def _integers(letter: Envelope, name: str) -> tuple[int, ...] | None:
    """Return the integers that a letter lists under a name, each once and rising; None for none."""
    listed = letter.body.get(name)
    if listed is None:
        return None
    if isinstance(listed, list):
        found = tuple(number for number in listed if type(number) is int)
        if list(found) == listed and found and list(found) == sorted(set(found)):
            return found
    raise MalformedMessageError(f"{name} in a letter are integers, each once and rising")
