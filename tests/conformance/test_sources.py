"""The same rows give the same keys and the same partial, wherever they lie."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clients.queries.partial import evaluate
from clients.rowkeys import row_keys
from clients.settings import NodeSettings
from clients.snapshots import refresh
from experiments.node_sources import sources
from federation.queries import parse
from tests import sourced
from tests.orders_table import COHORT
from tests.seeded import SeededEntropy
from tests.sourced import COLUMNS, TABLE, Row

PLACES = ("parquet", "csv", "postgresql", "mariadb")
SECRET = bytes(range(32))
Lay = Callable[..., NodeSettings]


@pytest.fixture(params=PLACES)
def lay(request: pytest.FixtureRequest, tmp_path: Path) -> Lay:
    """Lays rows down in one kind of place; gives the settings of a node that reads them there."""
    place = request.param
    if place == "postgresql":
        pytest.importorskip("adbc_driver_postgresql", reason="install the extra [postgres]")
    server = request.getfixturevalue(place) if place in {"postgresql", "mariadb"} else ""

    def laid(found: list[Row], more: str = "", **types: str) -> NodeSettings:
        match place:
            case "parquet":
                source = sourced.in_parquet(tmp_path / "export.parquet", found)
            case "csv":
                source = sourced.in_csv(tmp_path / "export.csv", found)
            case "postgresql":
                source = sourced.in_postgresql(server, found)
            case _:
                source = sourced.in_mariadb(server, found)
        return sourced.folder(tmp_path / "node", f"{source}\n{more}", **types)

    return laid


def taken(settings: NodeSettings) -> Path:
    refresh(settings, settings.sources[TABLE])
    return settings.snapshot(TABLE)


def same(table: Path, expected: Any) -> bool:
    """Whether a file has these rows in this order, and the same columns of the same types."""
    read = pq.read_table(table)
    return bool(
        read.schema.names == expected.schema.names
        and read.schema.types == expected.schema.types
        and read.to_pylist() == expected.to_pylist()
    )


def partial(table: Path) -> tuple[int, ...]:
    one = sourced.contract()
    plan = parse.parse(sourced.SQL, {"orders": one}, COHORT)
    return evaluate(plan, one, table, SeededEntropy(3)).values


def test_the_same_rows_wherever_they_lie(lay: Lay, tmp_path: Path) -> None:
    found = sourced.rows()
    plain = tmp_path / "plain.parquet"
    pq.write_table(sourced.arrow(found), plain)
    table = taken(lay(found))
    assert same(table, sourced.arrow(found))
    one = sourced.contract()
    assert row_keys(one, table, SECRET) == row_keys(one, plain, SECRET)
    assert len({row_keys(one, table, SECRET)[at : at + 16] for at in range(0, 4800, 16)}) == 300
    assert partial(table) == partial(plain)
    assert any(partial(table))


def test_the_order_in_which_a_source_has_its_rows_is_not_seen(lay: Lay) -> None:
    """Else a row of one unit could move another's, and another of these would pass its bound."""
    found = sourced.rows()
    first = taken(lay(found)).read_bytes()
    settings = lay(found[::-1])
    snapshot = refresh(settings, settings.sources[TABLE])
    assert not snapshot.new
    assert settings.snapshot(TABLE).read_bytes() == first


def test_only_the_rows_that_were_declared(lay: Lay) -> None:
    found = sourced.rows()
    more = """[sources."orders.parquet".rows]
    category = ["home", "toys"]
    gift = [true]
    ts = { from = "2025-01-10T08:00:00+08:00", before = 2025-06-01 }
    order_id = { before = 9007199254741200 }
    """
    only = [
        row
        for row in found
        if row["category"] in {"home", "toys"}
        and row["gift"]
        and "2025-01-10" <= row["ts"].isoformat() < "2025-06-01"
        and row["order_id"] < 9007199254741200
    ]
    assert 0 < len(only) < len(found)
    assert same(taken(lay(found, more)), sourced.arrow(only))


def test_texts_are_compared_as_they_are_written(lay: Lay) -> None:
    """A database may take A for a, and a blank at the end for nothing."""
    found = sourced.rows(40)
    for at, row in enumerate(found):
        row["note"] = ["de", "DE", "dé", "de '"][at % 4]
    table = taken(lay(found, f"""[sources."{TABLE}".rows]\nnote = ["de", "de '"]"""))
    read = pq.read_table(table)["note"].to_pylist()
    assert sorted(read) == ["de"] * 10 + ["de '"] * 10


def test_a_contract_may_ask_less_of_a_column(lay: Lay) -> None:
    """A whole number is a number."""
    table = taken(lay(sourced.rows(20), order_id="float"))
    assert pq.read_schema(table).field("order_id").type == pa.float64()


def test_only_this_nodes_user_reads_a_snapshot(lay: Lay) -> None:
    table = taken(lay(sourced.rows(20)))
    assert table.stat().st_mode & 0o777 == 0o600
    assert table.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(one.name for one in table.parent.iterdir()) == ["lock", "next", TABLE]


def test_no_column_is_taken_that_no_contract_promises(lay: Lay) -> None:
    assert set(pq.read_schema(taken(lay(sourced.rows(20)))).names) == set(COLUMNS)


def test_a_mapping_that_names_no_column_is_found_wherever_it_lies(lay: Lay) -> None:
    """A check asks for it, and nothing was read yet."""
    mapped = f'[sources."{TABLE}".columns]\n'
    (line,) = sources(lay(sourced.rows(20), f'{mapped}note = "Category"'), connect=True)
    assert line.state == "fail"
    assert "columns.note of [sources] names Category, which" in line.said
    assert line.said.endswith("did you mean 'category'?")
    (line,) = sources(lay(sourced.rows(20), f'{mapped}note = "category"'), connect=True)
    assert line.state == "ok"
