"""The authority stays, signs what was asked with the right key, and leaves no half key behind."""

import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP521R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from federation import whole_files
from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.primitives import authority as made
from secure_compute.primitives.certificates import name_of_party, read_client_certificate
from secure_compute.primitives.node_keys import create_stream_key

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MONTH = timedelta(days=30)


def test_the_authority_is_kept_with_its_key(tmp_path: Path) -> None:
    one = made.create_authority(tmp_path, NOW)
    assert made.create_authority(tmp_path, NOW).certificate == one.certificate
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(one)
    shown = x509.load_pem_x509_certificate(one.certificate)
    constraints = shown.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints.ca and constraints.path_length == 0


def test_an_authority_cut_off_before_its_certificate_goes_on_with_its_key(tmp_path: Path) -> None:
    one = made.create_authority(tmp_path, NOW)
    (tmp_path / "ca.crt").unlink()
    again = made.create_authority(tmp_path, NOW)
    assert made.key_pin(again.certificate) == made.key_pin(one.certificate)


def test_a_key_cut_off_in_the_middle_is_no_key(tmp_path: Path, monkeypatch) -> None:
    def cut(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        made.create_authority(tmp_path, NOW)
    with pytest.raises(KeyboardInterrupt):
        create_stream_key(tmp_path / "stream.key")
    assert not (tmp_path / "ca.key").exists() and not (tmp_path / "stream.key").exists()
    monkeypatch.undo()
    made.create_authority(tmp_path, NOW)
    create_stream_key(tmp_path / "stream.key")


@pytest.mark.parametrize("name", ["ca.key", "ca.crt"])
def test_a_damaged_authority_is_refused(tmp_path: Path, name: str) -> None:
    made.create_authority(tmp_path, NOW)
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(LocalProtocolError):
        made.create_authority(tmp_path, NOW)


def test_two_halves_of_two_authorities_are_refused(tmp_path: Path) -> None:
    made.create_authority(tmp_path / "a", NOW)
    made.create_authority(tmp_path / "b", NOW)
    (tmp_path / "a" / "ca.crt").write_bytes((tmp_path / "b" / "ca.crt").read_bytes())
    with pytest.raises(LocalProtocolError, match=r"not the certificate of ca\.key"):
        made.load_authority(tmp_path / "a")


def test_a_certificate_is_of_the_party_for_its_key_and_short_lived(tmp_path: Path) -> None:
    ca = made.create_authority(tmp_path, NOW)
    request = made.request_certificate(tmp_path / "stream.key", "warehouse-cn")
    public = made.read_request(request, "warehouse-cn")
    assert public == create_stream_key(tmp_path / "stream.key")
    pem = made.certify(ca, "warehouse-cn", public, NOW, MONTH)
    shown = read_client_certificate(pem, ca.certificate)
    assert (shown.party, shown.key, shown.until) == ("warehouse-cn", public, NOW + MONTH)
    other = made.create_authority(tmp_path / "other", NOW)
    with pytest.raises(LocalProtocolError):
        read_client_certificate(pem, other.certificate)


def test_a_servers_key_stays_and_so_does_its_pin(tmp_path: Path) -> None:
    ca = made.create_authority(tmp_path, NOW)
    made.create_server(ca, tmp_path, NOW, ("join.example",))
    first = (tmp_path / "server.crt").read_bytes()
    made.create_server(ca, tmp_path, NOW, ("join.example", "10.0.0.1"))
    again = (tmp_path / "server.crt").read_bytes()
    assert first != again and made.key_pin(first) == made.key_pin(again)
    der = x509.load_pem_x509_certificate(again).public_bytes(Encoding.DER)
    assert made.key_pin(der) == made.key_pin(again)
    assert made.key_pin(again) != made.key_pin(ca.certificate)


def _request(key, party="cn", signed_by=None) -> bytes:
    name = x509.UniformResourceIdentifier(name_of_party(party))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
    digest = None if isinstance(key, Ed25519PrivateKey) else SHA256()
    return builder.sign(signed_by or key, digest).public_bytes(Encoding.PEM)


def test_a_request_of_another_party_or_kind_of_key_is_refused() -> None:
    key = generate_private_key(SECP256R1())
    assert made.read_request(_request(key), "cn") == key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(PeerProtocolError, match="not cn's"):
        made.read_request(_request(key, "eu"), "cn")
    for other in (generate_private_key(SECP521R1()), Ed25519PrivateKey.generate()):
        with pytest.raises(PeerProtocolError, match="P-256 or P-384"):
            made.read_request(_request(other), "cn")


def test_a_request_that_names_another_key_than_signed_it_is_refused() -> None:
    one, two = (_request(generate_private_key(SECP256R1())) for _ in range(2))
    der = [x509.load_pem_x509_csr(pem) for pem in (one, two)]
    whole = der[0].public_bytes(Encoding.DER)
    keys = [
        request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for request in der
    ]
    swapped = x509.load_der_x509_csr(whole.replace(keys[0], keys[1]))
    with pytest.raises(PeerProtocolError, match="not signed by the key"):
        made.read_request(swapped.public_bytes(Encoding.PEM), "cn")


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE REQUEST-----\n", b"\0" * 99])
def test_what_is_no_request_or_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        made.read_request(pem, "cn")
    with pytest.raises(PeerProtocolError):
        made.key_pin(pem)


def test_a_certificate_of_no_known_version_is_refused(tmp_path: Path) -> None:
    """X.509 knows versions 1 to 3; the library has an error of its own for others."""
    made.create_authority(tmp_path, NOW)
    pem = (tmp_path / "ca.crt").read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    other = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x0a", 1)
    assert other != der
    with pytest.raises(PeerProtocolError, match="no certificate"):
        made.key_pin(other)
    armoured = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(other)
    with pytest.raises(LocalProtocolError, match="no certificate"):
        read_client_certificate(armoured + b"-----END CERTIFICATE-----\n", pem)


def test_a_file_is_whole_or_what_it_was(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a" / "file"
    whole_files.keep_file(path, b"old", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600

    def cut(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        whole_files.keep_file(path, b"new")
    assert path.read_bytes() == b"old"
