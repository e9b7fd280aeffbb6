"""`entrepot node check`: which rows break which rule, what else is not well, with a fix each."""

import ast
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clients.errors import ComputeError
from clients.qualities import Quality, qualities
from clients.settings import load_settings
from experiments import node_health
from experiments.cli import run
from experiments.node_health import health
from experiments.ordering import published_contracts
from tests.simulator import CN, KEYHOLDER, SHOP, Simulation, orders_table
from tests.unit.test_checking import contents
from tests.unit.test_worker import rewrite

NOW = datetime.fromisoformat("2025-06-01T12:00:00")
CONTRACTS = published_contracts()


def orders() -> pd.DataFrame:
    """Orders of which every rule is broken, each by another number of rows."""
    table = orders_table(3).head(120).reset_index(drop=True)
    table["customer_id"] = [1] * 11 + list(range(100, 209))
    table = table.astype({"order_id": "Int64", "customer_id": "Int64"})
    table.loc[table.index[:2], "order_id"] = table.loc[5, "order_id"]
    table.loc[table.index[20:24], "order_id"] = pd.NA
    table.loc[table.index[30:35], "amount"] = 5000.0
    table.loc[table.index[40:46], "category"] = "elsewhere"
    table.loc[table.index[50:57], "ts"] = pd.Timestamp("2025-07-01")
    table.loc[table.index[60:62], "ship_country"] = None
    return table


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    orders().to_parquet(tmp_path / "orders.parquet")
    return tmp_path / "orders.parquet"


def by_rule(found: tuple[Quality, ...]) -> dict[tuple[str, str], Quality]:
    return {(one.rule, one.what): one for one in found}


def test_every_rule_counts_the_rows_that_break_it(broken: Path) -> None:
    found = by_rule(qualities(CONTRACTS["orders"], broken, NOW))
    warned = {key: one.broken for key, one in found.items() if one.state != "ok"}
    assert warned == {
        ("complete", "order_id"): 4,
        ("complete", "ship_country"): 2,
        ("valid", "amount"): 5,
        ("valid", "category"): 6,
        ("unique", "order_id"): 3,
        ("timely", "ts"): 7,
    }
    assert all(bool(one.fix) == (one.state != "ok") for one in found.values())
    assert found["unique", "at most 8 rows of one customer"].broken == 3
    missing = found["complete", "label_ts"]
    assert (missing.state, missing.broken) == ("ok", int(orders().label_ts.isna().sum()))
    assert {one.rows for one in found.values()} == {120}


def test_rules_of_the_contract(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "payment_id": [1, 2, 3],
        "order_id": [1, 1, 2],
        "customer_id": [1, 1, 2],
        "ts": [pd.Timestamp("2025-01-01")] * 3,
        "amount": [20.0, -20.0, 10.0],
        "fee": [1.0, 1.0, 12.0],
        "method": ["card"] * 3,
        "status": ["captured"] * 3,
        "attempts": [1, 1, 1],
    }
    pd.DataFrame(columns).to_parquet(tmp_path / "payments.parquet")
    found = by_rule(qualities(CONTRACTS["payments"], tmp_path / "payments.parquet", NOW))
    assert found["consistent", "what goes back is a refund"].broken == 1
    assert found["consistent", "no fee above the payment"].broken == 1
    assert found["complete", "card_country"].said == "absent, as the role may"
    assert found["timely", "newest"].state == "warn"
    assert "151 days" in found["timely", "newest"].said


def test_a_column_that_is_all_missing_is_told(tmp_path: Path) -> None:
    table = orders_table(3)
    table["label_ts"] = pd.NaT
    table["label_ts"] = table["label_ts"].astype("datetime64[us]")
    table.to_parquet(tmp_path / "orders.parquet")
    found = by_rule(qualities(CONTRACTS["orders"], tmp_path / "orders.parquet", NOW))
    assert found["complete", "label_ts"].state == "warn"


def test_rows_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "orders.parquet").write_bytes(b"PAR1")
    with pytest.raises(ComputeError, match="whole Parquet file"):
        qualities(CONTRACTS["orders"], tmp_path / "orders.parquet", NOW)


def test_the_working_process_knows_nothing_of_it() -> None:
    """Else an answer, or none, could follow from a count that is exact."""
    root = Path(__file__).parents[2] / "clients"
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            assert path.name == "qualities.py" or "clients.qualities" not in names


# -- the command -----------------------------------------------------------------------------------


def shown(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert run(["node", "check", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def lines(value: Any) -> dict[tuple[str, str], Any]:
    return {(line["area"], line["name"]): line for line in value["lines"]}


def test_rows_that_break_rules_do_not_keep_a_node_from_starting(
    simulation: Simulation, broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulation.folder(SHOP)
    (folder / "data" / "orders.parquet").write_bytes(broken.read_bytes())
    before = contents(folder)
    value = shown(capsys, str(folder))
    assert value["ready"] and value["offers"] == ["orders"]
    (table,) = value["tables"]
    assert table["contract"] == "orders" and table["rows"] == 120
    found = {(one["rule"], one["what"]): one["broken"] for one in table["checks"]}
    assert found["valid", "amount"] == 5
    assert run(["node", "check", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "warn orders: valid amount: 5 of 120 values" in out
    assert "values" not in err
    assert contents(folder) == before


def test_what_is_left_of_every_account(
    simulation: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    value = shown(capsys, str(simulation.folder(CN)))
    budgets = [line for line in value["lines"] if line["area"] == "budget"]
    assert [line["said"] for line in budgets] == [
        "ε 3.5 of 3.5 left at δ = 1e-06",
        "ε 6.5 of 6.5 left at δ = 1e-06",
    ]
    assert all(line["state"] == "ok" for line in budgets)


def test_an_account_that_is_nearly_empty_is_told(simulation: Simulation) -> None:
    order = simulation.training()
    assert simulation.run(order).status == "done"
    account = simulation.account(CN)
    assert account is not None and account.epsilon_spent > 1
    folder = simulation.folder(CN)
    for limit in ("6.5", f"{account.epsilon_spent * 1.05:.3f}"):
        rewrite(folder / "contract" / "demand.toml", 'epsilon = "6.5"', f'epsilon = "{limit}"')
        found = health(load_settings(folder))
        (line,) = [one for one in found.lines if one.area == "budget" and "demand" in one.name]
        left = float(limit) - account.epsilon_spent
        assert f"ε {left:g} of {float(limit):g} left" in line.said
        assert (line.state, bool(line.fix)) == (("ok", False) if limit == "6.5" else ("warn", True))


def test_disk_and_certificate(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(simulation.folder(CN))
    found = {(line.area, line.name): line for line in health(settings).lines}
    assert found["certificates", "keys/stream.crt"].state == "ok"
    assert "days, until" in found["certificates", "keys/stream.crt"].said
    monkeypatch.setattr(node_health, "FREE_GIB", 1 << 40)
    soon = node_health.require_shown(settings)
    assert soon is not None
    late = soon.until.timestamp() - 86400 * 3
    found = {(line.area, line.name): line for line in health(settings, now=late).lines}
    assert found["certificates", "keys/stream.crt"].state == "warn"
    assert "good for 3 days" in found["certificates", "keys/stream.crt"].said
    assert found["disk", str(settings.folder)].state == "warn"


def test_a_clock_that_is_behind_its_witnesses(simulation: Simulation) -> None:
    books = simulation.node(CN)._books
    books.witnessed_time(simulation.now() + 100)
    settings = load_settings(simulation.folder(CN))
    clock = health(settings).lines[0]
    assert (clock.area, clock.state) == ("clock", "warn") and clock.fix
    assert health(settings, now=simulation.now() + 200).lines[0].state == "ok"


@contextmanager
def listening(count: int) -> Iterator[list[int]]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        yield [one.getsockname()[1] for one in sockets]


def test_the_aggregators_ports_are_tried_only_if_asked(
    simulation: Simulation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = simulation.folder(KEYHOLDER)
    text = (folder / "node.toml").read_text(encoding="utf-8")
    with listening(2) as (one, two):
        text = text.replace('"127.0.0.1:1"', f'"127.0.0.1:{one}"')
        text = text.replace('"127.0.0.1:3"', f'"127.0.0.1:{two}"')
        (folder / "node.toml").write_text(text, encoding="utf-8")
        reach = lines(shown(capsys, str(folder), "--connect"))
        assert {reach["reach", name]["state"] for name in ("address", "stream")} == {"ok"}
    reach = lines(shown(capsys, str(folder), "--connect", code=20))
    assert {reach["reach", name]["state"] for name in ("address", "stream")} == {"fail"}
    assert all(reach["reach", name]["fix"] for name in ("address", "stream"))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert ("reach", "address") not in lines(shown(capsys, str(folder)))


def test_earlier_refusals_hold_with_json(
    simulation: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulation.folder(CN)
    rewrite(folder / "contract" / "demand.toml", 'type = "string"', 'type = "boolean"')
    assert run(["node", "check", str(folder), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "convert the column" in err
