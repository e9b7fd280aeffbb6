"""What an operator may declare of a source, and what is refused before anything is connected to."""

import datetime
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import checking
from clients.endings import Endings
from clients.errors import BusyError, NodeSettingsError, SourceError
from clients.settings import load_settings
from clients.snapshots import _working, begin, refresh, take_up
from clients.sources import mysql, postgresql
from clients.sources.declared import Database, Span, identifier, sources_of
from clients.sources.passwords import password_of
from clients.sources.reading import Found
from clients.sources.wanted import Wanted, wanted_of
from clients.turns import Turns
from experiments.cli import run
from policies.contracts import load_contract
from secure_compute.primitives.certificates import make_certificates
from tests import sourced
from tests.simulator import CN, Simulation
from tests.sourced import TABLE

CANARY = "open-sesame-4711"
GOOD = {"url": "postgresql://reader@db.example/shop", "relation": "sales.orders"}


def declared(folder: Path, **words: Any) -> Any:
    return sources_of({TABLE: words}, folder)[TABLE]


REFUSED = {
    "a password in the url": ({"url": f"postgresql://reader:{CANARY}@db/shop"}, "take it out"),
    "a password behind the ?": ({"url": f"mysql://r@db/shop?password={CANARY}"}, "take it out"),
    "a password in clear": ({"password": CANARY}, "never itself"),
    "another server": ({"url": f"oracle://reader@db/{CANARY}"}, "no URL of a database"),
    "no number": ({"url": f"postgresql://reader@db:{CANARY}/shop"}, "no URL of a database"),
    "two servers": ({"url": "postgresql://r@/shop?host=/run,db.example"}, "one server"),
    "no user": ({"url": "postgresql://db/shop"}, "lacks the user"),
    "no database": ({"url": "postgresql://reader@db"}, "lacks the user or the database"),
    "an option": ({"url": f"postgresql://r@db/shop?options={CANARY}"}, "may stand"),
    "another's option": ({"url": "mysql://r@db/shop?sslmode=disable"}, "may stand"),
    "two statements": ({"relation": "orders; DROP TABLE orders"}, "cannot be asked for"),
    "a quote": ({"relation": 'orders" o'}, "cannot be asked for"),
    "a backtick": ({"url": "mysql://r@db/shop", "relation": "a`b"}, "cannot be asked for"),
    "three parts": ({"relation": "a.b.c"}, "SCHEMA.NAME"),
    "another database": ({"url": "mysql://r@db/shop", "relation": "a.b"}, "in the url"),
    "no relation": ({"relation": ""}, "text in quotes"),
    "a number": ({"relation": 3}, "text in quotes"),
    "a word too many": ({"where": "1 = 1"}, "nothing else"),
    "both": ({"file": "orders.csv"}, "either a url or a file"),
    "rows": ({"rows": {"day": "2025-01-01"}}, "rows.day is a list"),
    "no rows": ({"rows": {"day": []}}, "rows.day is a list"),
    "half a span": ({"rows": {"day": {"from": 1, "until": 2}}}, "rows.day is a list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_not_be_declared_is_one_sentence(name: str, tmp_path: Path) -> None:
    words, said = REFUSED[name]
    with pytest.raises(NodeSettingsError, match=said) as caught:
        declared(tmp_path, **{**GOOD, **words})
    assert CANARY not in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_is_csv_or_parquet(tmp_path: Path) -> None:
    with pytest.raises(NodeSettingsError, match="either a url or a file"):
        declared(tmp_path, relation="orders")
    with pytest.raises(NodeSettingsError, match=r"ends in \.csv or \.parquet"):
        declared(tmp_path, file="orders.xlsx")


def test_rows_are_not_in_two_places(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / TABLE).touch()
    with pytest.raises(NodeSettingsError, match="lies in the folder too"):
        declared(tmp_path, **GOOD)


@given(st.text(max_size=70))
def test_a_name_that_is_let_through_cannot_end_an_identifier(name: str) -> None:
    try:
        identifier(name, "relation")
    except NodeSettingsError:
        return
    assert not set(name) & set("\"`';\\%\0\n\r{}()") and "--" not in name[:1]
    assert postgresql.DIALECT.name(name) == f'"{name}"'


def test_a_column_that_could_end_an_identifier_is_refused(tmp_path: Path) -> None:
    place = declared(tmp_path, **GOOD).place
    name = 'x" FROM pg_shadow --'
    wanted = Wanted(TABLE, {name: "string"})
    with pytest.raises(NodeSettingsError, match="cannot be asked for in SQL"):
        postgresql.DIALECT.select(place, wanted, {name: Found(name, "text")})


def test_values_are_constants_whatever_is_in_them(tmp_path: Path) -> None:
    place = declared(tmp_path, **GOOD).place
    wanted = Wanted(TABLE, {"note": "string"}, rows={"note": ("a' OR 'a' = 'a", "b\\")})
    text = postgresql.DIALECT.select(place, wanted, {"note": Found("note", "text")})
    assert text.endswith("""WHERE ("note"::text) IN ('a'' OR ''a'' = ''a', 'b\\')""")


@pytest.mark.parametrize(
    ("host", "options", "sure"),
    [
        ("db.example", "", True),
        ("10.0.0.7", "", True),
        ("db.example", "?sslmode=require", False),
        ("localhost", "", False),
        ("127.0.0.1", "", False),
        ("localhost", "?sslrootcert=/ca.pem", True),
        ("LOCALHOST", "?connect_timeout=3", False),
    ],
)
def test_over_a_network_postgresql_is_asked_who_it_is(
    host: str, options: str, sure: bool, tmp_path: Path
) -> None:
    """Unless its operator says otherwise, by name."""
    place = declared(tmp_path, **{**GOOD, "url": f"postgresql://r@{host}/shop{options}"}).place
    words = postgresql._conninfo(place, "it's \\ x")
    assert ("sslmode='verify-full'" in words) is sure
    assert ("sslmode='require'" in words) is ("require" in options)
    assert "password='it\\'s \\\\ x'" in words


def test_over_a_network_mysql_is_asked_who_it_is(tmp_path: Path) -> None:
    """As its driver understands it, which of its own compares no name without an `ssl_ca`."""
    pymysql = pytest.importorskip("pymysql", reason="install the extra [mysql]")

    def ways(rest: str) -> dict[str, Any]:
        words = {"url": f"mysql://r@{rest}", "relation": "orders"}
        return mysql._ways(declared(tmp_path, **words).place)

    def asked(rest: str) -> tuple[bool, ssl.VerifyMode]:
        connection = pymysql.connect(defer_connect=True, **ways(rest))
        assert connection.ssl and connection._ssl_required
        return connection.ctx.check_hostname, connection.ctx.verify_mode

    (tmp_path / "ca.pem").write_bytes(make_certificates(datetime.datetime.now(datetime.UTC)).ca)
    strict = True, ssl.CERT_REQUIRED
    assert asked("db.example/shop") == strict
    assert asked("10.0.0.7/shop?ssl_verify_identity=1&ssl_disabled=no") == strict
    assert asked(f"db/shop?ssl_ca={tmp_path}/ca.pem") == strict
    assert asked(f"localhost/shop?ssl_ca={tmp_path}/ca.pem") == strict
    assert len(ways(f"db/shop?ssl_ca={tmp_path}/ca.pem")["ssl"].get_ca_certs()) == 1
    with pytest.raises(OSError):
        ways("db/shop?ssl_cert=/nowhere.pem&ssl_key=/nowhere.key")
    assert asked("db/shop?ssl_verify_identity=false") == (False, ssl.CERT_REQUIRED)
    assert ways("db/shop?ssl_disabled=true")["ssl_disabled"]
    for rest in ("db/shop?ssl_disabled=true", "localhost/shop", "db/shop?unix_socket=/s"):
        assert "ssl" not in ways(rest)


def contracts(**types: str) -> list[Any]:
    return [load_contract(sourced.text(**types))]


def test_contracts_over_one_table_share_its_snapshot(tmp_path: Path) -> None:
    source = declared(tmp_path, **GOOD)
    first = sourced.contract()
    second = load_contract(
        sourced.text(order_id="float").replace('name = "orders"', 'name = "more"')
        + '[[columns]]\nname = "extra"\ntype = "date"\ngrade = "S1"\noptional = true\n'
    )
    wanted = wanted_of(source, [first, second])
    assert list(wanted.columns)[:2] == ["customer_id", "order_id"]
    assert wanted.columns["order_id"] == "integer" and wanted.columns["extra"] == "date"
    assert wanted.optional == {"note", "extra"}
    with pytest.raises(SourceError, match="let them say the same"):
        wanted_of(source, [first, load_contract(sourced.text(day="timestamp"))])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"gifts": (["true"])}, "did you mean 'gift'"),
        ({"amount": (["1"])}, "amount, which is float"),
        ({"category": {"from": "a"}}, "category, which is string"),
        ({"gift": ["maybe"]}, "is no boolean"),
        ({"order_id": ["1; DROP"]}, "is no integer"),
        ({"day": {"from": "yesterday"}}, "is no date"),
        ({"ts": {"from": "2025-01-01' OR 1=1"}}, "is no timestamp"),
        ({"note": ["a\0b"]}, "is no string"),
    ],
)
def test_rows_are_chosen_by_what_a_contract_promises(
    rows: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=said):
        wanted_of(declared(tmp_path, **GOOD, rows=rows), contracts())


def test_a_moment_is_spelt_in_utc(tmp_path: Path) -> None:
    moment = datetime.datetime.fromisoformat("2025-01-01T08:00:00+08:00")
    span = {"from": moment, "before": "2025-02-01"}
    wanted = wanted_of(declared(tmp_path, **GOOD, rows={"ts": span}), contracts())
    assert wanted.rows["ts"] == Span("2025-01-01 00:00:00", "2025-02-01 00:00:00")


def test_a_table_that_no_contract_names(tmp_path: Path) -> None:
    source = replace(declared(tmp_path, **GOOD), table="order.parquet")
    with pytest.raises(SourceError, match=r"did you mean 'orders\.parquet'"):
        wanted_of(source, contracts())


# -- files -----------------------------------------------------------------------------------------


def test_what_a_type_cannot_hold_is_missing_and_counted(tmp_path: Path) -> None:
    found = sourced.rows(40)
    sourced.in_csv(tmp_path / "orders.csv", found)
    text = (tmp_path / "orders.csv").read_text(encoding="utf-8")
    number = str(found[0]["order_id"])
    day = found[1]["day"].isoformat()
    text = text.replace(number, "1.5").replace(f",{day},", ",2025-02-30,")
    (tmp_path / "orders.csv").write_text(text, encoding="utf-8", newline="")
    settings = sourced.folder(tmp_path / "node", f'file = "{tmp_path}/orders.csv"')
    snapshot = refresh(settings, settings.sources[TABLE])
    wrong = sum(row["day"] == found[1]["day"] for row in found)
    assert snapshot.shaped.lost == {"order_id": 1, "day": wrong}
    assert snapshot.remarks[1].startswith(f"{TABLE}: {wrong} values of day ")
    read = pq.read_table(settings.snapshot(TABLE))
    assert (read["order_id"].null_count, read["day"].null_count) == (1, wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not name each of its columns"),
        ("a,a\n1,2\n", "does not name each of its columns"),
        ("order_id,customer_id\n1,2\n", "has no column"),
        (f"{','.join(sourced.COLUMNS)}\n1,{CANARY}\n", "to its end"),
    ],
    ids=["nothing", "a name twice", "too few columns", "a short line"],
)
def test_a_csv_that_is_none_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(text)
    settings = sourced.folder(tmp_path / "node", f'file = "{tmp_path}/orders.csv"')
    with pytest.raises(SourceError, match=said) as caught:
        refresh(settings, settings.sources[TABLE])
    assert CANARY not in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_may_lie_in_the_folder(tmp_path: Path) -> None:
    """And be a link nowhere, or no Parquet."""
    settings = sourced.folder(tmp_path, 'file = "export/orders.parquet"')
    with pytest.raises(SourceError, match="there is no file"):
        refresh(settings, settings.sources[TABLE])
    (tmp_path / "export").mkdir()
    sourced.in_parquet(tmp_path / "export" / "orders.parquet", sourced.rows(20))
    assert refresh(settings, settings.sources[TABLE]).shaped.rows == 20


def test_a_password_is_read_where_it_is_and_by_nobody_else(tmp_path: Path) -> None:
    def read(place: str, **environment: str) -> str | None:
        return password_of(declared(tmp_path, **GOOD, password=place).place, tmp_path, environment)

    (tmp_path / "secret").write_text(f"{CANARY}\n")
    (tmp_path / "secret").chmod(0o604)
    with pytest.raises(NodeSettingsError, match="chmod 600") as caught:
        read("file:secret")
    assert CANARY not in str(caught.value)
    (tmp_path / "secret").chmod(0o600)
    assert read("file:secret") == CANARY
    assert read("env:SHOP", SHOP=CANARY) == CANARY
    with pytest.raises(NodeSettingsError, match="variable SHOP,"):
        read("env:SHOP", SHOP="")
    assert password_of(declared(tmp_path, **GOOD).place, tmp_path) is None


# -- snapshots -------------------------------------------------------------------------------------


def test_two_do_not_read_at_once(tmp_path: Path) -> None:
    sourced.in_parquet(tmp_path / "orders.parquet", sourced.rows(20))
    settings = sourced.folder(tmp_path / "node", f'file = "{tmp_path}/orders.parquet"')
    folder = settings.snapshot(TABLE).parent
    with _working(folder), pytest.raises(BusyError):
        refresh(settings, settings.sources[TABLE])
    (folder / "work-left").mkdir()
    (folder / "work-left" / "raw.parquet").touch()
    refresh(settings, settings.sources[TABLE])
    assert not (folder / "work-left").exists()


def test_a_further_refresh_replaces_the_one_that_waits(tmp_path: Path) -> None:
    place = tmp_path / "orders.parquet"
    settings = sourced.folder(tmp_path / "node", f'file = "{place}"')
    for count, new in ((20, True), (21, True), (21, False), (22, True), (22, False)):
        sourced.in_parquet(place, sourced.rows(count))
        assert refresh(settings, settings.sources[TABLE]).new is new
    assert pq.read_table(settings.snapshot(TABLE)).num_rows == 20
    for _ in range(2):
        take_up(settings, contracts())
        assert pq.read_table(settings.snapshot(TABLE)).num_rows == 22
    assert not any((settings.folder / "snapshots" / "next").iterdir())


def test_a_snapshot_for_other_contracts_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A node reads its contracts when it starts; its operator may have changed them since."""
    sourced.in_parquet(tmp_path / "orders.parquet", sourced.rows(20))
    source = f'file = "{tmp_path}/orders.parquet"'
    settings = sourced.folder(tmp_path / "node", source)
    begin(settings)
    changed = sourced.folder(tmp_path / "node", source, order_id="float")
    refresh(changed, changed.sources[TABLE])
    take_up(settings, contracts())
    assert "waits for the next start" in caplog.text
    assert pq.read_schema(settings.snapshot(TABLE)).field("order_id").type == pa.int64()
    begin(changed)
    assert pq.read_schema(settings.snapshot(TABLE)).field("order_id").type == pa.float64()


def test_a_disk_that_takes_nothing_is_one_sentence(tmp_path: Path) -> None:
    sourced.in_parquet(tmp_path / "orders.parquet", sourced.rows(20))
    settings = sourced.folder(tmp_path / "node", f'file = "{tmp_path}/orders.parquet"')
    (settings.folder / "snapshots").write_text("no folder")
    with pytest.raises(SourceError, match="cannot be written to: "):
        refresh(settings, settings.sources[TABLE])


@pytest.fixture
def sourcing(simulation: Simulation) -> Simulation:
    """One warehouse reads its orders from a CSV file."""
    folder = simulation.folder(CN)
    table = pq.read_table(folder / "data" / TABLE)
    lay(folder, table)
    (folder / "data" / TABLE).unlink()
    with (folder / "node.toml").open("a") as file:
        file.write(f'\n[sources."{TABLE}"]\nfile = "export.csv"\n')
    return simulation


def lay(folder: Path, table: Any) -> None:
    table.to_pandas().to_csv(folder / "export.csv", index=False)


def snapshot_of(simulation: Simulation) -> bytes:
    return (simulation.folder(CN) / "snapshots" / TABLE).read_bytes()


def test_a_check_says_that_a_source_was_never_read(
    sourcing: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sourcing.folder(CN)
    assert run(["node", "check", str(folder)]) == 2
    assert "was never read from export.csv; run `entrepot node refresh" in capsys.readouterr().err
    assert run(["node", "refresh", str(folder)]) == 0
    assert run(["node", "check", str(folder)]) == 0


def test_a_snapshot_does_not_change_while_an_order_is_under_way(sourcing: Simulation) -> None:
    sourcing.started(CN)
    folder, before = sourcing.folder(CN), snapshot_of(sourcing)
    order = sourcing.query()
    settings = load_settings(folder)
    rows = pq.read_table(folder / "snapshots" / TABLE)
    seen: list[bytes] = []
    node = sourcing.node(CN)
    read, reply = node._readables, node._reply_to

    def readable(agreed: Any) -> Any:
        """An operator asks for it just as the rows of an order are about to be read."""
        lay(folder, pa.concat_tables([rows, rows.slice(0, 5)]))
        refresh(settings, settings.sources[TABLE])
        seen.append(snapshot_of(sourcing))
        return read(agreed)

    def replied(letter: Any) -> Any:
        said = reply(letter)
        seen.append(snapshot_of(sourcing))
        return said

    node._readables, node._reply_to = readable, replied  # type: ignore[method-assign]
    assert sourcing.run(order).status == "done"
    assert len(seen) > 2 and set(seen) == {before}
    assert sourcing.run(sourcing.query(source="fresh")).status == "done"
    assert snapshot_of(sourcing) != before


def test_a_start_reads_anew(sourcing: Simulation) -> None:
    sourcing.started(CN)
    folder, before = sourcing.folder(CN), snapshot_of(sourcing)
    rows = pq.read_table(folder / "snapshots" / TABLE)
    lay(folder, rows.slice(3))
    sourcing.restart(CN)
    assert snapshot_of(sourcing) != before
    assert pq.read_table(folder / "snapshots" / TABLE).num_rows == rows.num_rows - 3
    begin(load_settings(folder))


def test_an_order_without_a_price_is_under_way_too() -> None:
    class Order:
        id, expires = "a", 100

    now = [0.0]
    endings = Endings(None, lambda: now[0], Turns())  # type: ignore[arg-type]
    done: list[str] = []
    endings.accepted_unpriced(Order())  # type: ignore[arg-type]
    endings.while_idle(lambda: done.append("early"))
    now[0] = 100.0
    endings.while_idle(lambda: done.append("expired"))
    endings.reserved(Order())  # type: ignore[arg-type]
    endings.while_idle(lambda: done.append("early"))
    assert done == ["expired"]


def test_two_tables_of_one_relation_are_found(sourcing: Simulation) -> None:
    """Else its rows would be paid for under one name and read under the other."""
    folder = sourcing.folder(CN)
    text = (folder / "contract" / "orders.toml").read_text()
    text = text.replace('name = "orders"', 'name = "again"', 1).replace(TABLE, "again.parquet")
    text = text.replace('subjects = "customers"', 'subjects = "others"')
    (folder / "contract" / "again.toml").write_text(text)
    with (folder / "node.toml").open("a") as file:
        file.write('\n[sources."again.parquet"]\nfile = "./export.csv"\n')
    assert run(["node", "refresh", str(folder)]) == 0
    with pytest.raises(Exception, match="read one file under the names"):
        checking.sound(load_settings(folder))


def test_the_marks_of_a_relation_are_those_of_where_it_is(tmp_path: Path) -> None:
    one, other = (
        declared(tmp_path, url=f"postgresql://{user}@{host}/shop", relation="a").place
        for user, host in (("x", "DB"), ("y", "db"))
    )
    assert isinstance(one, Database) and one.marks == other.marks
    assert replace(one, relation=("b",)).marks != one.marks
    assert replace(one, port=5432, relation=("public", "a")).marks == one.marks
    assert replace(one, port=5433).marks != one.marks


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_this_machine_has_one_name_among_marks(kind: str, tmp_path: Path) -> None:
    def marks(rest: str) -> tuple[str, ...]:
        place = declared(tmp_path, url=f"{kind}://x@{rest}", relation="a").place
        assert isinstance(place, Database)
        return place.marks

    here = marks("localhost/shop")
    hosts = ("127.0.0.1", "[::1]", "", "LocalHost", "127.0.0.2", "localhost.", "0.0.0.0")
    for host in (*hosts, "[::ffff:127.0.0.1]"):
        assert marks(f"{host}/shop") == here
    way = "host" if kind == "postgresql" else "unix_socket"
    for folder in ("/run/one", "/run/two", "%2Frun%2Fthree"):
        assert marks(f"/shop?{way}={folder}") == here
    others = {marks(f"{host}/shop") for host in ("db", "10.0.0.7", "localhost:1")}
    assert len(others | {here, marks("localhost/more")}) == 5
    assert marks("DB.example./shop") == marks("db.example/shop")


def test_a_relation_without_a_schema_is_in_one(tmp_path: Path) -> None:
    """Whatever a user's search path says: two users' would be two relations under one mark."""
    place = declared(tmp_path, **{**GOOD, "relation": "orders"}).place
    wanted = Wanted(TABLE, {"note": "string"})
    text = postgresql.DIALECT.select(place, wanted, {"note": Found("note", "text")})
    assert text.endswith(' FROM "public"."orders"')
    assert place.spoken == "orders"
