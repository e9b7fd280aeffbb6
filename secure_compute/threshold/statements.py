"""Reading and checking what others signed: one place for each way in which it can be wrong."""

from collections.abc import Callable
from typing import TypeAlias

from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, NotCanonicalError, PeerProtocolError
from secure_compute.primitives.signature import SIGNATURE_SIZE, VerifyKey

Sign: TypeAlias = Callable[[bytes], bytes]

MAX_STATEMENT = 1 << 20


def split(wire: bytes) -> tuple[bytes, JSON]:
    """Return signature and statement of `signature ‖ canonical statement`.

    Raises:
        PeerProtocolError: it is too short, too long, or not canonical.
    """
    if not SIGNATURE_SIZE < len(wire) <= MAX_STATEMENT:
        raise PeerProtocolError("a signed statement has an impossible length")
    try:
        return wire[:SIGNATURE_SIZE], canonical.decode(wire[SIGNATURE_SIZE:])
    except NotCanonicalError as why:
        raise PeerProtocolError("a signed statement is not in canonical form") from why


def require_signed(key: VerifyKey, party: str, signature: bytes, statement: bytes) -> None:
    """Return if `party`, whose key this is, signed the statement.

    Raises:
        BadSignatureError: it did not, and nobody can be blamed for it.
    """
    try:
        key.verify(signature, statement)
    except BadSignatureError as why:
        raise BadSignatureError(f"{party} did not sign this, or not for this key or query") from why


def is_hash(value: object) -> bool:
    """Return whether `value` is SHA-256 in lower-case hexadecimal."""
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")
