"""A piece of a key: 32 bytes that decide a secret, its public part, and every smudge under it.

The first of a piece's holders draws the seed and seals it to the others. Each of them makes the
same public part from it and signs its hash, so no honest holder vouches for a part that is not
what the seed gives, and two holders' partials are the same bytes.
"""

from dataclasses import dataclass, field
from typing import Final

from secure_compute import canonical
from secure_compute.entropy import Entropy
from secure_compute.errors import FaultyPartyError, LocalProtocolError, PeerProtocolError
from secure_compute.primitives import derivation, sealing
from secure_compute.primitives.seed_stream import SEED_SIZE, SeedStream
from secure_compute.threshold import residues, sampling
from secure_compute.threshold.params import KEY_PRIMES, PRIMES
from secure_compute.threshold.ring import DATA, KEY, Residues
from secure_compute.threshold.terms import Terms

BOX_SIZE: Final = sealing.NONCE_SIZE + SEED_SIZE + sealing.OVERHEAD


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece that this keyholder holds. place: which of `terms.pieces`."""

    place: int
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_SIZE:
            raise LocalProtocolError(f"a piece is {SEED_SIZE} bytes, not {len(self.seed)}")


def public_part(piece: Piece, terms: Terms) -> bytes:
    """Return b = −(a·s + e) of a piece: `forward` form over `KEY_PRIMES`, 212,992 bytes."""
    secret = KEY.constant(KEY.forward(KEY.lift(_secret(piece, terms))))
    error = KEY.forward(KEY.lift(sampling.error(_stream(piece, terms, "error"))))
    product = KEY.multiply(sampling.public_polynomial(terms.digest), secret)
    return residues.to_bytes(KEY.negate(KEY.add(product, error)), KEY_PRIMES)


def partial(piece: Piece, terms: Terms, second: Residues) -> bytes:
    """Return c₁·s + smudge for the second polynomial of a sum: 172,032 bytes, the same every time.

    The smudge follows from the piece and from c₁, which is all that the secret touches: whatever
    quorum, retry or restart asks, and whatever stands in c₀, the same c₁ gets the same bytes.
    """
    wire = residues.to_bytes(second, PRIMES)
    secret = DATA.constant(DATA.forward(DATA.lift(_secret(piece, terms))))
    product = DATA.inverse(DATA.multiply(DATA.forward(second), secret))
    smudge = sampling.smudge(_stream(piece, terms, "smudge", canonical.digest_bytes(wire)))
    return residues.to_bytes(DATA.add(product, smudge), PRIMES)


def deal(
    piece: Piece, terms: Terms, pair_key: bytes, sender: str, receiver: str, entropy: Entropy
) -> bytes:
    """Return the seed sealed for one other holder: nonce and box, 60 bytes.

    pair_key: what sender and receiver share in this epoch. The nonce is fresh, so that a key that
    was begun twice, which the state forbids, would still not meet one nonce twice.
    """
    nonce = entropy.bytes(sealing.NONCE_SIZE)
    key, context = _box(piece.place, terms, pair_key, sender, receiver)
    return nonce + sealing.seal(key, nonce, piece.seed, context)


def receive(
    box: bytes, place: int, terms: Terms, pair_key: bytes, sender: str, receiver: str
) -> Piece:
    """Return the piece that its maker sealed.

    Raises:
        PeerProtocolError: another length, or a piece that the sender does not make for us.
        FaultyPartyError: it does not open.
    """
    if place not in terms.made_by(sender) or place not in terms.held_by(receiver):
        raise PeerProtocolError(f"{sender} makes no such piece for {receiver}")
    if len(box) != BOX_SIZE:
        raise PeerProtocolError(f"a sealed piece has {BOX_SIZE} bytes, not {len(box)}")
    key, context = _box(place, terms, pair_key, sender, receiver)
    nonce, sealed = box[: sealing.NONCE_SIZE], box[sealing.NONCE_SIZE :]
    try:
        return Piece(place, sealing.open_sealed(key, nonce, sealed, context))
    except PeerProtocolError as why:
        raise FaultyPartyError(sender, why="or the way here spoilt a sealed piece") from why


def _secret(piece: Piece, terms: Terms) -> Residues:
    return sampling.ternary(_stream(piece, terms, "secret"))


def _stream(piece: Piece, terms: Terms, *purpose: str) -> SeedStream:
    info = canonical.encode(["entrepot.threshold", *purpose, terms.digest, piece.place])
    return SeedStream(piece.seed, info)


def _box(
    place: int, terms: Terms, pair_key: bytes, sender: str, receiver: str
) -> tuple[bytes, bytes]:
    info = ("entrepot.threshold", "deal", terms.digest, place, sender, receiver)
    return derivation.expand(pair_key, *info), canonical.encode(info)
