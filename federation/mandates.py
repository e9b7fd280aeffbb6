"""A member's word that a person's key may countersign orders for it, for a while.

    given = mandate("harbour", "uk", ana.verify_key, until, identity)   # at the node, once
    Mandate.parse(str(given)) == given                                  # a line that is handed on

The member signs with its identity key, which every node knows from the roster, so that nobody has
to believe the aggregator who a person is. It names a key and no person: orders go round with it. It
ends by itself, and with the identity key that signed it; there is no other way to take it back.
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Final

from federation.errors import MalformedMessageError
from federation.roster_rules import is_name
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import LocalProtocolError, NotCanonicalError
from secure_compute.primitives.signature import (
    SIGNATURE_SIZE,
    SigningKey,
    VerifyKey,
    verify_by_one,
)

PREFIX: Final = "entrepot_mandate1_"
LONGEST_LINE: Final = 1000
MOST_DAYS: Final = 366


@dataclass(frozen=True, slots=True)
class Mandate:
    """`party` lets whoever has `key` countersign for it; nothing here is verified yet.

    until: an order that is over by then, in seconds since 1970, may be signed with the key.
    """

    party: PartyId
    key: VerifyKey
    until: int
    signature: bytes = field(repr=False)

    def require_genuine(self, federation: str, *identities: VerifyKey) -> VerifyKey:
        """Return with which of its identity keys the member gave it.

        Raises:
            BadSignatureError: it did not.
        """
        said = _statement(federation, self.party, self.key, self.until)
        return verify_by_one(identities, self.signature, said)

    def to_json(self) -> dict[str, JSON]:
        """Return it as it rides in an order, whose list names the party."""
        return {"key": self.key.hex, "until": self.until, "mandate": self.signature.hex()}

    def __str__(self) -> str:
        """Return one line, which holds no secret."""
        whole = canonical.encode({"party": self.party, **self.to_json()})
        return PREFIX + base64.urlsafe_b64encode(whole).decode()

    @classmethod
    def parse(cls, text: str) -> "Mandate":
        """Read a line.

        Raises:
            MalformedMessageError: it is none.
        """
        line = text.strip()
        if not line.startswith(PREFIX) or len(line) > LONGEST_LINE:
            raise MalformedMessageError(f"a mandate is one line that begins with {PREFIX}")
        try:
            value = canonical.decode(base64.b64decode(line[len(PREFIX) :], b"-_", validate=True))
        except (binascii.Error, ValueError, NotCanonicalError) as why:
            raise MalformedMessageError("the mandate is cut off or damaged; copy it anew") from why
        if not isinstance(value, dict) or not is_name(party := str(value.pop("party", ""))):
            raise MalformedMessageError("the mandate names no party; ask for another")
        return mandate_of(PartyId(party), value)


def mandate(
    federation: str, party: PartyId, key: VerifyKey, until: int, identity: SigningKey
) -> Mandate:
    """Return a mandate of `party`, whose identity key is `identity`."""
    return Mandate(party, key, until, identity.sign(_statement(federation, party, key, until)))


def mandate_of(party: PartyId, value: JSON) -> Mandate:
    """Read what `Mandate.to_json` wrote; there is one spelling.

    Raises:
        MalformedMessageError: it is no mandate.
    """
    match value:
        case {"key": str(key), "until": int(until), "mandate": str(signature), **rest} if not rest:
            found = _read(party, key, until, signature)
            if found is not None and found.to_json() == value:
                return found
    raise MalformedMessageError("a mandate names a key, until when it counts, and 64 bytes")


def _read(party: PartyId, key: str, until: int, signature: str) -> Mandate | None:
    try:
        found = Mandate(party, VerifyKey(key), until, bytes.fromhex(signature))
    except (LocalProtocolError, ValueError):
        return None
    is_whole = len(found.signature) == SIGNATURE_SIZE and not isinstance(until, bool) and until >= 0
    return found if is_whole else None


def _statement(federation: str, party: PartyId, key: VerifyKey, until: int) -> bytes:
    return canonical.encode(
        {
            "statement": "entrepot.mandate",
            "v": 1,
            "federation": federation,
            "party": party,
            "key": key.hex,
            "until": until,
        }
    )
