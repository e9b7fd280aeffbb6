"""What a passkey is asked to sign: made without being kept, so that asking fills no table.

    asked = challenge_for(secret, "ana", os.urandom(16), now)    # nonce | expiry | HMAC-SHA-256
    expiry_of(secret, "ana", asked, now)                         # None where it does not count

The HMAC is over the person, the nonce and the expiry, so that a challenge is of one person and
ends by itself. That it is answered once is for whoever keeps the ones that were.
"""

import hmac
from typing import Final

from secure_compute import canonical

CHALLENGE_SECONDS: Final = 120
NONCE_SIZE: Final = 16
SECRET_SIZE: Final = 32
_EXPIRY_SIZE: Final = 8
_TAG_SIZE: Final = 32
CHALLENGE_SIZE: Final = NONCE_SIZE + _EXPIRY_SIZE + _TAG_SIZE


def challenge_for(secret: bytes, person: str, nonce: bytes, now: float) -> bytes:
    """Return a challenge, 56 bytes, that counts for two minutes.

    secret: 32 random bytes of the server; nonce: 16 random bytes; now: seconds since 1970.
    """
    if len(nonce) != NONCE_SIZE:
        raise ValueError(f"a nonce is {NONCE_SIZE} random bytes")
    said = nonce + (int(now) + CHALLENGE_SECONDS).to_bytes(_EXPIRY_SIZE)
    return said + _tag(secret, person, said)


def expiry_of(secret: bytes, person: str, challenge: bytes, now: float) -> int | None:
    """Return until when a challenge counts; None where it is another's, forged or over."""
    said, tag = challenge[:-_TAG_SIZE], challenge[-_TAG_SIZE:]
    if len(challenge) != CHALLENGE_SIZE or not hmac.compare_digest(_tag(secret, person, said), tag):
        return None
    expires = int.from_bytes(said[NONCE_SIZE:])
    return expires if now < expires else None


def _tag(secret: bytes, person: str, said: bytes) -> bytes:
    statement = canonical.encode(["entrepot challenge/1", person, said.hex()])
    return hmac.digest(secret, statement, "sha256")
