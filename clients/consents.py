"""What a person of this party said about one order: yes or no, signed with the person's own key.

The node vouches for the key with its identity, as for a disclosure (`clients.approvals`); whom a
party lets speak is the party's affair. The statement names the order by its id, so that a yes is
for that order and for nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from clients.approvals import voucher
from clients.errors import NodeSettingsError
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import (
    BadSignatureError,
    LocalProtocolError,
    NotCanonicalError,
)
from secure_compute.primitives.signature import SigningKey, VerifyKey, verify_by_one

Said: TypeAlias = Literal["yes", "no"]

MOST_TEXT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A person's word on an order, or on all orders within an envelope.

    about:  the order's id, or the envelope's.
    reason: in the person's words; 1 to 500 characters, as is the name.
    """

    federation: str
    party: PartyId
    about: str
    person: str
    said: Said
    reason: str
    at: int

    def __post_init__(self) -> None:
        if not all(text.strip() and len(text) <= MOST_TEXT for text in (self.person, self.reason)):
            raise NodeSettingsError(
                f"a person's word names the person and a reason, each in 1 to {MOST_TEXT} "
                "characters"
            )

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            "federation": self.federation,
            "party": self.party,
            "about": self.about,
            "person": self.person,
            "said": self.said,
            "reason": self.reason,
            "at": self.at,
        }

    def statement(self) -> bytes:
        """Return what the person signs."""
        return canonical.encode({"statement": "entrepot.consent", "v": 1, **self.to_json()})


@dataclass(frozen=True, slots=True)
class SignedWord:
    """A person's word with its signature, and the party's word that the key is this person's."""

    word: Statement
    signature: bytes
    key: VerifyKey
    vouched: bytes

    @property
    def digest(self) -> str:
        """The SHA-256 of the whole, by which the log names it."""
        return canonical.digest(self.to_json())

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            **self.word.to_json(),
            "signature": self.signature.hex(),
            "key": self.key.hex,
            "vouched": self.vouched.hex(),
        }


def say(word: Statement, key: SigningKey, identity: SigningKey) -> SignedWord:
    """Return a word signed with the person's key; `identity` is the node's, which vouches."""
    named = voucher(word.federation, word.party, word.person, key.verify_key)
    return SignedWord(word, key.sign(word.statement()), key.verify_key, identity.sign(named))


def read_word(
    wire: bytes,
    identity: VerifyKey,
    party: PartyId,
    federation: str,
    earlier: Sequence[VerifyKey] = (),
) -> Statement:
    """Return a word that a person of this party gave; everything about it is checked.

    identity: the node's own key, which vouched for the person's; earlier: those that it had before,
        by its own log: what a person said does not end with the node's key.

    Raises:
        NodeSettingsError: the file is damaged, or not signed by whom it names.
    """
    found = _read(wire)
    word = found.word
    try:
        named = voucher(word.federation, word.party, word.person, found.key)
        verify_by_one((identity, *earlier), found.vouched, named)
        found.key.verify(found.signature, word.statement())
    except BadSignatureError as why:
        raise NodeSettingsError(
            "a person's word is not signed by whom it names; delete it and ask that person again"
        ) from why
    if (word.party, word.federation) != (party, federation):
        raise NodeSettingsError("a person's word is of another party; delete it")
    return word


def _read(wire: bytes) -> SignedWord:
    try:
        value = canonical.decode(wire)
        match value:
            case {
                "federation": str(federation),
                "party": str(party),
                "about": str(about),
                "person": str(person),
                "said": "yes" | "no" as said,
                "reason": str(reason),
                "at": int(at),
                "signature": str(signature),
                "key": str(key),
                "vouched": str(vouched),
                **rest,
            } if not rest and not isinstance(at, bool):
                word = Statement(
                    federation=federation,
                    party=PartyId(party),
                    about=about,
                    person=person,
                    said=said,
                    reason=reason,
                    at=at,
                )
                signed = bytes.fromhex(signature), VerifyKey(key), bytes.fromhex(vouched)
                return SignedWord(word, *signed)
    except (NotCanonicalError, LocalProtocolError, ValueError) as why:
        raise NodeSettingsError("a person's word is damaged; delete it and ask again") from why
    raise NodeSettingsError("what should be a person's word is none; delete it and ask again")
