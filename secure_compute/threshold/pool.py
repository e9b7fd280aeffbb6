"""How keyholders make keys ahead, alone among themselves: `(state, message) → (state', message)`.

    begin ─ seeds of the pieces we make, sealed to their other holders
    receive ─ until every piece we hold is here
    commit ─ one signed commitment to all our public parts; never another for this key
    gather ─ until every keyholder's commitment is here and they agree
    show ─ only now the public parts leave

**Write state' to disk before the message is sent.** A number is used once, so a key that was begun
is never begun again with other seeds; what stopped half-way is left behind. Seeds are what the disk
has to keep secret; `retire` deletes them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from secure_compute import canonical
from secure_compute.canonical import digest_bytes
from secure_compute.entropy import Entropy
from secure_compute.errors import (
    FaultyPartyError,
    LocalProtocolError,
    NotCanonicalError,
    PeerProtocolError,
    RefusedRequestError,
    RoundUsedError,
)
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.primitives.seed_stream import SEED_SIZE
from secure_compute.secagg.epoch import Epoch, agree
from secure_compute.threshold import pieces
from secure_compute.threshold.joint import KeyCommitment, agreed, key_digest, verify
from secure_compute.threshold.pieces import Piece
from secure_compute.threshold.statements import Sign
from secure_compute.threshold.terms import Terms


@dataclass(frozen=True, slots=True)
class Deal:
    """A piece on its way from its maker to another holder. box: 60 sealed bytes."""

    key: str
    place: int
    sender: str
    receiver: str
    box: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return the canonical form; the box itself is what is authentic."""
        return canonical.encode({**asdict(self), "box": self.box.hex()})

    @classmethod
    def read(cls, wire: bytes) -> "Deal":
        """Read what `to_bytes` wrote.

        Raises:
            PeerProtocolError: it is no sealed piece.
        """
        try:
            match canonical.decode(wire):
                case {
                    "key": str(key),
                    "place": int(place),
                    "sender": str(sender),
                    "receiver": str(receiver),
                    "box": str(box),
                } if type(place) is int:
                    made = cls(key, place, sender, receiver, bytes.fromhex(box))
                    if made.to_bytes() == wire:
                        return made
        except (NotCanonicalError, ValueError) as why:
            raise PeerProtocolError("not a sealed piece in canonical form") from why
        raise PeerProtocolError("not a sealed piece of this version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What a keyholder keeps of one key.

    pieces:      those it holds, sorted by place; () once the key is retired.
    commitments: every keyholder's, as they came; ours is among them once we committed.
    query:       the one question that this key serves, or ""; listing: the one list that it opens.
    """

    terms: Terms
    pieces: tuple[Piece, ...] = field(repr=False)
    commitments: tuple[KeyCommitment, ...] = ()
    shown: bool = False
    query: str = ""
    listing: str = ""

    @property
    def digest(self) -> str:
        """What a question names this key by.

        Raises:
            PeerProtocolError: not every keyholder has committed.
        """
        return key_digest(self.terms, agreed(self.terms, self.commitments))


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyholder:
    """What a keyholder keeps of an epoch.

    pairs:    (party, key) for every other member: what the two share in this epoch.
    position: the lowest number that no key had.
    queries:  (query, listing) of everything that was ever opened; it only grows.
    """

    me: str
    epoch: Epoch
    pairs: tuple[tuple[str, bytes], ...] = field(repr=False)
    position: int = 0
    keys: tuple[Key, ...] = ()
    queries: tuple[tuple[str, str], ...] = ()

    def key(self, name: str) -> Key:
        """Return the key with this id.

        Raises:
            PeerProtocolError: there is none.
        """
        for key in self.keys:
            if key.terms.digest == name:
                return key
        raise PeerProtocolError("no such key was begun here")


def join(
    epoch: Epoch, me: str, secret: AgreementKey, opened: tuple[tuple[str, str], ...] = ()
) -> Keyholder:
    """Return the first state of an epoch; once it is written, the secret is deleted.

    opened: `queries` of the epoch before, so that no query is ever opened twice.

    Raises:
        LocalProtocolError: the epoch names another key as ours.
        FaultyPartyError: a member's key is none.
    """
    pairs = tuple(sorted(agree(epoch, me, secret).items()))
    return Keyholder(me=me, epoch=epoch, pairs=pairs, queries=opened)


def begin(
    keyholder: Keyholder, terms: Terms, entropy: Entropy
) -> tuple[Keyholder, tuple[Deal, ...]]:
    """Begin a key: draw the pieces that are ours to make and seal them to their other holders.

    Raises:
        RosterError, PeerProtocolError: the terms are not of this epoch, or we hold nothing of it.
        RoundUsedError: a key of this number or a later one was begun.
    """
    terms.require_epoch(keyholder.epoch)
    terms.find(keyholder.me)
    if terms.serial < keyholder.position:
        raise RoundUsedError(f"key {terms.serial} was begun or passed: take a new number")
    drawn = [Piece(place, entropy.bytes(SEED_SIZE)) for place in terms.made_by(keyholder.me)]
    pairs = dict(keyholder.pairs)
    deals = []
    for piece in drawn:
        for peer in terms.pieces[piece.place][1:]:
            box = pieces.deal(piece, terms, pairs[peer], keyholder.me, peer, entropy)
            deals.append(Deal(terms.digest, piece.place, keyholder.me, peer, box))
    key = Key(terms=terms, pieces=tuple(drawn))
    after = replace(keyholder, position=terms.serial + 1, keys=(*keyholder.keys, key))
    return after, tuple(deals)


def receive(keyholder: Keyholder, deal: Deal) -> Keyholder:
    """Keep a piece that its maker sealed for us.

    Raises:
        PeerProtocolError: it is for somebody else, or of a key that was not begun.
        FaultyPartyError: it does not open, or its maker dealt it twice and differently.
    """
    key = keyholder.key(deal.key)
    if deal.receiver != keyholder.me:
        raise PeerProtocolError(f"a piece for {deal.receiver} came to {keyholder.me}")
    pair = dict(keyholder.pairs).get(deal.sender)
    if pair is None:
        raise PeerProtocolError(f"{deal.sender} is nobody who deals pieces to {keyholder.me}")
    made = pieces.receive(deal.box, deal.place, key.terms, pair, deal.sender, deal.receiver)
    known = {piece.place: piece for piece in key.pieces}
    if known.setdefault(made.place, made) != made:
        raise FaultyPartyError(deal.sender, why="dealt one piece twice and differently")
    return with_key(keyholder, replace(key, pieces=tuple(known[at] for at in sorted(known))))


def commit(keyholder: Keyholder, name: str, sign: Sign) -> tuple[Keyholder, KeyCommitment]:
    """Commit to the public parts of all our pieces.

    Raises:
        PeerProtocolError: a piece has not come yet.
    """
    key = keyholder.key(name)
    for said in key.commitments:
        if said.keyholder == keyholder.me:
            return keyholder, said
    for place in key.terms.held_by(keyholder.me):
        if place not in {piece.place for piece in key.pieces}:
            maker = key.terms.pieces[place][0]
            raise PeerProtocolError(f"{maker} has not dealt piece {place}: ask it again")
    hashes = tuple(digest_bytes(pieces.public_part(piece, key.terms)) for piece in key.pieces)
    said = KeyCommitment(key=name, keyholder=keyholder.me, parts=hashes).signed(sign)
    return with_key(keyholder, replace(key, commitments=(*key.commitments, said))), said


def gather(keyholder: Keyholder, said: KeyCommitment) -> Keyholder:
    """Keep another keyholder's commitment; whether all agree is seen when all are there.

    Raises:
        BadSignatureError: the keyholder did not sign it.
        PeerProtocolError: it is of a key that was not begun, or of nobody who holds it.
        FaultyPartyError: the keyholder committed twice and differently.
    """
    key = keyholder.key(said.key)
    verify(key.terms, said)
    for known in key.commitments:
        if known.keyholder == said.keyholder:
            if known.parts != said.parts:
                raise FaultyPartyError(said.keyholder, why="committed to two sets of parts")
            return keyholder
    return with_key(keyholder, replace(key, commitments=(*key.commitments, said)))


def show(keyholder: Keyholder, name: str) -> tuple[Keyholder, Mapping[int, bytes]]:
    """Return the public parts that are ours to show: of the pieces we made.

    Raises:
        as `joint.agreed` does: commitments are missing, or do not agree.
        LocalProtocolError: the key is retired.
    """
    key = keyholder.key(name)
    agreed(key.terms, key.commitments)
    if not key.pieces:
        raise LocalProtocolError("this key was retired")
    made = key.terms.made_by(keyholder.me)
    shown = {
        piece.place: pieces.public_part(piece, key.terms)
        for piece in key.pieces
        if piece.place in made
    }
    return with_key(keyholder, replace(key, shown=True)), shown


def ready(keyholder: Keyholder) -> tuple[str, ...]:
    """Return the ids of keys that were made to the end and serve no question yet."""
    return tuple(key.terms.digest for key in keyholder.keys if key.shown and not key.query)


def retire(keyholder: Keyholder, name: str) -> Keyholder:
    """Delete the pieces of a key that served its question, or never will.

    Raises:
        RefusedRequestError: the key is fresh and another keyholder could still need this one.
    """
    key = keyholder.key(name)
    if key.shown and not key.query:
        raise RefusedRequestError("a key that serves no question yet is kept")
    return with_key(keyholder, replace(key, pieces=()))


def with_key(keyholder: Keyholder, key: Key) -> Keyholder:
    """Return the state with this key in the place of the one with its id."""
    keys = tuple(key if old.terms.digest == key.terms.digest else old for old in keyholder.keys)
    return replace(keyholder, keys=keys)
