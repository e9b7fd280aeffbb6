"""An authenticator in software: makes passkeys and answers challenges (WebAuthn level 2)."""

import hashlib
import json
import os
import struct
from dataclasses import dataclass, field
from typing import Any, Final

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import bytes_to_base64url

PRESENT, VERIFIED, ATTESTED = 1, 4, 64
HOST: Final = "127.0.0.1"
ORIGIN: Final = "https://127.0.0.1"


@dataclass
class Authenticator:
    """One credential of one place. counter: of the next answer."""

    host: str = HOST
    origin: str = ORIGIN
    counter: int = 0
    flags: int = PRESENT | VERIFIED
    id: bytes = field(default_factory=lambda: os.urandom(16))
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))

    def register(self, challenge: bytes) -> dict[str, Any]:
        """Return what `navigator.credentials.create` gives."""
        attested = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": self.known()})
        client = self._client("webauthn.create", challenge)
        return self._response(attestationObject=attested, clientDataJSON=client)

    def answer(self, challenge: bytes) -> dict[str, Any]:
        """Return what `navigator.credentials.get` gives."""
        client = self._client("webauthn.get", challenge)
        data, signature = self.signed(hashlib.sha256(client).digest())
        return self._response(authenticatorData=data, clientDataJSON=client, signature=signature)

    def known(self) -> bytes:
        """Return what an authenticator says of a new credential: its data, with its public key."""
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        known = bytes(16) + struct.pack(">H", len(self.id)) + self.id + cbor2.dumps(cose)
        return self._data(ATTESTED) + known

    def signed(self, client_hash: bytes) -> tuple[bytes, bytes]:
        """Return its data, and its signature over them and the hash of what the client said."""
        data = self._data(0)
        return data, self.key.sign(data + client_hash, ECDSA(SHA256()))

    def _data(self, more: int) -> bytes:
        flags = bytes([self.flags | more])
        return hashlib.sha256(self.host.encode()).digest() + flags + struct.pack(">I", self.counter)

    def _client(self, kind: str, challenge: bytes) -> bytes:
        said = {"type": kind, "challenge": bytes_to_base64url(challenge), "origin": self.origin}
        return json.dumps(said).encode()

    def _response(self, **parts: bytes) -> dict[str, Any]:
        name = bytes_to_base64url(self.id)
        inner = {part: bytes_to_base64url(data) for part, data in parts.items()}
        return {"id": name, "rawId": name, "type": "public-key", "response": inner}
