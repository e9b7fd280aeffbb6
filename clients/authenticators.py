"""A person's authenticator at this machine, over USB or NFC (CTAP2): the only home of fido2.

    made(touch, challenge, user)           # what registers a passkey
    answered(touch, challenge, ids)        # what logs its owner in

What comes back is what a browser would give the server, as JSON. An authenticator is asked for the
host alone that its person's machine has pinned: whoever runs that server cannot have it sign in to
another place. It verifies its user itself, by a finger or a PIN.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from clients.errors import ClientError

if TYPE_CHECKING:
    from fido2.client import Fido2Client
    from fido2.ctap import CtapDevice

_ES256: Final = -7
_EDDSA: Final = -8


class NoAuthenticatorError(ClientError):
    """No authenticator is here that can be asked, or what asks one is not installed."""

    exit_code = 2


class NotTouchedError(ClientError):
    """An authenticator was asked and gave nothing: not touched, a wrong PIN, no such passkey."""

    exit_code = 10


@dataclass(frozen=True, slots=True)
class Touch:
    """For which place an authenticator is asked, and how its person is spoken to.

    host, origin: of the server, as the person's machine knows them.
    tell: says what is to be done now; pin: asks for the authenticator's PIN.
    """

    host: str
    origin: str
    tell: Callable[[str], None]
    pin: Callable[[], str]


def made(touch: Touch, challenge: bytes, person: str, federation: str) -> dict[str, Any]:
    """Return what a new passkey says of itself, as `navigator.credentials.create` gives it.

    Raises:
        NoAuthenticatorError, NotTouchedError: see there.
    """
    client = _client(touch)
    from fido2 import webauthn as w

    options = w.PublicKeyCredentialCreationOptions(
        rp=w.PublicKeyCredentialRpEntity(name=federation, id=touch.host),
        user=w.PublicKeyCredentialUserEntity(
            name=person, id=hashlib.sha256(f"{federation}\n{person}".encode()).digest()
        ),
        challenge=challenge,
        pub_key_cred_params=[
            w.PublicKeyCredentialParameters(type=w.PublicKeyCredentialType.PUBLIC_KEY, alg=alg)
            for alg in (_ES256, _EDDSA)
        ],
        authenticator_selection=w.AuthenticatorSelectionCriteria(
            resident_key=w.ResidentKeyRequirement.PREFERRED,
            user_verification=w.UserVerificationRequirement.REQUIRED,
        ),
    )
    return _said(lambda: client.make_credential(options), "attestationObject")


def answered(touch: Touch, challenge: bytes, ids: Collection[str]) -> dict[str, Any]:
    """Return what a passkey answers, as `navigator.credentials.get` gives it.

    ids: base64url, of the passkeys that were made here; none lets the authenticator choose.

    Raises:
        NoAuthenticatorError, NotTouchedError: see there.
    """
    client = _client(touch)
    from fido2 import webauthn as w
    from fido2.utils import websafe_decode

    known = [
        w.PublicKeyCredentialDescriptor(
            type=w.PublicKeyCredentialType.PUBLIC_KEY, id=websafe_decode(one)
        )
        for one in ids
    ]
    options = w.PublicKeyCredentialRequestOptions(
        challenge=challenge,
        rp_id=touch.host,
        allow_credentials=known or None,
        user_verification=w.UserVerificationRequirement.REQUIRED,
    )
    parts = ("authenticatorData", "signature")
    return _said(lambda: client.get_assertion(options).get_response(0), *parts)


def _said(ask: Callable[[], Any], *parts: str) -> dict[str, Any]:
    """Return what the server reads of a response, and nothing else of it."""
    from fido2.client import ClientError as RefusedError
    from fido2.ctap import CtapError

    try:
        whole = dict(ask())
    except (RefusedError, CtapError, OSError, ValueError) as why:
        raise NotTouchedError(
            f"the authenticator gave nothing ({why!r}): touch it when it blinks, give its own PIN, "
            "and use one that has a passkey of this place"
        ) from why
    response = {name: whole["response"][name] for name in ("clientDataJSON", *parts)}
    return {"id": whole["id"], "rawId": whole["rawId"], "type": "public-key", "response": response}


def _client(touch: Touch) -> "Fido2Client":
    device = _device()
    from fido2.client import DefaultClientDataCollector, Fido2Client, UserInteraction

    class Asked(UserInteraction):
        """Speaks to whoever sits here."""

        def prompt_up(self) -> None:
            touch.tell("touch the authenticator now")

        def request_pin(self, *_: Any) -> str | None:
            return touch.pin() or None

    return Fido2Client(device, DefaultClientDataCollector(touch.origin), Asked())


def _device() -> "CtapDevice":
    """Return the one authenticator that is here.

    Raises:
        NoAuthenticatorError: none is, several are, or fido2 is not installed.
    """
    found = connected()
    if len(found) != 1:
        said = "no authenticator is" if not found else "several authenticators are"
        raise NoAuthenticatorError(
            f"{said} connected to this machine: plug one in, or lay one on the reader; on Linux "
            "its user needs the right to open /dev/hidraw*"
        )
    return found[0]


def connected() -> "list[CtapDevice]":
    """Return the authenticators at USB and, where `pyscard` is installed, at a reader.

    Raises:
        NoAuthenticatorError: fido2 is not installed.
    """
    try:
        from fido2.hid import CtapHidDevice
    except ImportError as why:
        raise NoAuthenticatorError(
            "passkeys want the extra: pip install 'entrepot[passkey]'; or log in with a code"
        ) from why
    found: list[CtapDevice] = [*CtapHidDevice.list_devices()]
    try:
        from fido2.pcsc import CtapPcscDevice
    except ImportError:
        return found
    return [*found, *CtapPcscDevice.list_devices()]
