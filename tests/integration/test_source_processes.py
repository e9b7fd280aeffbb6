"""A joint question whose rows lie in databases: real processes, real servers, and no password."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from aggregator.jobs import Jobs
from experiments.founding import DEMO_SEATS
from experiments.home import Home
from experiments.running import Fleet
from federation.orders import open_order
from policies.parties import PartyId, Role
from tests import mariadb, postgres, sourced
from tests.fleets import up, warehouses, within_its_errors
from tests.processes import entrepot, recorded, wait_until
from tests.simulator import (
    CN,
    EU,
    SQL,
    WAREHOUSES,
    orders_table,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TABLE = "orders.parquet"
CANARY = "open-sesame-4711"
SEATS = tuple(
    seat
    for seat in DEMO_SEATS
    if seat.role in {Role.WAREHOUSE, Role.KEYHOLDER, Role.AGGREGATOR, Role.ANALYST}
)
TYPES = {
    "order_id": "bigint",
    "customer_id": "int",
    "ts": "timestamp(6)",
    "amount": "numeric(10, 2)",
    "category": "varchar(20)",
    "counterparty_id": "int",
    "ship_country": "char(2)",
    "ip_country": "char(2)",
    "card_country": "char(2)",
    "first_order": "smallint",
    "label_fraud": "smallint",
    "label_ts": "timestamp(6)",
}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[PartyId, str]]:
    """By which URL the orders of two warehouses are found."""
    if why := postgres.missing() or mariadb.missing():
        pytest.skip(why)
    pytest.importorskip("adbc_driver_postgresql", reason="install the extra [postgres]")
    pytest.importorskip("pymysql", reason="install the extra [mysql]")
    pytest.importorskip("psycopg", reason="install the extra [postgres]")
    with ExitStack() as held:
        urls = [held.enter_context(kind.server()) for kind in (postgres, mariadb)]
        yield dict(zip((CN, EU), urls, strict=True))


@pytest.fixture
def home(tmp_path: Path, servers: dict[PartyId, str], monkeypatch: pytest.MonkeyPatch) -> Home:
    """Four warehouses; the orders of one lie in PostgreSQL, those of another in MariaDB."""
    made = warehouses(tmp_path / "federation", "asked", without=servers)
    monkeypatch.setenv("SHOP_KEY", CANARY)
    in_postgresql(servers[CN], orders_table(0))
    declare(made.node(CN), servers[CN], "env:SHOP_KEY")
    in_mariadb(servers[EU], orders_table(1))
    secret = made.node(EU) / "keys" / "shop.password"
    secret.write_text(CANARY)
    secret.chmod(0o600)
    declare(made.node(EU), servers[EU], "file:keys/shop.password")
    return made


def declare(folder: Path, url: str, password: str) -> None:
    (folder / "data" / TABLE).unlink(missing_ok=True)
    url = url.replace("test@", "reader@")
    words = {"url": url, "relation": "orders", "password": password}
    with (folder / "node.toml").open("a") as file:
        file.write(f'\n[sources."{TABLE}"]\n')
        file.writelines(f"{name} = {json.dumps(value)}\n" for name, value in words.items())


def columns(null: str = "") -> str:
    return ", ".join(f"{name} {kind}{null}" for name, kind in TYPES.items())


def values(table: pd.DataFrame) -> list[list[Any]]:
    given = table[list(TYPES)].astype(object)
    rows = given.where(given.notna(), None).to_numpy().tolist()
    return [[v.to_pydatetime() if isinstance(v, pd.Timestamp) else v for v in r] for r in rows]


def in_postgresql(url: str, table: pd.DataFrame) -> None:
    marks = ", ".join(["%s"] * len(TYPES))
    with sourced.postgresql(url) as db:
        db.execute("DROP TABLE IF EXISTS orders")
        db.execute("DROP ROLE IF EXISTS reader")
        db.execute(f"CREATE TABLE orders ({columns()})")
        db.cursor().executemany(f"INSERT INTO orders VALUES ({marks})", values(table))
        db.execute(f"CREATE ROLE reader LOGIN PASSWORD '{CANARY}'")
        db.execute("GRANT SELECT ON orders TO reader")
        rules = Path(url.partition("host=")[2]) / "data" / "pg_hba.conf"
        rules.write_text(f"local all reader scram-sha-256\n{rules.read_text()}")
        db.execute("SELECT pg_reload_conf()")


def in_mariadb(url: str, table: pd.DataFrame) -> None:
    marks = ", ".join(["%s"] * len(TYPES))
    with sourced.mariadb(url) as db:
        db.execute("SET time_zone = '+00:00'")
        db.execute(f"CREATE OR REPLACE TABLE orders ({columns(' NULL')})")
        db.executemany(f"INSERT INTO orders VALUES ({marks})", values(table))
        db.execute(f"CREATE OR REPLACE USER reader@localhost IDENTIFIED BY '{CANARY}'")
        db.execute("GRANT SELECT ON shop.orders TO reader@localhost")


@pytest.fixture
def fleet(home: Home) -> Iterator[Fleet]:
    with up(home) as fleet:
        yield fleet


def table_of(home: Home, party: PartyId) -> Path:
    folder = "snapshots" if party in {CN, EU} else "data"
    return home.node(party) / folder / TABLE


def test_two_databases_answer_with_the_others(
    home: Home, fleet: Fleet, servers: dict[PartyId, str]
) -> None:
    for number, party in enumerate((CN, EU)):
        rows = pq.read_table(table_of(home, party)).to_pandas()
        right = orders_table(number).sort_values(["customer_id", "order_id"])
        assert rows["order_id"].tolist() == right["order_id"].tolist()
        assert rows["amount"].tolist() == right["amount"].tolist()
    first = ask(home)
    assert_within_its_errors(home, first)

    # What comes into a database is read when its operator says so, and by a restart.
    with sourced.postgresql(servers[CN]) as db:
        db.execute("UPDATE orders SET amount = 1")
    said = entrepot("node", "refresh", str(home.node(CN)), "--json", cwd=home.folder)
    assert said.code == 0, said.err
    told = {"table": TABLE, "rows": 160, "new": True, "waits": True}
    assert json.loads(said.out)["tables"] == [told]
    worker = recorded(home.node(EU) / "run" / "node.pid")
    with sourced.mariadb(servers[EU]) as db:
        db.execute("UPDATE orders SET amount = 2")
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: set(amounts(home, EU)) == {2.0}, 60.0, "a start reads anew")
    wait_until(lambda: again(home), 120.0, "it is asked again")
    assert set(amounts(home, CN)) == {1.0}
    assert not holding(home.folder, CANARY)
    assert any((home.node(CN) / "captures").iterdir())


def amounts(home: Home, party: PartyId) -> list[float]:
    with table_of(home, party).open(
        "rb"
    ) as file:  # of one file, also while another takes its place
        return list(pq.read_table(file)["amount"].to_pylist())


def words(home: Home) -> tuple[str, ...]:
    return ("query", SQL, "privacy.epsilon=0.4", "--federation", str(home.folder), "--json")


def ask(home: Home) -> dict[str, Any]:
    said = entrepot(*words(home), cwd=home.folder)
    assert said.code == 0, said.err
    assert CANARY not in said.out + said.err
    value: dict[str, Any] = json.loads(said.out)
    assert value["parties"] == sorted(WAREHOUSES)
    return value


def again(home: Home) -> bool:
    """Whether all warehouses answered; one that has just started may be late."""
    said = entrepot(*words(home), "--fresh", cwd=home.folder)
    assert CANARY not in said.out + said.err
    return said.code == 0


def assert_within_its_errors(home: Home, value: dict[str, Any]) -> None:
    job = Jobs(home.jobs).find(value["run"])
    assert job is not None
    order = open_order(job.wire, home.roster()).order
    tables = [table_of(home, party) for party in order.cohort]
    within_its_errors(order, value["answer"], tables)


def holding(folder: Path, canary: str) -> list[str]:
    """Which files of a whole federation hold it, but for the one where an operator wrote it."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name != "shop.password" and canary.encode() in path.read_bytes()
    ]
