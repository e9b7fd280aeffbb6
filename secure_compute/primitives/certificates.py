"""The federation's own certificate authority, and the certificate of its one TLS server."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = timedelta(days=825)  # the longest that common TLS clients accept


@dataclass(frozen=True, slots=True)
class ServerCertificates:
    """PEM files of a TLS server: what it shows, what it keeps, and who vouches for it."""

    ca: bytes
    certificate: bytes
    key: bytes


def make_certificates(now: datetime, hosts: tuple[str, ...] = ()) -> ServerCertificates:
    """A fresh authority and one server certificate for localhost, 127.0.0.1 and `hosts`.

    The authority's key is dropped: it signs this one certificate and never another.
    """
    authority_key, server_key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    ca_name, name = _name("Entrepot federation CA"), _name("localhost")
    ca = _authority(ca_name, authority_key, now)
    server = _server(name, ca_name, server_key.public_key(), authority_key, now, hosts)
    return ServerCertificates(
        ca.public_bytes(Encoding.PEM), server.public_bytes(Encoding.PEM), _private_pem(server_key)
    )


def write_certificates(folder: Path, certificates: ServerCertificates) -> None:
    """`ca.crt`, `server.crt` and `server.key` (mode 0600) stand in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(certificates.ca)
    (folder / "server.crt").write_bytes(certificates.certificate)
    file = os.open(folder / "server.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(certificates.key)


def _authority(name: x509.Name, key: EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    builder = _builder(name, name, key.public_key(), now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = _usage(signs_certificates=True)
    return builder.add_extension(usage, critical=True).sign(key, SHA256())


def _server(
    name: x509.Name,
    ca_name: x509.Name,
    public_key: EllipticCurvePublicKey,
    ca_key: EllipticCurvePrivateKey,
    now: datetime,
    hosts: tuple[str, ...],
) -> x509.Certificate:
    names = [_alternative(host) for host in dict.fromkeys(("localhost", "127.0.0.1", *hosts))]
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = _builder(name, ca_name, public_key, now)
    builder = builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = builder.add_extension(purpose, critical=False)
    return builder.add_extension(identifier, critical=False).sign(ca_key, SHA256())


def _builder(
    name: x509.Name, issuer: x509.Name, public_key: EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, name, public_key, x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + _LIFETIME)
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


def _private_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
