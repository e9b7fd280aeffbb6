"""The keyholder's letters: keys made ahead, and one list of each query opened.

Everything is on disk before it is said. A list stands in the log, and a quorum of other
organisations has put its names to that, before a partial leaves: a folder that is put back later is
found by them, and opens no second list. It is written down while parties sign it, so that it has
its witnesses once they have shown their ciphertexts.
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

    def bind(self, letter: Envelope) -> Reply:
        """Write a query's one list down, before it is certified: no other is opened.

        Raises:
            UnsureError: witnesses have not spoken yet.
            RefusedWorkError: the order is none that a key is held for.
        """
        signed = self._agreed(letter)

        def write() -> Reply:
            self._opener.expect(signed.order, _key(letter), part(letter, "commitments"))
            return reply_of(Kind.QUERY_BOUND)

        return self._letters.with_its_entry(letter, write)

    def open(self, letter: Envelope) -> Reply:
        """Bind a query's one list, now certified, and once that is witnessed answer for pieces.

        Raises:
            UnsureError: witnesses have not spoken yet, or not put their names to the opening.
            RefusedWorkError: the order is none that a key is held for.
        """
        signed = self._agreed(letter)
        lists = (part(letter, name) for name in ("commitments", "endorsements"))
        bound = self._opener.bind(signed.order, _key(letter), *lists)
        self._witnessing.require_entry_witnessed(self._opener.entry(letter.order))
        return self._letters.with_ledgers(letter, lambda: self._opened(letter, signed, bound))

    def close(self, order: str) -> None:
        """An order is over: whatever key served it is of no more use."""
        if self._is_keyholder():
            self._opener.retire(order)

    def _agreed(self, letter: Envelope) -> SignedOrder:
        """Return the order in a letter, once this node agreed to hold the key of its query."""
        signed = self._letters.order_in(letter, part(letter, "order"))
        self._witnessing.require_sure()
        self._judge.as_keyholder(signed)
        self._opener.retire_expired(self._judge.now())
        if self._outbox.accepted(letter.order) is None:
            self._recorder.approved(letter.order)
            self._outbox.accept(letter.order, signed.wire)
        return signed

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


def _key(letter: Envelope) -> str:
    """Return the id of the key that a letter names."""
    match letter.body.get("key"):
        case str(name):
            return name
    raise MalformedMessageError("the letter names no key")


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
