"""What a node's operator agreed to before it joined: the policy card, signed with the node's key.

    card.json     the card as it was shown
    consent.bin   a signature, then: version, party, SHA-256 of the card, when

The digest also stands in the enrolment that members see, and in the node's own log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clients.errors import NodeSettingsError
from federation.whole_files import keep_file
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, NotCanonicalError
from secure_compute.primitives.signature import (
    SIGNATURE_SIZE,
    SigningKey,
    VerifyKey,
    verify_by_one,
)

NAME: Final = "consent.bin"
CARD: Final = "card.json"
_LABEL: Final = b"entrepot consent to a policy card/1\n"


@dataclass(frozen=True, slots=True)
class Consent:
    """Who agreed to which card. card: its SHA-256; at: seconds since 1970."""

    party: PartyId
    card: str
    at: int

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {"version": 1, "party": self.party, "card": self.card, "at": self.at}


def agree(
    folder: Path, party: PartyId, card: Mapping[str, Any], at: int, key: SigningKey
) -> Consent:
    """The operator agreed to this card; return what was signed."""
    text = canonical.encode(card)
    consent = Consent(party, canonical.digest_bytes(text), at)
    body = canonical.encode(consent.to_json())
    keep_file(folder / CARD, text, 0o644)
    keep_file(folder / NAME, key.sign(_LABEL + body) + body)
    return consent


def agreed(folder: Path, *keys: VerifyKey) -> Consent | None:
    """Return what the operator of the node in `folder` agreed to; None: it was never asked.

    keys: those that the node has, or had when it was asked.

    Raises:
        NodeSettingsError: the file is damaged, or another key signed it.
    """
    path = folder / NAME
    if not path.exists():
        return None
    return read_consent(path.read_bytes(), *keys)


def read_consent(wire: bytes, *keys: VerifyKey) -> Consent:
    """Read what `agree` signed with the other half of one of `keys`.

    Raises:
        NodeSettingsError: it is none, or another key signed it.
    """
    signature, body = wire[:SIGNATURE_SIZE], wire[SIGNATURE_SIZE:]
    try:
        verify_by_one(keys, signature, _LABEL + body)
        match canonical.decode(body):
            case {"version": 1, "party": str(party), "card": str(card), "at": int(at), **rest}:
                if not rest and len(card) == 64:
                    return Consent(PartyId(party), card, at)
    except (BadSignatureError, NotCanonicalError) as why:
        raise NodeSettingsError(f"{NAME} is not what this node signed; restore it") from why
    raise NodeSettingsError(f"{NAME} is of another version; join again")
