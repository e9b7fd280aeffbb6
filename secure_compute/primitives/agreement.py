"""X25519 key agreement (RFC 7748): two parties and one secret that nobody else knows."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from secure_compute.errors import LocalProtocolError, PeerProtocolError

KEY_SIZE = 32


@dataclass(frozen=True, slots=True)
class AgreementKey:
    """A private X25519 key; it never prints itself."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != KEY_SIZE:
            raise LocalProtocolError(f"an agreement key is {KEY_SIZE} bytes, not {len(self.seed)}")

    @property
    def public(self) -> bytes:
        """The public half, 32 bytes."""
        return X25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()

    def exchange(self, public: bytes) -> bytes:
        """Return the 32 bytes shared with the owner of `public`.

        Raises:
            PeerProtocolError: it is no public key, or one with which every secret is the same.
        """
        try:
            peer = X25519PublicKey.from_public_bytes(public)
            return X25519PrivateKey.from_private_bytes(self.seed).exchange(peer)
        except ValueError as why:
            raise PeerProtocolError("not an X25519 public key, or one of low order") from why
