"""The federation's own certificate authority, its one TLS server, and the clients it admits.

A client's certificate names its party in the one place that a TLS server hands on without parsing
anything itself, a URI among the alternative names. It is good for a client only, and a server's for
a server only.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secure_compute.errors import LocalProtocolError

_LIFETIME = timedelta(days=825)  # the longest that common TLS clients accept

UNREADABLE: Final = (
    *(ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension),
    *(x509.ExtensionNotFound, x509.UnsupportedGeneralNameType),
)
"""What reading a stranger's certificate or request may raise."""

_PARTY = "urn:entrepot:party:"
_CA_NAME = "Entrepot federation CA"


@dataclass(frozen=True, slots=True)
class ServerCertificates:
    """PEM files of a TLS server: what it shows, what it keeps, and who vouches for it.

    clients: the certificate of each party that the same authority vouches for.
    """

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)
    clients: Mapping[str, bytes] = field(default_factory=dict)


def make_certificates(
    now: datetime,
    hosts: tuple[str, ...] = (),
    clients: Mapping[str, bytes] = MappingProxyType({}),
) -> ServerCertificates:
    """A fresh authority, one server certificate and one for each client.

    The authority's key is dropped: it signs these certificates and never another.

    Args:
        now: from a day before it to 825 days after it, the certificates are good.
        hosts: the server's names and addresses beside localhost and 127.0.0.1.
        clients: each party's public key, PEM, as `node_keys.create_stream_key` returns it.

    Raises:
        LocalProtocolError: a client's key is no ECDSA public key.
    """
    authority_key, server_key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    ca_name = _name(_CA_NAME)
    ca = _authority(ca_name, authority_key, now)
    server = _server(ca_name, server_key.public_key(), authority_key, now, hosts)
    return ServerCertificates(
        _pem(ca),
        _pem(server),
        _private_pem(server_key),
        {
            party: _pem(_client(party, ca_name, _public_key(party, key), authority_key, now))
            for party, key in clients.items()
        },
    )


def write_certificates(folder: Path, certificates: ServerCertificates) -> None:
    """`ca.crt`, `server.crt` and `server.key` (mode 0600) stand in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(certificates.ca)
    (folder / "server.crt").write_bytes(certificates.certificate)
    file = os.open(folder / "server.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(certificates.key)


def write_client_certificate(folder: Path, certificates: ServerCertificates, party: str) -> None:
    """`ca.crt` and `stream.crt` stand in a node's folder, beside the `stream.key` it made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(certificates.ca)
    (folder / "stream.crt").write_bytes(certificates.clients[party])


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client's certificate says.

    party: None if it names not exactly one; key: its public key, PEM.
    """

    party: str | None
    until: datetime
    since: datetime
    key: bytes


def read_client_certificate(pem: bytes, ca: bytes) -> Shown:
    """Return what a client's certificate says, having checked who signed it.

    pem, ca: the certificate and its authority's, PEM. Whether its time is over is not looked at.

    Raises:
        LocalProtocolError: one of them is no certificate, or this authority did not sign it.
    """
    try:
        shown, authority = (x509.load_pem_x509_certificate(one) for one in (pem, ca))
        shown.verify_directly_issued_by(authority)
    except (*UNREADABLE, InvalidSignature) as error:
        message = "It is no certificate of this federation's authority; ask for another."
        raise LocalProtocolError(message) from error
    public = shown.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Shown(
        party_in(shown.extensions), shown.not_valid_after_utc, shown.not_valid_before_utc, public
    )


def require_issued(pem: bytes, ca: bytes) -> None:
    """Return if the authority `ca` signed the certificate `pem`, both PEM.

    Raises:
        LocalProtocolError: it did not, or one of them is no certificate.
    """
    read_client_certificate(pem, ca)


def self_signed(key: EllipticCurvePrivateKey, now: datetime, lifetime: timedelta) -> bytes:
    """Return the certificate, PEM, of an authority with this key."""
    return _pem(_authority(_name(_CA_NAME), key, now, lifetime))


def server_of(
    ca: bytes,
    ca_key: EllipticCurvePrivateKey,
    key: EllipticCurvePrivateKey,
    now: datetime,
    hosts: tuple[str, ...],
) -> bytes:
    """Return a server's certificate, PEM, of the authority `ca`, PEM."""
    issuer = x509.load_pem_x509_certificate(ca).subject
    return _pem(_server(issuer, key.public_key(), ca_key, now, hosts))


def client_of(
    ca: bytes,
    ca_key: EllipticCurvePrivateKey,
    party: str,
    public: bytes,
    now: datetime,
    lifetime: timedelta,
) -> bytes:
    """Return a party's certificate, PEM, of the authority `ca`, PEM.

    Raises:
        LocalProtocolError: the key, PEM, is no ECDSA public key.
    """
    issuer = x509.load_pem_x509_certificate(ca).subject
    key = _public_key(party, public)
    return _pem(_client(party, issuer, key, ca_key, now, lifetime))


def party_in(extensions: x509.Extensions) -> str | None:
    """Return the one party that a certificate's or a request's extensions name; None: not one."""
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return party_of_name(uris[0].encode()) if len(uris) == 1 == len(list(names)) else None


def name_of_party(party: str) -> str:
    """Return the alternative name that names a party."""
    return _PARTY + quote(party, safe="")


def party_of_name(name: bytes) -> str | None:
    """Return the party that an alternative name of a certificate names; None: it names none."""
    try:
        text = name.decode("ascii")
    except UnicodeDecodeError:
        return None
    party = unquote(text.removeprefix(_PARTY))
    return party if party and text == _PARTY + quote(party, safe="") else None


def _authority(
    name: x509.Name, key: EllipticCurvePrivateKey, now: datetime, lifetime: timedelta = _LIFETIME
) -> x509.Certificate:
    builder = _builder(name, name, key.public_key(), now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = _usage(signs_certificates=True)
    return builder.add_extension(usage, critical=True).sign(key, SHA256())


def _server(
    ca_name: x509.Name,
    public_key: EllipticCurvePublicKey,
    ca_key: EllipticCurvePrivateKey,
    now: datetime,
    hosts: tuple[str, ...],
) -> x509.Certificate:
    names = [_alternative(host) for host in dict.fromkeys(("localhost", "127.0.0.1", *hosts))]
    builder = _builder(_name("localhost"), ca_name, public_key, now)
    return _leaf(builder, names, ExtendedKeyUsageOID.SERVER_AUTH, ca_key)


def _client(
    party: str,
    ca_name: x509.Name,
    public_key: EllipticCurvePublicKey,
    ca_key: EllipticCurvePrivateKey,
    now: datetime,
    lifetime: timedelta = _LIFETIME,
) -> x509.Certificate:
    names = [x509.UniformResourceIdentifier(name_of_party(party))]
    builder = _builder(_name("Entrepot node"), ca_name, public_key, now, lifetime)
    return _leaf(builder, names, ExtendedKeyUsageOID.CLIENT_AUTH, ca_key)


def _leaf(
    builder: x509.CertificateBuilder,
    names: Sequence[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    ca_key: EllipticCurvePrivateKey,
) -> x509.Certificate:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return builder.add_extension(identifier, critical=False).sign(ca_key, SHA256())


def _builder(
    name: x509.Name,
    issuer: x509.Name,
    public_key: EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta = _LIFETIME,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, name, public_key, x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + lifetime)
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    return builder.add_extension(identifier, critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _public_key(party: str, pem: bytes) -> EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        message = f"The stream key of {party} is not a public key in PEM; ask it for another."
        raise LocalProtocolError(message) from error
    if not isinstance(key, EllipticCurvePublicKey):
        message = f"The stream key of {party} is not an ECDSA key; ask it for another."
        raise LocalProtocolError(message)
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _private_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
