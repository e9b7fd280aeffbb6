"""Passkeys (WebAuthn level 2): what an authenticator says, verified by the library, or refused.

    kept = registered(response, challenge, site)         # once, by somebody who has a session
    counter = asserted(response, challenge, site, kept)  # at a login

The user is verified every time (a finger, a PIN), so a passkey alone is two factors. A counter that
does not rise says that the authenticator was copied. What the attestation says of the make of an
authenticator is not asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from webauthn import verify_authentication_response, verify_registration_response
from webauthn.helpers import bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException

from federation.errors import FederationError


class BadPasskeyError(FederationError):
    """What an authenticator said is not of this place, this challenge or this key."""

    exit_code = 10


@dataclass(frozen=True, slots=True)
class Site:
    """Where passkeys are used: the host name, and the origin that the browser shows."""

    host: str
    origin: str


@dataclass(frozen=True, slots=True)
class Passkey:
    """What is kept of one. id: base64url; key: its public key, COSE; counter: its last one."""

    id: str
    key: bytes = field(repr=False)
    counter: int


def registered(response: Mapping[str, Any], challenge: bytes, site: Site) -> Passkey:
    """Return a new passkey. response: what `navigator.credentials.create` gave, as JSON.

    Raises:
        BadPasskeyError: it is not for this challenge, place and user.
    """
    try:
        found = verify_registration_response(
            credential=dict(response),
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, TypeError, KeyError) as why:
        raise BadPasskeyError("the passkey cannot be registered here; try again") from why
    return Passkey(
        bytes_to_base64url(found.credential_id), found.credential_public_key, found.sign_count
    )


def asserted(response: Mapping[str, Any], challenge: bytes, site: Site, kept: Passkey) -> int:
    """Return the new counter. response: what `navigator.credentials.get` gave, as JSON.

    Raises:
        BadPasskeyError: it is another credential, not for this challenge or place, not signed by
            the kept key, without its user, or its counter does not rise.
    """
    if response.get("id") != kept.id:
        raise BadPasskeyError("this passkey is none of this person's")
    try:
        found = verify_authentication_response(
            credential=dict(response),
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            credential_public_key=kept.key,
            credential_current_sign_count=kept.counter,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, TypeError, KeyError) as why:
        raise BadPasskeyError("the passkey does not open this door; try again") from why
    return int(found.new_sign_count)
