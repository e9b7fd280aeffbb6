"""The joint key: everybody adds it up from what the keyholders committed to, then showed.

A keyholder signs one commitment to the hashes of the public parts of all its pieces. A part counts
with the signature of *every* holder of its piece. Nobody shows a part before all commitments are
there, so that no part can be chosen to cancel another one's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from secure_compute import canonical
from secure_compute.canonical import digest_bytes
from secure_compute.errors import FaultyPartyError, PeerProtocolError
from secure_compute.threshold import residues, sampling
from secure_compute.threshold.params import KEY_PRIMES
from secure_compute.threshold.ring import KEY, Residues
from secure_compute.threshold.statements import Sign, is_hash, require_signed, split
from secure_compute.threshold.terms import VERSION, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCommitment:
    """A keyholder says: the public parts of my pieces of this key have these hashes.

    key: id of the key; parts: hashes in the order of `terms.held_by(keyholder)`.
    """

    key: str
    keyholder: str
    parts: tuple[str, ...]
    signature: bytes = b""

    def statement(self) -> bytes:
        """Return the canonical bytes that the keyholder signs."""
        return canonical.encode(
            {
                "statement": "entrepot.threshold-key-commitment",
                "v": VERSION,
                "key": self.key,
                "keyholder": self.keyholder,
                "parts": self.parts,
            }
        )

    def signed(self, sign: Sign) -> "KeyCommitment":
        """Return this commitment with its signature."""
        made = sign(self.statement())
        return KeyCommitment(
            key=self.key, keyholder=self.keyholder, parts=self.parts, signature=made
        )

    def to_bytes(self) -> bytes:
        """Return the signature and the statement behind it."""
        return self.signature + self.statement()

    @classmethod
    def read(cls, wire: bytes) -> "KeyCommitment":
        """Read what `to_bytes` wrote; whether the signature holds is for `agreed` to see.

        Raises:
            PeerProtocolError: it is no commitment of this version.
        """
        signature, value = split(wire)
        match value:
            case {"key": str(key), "keyholder": str(keyholder), "parts": list(parts)} if all(
                map(is_hash, parts)
            ):
                hashes = tuple(map(str, parts))
                made = cls(key=key, keyholder=keyholder, parts=hashes, signature=signature)
                if made.to_bytes() == wire:
                    return made
        raise PeerProtocolError("not a commitment to a key of this version")


def agreed(terms: Terms, commitments: Iterable[KeyCommitment]) -> tuple[str, ...]:
    """Return the hash of each piece's public part, on which all its holders agree.

    Raises:
        BadSignatureError: a keyholder did not sign its commitment.
        PeerProtocolError: one is missing or of another key.
        FaultyPartyError: a keyholder signed two, or two holders of a piece signed two hashes.
    """
    found: dict[int, tuple[str, str]] = {}
    by_party = _by_party(terms, commitments)
    for party in terms.parties:
        for place, part in zip(terms.held_by(party), by_party[party].parts, strict=True):
            first, known = found.setdefault(place, (party, part))
            if known != part:
                raise FaultyPartyError(first, party, why="signed two hashes for one piece of a key")
    return tuple(found[place][1] for place in range(len(terms.pieces)))


@dataclass(frozen=True)
class JointKey:
    """A key that everybody can encrypt with. parts: hash of each piece's public part.

    public: b, the sum of all parts, in `forward` form over `KEY_PRIMES`.
    """

    terms: Terms
    parts: tuple[str, ...]
    public: Residues = field(repr=False, compare=False)

    @property
    def digest(self) -> str:
        """What a question names the key by: id and parts."""
        return key_digest(self.terms, self.parts)

    @cached_property
    def uniform(self) -> Residues:
        """The public polynomial a."""
        return sampling.public_polynomial(self.terms.digest)


def key_digest(terms: Terms, parts: Sequence[str]) -> str:
    """Return SHA-256 over the id of a key and the hashes of all its parts, in hexadecimal."""
    return canonical.digest({"key": terms.digest, "parts": list(parts)})


def assemble(
    terms: Terms, commitments: Iterable[KeyCommitment], shown: Mapping[int, bytes]
) -> JointKey:
    """Return the sum of the parts. shown: the public part of each piece, by place.

    Raises:
        as `agreed` does, and
        PeerProtocolError: a part is missing, or a residue is not below its prime.
        FaultyPartyError: a part is not the one that its holders committed to.
    """
    parts = agreed(terms, commitments)
    total = KEY.lift(sampling.ZERO)
    for place, part in enumerate(parts):
        if place not in shown:
            raise PeerProtocolError(f"part {place} of a key is missing: ask its holders again")
        if digest_bytes(shown[place]) != part:
            maker = terms.pieces[place][0]
            raise FaultyPartyError(maker, why="showed another part of a key than was committed to")
        total = KEY.add(total, residues.from_bytes(shown[place], KEY_PRIMES))
    return JointKey(terms, parts, total)


def verify(terms: Terms, said: KeyCommitment) -> None:
    """Return if a keyholder of this key signed this commitment to all its pieces.

    Raises:
        BadSignatureError: it did not.
        PeerProtocolError: it is no keyholder, or the commitment is to another key.
    """
    member = terms.find(said.keyholder)
    require_signed(member.identity, said.keyholder, said.signature, said.statement())
    if said.key != terms.digest or len(said.parts) != len(terms.held_by(said.keyholder)):
        raise PeerProtocolError(f"{said.keyholder} committed to parts of another key")


def _by_party(terms: Terms, commitments: Iterable[KeyCommitment]) -> Mapping[str, KeyCommitment]:
    found: dict[str, KeyCommitment] = {}
    for said in commitments:
        verify(terms, said)
        if found.setdefault(said.keyholder, said).parts != said.parts:
            raise FaultyPartyError(said.keyholder, why="committed to two sets of parts of one key")
    for party in terms.parties:
        if party not in found:
            raise PeerProtocolError(f"{party} has not committed to its parts of the key")
    return found
