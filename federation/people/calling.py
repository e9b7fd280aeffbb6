"""What a person's program says to the people's door, and what it signs: canonical bytes.

    Call(session="", body={"person": "ana", "code": "123456", "signature": …}).to_bytes()

A login is two things at once: a signature by the key that stays on the person's machine, and a code
of its phone. The signature is over the code, which is good once, so that no login counts twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from federation.errors import MalformedMessageError
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import NotCanonicalError

VERSION: Final = 1
LOGIN: Final = "entrepot login/1"
ENROL: Final = "entrepot person/1"


@dataclass(frozen=True, slots=True)
class Call:
    """One call. session: its token, hexadecimal, or "" of who has none; body: what is asked."""

    session: str = field(default="", repr=False)
    body: Mapping[str, JSON] = field(default_factory=dict, repr=False)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return canonical.encode(
            {"version": VERSION, "session": self.session, "body": dict(self.body)}
        )

    def text(self, name: str) -> str:
        """Return a text of the body.

        Raises:
            MalformedMessageError: there is none.
        """
        found = self.body.get(name)
        if not isinstance(found, str):
            raise MalformedMessageError(f"a call lacks '{name}'")
        return found

    def number(self, name: str) -> int:
        """Return a number of the body, 0 where it names none.

        Raises:
            MalformedMessageError: it is none.
        """
        found = self.body.get(name, 0)
        if type(found) is not int:
            raise MalformedMessageError(f"'{name}' of a call is no number")
        return found

    def hex(self, name: str) -> bytes:
        """Return bytes of the body, which are spelt in hexadecimal.

        Raises:
            MalformedMessageError: there are none.
        """
        try:
            return bytes.fromhex(self.text(name))
        except ValueError as why:
            raise MalformedMessageError(f"'{name}' of a call is not hexadecimal") from why

    def object(self, name: str) -> Mapping[str, JSON]:
        """Return an object of the body.

        Raises:
            MalformedMessageError: there is none.
        """
        found = self.body.get(name)
        if not isinstance(found, dict):
            raise MalformedMessageError(f"a call lacks '{name}'")
        return found


@dataclass(frozen=True, slots=True)
class Code:
    """A code of a phone or of paper, and the signature of a person's machine over it."""

    code: str = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Touch:
    """What a passkey answered to a challenge."""

    challenge: bytes = field(repr=False)
    passkey: Mapping[str, JSON] = field(repr=False)


def factor_of(call: Call) -> Code | Touch:
    """Return what somebody shows.

    Raises:
        MalformedMessageError: nothing whole.
    """
    if "passkey" in call.body:
        return Touch(call.hex("challenge"), call.object("passkey"))
    return code_of(call)


def code_of(call: Call) -> Code:
    """Return the code that somebody shows; errors: `factor_of`."""
    return Code(call.text("code"), call.hex("signature"))


def read_call(data: bytes) -> Call:
    """Read what `Call.to_bytes` wrote.

    Raises:
        MalformedMessageError: it is none of this version.
    """
    try:
        value = canonical.decode(data)
    except NotCanonicalError as why:
        raise MalformedMessageError("this is no call of a person") from why
    match value:
        case {"version": 1, "session": str(session), "body": dict(body), **rest} if not rest:
            return Call(session, body)
    raise MalformedMessageError("this is no call of a person of this version")


def login_statement(federation: str, person: str, code: str) -> bytes:
    """Return what a person's machine signs to log in with a code, or to confirm a session."""
    return canonical.encode([LOGIN, federation, person, code])


def enrol_statement(invitation: str, key: str) -> bytes:
    """Return what a new key signs, which shows that whoever brings it has it."""
    return canonical.encode([ENROL, invitation, key])
