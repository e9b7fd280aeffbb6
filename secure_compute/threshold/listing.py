"""Which ciphertexts are summed: committed to by each party, signed as one list by a quorum.

Nobody shows a ciphertext before a quorum signed the list that its hash stands in, so none can be
made from another one. An honest party signs one list of a question, hence no two are certified.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import FaultyPartyError, PeerProtocolError
from secure_compute.threshold.question import Question
from secure_compute.threshold.statements import Sign, is_hash, require_signed, split
from secure_compute.threshold.terms import VERSION

_SHORT: Final = 4096
"""Up to how many bytes a statement is held as it was read: its list is looked at several times."""


@dataclass(frozen=True, kw_only=True)
class Commitment:
    """A party says: my part of this question is these ciphertexts. chunks: their hashes."""

    question: str
    party: str
    chunks: tuple[str, ...]
    signature: bytes = b""

    def statement(self) -> bytes:
        """Return the canonical bytes that the party signs."""
        return self._spelt

    @cached_property
    def _spelt(self) -> bytes:
        body: dict[str, JSON] = {"party": self.party, "chunks": self.chunks}
        return _statement("commitment", self.question, body)

    def signed(self, sign: Sign) -> "Commitment":
        """Return this commitment with its signature."""
        made = sign(self.statement())
        return Commitment(
            question=self.question, party=self.party, chunks=self.chunks, signature=made
        )

    def to_bytes(self) -> bytes:
        """Return the signature and the statement behind it."""
        return self.signature + self.statement()

    @classmethod
    def read(cls, wire: bytes) -> "Commitment":
        """Read what `to_bytes` wrote; whether the signature holds is for `listing` to see.

        Raises:
            PeerProtocolError: it is no commitment of this version.
        """
        return _commitment(wire) if len(wire) <= _SHORT else _commitment.__wrapped__(wire)


@dataclass(frozen=True, kw_only=True)
class Endorsement:
    """A party says: this is the list of this question, and I sign no other. listing: its hash."""

    question: str
    party: str
    listing: str
    signature: bytes = b""

    def statement(self) -> bytes:
        """Return the canonical bytes that the party signs."""
        return self._spelt

    @cached_property
    def _spelt(self) -> bytes:
        body: dict[str, JSON] = {"party": self.party, "listing": self.listing}
        return _statement("endorsement", self.question, body)

    def signed(self, sign: Sign) -> "Endorsement":
        """Return this endorsement with its signature."""
        made = sign(self.statement())
        return Endorsement(
            question=self.question, party=self.party, listing=self.listing, signature=made
        )

    def to_bytes(self) -> bytes:
        """Return the signature and the statement behind it."""
        return self.signature + self.statement()

    @classmethod
    def read(cls, wire: bytes) -> "Endorsement":
        """Read what `to_bytes` wrote; whether the signature holds is for `certify` to see.

        Raises:
            PeerProtocolError: it is no endorsement of this version.
        """
        return _endorsement(wire) if len(wire) <= _SHORT else _endorsement.__wrapped__(wire)


@dataclass(frozen=True)
class Listing:
    """The ciphertexts of one sum, sorted by party; `listing` makes it from checked commitments."""

    question: Question
    commitments: tuple[Commitment, ...]

    @cached_property
    def parties(self) -> tuple[str, ...]:
        """Whose ciphertexts are summed."""
        return tuple(said.party for said in self.commitments)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the question and every party's hashes, in hexadecimal."""
        parts = [[said.party, list(said.chunks)] for said in self.commitments]
        return canonical.digest({"question": self.question.digest, "parts": parts})

    def chunk(self, place: int) -> dict[str, str]:
        """Return the hash that each party committed to for one chunk."""
        return {said.party: said.chunks[place] for said in self.commitments}


def listing(question: Question, commitments: Iterable[Commitment]) -> Listing:
    """Return the list of these commitments, after checking all of them.

    Raises:
        BadSignatureError: a party did not sign its commitment.
        PeerProtocolError: one is to another question or of nobody in the cohort, or too few are
            here.
        FaultyPartyError: a party signed two.
    """
    found: dict[str, Commitment] = {}
    for said in commitments:
        member = question.find(said.party)
        require_signed(member.key, said.party, said.signature, said.statement())
        if said.question != question.digest or len(said.chunks) != question.layout.chunks:
            raise PeerProtocolError(f"{said.party} committed to a part of another question")
        if found.setdefault(said.party, said).chunks != said.chunks:
            raise FaultyPartyError(said.party, why="committed to two parts of one question")
    if len(found) < question.needed:
        raise PeerProtocolError(
            f"{len(found)} organisations take part and {question.needed} must: a smaller sum could "
            "show one organisation's part"
        )
    return Listing(question, tuple(found[party] for party in sorted(found)))


def certify(made: Listing, endorsements: Sequence[Endorsement]) -> None:
    """Return if a quorum of those whose parts are summed signed exactly this list.

    Raises:
        BadSignatureError: a party did not sign what is said to be its signature.
        PeerProtocolError: a signature is for another list, of another party, or too few are here.
    """
    signers = set()
    for said in endorsements:
        member = made.question.find(said.party)
        require_signed(member.key, said.party, said.signature, said.statement())
        if (said.question, said.listing) != (made.question.digest, made.digest):
            raise PeerProtocolError(f"{said.party} signed another list of ciphertexts")
        if said.party not in made.parties:
            raise PeerProtocolError(f"{said.party} signed a list that it is not on")
        signers.add(said.party)
    if len(signers) < made.question.quorum:
        raise PeerProtocolError(
            f"{len(signers)} organisations signed this list and {made.question.quorum} must: with "
            "fewer there could be a second list"
        )


@lru_cache(maxsize=1024)
def _commitment(wire: bytes) -> Commitment:
    signature, value = split(wire)
    match value:
        case {"question": str(question), "party": str(party), "chunks": list(chunks)} if all(
            map(is_hash, chunks)
        ):
            hashes = tuple(map(str, chunks))
            made = Commitment(question=question, party=party, chunks=hashes, signature=signature)
            if made.to_bytes() == wire:
                return made
    raise PeerProtocolError("not a commitment of this version")


@lru_cache(maxsize=1024)
def _endorsement(wire: bytes) -> Endorsement:
    signature, value = split(wire)
    match value:
        case {"question": str(question), "party": str(party), "listing": str(listing)}:
            made = Endorsement(question=question, party=party, listing=listing, signature=signature)
            if made.to_bytes() == wire:
                return made
    raise PeerProtocolError("not an endorsement of this version")


def _statement(kind: str, question: str, body: dict[str, JSON]) -> bytes:
    head: dict[str, JSON] = {"statement": f"entrepot.threshold-{kind}", "v": VERSION}
    return canonical.encode(head | {"question": question} | body)
