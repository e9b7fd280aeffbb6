"""The keys with which a node proves at the aggregator's ports which node it is: ECDSA on P-256.

One is for the Flower server, one for the stream; they are two, so that nothing that is signed with
one means something to whoever checks the other.
"""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from secure_compute.errors import LocalProtocolError

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, NotImplementedError)
"""What `cryptography` raises at bytes that are no key, or of a form that it does not read."""


def create_node_key(path: Path) -> bytes:
    """A fresh private key stands at `path` (OpenSSH, mode 0600); its public half is returned.

    The public key is one OpenSSH line and also stands at `path` + `.pub`. A key that is already
    there is kept.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, generate_private_key(SECP256R1()), PrivateFormat.OpenSSH)
    line = public_line(load_node_key(path))
    path.with_name(path.name + ".pub").write_bytes(line + b"\n")
    return line


def load_node_key(path: Path) -> EllipticCurvePrivateKey:
    """The private key at `path`.

    Raises:
        LocalProtocolError: there is no such file, or it holds something else.
    """
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, *_UNREADABLE) as error:
        message = f"{path} is missing or no node key; restore the one that was enrolled."
        raise LocalProtocolError(message) from error
    if not isinstance(key, EllipticCurvePrivateKey):
        message = f"{path} is not an ECDSA key; Flower accepts only NIST curves."
        raise LocalProtocolError(message)
    return key


def create_stream_key(path: Path) -> bytes:
    """A fresh private key stands at `path` (PKCS 8 in PEM, mode 0600); its public half is returned.

    The public half is PEM; `certificates.make_certificates` vouches for it. A key that is already
    there is kept.

    Raises:
        LocalProtocolError: the file that is there holds something else.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, generate_private_key(SECP256R1()), PrivateFormat.PKCS8)
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (TypeError, ValueError) as error:
        message = f"{path} is no stream key; restore the one that was certified."
        raise LocalProtocolError(message) from error
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_line(key: EllipticCurvePrivateKey) -> bytes:
    """The public half as one OpenSSH line, without comment or newline."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


def public_pem(line: bytes) -> bytes:
    """The PEM form that Flower registers, of a public key given as an OpenSSH line.

    Raises:
        LocalProtocolError: the line is not an ECDSA public key.
    """
    try:
        key = load_ssh_public_key(line)
    except _UNREADABLE as error:
        message = "This is not an OpenSSH public key; send the node's `.pub` file."
        raise LocalProtocolError(message) from error
    if not isinstance(key, EllipticCurvePublicKey):
        message = "The node's public key is not ECDSA; Flower accepts only NIST curves."
        raise LocalProtocolError(message)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_private(
    path: Path, key: EllipticCurvePrivateKey, form: PrivateFormat = PrivateFormat.PKCS8
) -> None:
    """Put a whole key at `path`, mode 0600, or none: what was cut off is written anew."""
    pem = key.private_bytes(Encoding.PEM, form, NoEncryption())
    draft = path.with_name(f".{path.name}.draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(pem)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
