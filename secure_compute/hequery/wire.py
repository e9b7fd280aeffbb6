"""The outside of keys and ciphertexts, checked byte by byte before a C++ library reads on.

TenSEAL 0.3.18 wraps SEAL blobs in protobuf. A ciphertext is field 1, packed sizes, exactly one, and
field 2, exactly one SEAL ciphertext. A public key is field 1, the parameters, byte for byte those
of `QUERY_128`, and field 2: the key, a flag, a scale. Without the first of these checks the library
crashes on a ciphertext that lacks its sizes; without the second a peer chooses the parameters.
"""

from typing import Final

from secure_compute.errors import PeerProtocolError

_SIZES: Final = 0x0A
_BYTES_1: Final = 0x0A
_BYTES_2: Final = 0x12
_SEAL_MAGIC: Final = b"\x5e\xa1\x10\x04\x03"
"""SEAL blobs begin so: magic 0xA15E, a header of 16 bytes, version 4.3."""

_PARAMETERS: Final = bytes.fromhex(
    "5ea1100403020000510000000000000028b52ffd20a1c5010044020100200005005ea110040300000018000180fdffff"
    "07fcc0ffffff0ff6ebffffffffff0f0800a016505f402b50d84e0a01ee60f00588"
)
"""How the library spells `QUERY_128`; a test holds it against a fresh key."""

MAX_CIPHERTEXT: Final = 1 << 20
MAX_PUBLIC_KEY: Final = 1 << 20


def require_ciphertext(wire: bytes, width: int) -> None:
    """Accept the bytes of one ciphertext of `width` integers.

    Raises:
        PeerProtocolError: anything is missing, repeated, or left over.
    """
    size = _varint(width)
    head = bytes((_SIZES, len(size))) + size
    if len(wire) > MAX_CIPHERTEXT or not wire.startswith(head):
        raise PeerProtocolError(f"not one ciphertext of {width} integers")
    blob, rest = _field(wire[len(head) :], _BYTES_2)
    if rest:
        raise PeerProtocolError("something follows the ciphertext")
    _require_seal(blob)


def require_public_key(wire: bytes) -> None:
    """Accept the bytes of one public key of the one parameter set.

    Raises:
        PeerProtocolError: it is of another set, or holds more than a public key.
    """
    if len(wire) > MAX_PUBLIC_KEY:
        raise PeerProtocolError("a public key has an impossible length")
    parameters, rest = _field(wire, _BYTES_1)
    if parameters != _PARAMETERS:
        raise PeerProtocolError("a public key of other parameters than this version uses")
    public, rest = _field(rest, _BYTES_2)
    if rest:
        raise PeerProtocolError("something follows the public key")
    blob, tail = _field(public, _BYTES_1)
    # A flag (field 2, one byte) and a scale (field 3, a double) of no use here; nothing else.
    if len(tail) != 11 or tail[0] != 0x10 or tail[2] != 0x19:
        raise PeerProtocolError("a public key holds other fields than a public key has")
    _require_seal(blob)


def _require_seal(blob: bytes) -> None:
    if not blob.startswith(_SEAL_MAGIC) or int.from_bytes(blob[8:16], "little") != len(blob):
        raise PeerProtocolError("a key or ciphertext is cut, or of another library version")


def _field(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Return the length-delimited field that `data` begins with, and what follows it."""
    if not data or data[0] != tag:
        raise PeerProtocolError("a field is missing, or stands in the wrong place")
    length, start = 0, 1
    for place in range(4):
        byte = data[start + place] if start + place < len(data) else 0x80
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            start += place + 1
            break
    else:
        raise PeerProtocolError("a field has an impossible length")
    if len(data) < start + length:
        raise PeerProtocolError("a field is cut")
    return data[start : start + length], data[start + length :]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
