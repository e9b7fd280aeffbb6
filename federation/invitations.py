"""What a partner is handed so that it can join: one word, to be pasted behind `node join`.

    entrepot1_<base64url of: expiry 8, id 8, secret 20, pin 32, port 2, host, checksum 4>

Numbers are big endian; the checksum is the first four bytes of the SHA-256 of all before it. The
pin is the SHA-256 of the public key that the server at the address shows, so nothing has to be sent
to know whether it is the right one. The secret is good once; the server keeps only its hash.
"""

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass, field
from typing import Final

from federation.errors import ExpiredInvitationError, MalformedInvitationError

PREFIX: Final = "entrepot1_"
SECRET_SIZE: Final = 20
ID_SIZE: Final = 8
PIN_SIZE: Final = 32
_HEAD: Final = struct.Struct(f">Q{ID_SIZE}s{SECRET_SIZE}s{PIN_SIZE}sH")
_CHECK: Final = 4
_LONGEST: Final = 512
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?", re.ASCII).fullmatch
_DIGITS: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class Token:
    """One invitation as it is handed over.

    host, port: where the join service listens.
    pin:        SHA-256 of the public key that it shows [32].
    invitation: its id [8]; secret: good once [20].
    expires:    seconds since 1970.

    Raises:
        MalformedInvitationError: a field has another size or is of another kind.
    """

    host: str
    port: int
    pin: bytes
    invitation: bytes
    secret: bytes = field(repr=False)
    expires: int

    def __post_init__(self) -> None:
        sizes = (len(self.pin), len(self.invitation), len(self.secret))
        if sizes != (PIN_SIZE, ID_SIZE, SECRET_SIZE) or not _HOST(self.host):
            raise MalformedInvitationError("the token names no host, or a part has another size")
        if not 0 < self.port < 2**16 or not 0 <= self.expires < 2**63:
            raise MalformedInvitationError("the token names no port, or no time")

    @property
    def address(self) -> str:
        """`host:port`, as a connection is opened to it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        head = _HEAD.pack(self.expires, self.invitation, self.secret, self.pin, self.port)
        data = head + self.host.encode("ascii")
        return PREFIX + base64.urlsafe_b64encode(data + _checksum(data)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "Token":
        """Read a token, accepting exactly what `str` gives.

        Raises:
            MalformedInvitationError: it is none: cut off, altered, or of another version.
        """
        digits = text.removeprefix(PREFIX)
        if not text.startswith(PREFIX) or len(text) > _LONGEST or not _DIGITS(digits):
            raise MalformedInvitationError(
                f"this is no token: one begins with {PREFIX}, ask for it as one line of text"
            )
        try:
            whole = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
        except (ValueError, binascii.Error) as why:
            raise MalformedInvitationError("the token is cut off; copy all of it") from why
        data, check = whole[:-_CHECK], whole[-_CHECK:]
        if len(data) <= _HEAD.size or check != _checksum(data):
            raise MalformedInvitationError(
                "the token is cut off or has a wrong letter; copy it anew"
            )
        return cls._read(data, text)

    @classmethod
    def _read(cls, data: bytes, text: str) -> "Token":
        expires, invitation, secret, pin, port = _HEAD.unpack_from(data)
        try:
            host = data[_HEAD.size :].decode("ascii")
        except UnicodeDecodeError as why:
            raise MalformedInvitationError("the token names no host") from why
        token = cls(host, port, pin, invitation, secret, expires)
        if str(token) != text:
            raise MalformedInvitationError("the token is not in its one spelling; copy it anew")
        return token

    def require_open(self, now: float) -> None:
        """Return if the token has not expired.

        Raises:
            ExpiredInvitationError: it has; nothing was sent.
        """
        if now >= self.expires:
            raise ExpiredInvitationError(
                "the token has expired, and nothing was sent; ask the aggregator for another"
            )


def secret_hash(secret: bytes) -> str:
    """Return what is kept of a secret of 160 random bits, in hexadecimal; one hash is enough."""
    return hashlib.sha256(b"entrepot invitation/1\n" + secret).hexdigest()


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode() + data).digest()[:_CHECK]
