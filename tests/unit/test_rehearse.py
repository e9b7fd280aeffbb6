"""`entrepot node rehearse`: contracts and law on made-up rows; no row of the node's is read."""

import json
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from clients.qualities import qualities
from clients.tables import conform_table
from experiments.cli import run
from experiments.ordering import published_contracts
from experiments.rehearsing import question
from experiments.twin import PER_UNIT, ROWS, twin
from federation.queries.parse import parse
from policies.contracts import load_contract
from tests.orders_table import COHORT
from tests.simulator import KEYHOLDER, SHOP, Simulation
from tests.sourced import text
from tests.unit.test_checking import contents
from tests.unit.test_node_health import NOW
from tests.unit.test_worker import rewrite

CONTRACTS = published_contracts()
HELD = text().replace(
    'domain = ["home", "toys", "garden"]', 'domain = ["home", "toys"]\nholds = ["toys"]'
)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_twin_is_what_its_contract_promises(name: str, tmp_path: Path) -> None:
    contract, path = CONTRACTS[name], tmp_path / "twin.parquet"
    made = twin(contract, 1)
    assert made.num_rows == ROWS
    assert made.column_names == [column.name for column in contract.columns]
    pq.write_table(made, path)
    conform_table(contract, path)
    found = {(one.rule, one.what): one for one in qualities(contract, path, NOW)}
    for column in contract.columns:
        assert found["valid", column.name].broken == 0
        assert found["complete", column.name].broken == 0
    assert all(one.broken == 0 for (rule, _), one in found.items() if rule == "unique")
    assert twin(contract, 1).equals(made) and not twin(contract, 2).equals(made)


def test_people_have_several_rows_each() -> None:
    found = pc.value_counts(twin(CONTRACTS["orders"], 1)["customer_id"])
    assert {one["counts"] for one in found.to_pylist()} == {PER_UNIT}


def test_a_twin_keeps_to_what_a_party_may_hold() -> None:
    made = twin(load_contract(HELD), 1)
    assert set(made["category"].to_pylist()) == {"toys"}
    assert made.schema.field("day").type == pa.date32()


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_contract_can_be_asked_a_question(name: str) -> None:
    sql = question(CONTRACTS[name])
    assert parse(sql, CONTRACTS, COHORT)
    assert ("GROUP BY" in sql) == any(c.domain and not c.optional for c in CONTRACTS[name].columns)


# -- the command -----------------------------------------------------------------------------------


def shown(capsys: pytest.CaptureFixture[str], folder: Path, code: int = 0) -> Any:
    assert run(["node", "rehearse", str(folder), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_node_rehearses_without_rows_and_without_a_trace(
    simulation: Simulation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables are broken files; the account was charged before; nobody can be connected to."""
    simulation.node(SHOP)._books.disconnect()
    simulation.kill(SHOP)
    folder = simulation.folder(SHOP)
    for table in (folder / "data").iterdir():
        table.write_bytes(b"unreadable")
    before = contents(folder)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    found = shown(capsys, folder)
    assert contents(folder) == before
    assert found["works"] and found["synthetic"] and found["rows"] == {"orders": ROWS}
    train, query = found["acts"]
    assert (train["kind"], train["status"], train["reasons"]) == ("train", "done", [])
    assert (query["kind"], query["status"], query["reasons"]) == ("query", "done", [])
    assert str(SHOP) in train["asked"]["cohort"]
    assert query["asked"]["sql"].startswith("SELECT category, COUNT(*)")
    (first,), (second,) = train["spent"], query["spent"]
    assert (first["before"], first["epsilon"]) == (0.0, float(train["asked"]["epsilon"]))
    assert second["before"] == first["epsilon"] < second["epsilon"] < first["limit"] == 3.5
    left = {one["kind"]: one for one in train["left"]}
    assert left["sum.upload"]["messages"] == train["asked"]["releases"]
    left = {one["kind"]: one for one in query["left"]}
    assert left["query.revealed"]["bytes"] > left["query.committed"]["bytes"] > 0


def test_a_node_that_would_refuse_finds_out(
    simulation: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its contract is of a version that nobody asks for."""
    folder = simulation.folder(SHOP)
    rewrite(folder / "contract" / "orders.toml", "version = 1", "version = 2")
    before = contents(folder)
    assert run(["node", "rehearse", str(folder)]) == 10
    said = capsys.readouterr().out
    assert said.count("refused: ") == 2 and "would spend" not in said
    assert "1 × order.refused" in said and "sum.upload" not in said
    assert contents(folder) == before


def test_a_limit_below_what_a_run_asks_for_says_where_it_stands(
    simulation: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulation.folder(SHOP)
    rewrite(folder / "contract" / "orders.toml", 'epsilon = "3.5"', 'epsilon = "0.3"')
    assert run(["node", "rehearse", str(folder)]) == 10
    said = capsys.readouterr().out
    assert "is left (Privacy account): ask for privacy.epsilon=" in said
    assert "stands under [limit] in contract/orders.toml" in said


def test_who_holds_no_tables_has_nothing_to_rehearse(
    simulation: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["node", "rehearse", str(simulation.folder(KEYHOLDER))]) == 2
    assert "offers no contract" in capsys.readouterr().err
    folder = simulation.folder(SHOP)
    rewrite(folder / "contract" / "orders.toml", 'name = "orders"', 'name = "ours"')
    found = shown(capsys, folder)
    assert found["acts"] == [] and "publishes no contract" in found["skipped"]["ours"]
