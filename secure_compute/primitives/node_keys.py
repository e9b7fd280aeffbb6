"""The keys with which a node proves at the aggregator's ports which node it is: ECDSA on P-256.

One is for the Flower server, one for the stream; they are two, so that nothing that is signed with
one means something to whoever checks the other.
"""

import os
from pathlib import Path
from secrets import token_hex
from typing import Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
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
"""What `cryptography` raises at bytes that are no key; the last at a compressed point."""


class PrivateFiles(Protocol):
    """How private keys lie on disk: whether they are sealed there is not known here."""

    def read(self, path: Path) -> bytes:
        """Return the bytes that were written to `path`.

        Raises:
            OSError: there are none.
        """
        ...

    def write(self, path: Path, data: bytes) -> None:
        """Put all of the bytes at `path`, for its owner alone, or none."""
        ...


class PlainFiles:
    """Private keys as they are, mode 0600."""

    def read(self, path: Path) -> bytes:
        """Return what the file holds."""
        return path.read_bytes()

    def write(self, path: Path, data: bytes) -> None:
        """Put a whole file at `path`, or none: what was cut off is written anew."""
        draft = path.with_name(f".{path.name}.draft")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)


PLAIN: Final = PlainFiles()


def create_node_key(path: Path, files: PrivateFiles = PLAIN) -> bytes:
    """A fresh private key stands at `path` (OpenSSH, mode 0600); its public half is returned.

    The public key is one OpenSSH line and also stands at `path` + `.pub`. A key that is already
    there is kept.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, generate_private_key(SECP256R1()), PrivateFormat.OpenSSH, files)
    line = public_line(load_node_key(path, files))
    path.with_name(path.name + ".pub").write_bytes(line + b"\n")
    return line


def load_node_key(path: Path, files: PrivateFiles = PLAIN) -> EllipticCurvePrivateKey:
    """The private key at `path`.

    Raises:
        LocalProtocolError: there is no such file, or it holds something else.
    """
    try:
        key = load_ssh_private_key(files.read(path), None)
    except (OSError, *_UNREADABLE) as error:
        message = f"{path} is missing or no node key; restore the one that was enrolled."
        raise LocalProtocolError(message) from error
    if not isinstance(key, EllipticCurvePrivateKey):
        message = f"{path} is not an ECDSA key; Flower accepts only NIST curves."
        raise LocalProtocolError(message)
    return key


def create_stream_key(path: Path, files: PrivateFiles = PLAIN) -> bytes:
    """A fresh private key stands at `path` (PKCS 8 in PEM, mode 0600); its public half is returned.

    The public half is PEM; `certificates.make_certificates` vouches for it. A key that is already
    there is kept.

    Raises:
        LocalProtocolError: the file that is there holds something else.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, generate_private_key(SECP256R1()), PrivateFormat.PKCS8, files)
    try:
        key = load_pem_private_key(files.read(path), None)
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


def locked_pem(pem: bytes) -> tuple[bytes, bytes]:
    """Return a private key, PEM, encrypted under a password that was just made up; and that.

    Raises:
        LocalProtocolError: it is no private key.
    """
    password = token_hex(16).encode()
    try:
        key = load_pem_private_key(pem, None)
    except _UNREADABLE as error:
        raise LocalProtocolError("This is no private key, PEM; restore it.") from error
    lock = BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock), password


def write_private(
    path: Path,
    key: EllipticCurvePrivateKey,
    form: PrivateFormat = PrivateFormat.PKCS8,
    files: PrivateFiles = PLAIN,
) -> None:
    """Put a whole key at `path`, or none."""
    files.write(path, key.private_bytes(Encoding.PEM, form, NoEncryption()))
