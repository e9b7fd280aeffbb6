"""Certificates: who may show what, whom they name, and that nothing else can be signed later."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.certificates import (
    _PARTY,
    make_certificates,
    party_of_name,
    write_certificates,
    write_client_certificate,
)
from secure_compute.primitives.node_keys import create_stream_key

NOW = datetime(2026, 5, 1, tzinfo=UTC)
PARTIES = ("warehouse-cn", "Recife Comércio", "a/b%2F")


def test_a_client_shows_who_it_is_and_is_no_server(tmp_path: Path) -> None:
    keys = {party: create_stream_key(tmp_path / f"{n}.key") for n, party in enumerate(PARTIES)}
    made = make_certificates(NOW, clients=keys)
    ca = x509.load_pem_x509_certificate(made.ca)
    for party, key in keys.items():
        shown = x509.load_pem_x509_certificate(made.clients[party])
        shown.verify_directly_issued_by(ca)
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        assert [party_of_name(uri.encode()) for uri in uris] == [party]
        assert len(list(names)) == 1
        usage = shown.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        constraints = shown.extensions.get_extension_for_class(x509.BasicConstraints).value
        assert not constraints.ca
        public = shown.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        assert public == key


def test_the_server_is_no_client() -> None:
    shown = x509.load_pem_x509_certificate(make_certificates(NOW).certificate)
    usage = shown.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_keys_are_kept_to_their_owners_and_the_authoritys_is_gone(tmp_path: Path) -> None:
    public = create_stream_key(tmp_path / "stream.key")
    assert create_stream_key(tmp_path / "stream.key") == public  # a key that is there is kept
    made = make_certificates(NOW, clients={"a": public})
    write_certificates(tmp_path / "server", made)
    write_client_certificate(tmp_path, made, "a")
    assert (tmp_path / "stream.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "stream.crt").read_bytes() == made.clients["a"]
    authority = x509.load_pem_x509_certificate(made.ca).public_key()
    for path in tmp_path.rglob("*.key"):
        assert load_pem_private_key(path.read_bytes(), None).public_key() != authority
    assert b"PRIVATE" not in made.ca + made.certificate + made.clients["a"]
    assert "PRIVATE" not in repr(made)


def _rsa() -> bytes:
    key = generate_private_key(65537, 2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("key", [b"", b"ssh-rsa AAAA", _rsa()])
def test_a_key_that_is_none_is_refused_by_its_partys_name(key: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="stream key of a "):
        make_certificates(NOW, clients={"a": key})


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stream.key").write_bytes(b"4711")
    with pytest.raises(LocalProtocolError, match=r"stream\.key"):
        create_stream_key(tmp_path / "stream.key")


@given(st.binary(max_size=40) | st.binary(max_size=20).map(_PARTY.encode().__add__))
def test_a_name_names_a_party_in_one_spelling_or_none(name: bytes) -> None:
    party = party_of_name(name)
    if party is not None:
        assert name.startswith(_PARTY.encode())
        assert party_of_name(name + b"%41") != party
    assert party_of_name(b"x" + name) is None
