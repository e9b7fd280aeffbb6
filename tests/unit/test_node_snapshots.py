"""`entrepot node check` judges the rows that the node works with next."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clients.settings import load_settings
from clients.snapshots import refresh, take_up
from experiments.cli import run
from experiments.node_snapshots import upcoming
from tests import sourced
from tests.simulator import SHOP, Simulation
from tests.sourced import TABLE


def declared(folder: Path, mapping: str) -> None:
    """Let the orders come from a file whose categories are spelt as codes."""
    toml = (folder / "node.toml").read_text(encoding="utf-8").partition("\n[sources.")[0]
    source = f'\n[sources."{TABLE}"]\nfile = "export.csv"\n'
    (folder / "node.toml").write_text(f"{toml}{source}{mapping}", encoding="utf-8")


def checked(capsys: pytest.CaptureFixture[str], folder: Path) -> tuple[int, list[Any]]:
    """How many rows have a category of another list, and the lines on snapshots."""
    assert run(["node", "check", str(folder), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    (table,) = value["tables"]
    (rule,) = [r for r in table["checks"] if (r["rule"], r["what"]) == ("valid", "category")]
    return rule["broken"], [line for line in value["lines"] if line["area"] == "snapshots"]


def test_the_rows_that_wait_are_judged_until_they_are_taken_up(
    simulation: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulation.folder(SHOP)
    table = pd.read_parquet(folder / "data" / TABLE)
    (folder / "data" / TABLE).unlink()
    table.to_csv(folder / "export.csv", index=False)
    there = table.category.dropna().mode()[0]
    many = int((table.category == there).sum())
    declared(folder, "")
    assert run(["node", "refresh", str(folder)]) == 0
    assert capsys.readouterr().out == f"{TABLE}: {len(table)} rows, new\n"
    assert checked(capsys, folder) == (0, [])

    declared(folder, f'[sources."{TABLE}".columns]\ncategory.codes = {{ "{there}" = "a typo" }}\n')
    assert run(["node", "refresh", str(folder)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(" rows, new") and second.startswith(f"{TABLE}: it waits until the node")
    assert f"`entrepot node check {folder}` looks at what waits" in second
    assert run(["node", "refresh", str(folder), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["tables"]
    assert (row["new"], row["waits"]) == (False, True)
    broken, (line,) = checked(capsys, folder)
    assert many and broken == many
    assert (line["name"], line["state"]) == (TABLE, "ok")
    assert line["said"].startswith("a newer snapshot waits until this node has no order under way")
    assert line["said"].endswith("it is what was checked")

    settings = load_settings(folder)
    take_up(settings, settings.contracts().values())
    assert checked(capsys, folder) == (broken, [])


def test_what_waits_for_other_contracts_is_not_judged(tmp_path: Path) -> None:
    """The node takes it up no more than that: the rows in place are those of the next order."""
    source = sourced.in_parquet(tmp_path / "orders.parquet", sourced.rows(20))
    settings = sourced.folder(tmp_path / "node", source)
    refresh(settings, settings.sources[TABLE])
    changed = sourced.folder(tmp_path / "node", source, order_id="float")
    refresh(changed, changed.sources[TABLE])
    settings = sourced.folder(tmp_path / "node", source)
    places, (line,) = upcoming(settings)
    assert places == {"orders": settings.snapshot(TABLE)}
    assert line.state == "warn" and "was not checked" in line.said and "refresh" in line.fix
