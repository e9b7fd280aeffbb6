"""A database across a network is asked who it is, before it hears of a user or a password.

It listens on two addresses that only this machine reaches, and its certificate names one of them.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clients.errors import ClientError, SourceError, UnreachableSourceError
from clients.snapshots import refresh
from secure_compute.primitives import certificates
from secure_compute.primitives.certificates import ServerCertificates, make_certificates
from tests import mariadb, postgres, sourced
from tests.sourced import TABLE

USER, HOLDER, PASSWORD = "reader", "holder", "open-sesame-4711"
NAMED, OTHER = mariadb.ADDRESSES
PARTY: Final = "shop"
CA: Final = {"postgresql": "sslrootcert", "mysql": "ssl_ca"}


@dataclass(frozen=True)
class Server:
    """A server with TLS. log: where it writes down who tried to log in."""

    kind: str
    port: int
    log: Path
    own: Path

    def url(self, host: str, user: str = USER, **options: object) -> str:
        words = "&".join(f"{name}={value}" for name, value in options.items())
        database = "postgres" if self.kind == "postgresql" else "shop"
        return f"{self.kind}://{user}@{host}:{self.port}/{database}?{words}"

    def trusting(self, host: str, **options: object) -> str:
        return self.url(host, **{CA[self.kind]: self.own / "ca.crt", **options})


@contextmanager
def hearing(server: Server, user: str = USER) -> Iterator[list[bool]]:
    """Give a list that says afterwards whether the server heard of the user meanwhile."""
    before, heard = len(server.log.read_bytes()), list[bool]()
    yield heard
    heard.append(user.encode() in server.log.read_bytes()[before:])


@pytest.fixture(scope="module")
def issued() -> tuple[ServerCertificates, bytes]:
    """The server's certificates with one of a client; and the client's key, PEM."""
    key = generate_private_key(SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    made = make_certificates(datetime.now(UTC), (NAMED,), {PARTY: public})
    return made, certificates._private_pem(key)


@pytest.fixture(scope="module", params=["postgresql", "mysql"])
def server(
    request: pytest.FixtureRequest,
    issued: tuple[ServerCertificates, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    own = tmp_path_factory.mktemp("own")
    for name, text in zip(("ca.crt", "own.crt", "own.key"), pems(*issued), strict=True):
        (own / name).write_bytes(text)
    began = _postgresql if request.param == "postgresql" else _mysql
    with began(issued[0], own) as begun:
        yield begun


@pytest.fixture
def mysql(server: Server) -> Server:
    if server.kind != "mysql":
        pytest.skip("what it asks for stands in the other options of its own library")
    return server


def pems(tls: ServerCertificates, key: bytes) -> tuple[bytes, bytes, bytes]:
    return tls.ca, tls.clients[PARTY], key


@contextmanager
def _postgresql(tls: ServerCertificates, own: Path) -> Iterator[Server]:
    if why := postgres.missing():
        pytest.skip(why)
    pytest.importorskip("psycopg", reason="no PostgreSQL driver; install the extra [postgres]")
    pytest.importorskip("adbc_driver_postgresql", reason="install the extra [postgres]")
    port = free_port()
    with postgres.server(tls, port) as url:
        sourced.in_postgresql(url, sourced.rows(40))
        with sourced.postgresql(url) as db:
            db.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")
            db.execute(f"GRANT SELECT ON orders TO {USER}")
        yield Server("postgresql", port, Path(url.partition("host=")[2]) / "log", own)


@contextmanager
def _mysql(tls: ServerCertificates, own: Path) -> Iterator[Server]:
    if why := mariadb.missing():
        pytest.skip(why)
    pytest.importorskip("pymysql", reason="no MySQL driver; install the extra [mysql]")
    port = free_port()
    with mariadb.server(tls, port) as url:
        sourced.in_mariadb(url, sourced.rows(40))
        with sourced.mariadb(url) as db:
            for user, demand in ((USER, ""), (HOLDER, " REQUIRE X509")):
                db.execute(f"CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}'{demand}")
                db.execute(f"GRANT SELECT ON shop.orders TO {user}@'%'")
        yield Server("mysql", port, Path(url.partition("unix_socket=")[2]).parent / "general", own)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((NAMED, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", PASSWORD)


def rows_at(url: str, folder: Path) -> int:
    source = f'url = "{url}"\nrelation = "orders"\npassword = "env:SHOP_KEY"\n'
    settings = sourced.folder(folder / "node", source)
    return refresh(settings, settings.sources[TABLE]).shaped.rows


def told(url: str, folder: Path, kind: type[ClientError] = UnreachableSourceError) -> str:
    with pytest.raises(kind) as caught:
        rows_at(url, folder)
    return str(caught.value)


def test_only_who_is_named_hears_a_password(server: Server, tmp_path: Path) -> None:
    with hearing(server) as heard:
        assert "as its TLS options ask" in told(server.trusting(OTHER), tmp_path)
    with hearing(server) as also:
        assert rows_at(server.trusting(NAMED), tmp_path) == 40
    assert (heard, also) == ([False], [True])


def test_the_machines_own_authorities_vouch_for_a_name_too(
    mysql: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate for anybody's server at a public authority is no certificate for this one."""
    monkeypatch.setenv("SSL_CERT_FILE", str(mysql.own / "ca.crt"))
    with hearing(mysql) as heard:
        assert "as its TLS options ask" in told(mysql.url(OTHER, connect_timeout=5), tmp_path)
    assert heard == [False]
    assert rows_at(mysql.url(NAMED, connect_timeout=5), tmp_path) == 40


def test_another_authority_is_not_believed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "other.crt").write_bytes(make_certificates(datetime.now(UTC)).ca)
    with hearing(server) as heard:
        told(server.url(NAMED, **{CA[server.kind]: tmp_path / "other.crt"}), tmp_path)
        told(server.url(NAMED, **{CA[server.kind]: tmp_path / "absent.crt"}), tmp_path)
        told(server.url(NAMED, connect_timeout=5), tmp_path)
    assert heard == [False]


def test_an_operator_may_do_without_the_name_and_not_without_an_authority(
    server: Server, tmp_path: Path
) -> None:
    by = {"sslmode": "verify-ca"} if server.kind == "postgresql" else {"ssl_verify_identity": False}
    loose = {name: str(value).lower() for name, value in by.items()}
    assert rows_at(server.trusting(OTHER, **loose), tmp_path) == 40
    (tmp_path / "other.crt").write_bytes(make_certificates(datetime.now(UTC)).ca)
    told(server.url(OTHER, **{CA[server.kind]: tmp_path / "other.crt", **loose}), tmp_path)


def test_a_certificate_of_this_nodes_own_is_shown(mysql: Server, tmp_path: Path) -> None:
    bare = mysql.url(NAMED, HOLDER, ssl_ca=mysql.own / "ca.crt")
    assert f"does not accept {HOLDER}" in told(bare, tmp_path, SourceError)
    shown = f"{bare}&ssl_cert={mysql.own}/own.crt&ssl_key={mysql.own}/own.key"
    assert rows_at(shown, tmp_path) == 40
