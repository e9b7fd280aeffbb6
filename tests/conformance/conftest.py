"""Every database that a ledger, or what else an aggregator keeps, can live in."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aggregator.database import Server, engine_of
from aggregator.stores import Stores
from tests import mariadb as mariadb_server
from tests import postgres

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a throw-away server; every test has a schema of its own in it."""
    if why := postgres.missing():
        pytest.skip(why)
    pytest.importorskip("psycopg", reason="no PostgreSQL driver; install the extra [postgres]")
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place where there is no ledger yet."""
    if request.param == "sqlite":
        yield str(tmp_path / "folder" / "ledger.sqlite")
        return
    yield _schema(request.getfixturevalue("postgresql"))


@pytest.fixture
def database(postgresql: str) -> Callable[[], str]:
    """Makes a further place in PostgreSQL where there is no ledger yet."""
    return lambda: _schema(postgresql)


def _schema(url: str) -> str:
    name = f"ledger{next(_numbers)}"
    admin = sa.create_engine(url.replace("://", "+psycopg://"), poolclass=sa.NullPool)
    with admin.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    return f"{url}&options=-csearch_path%3D{name}"


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    """The URL of a throw-away MariaDB server with one database."""
    if why := mariadb_server.missing():
        pytest.skip(why)
    pytest.importorskip("pymysql", reason="no MySQL driver; install the extra [mysql]")
    with mariadb_server.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    """Places where no aggregator has kept anything yet: files of a folder, and a database."""
    if request.param == "sqlite":
        yield Stores(tmp_path)
        return
    server = Server(_schema(request.getfixturevalue("postgresql")), "entrepot/demo/aggregator")
    yield Stores(tmp_path, server)
    engine_of(server).dispose()
