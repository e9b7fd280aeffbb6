"""A member asks for a certificate for another key of its streams, which its identity key signs.

    signature, 64 bytes | request for a certificate, PEM, signed by the new key

What is signed names the federation's pin, the party and the key that is given up, so that it is
good once: who took the old key without the identity key exchanges nothing, and an exchange that was
heard takes nobody back to an earlier key.
"""

from typing import Final

from federation.errors import MalformedMessageError
from federation.membership import Member
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import digest_bytes
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey

_LABEL: Final = "entrepot stream key/1"
_REQUEST: Final = b"-----BEGIN"


def sign_exchange(request: bytes, old: bytes, party: PartyId, pin: str, key: SigningKey) -> bytes:
    """Return the wish of `party` to give up `old`, a public key in PEM, for that of `request`."""
    return key.sign(_statement(request, old, party, pin)) + request


def is_exchange(wire: bytes) -> bool:
    """Return whether another key is asked for, and not a certificate for the one there is."""
    return not wire.startswith(_REQUEST)


def open_exchange(wire: bytes, old: bytes, member: Member, pin: str) -> bytes:
    """Return the request, which the member's identity key signed for the key it gives up.

    Raises:
        MalformedMessageError: it is no exchange.
        BadSignatureError: the member did not sign it, or for another key or federation.
    """
    request = wire[SIGNATURE_SIZE:]
    if not request.startswith(_REQUEST):
        raise MalformedMessageError("this asks for no certificate")
    said = _statement(request, old, member.party, pin)
    member.identity.verify(wire[:SIGNATURE_SIZE], said)
    return request


def _statement(request: bytes, old: bytes, party: PartyId, pin: str) -> bytes:
    return canonical.encode([_LABEL, pin, party, digest_bytes(old), digest_bytes(request)])
