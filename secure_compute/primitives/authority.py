"""The authority of a federation that stays: its key is a file in the aggregator's folder alone.

It says which connection is of which party and for how long. Who is a member it does not say: the
members do, with their identity keys. So whoever takes this key can pretend to be a party's
connection, and neither read nor sign a word of that party.

A party asks with a request that its own key signed; a certificate is short-lived and renewed.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.primitives import certificates
from secure_compute.primitives.node_keys import PLAIN, PrivateFiles, write_private

CA_LIFETIME: Final = timedelta(days=3650)
CLIENT_LIFETIME: Final = timedelta(days=30)
"""How long a party's certificate is good; it is renewed when a third of that is left."""
_CURVES: Final = (SECP256R1, SECP384R1)
_UNREADABLE: Final = (OSError, *certificates.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Authority:
    """Who vouches: its certificate, PEM, and the key that it signs with."""

    certificate: bytes
    key: EllipticCurvePrivateKey = field(repr=False)


def create_authority(folder: Path, now: datetime, files: PrivateFiles = PLAIN) -> Authority:
    """`ca.key` (mode 0600) and `ca.crt` stand in the folder; those that are there are kept.

    Raises:
        LocalProtocolError: what is there is no such pair.
    """
    path, shown = folder / "ca.key", folder / "ca.crt"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_private(path, generate_private_key(SECP256R1()), files=files)
    if not shown.exists():
        shown.write_bytes(certificates.self_signed(_key(path, files), now, CA_LIFETIME))
    return load_authority(folder, files)


def load_authority(folder: Path, files: PrivateFiles = PLAIN) -> Authority:
    """Return the authority whose files stand in the folder.

    Raises:
        LocalProtocolError: one is missing or damaged, or they are not of one another.
    """
    key, pem = _key(folder / "ca.key", files), _read(folder / "ca.crt")
    if _public(pem) != key.public_key():
        raise LocalProtocolError(
            f"{folder / 'ca.crt'} is not the certificate of ca.key beside it; restore both"
        )
    return Authority(pem, key)


def create_server(
    authority: Authority,
    folder: Path,
    now: datetime,
    hosts: tuple[str, ...] = (),
    files: PrivateFiles = PLAIN,
) -> None:
    """`server.key` (mode 0600) and `server.crt` of this authority stand in the folder.

    The key that is there is kept, since invitations that are under way name it.
    """
    path = folder / "server.key"
    if not path.exists():
        write_private(path, generate_private_key(SECP256R1()), files=files)
    key = _key(path, files)
    pem = certificates.server_of(authority.certificate, authority.key, key, now, hosts)
    (folder / "server.crt").write_bytes(pem)


def certify(
    authority: Authority, party: str, public: bytes, now: datetime, lifetime: timedelta
) -> bytes:
    """Return a certificate, PEM, that a connection with the key `public` is of `party`.

    Raises:
        LocalProtocolError: the key is no ECDSA public key.
    """
    words = (authority.certificate, authority.key, party, public)
    return certificates.client_of(*words, now, lifetime)


def request_certificate(key: Path, party: str, files: PrivateFiles = PLAIN) -> bytes:
    """Return a request, PEM, signed by the private key at `key`, which is made where it is missing.

    Raises:
        LocalProtocolError: the file that is there holds no stream key.
    """
    from secure_compute.primitives.node_keys import create_stream_key

    create_stream_key(key, files)
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Entrepot node")])
    )
    name = x509.UniformResourceIdentifier(certificates.name_of_party(party))
    builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
    return builder.sign(_key(key, files), SHA256()).public_bytes(Encoding.PEM)


def read_request(pem: bytes, party: str) -> bytes:
    """Return the public key, PEM, for which `party` asks, and of which it has the other half.

    Raises:
        PeerProtocolError: it is no request, of another party, or not signed by the key in it.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
        valid, key = request.is_signature_valid, request.public_key()
        named = certificates.party_in(request.extensions)
    except _UNREADABLE as why:
        raise PeerProtocolError("this is no request for a certificate") from why
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise PeerProtocolError("a certificate is given to a key on P-256 or P-384 only")
    if not valid or named != party:
        raise PeerProtocolError(f"the request is not {party}'s, or not signed by the key in it")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_pin(certificate: bytes) -> bytes:
    """Return the SHA-256 of the public key of a certificate, PEM or DER [32].

    Raises:
        PeerProtocolError: it is no certificate.
    """
    is_pem = certificate.startswith(b"-----")
    load = x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate
    try:
        key = load(certificate).public_key()
    except _UNREADABLE as why:
        raise PeerProtocolError("what the server shows is no certificate") from why
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


def _public(pem: bytes) -> object:
    try:
        return x509.load_pem_x509_certificate(pem).public_key()
    except _UNREADABLE as why:
        raise LocalProtocolError("ca.crt is no certificate; restore it") from why


def _key(path: Path, files: PrivateFiles) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(_read(path, files), None)
    except _UNREADABLE as why:
        raise LocalProtocolError(f"{path} is no private key; restore it from a copy") from why
    if not isinstance(key, EllipticCurvePrivateKey):
        raise LocalProtocolError(f"{path} is not an ECDSA key; restore the one that was made here")
    return key


def _read(path: Path, files: PrivateFiles = PLAIN) -> bytes:
    try:
        return files.read(path)
    except OSError as why:
        raise LocalProtocolError(f"{path} is missing; restore it from a copy") from why
