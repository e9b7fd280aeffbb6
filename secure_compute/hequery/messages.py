"""What keyholder and holders sign: small canonical statements that bind large bytes by hash."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final, TypeAlias, TypeVar

from secure_compute import canonical
from secure_compute.errors import NotCanonicalError, PeerProtocolError

VERSION: Final = 1

Verify: TypeAlias = Callable[[str, bytes, bytes], None]
"""verify(party, signature, data): raises `BadSignatureError` unless the party signed the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOffer:
    """The keyholder says: this is the public key of this query, and of no other.

    query: id of the order; key: SHA-256 of the public key's bytes, in hexadecimal.
    """

    query: str
    keyholder: str
    key: str

    def statement(self) -> bytes:
        """Return the canonical bytes that the keyholder signs."""
        return canonical.encode({"statement": "entrepot.key-offer", "v": VERSION, **asdict(self)})

    @classmethod
    def read(cls, statement: bytes) -> "KeyOffer":
        """Read what `statement` wrote.

        Raises:
            PeerProtocolError: it is no key offer of this version.
        """
        match _decoded(statement):
            case {
                "statement": "entrepot.key-offer",
                "query": str(query),
                "keyholder": str(keyholder),
                "key": str(key),
            }:
                return _same(cls(query=query, keyholder=keyholder, key=key), statement)
        raise PeerProtocolError("not a key offer of this version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """A holder says: my part of this query, under this key, is the ciphertext with this hash.

    plan:       SHA-256 of the canonical plan that was evaluated.
    key:        SHA-256 of the public key it is encrypted under.
    ciphertext: SHA-256 of the ciphertext's bytes.
    width:      integers in the ciphertext.
    """

    query: str
    party: str
    plan: str
    key: str
    ciphertext: str
    width: int

    def statement(self) -> bytes:
        """Return the canonical bytes that the holder signs."""
        return canonical.encode({"statement": "entrepot.commitment", "v": VERSION, **asdict(self)})

    @classmethod
    def read(cls, statement: bytes) -> "Commitment":
        """Read what `statement` wrote.

        Raises:
            PeerProtocolError: it is no commitment of this version.
        """
        match _decoded(statement):
            case {
                "statement": "entrepot.commitment",
                "query": str(query),
                "party": str(party),
                "plan": str(plan),
                "key": str(key),
                "ciphertext": str(ciphertext),
                "width": int(width),
            } if not isinstance(width, bool):
                made = cls(
                    query=query, party=party, plan=plan, key=key, ciphertext=ciphertext, width=width
                )
                return _same(made, statement)
        raise PeerProtocolError("not a commitment of this version")


Statement = TypeVar("Statement", KeyOffer, Commitment)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One holder's part: what it signed, its signature, and the ciphertext."""

    commitment: Commitment
    signature: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """The sum over `contributors`, sorted by name; `listing` is the hash of what was opened."""

    query: str
    contributors: tuple[str, ...]
    listing: str
    values: tuple[int, ...]


def _decoded(statement: bytes) -> object:
    try:
        return canonical.decode(statement)
    except NotCanonicalError as why:
        raise PeerProtocolError("a signed statement is not in canonical form") from why


def _same(made: Statement, statement: bytes) -> Statement:
    """Return `made` if its statement is this one: no field more, no other spelling."""
    if made.statement() != statement:
        raise PeerProtocolError("a signed statement holds other fields than this version knows")
    return made
