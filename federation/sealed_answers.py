"""What opens an answer, sealed so that only who asked can read it; letters are signed, not sealed.

    box = ephemeral X25519 key (32 bytes) ‖ AES-256-GCM(HKDF-SHA-256(shared), parts)

The key of a box takes the order, the keyholder and the list of ciphertexts: a box of another one
does not open. An ephemeral key is derived from a secret and from what it seals, so that what is
asked again is the same box, and no two contents ever meet under one key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from federation.joint_keys import pack, unpack
from secure_compute import canonical
from secure_compute.canonical import digest_bytes
from secure_compute.errors import PeerProtocolError
from secure_compute.primitives import derivation, sealing
from secure_compute.primitives.agreement import KEY_SIZE, AgreementKey

_NONCE: Final = bytes(sealing.NONCE_SIZE)  # every key seals once


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose box it is, of which answer. order: its id; listing: hash of the certified list."""

    order: str
    keyholder: str
    listing: str

    def encode(self) -> bytes:
        """Return the one spelling."""
        return canonical.encode(["entrepot.answer", self.order, self.keyholder, self.listing])


def seal(parts: Sequence[bytes], recipient: bytes, origin: Origin, secret: bytes) -> bytes:
    """Return the box. recipient: the public key of the order.

    secret: 32 bytes that only the sealer knows; the same secret and parts give the same box.

    Raises:
        PeerProtocolError: the recipient's key is none.
    """
    data, head = pack(parts), origin.encode()
    seed = derivation.expand(
        secret, "entrepot.answer", "ephemeral", recipient.hex(), digest_bytes(head + data)
    )
    ephemeral = AgreementKey(seed)
    key = _key(ephemeral.exchange(recipient), ephemeral.public, recipient, head)
    return ephemeral.public + sealing.seal(key, _NONCE, data, head)


def unseal(box: bytes, private: AgreementKey, origin: Origin) -> list[bytes]:
    """Return the parts of a box that was sealed to this key.

    Raises:
        PeerProtocolError: it was sealed to another key or is of another origin, or was changed.
        MalformedMessageError: it does not hold packed parts.
    """
    if len(box) < KEY_SIZE + sealing.OVERHEAD:
        raise PeerProtocolError("a sealed answer is cut off")
    public, head = box[:KEY_SIZE], origin.encode()
    key = _key(private.exchange(public), public, private.public, head)
    return unpack(sealing.open_sealed(key, _NONCE, box[KEY_SIZE:], head))


def _key(shared: bytes, ephemeral: bytes, recipient: bytes, head: bytes) -> bytes:
    return derivation.extract(shared, ephemeral + recipient, "entrepot.answer", head.hex())
