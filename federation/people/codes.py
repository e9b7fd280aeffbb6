"""Six digits of a phone, good once (RFC 6238: HMAC-SHA-1, 30 seconds, one step either way).

The library makes the digits; which step they are of, and that none counts twice, is said here: a
code is burnt with every one before it, so that one that was looked at over a shoulder, or sent
twice, is worth nothing.
"""

import base64
import hmac
from typing import Final

import pyotp

STEP: Final = 30
DIGITS: Final = 6
SECRET_SIZE: Final = 20
_EITHER_WAY: Final = 1


def secret_of(random: bytes) -> str:
    """Return the shared secret, base32, of 20 random bytes."""
    if len(random) != SECRET_SIZE:
        raise ValueError(f"a secret is made of {SECRET_SIZE} random bytes")
    return base64.b32encode(random).decode()


def uri_of(secret: str, person: str, federation: str) -> str:
    """Return the `otpauth://` address that an authenticator takes; it holds the secret."""
    return _totp(secret).provisioning_uri(name=person, issuer_name=federation)


def step_of(secret: str, code: str, now: float, burnt: int) -> int | None:
    """Return the step that `code` is of; None where it is of none that counts now.

    burnt: the last step that was used: no code of it or of one before counts any more.
    """
    totp, here = _totp(secret), int(now) // STEP
    if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
        return None
    steps = range(max(0, here - _EITHER_WAY), here + _EITHER_WAY + 1)
    found = [step for step in steps if hmac.compare_digest(totp.generate_otp(step), code)]
    return next((step for step in found if step > burnt), None)


def _totp(secret: str) -> pyotp.TOTP:
    return pyotp.TOTP(secret, digits=DIGITS, interval=STEP)
