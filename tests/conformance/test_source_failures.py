"""What a database says no to: one sentence for the operator, and the snapshot before stays."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients import snapshots
from clients.errors import ClientError, NodeSettingsError, SourceError, UnreachableSourceError
from clients.settings import NodeSettings
from clients.snapshots import refresh
from clients.sources.declared import Database
from experiments.cli import run
from tests import sourced
from tests.sourced import TABLE

CANARY = "open-sesame-4711"
USER = "reader"


class Server:
    """One kind of server, as the tests speak to it."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind, self.url = kind, url
        self.quote = '"' if kind == "postgresql" else "`"

    def lay(self, count: int = 40) -> str:
        found = sourced.rows(count)
        if self.kind == "postgresql":
            return sourced.in_postgresql(self.url, found)
        return sourced.in_mariadb(self.url, found)

    @contextmanager
    def talking(self) -> Iterator[Any]:
        with getattr(sourced, self.kind)(self.url) as db:
            yield db

    def run(self, *statements: str) -> None:
        with self.talking() as db:
            for statement in statements:
                db.execute(statement)


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    if request.param == "postgresql":
        pytest.importorskip("adbc_driver_postgresql", reason="install the extra [postgres]")
    return Server(request.param, request.getfixturevalue(request.param))


def told(settings: NodeSettings, kind: type[ClientError]) -> str:
    """The one sentence that refuses; no row, no password and no driver's word is in it."""
    with pytest.raises(kind) as caught:
        refresh(settings, settings.sources[TABLE])
    said = str(caught.value)
    assert "\n" not in said and said[-1] not in ".\n"
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    return said


def declared(tmp_path: Path, source: str, **types: str) -> NodeSettings:
    return sourced.folder(tmp_path / "node", source, **types)


def test_a_relation_that_is_not_there_names_the_nearest(server: Server, tmp_path: Path) -> None:
    source = server.lay().replace('relation = "orders"', 'relation = "ordes"')
    said = told(declared(tmp_path, source), SourceError)
    assert "has no relation ordes" in said and "did you mean 'orders'?" in said


def test_a_column_that_is_not_there_names_the_nearest(server: Server, tmp_path: Path) -> None:
    source = server.lay()
    change = "RENAME COLUMN amount TO amounts"
    server.run(f"ALTER TABLE orders {change}")
    said = told(declared(tmp_path, source), SourceError)
    assert "has no column amount" in said and "did you mean 'amounts'?" in said


def test_an_optional_column_may_be_absent(server: Server, tmp_path: Path) -> None:
    source = server.lay()
    server.run("ALTER TABLE orders DROP COLUMN note")
    settings = declared(tmp_path, source)
    assert refresh(settings, settings.sources[TABLE]).shaped.rows == 40


@pytest.mark.parametrize(
    ("column", "kind", "type_"),
    [
        ("further", "string", "jsonb|json"),
        ("note", "integer", "text|varchar"),
        ("amount", "integer", "numeric|decimal"),
        ("weight", "string", "float4|float"),
        ("day", "timestamp", "date"),
        ("ts", "date", "timestamptz|timestamp"),
        ("weight", "boolean", "float4|float"),
    ],
)
def test_a_type_that_a_contract_cannot_hold(
    server: Server, tmp_path: Path, column: str, kind: str, type_: str
) -> None:
    if server.kind == "mariadb" and column == "further":
        pytest.skip("MariaDB keeps JSON as text and says so")
    said = told(declared(tmp_path, server.lay(), **{column: kind}), SourceError)
    assert f"column {column} is " in said and f"as the {kind}" in said
    assert any(f" is {one}," in said for one in type_.split("|"))


def test_a_server_that_is_not_there(server: Server, tmp_path: Path) -> None:
    server.lay()
    away = server.url.partition("?")[0] + (
        "?host=" if server.kind == "postgresql" else "?unix_socket="
    )
    settings = declared(tmp_path, f'url = "{away}{tmp_path}/nowhere"\nrelation = "orders"')
    assert "cannot be reached" in told(settings, UnreachableSourceError)


def test_a_password_is_found_where_it_is_said_to_be(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = server.lay().replace("test@", f"{USER}@") + 'password = "file:keys/shop.password"'
    with locked(server):
        settings = declared(tmp_path, source)
        assert "cannot be read as text" in told(settings, NodeSettingsError)
        secret = settings.folder / "keys" / "shop.password"
        secret.parent.mkdir()
        secret.write_text(CANARY + "\n")
        secret.chmod(0o640)
        assert "chmod 600" in told(settings, NodeSettingsError)
        secret.chmod(0o600)
        assert refresh(settings, settings.sources[TABLE]).shaped.rows == 40
        secret.write_text("wrong" + CANARY)
        assert "does not accept reader" in told(settings, SourceError)
        settings = declared(tmp_path, source.replace("file:keys/shop.password", "env:SHOP_KEY"))
        assert "SHOP_KEY" in told(settings, NodeSettingsError)
        monkeypatch.setenv("SHOP_KEY", CANARY)
        assert not refresh(settings, settings.sources[TABLE]).new
        assert CANARY not in repr(settings)
        assert CANARY.encode() not in everything(settings.folder, but=secret)


def test_a_user_that_may_not_read(server: Server, tmp_path: Path) -> None:
    source = server.lay().replace("test@", f"{USER}@") + 'password = "env:SHOP_KEY"'
    with locked(server, "REVOKE SELECT ON orders FROM reader"):
        settings = declared(tmp_path, source)
        os.environ["SHOP_KEY"] = CANARY
        try:
            assert "has no relation orders that reader may read" in told(settings, SourceError)
        finally:
            del os.environ["SHOP_KEY"]


@contextmanager
def locked(server: Server, *further: str) -> Iterator[None]:
    """There is a user with a password, who reads one table."""
    if server.kind == "postgresql":
        made = [
            f"CREATE ROLE {USER} LOGIN PASSWORD '{CANARY}'",
            f"GRANT SELECT ON orders TO {USER}",
        ]
        gone = [f"DROP OWNED BY {USER}", f"DROP ROLE {USER}"]
    else:
        made = [
            f"CREATE USER {USER}@localhost IDENTIFIED BY '{CANARY}'",
            f"GRANT SELECT ON shop.orders TO {USER}@localhost",
            "CREATE TABLE IF NOT EXISTS other (x int)",
            f"GRANT SELECT ON shop.other TO {USER}@localhost",
        ]
        gone = [f"DROP USER {USER}@localhost"]
        further = tuple(one.replace(USER, f"{USER}@localhost") for one in further)
    server.run(*made, *further)
    try:
        with asking(server):
            yield
    finally:
        server.run(*gone)


@contextmanager
def asking(server: Server) -> Iterator[None]:
    """A throw-away PostgreSQL trusts everybody; this one asks one user for a password."""
    if server.kind != "postgresql":
        yield
        return
    rules = Path(server.url.partition("host=")[2]) / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all {USER} scram-sha-256\n{before}")
    reload_until(server, f"{{{USER}}}", present=True)
    try:
        yield
    finally:
        rules.write_text(before)
        reload_until(server, f"{{{USER}}}", present=False)


def reload_until(server: Server, user: str, *, present: bool) -> None:
    """The rules on disk are those that a new connection meets: they are read by each on its own."""
    with server.talking() as db:
        db.execute("SELECT pg_reload_conf()")
        before = db.execute("SELECT pg_conf_load_time()").fetchone()
        while db.execute("SELECT pg_conf_load_time()").fetchone() < before:
            pass
        rows = db.execute("SELECT user_name::text FROM pg_hba_file_rules").fetchall()
        assert ((user,) in rows) is present


def everything(folder: Path, but: Path) -> bytes:
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file() and p != but)


def test_a_connection_that_is_cut_leaves_the_snapshot_before(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = declared(tmp_path, server.lay(40))
    refresh(settings, settings.sources[TABLE])
    before = settings.snapshot(TABLE).read_bytes()
    server.lay(40_000)
    many(server)
    monkeypatch.setattr(snapshots, "_whole", cutting(server))
    said = told(settings, UnreachableSourceError)
    assert "stopped while orders was read" in said
    assert settings.snapshot(TABLE).read_bytes() == before
    left = {one.name for one in settings.snapshot(TABLE).parent.rglob("*")}
    assert left == {TABLE, "lock", "next"}


def test_a_disk_that_is_full_is_not_the_databases_fault(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = declared(tmp_path, server.lay(2000))
    many(server)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots, "_whole", full)
    assert "No space left on device" in told(settings, SourceError)
    monkeypatch.undo()
    assert refresh(settings, settings.sources[TABLE]).shaped.rows == 64_000


def many(server: Server) -> None:
    """More rows than the buffers between here and there hold."""
    wide = "repeat('x', 60)"
    for _ in range(5):
        server.run(
            f"INSERT INTO orders (order_id, customer_id, note) "
            f"SELECT order_id, customer_id, {wide} FROM orders"
        )


def cutting(server: Server) -> Callable[[Any, Database], Any]:
    """After the first batch, whoever reads is thrown out."""
    done: list[int] = []

    def whole(batch: Any, place: Database) -> Any:
        if not done:
            done.append(batch.num_rows)
            throw_out(server)
        return batch

    return whole


def throw_out(server: Server) -> None:
    if server.kind == "postgresql":
        server.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'entrepot'"
        )
        return
    with server.talking() as db:
        db.execute(
            "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT `customer_id`%'"
        )
        for (number,) in db.fetchall():
            db.execute(f"KILL {number}")


def test_rows_that_come_meanwhile_are_not_seen(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a snapshot is of one moment, that of its first look."""
    settings = declared(tmp_path, server.lay(40))
    real = snapshots.postgresql.require_columns
    fresh = (
        "INSERT INTO orders (order_id, customer_id) VALUES (1, 'late')",
        "UPDATE orders SET amount = 1",
    )

    def looked(*given: Any) -> Any:
        server.run(*fresh)
        return real(*given)

    for module in (snapshots.postgresql, snapshots.mysql):
        monkeypatch.setattr(module, "require_columns", looked)
    assert refresh(settings, settings.sources[TABLE]).shaped.rows == 40
    monkeypatch.undo()
    assert refresh(settings, settings.sources[TABLE]).shaped.rows == 41


def test_nothing_can_be_written_there(server: Server, tmp_path: Path) -> None:
    """A view that writes is stopped by the transaction it is read in."""
    source = server.lay(40)
    if server.kind == "postgresql":
        server.run(
            "CREATE TABLE IF NOT EXISTS written (x int)",
            "CREATE OR REPLACE FUNCTION writes() RETURNS boolean LANGUAGE sql VOLATILE AS "
            "'INSERT INTO written VALUES (1) RETURNING true'",
            "CREATE OR REPLACE VIEW writing AS SELECT *, writes() AS w FROM orders WHERE writes()",
        )
    else:
        server.run(
            "CREATE TABLE IF NOT EXISTS written (x int)",
            "DROP FUNCTION IF EXISTS writes",
            "CREATE FUNCTION writes() RETURNS int MODIFIES SQL DATA "
            "BEGIN INSERT INTO written VALUES (1); RETURN 1; END",
            "CREATE OR REPLACE VIEW writing AS SELECT * FROM orders WHERE writes() = 1",
        )
    settings = declared(tmp_path, source.replace('relation = "orders"', 'relation = "writing"'))
    told(settings, ClientError)  # MariaDB does not even say that it has such a view
    with server.talking() as db:
        got = db.execute("SELECT count(*) FROM written")
        assert (got if server.kind == "postgresql" else db).fetchone()[0] == 0


def test_an_empty_relation_leaves_the_snapshot_before(server: Server, tmp_path: Path) -> None:
    settings = declared(tmp_path, server.lay(40))
    refresh(settings, settings.sources[TABLE])
    server.run("DELETE FROM orders")
    assert "has no rows" in told(settings, SourceError)
    assert settings.snapshot(TABLE).exists()


def test_values_that_no_type_holds_are_missing_and_counted(server: Server, tmp_path: Path) -> None:
    """One of them ends nothing: whether a node answers would tell of a row."""
    settings = declared(tmp_path, server.lay(40))
    if server.kind == "postgresql":
        wrong = ["ts = '-infinity'", "day = 'infinity'", "amount = 'NaN'", "weight = 'Infinity'"]
        server.run(*(f"UPDATE orders SET {one} WHERE order_id % 40 < 4" for one in wrong))
        expected = {"ts", "day", "amount", "weight"}
    else:
        server.run(
            "UPDATE orders SET order_id = 18446744073709551615 LIMIT 4",
            "ALTER TABLE orders MODIFY day datetime NULL",
            "ALTER TABLE orders MODIFY day varchar(20), MODIFY gift tinyint(1)",
            "UPDATE orders SET day = '0000-00-00', gift = 5 LIMIT 4",
        )
        with server.talking() as db:
            db.execute("SET sql_mode = ''")
            db.execute("ALTER TABLE orders MODIFY day date")
        expected = {"day", "order_id"}
    found = refresh(settings, settings.sources[TABLE]).shaped
    assert found.rows == 40
    assert {name for name, count in found.lost.items() if count >= 4} == expected


def test_the_operator_reads_one_line_and_no_password(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    source = server.lay(40)
    settings = declared(tmp_path, source)
    words = ["node", "refresh", str(settings.folder)]
    assert run([*words, "--json"]) == 0
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert '"rows": 40, "new": true' in out and "40 rows, as before" in out and err == ""
    monkeypatch.setenv("SHOP_KEY", CANARY)
    away = source.replace(server.url, server.url.replace("test@", "nobody@"))
    declared(tmp_path, away + 'password = "env:SHOP_KEY"')
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and CANARY not in err


def test_a_start_that_fails_goes_on_with_what_is_there(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = declared(tmp_path, server.lay(40))
    source = settings.sources[TABLE]
    assert isinstance(source.place, Database)
    gone = replace(source, place=replace(source.place, user="nobody"))
    broken = replace(settings, sources={TABLE: gone})
    with pytest.raises(SourceError):
        snapshots.begin(broken)
    snapshots.begin(settings)
    before = settings.snapshot(TABLE).read_bytes()
    with caplog.at_level(logging.WARNING):
        snapshots.begin(broken)
    assert "the snapshot before is used" in caplog.text
    assert settings.snapshot(TABLE).read_bytes() == before


def test_a_missing_driver_says_which_extra(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = declared(tmp_path, server.lay(40))
    for module in ("adbc_driver_postgresql.dbapi", "pymysql"):
        monkeypatch.setitem(sys.modules, module, None)
    extra = "postgres" if server.kind == "postgresql" else "mysql"
    assert f"install entrepot[{extra}]" in told(settings, NodeSettingsError)


def test_a_database_in_another_encoding(server: Server, tmp_path: Path) -> None:
    """What a server holds in Latin-1 is read as the same text."""
    if server.kind == "mariadb":
        pytest.skip("a column of the conformance suite is in Latin-1")
    server.run("DROP DATABASE IF EXISTS latin")
    server.run("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    url = server.url.replace("/postgres?", "/latin?")
    found = [row for row in sourced.rows(40) if row["note"] != "naïve – 单"]
    for row in found:
        row["note"] = "naïve"
    settings = declared(tmp_path, sourced.in_postgresql(url, found))
    refresh(settings, settings.sources[TABLE])
    import pyarrow.parquet as pq

    notes = pq.read_table(settings.snapshot(TABLE))["note"].to_pylist()
    assert set(notes) == {"naïve"}


def test_what_a_search_path_finds_first_is_not_taken(server: Server, tmp_path: Path) -> None:
    """A relation without a schema is that of `public`; another is named with its own."""
    if server.kind == "mariadb":
        pytest.skip("a database of MariaDB has no schemas")
    settings = declared(tmp_path, server.lay(40))
    server.run(
        "CREATE SCHEMA test",
        "CREATE TABLE test.orders AS SELECT * FROM public.orders LIMIT 7",
    )
    try:
        assert refresh(settings, settings.sources[TABLE]).shaped.rows == 40
        named = f'url = "{server.url}"\nrelation = "test.orders"'
        own = declared(tmp_path, named)
        assert refresh(own, own.sources[TABLE]).shaped.rows == 7
        assert own.sources[TABLE].place.marks != settings.sources[TABLE].place.marks
        server.run("DROP TABLE public.orders")
        assert "did you mean 'test.orders'?" in told(settings, SourceError)
    finally:
        server.run("DROP SCHEMA test CASCADE")
