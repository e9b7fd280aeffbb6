"""EXPLAIN PRIVACY: costs, errors, who learns what and which rules decide; nothing spent or read."""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from experiments.cli import run
from experiments.explaining import explanation, note_time
from federation.queries.pricing import least_rows
from federation.tasks import QueryTask
from tests.simulator import CN, EU, KEYHOLDERS, SQL, WAREHOUSES, Simulation

OPENED: list[str] = []
LISTENING = [False]


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if LISTENING[0] and event in {"open", "sqlite3.connect"}:
        OPENED.append(str(arguments[0]))


sys.addaudithook(_hear)  # it stays for as long as the process does, and says nothing by itself


def folders(simulation: Simulation) -> dict[Path, str]:
    """Every file of every node, by its bytes; SQLite's own index of readers aside."""
    every = (simulation.home.folder / "nodes").rglob("*")
    files = [path for path in every if path.is_file() and not path.name.endswith("-shm")]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def ready(simulation: Simulation) -> Simulation:
    for member in simulation.home.holders():
        simulation.folder(member.party)
    return simulation


def test_it_opens_no_table_and_writes_nothing(
    ready: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.offer(CN, ready.query(cohort=WAREHOUSES))  # one node has books that hold something
    order = ready.query(cohort=WAREHOUSES)
    monkeypatch.setattr(duckdb, "connect", lambda *_, **__: pytest.fail("a table was queried"))
    before = folders(ready)
    OPENED.clear()
    LISTENING[0] = True
    try:
        value = explanation(ready.home, order)
    finally:
        LISTENING[0] = False
    assert value["epsilon"] == order.epsilon
    assert any("contract" in Path(path).parts for path in OPENED)  # the hook hears
    assert not [path for path in OPENED if "data" in Path(path).parts]
    assert not [path for path in OPENED if "ingestion" in path]
    assert folders(ready) == before


def test_it_says_what_every_account_pays_and_keeps(ready: Simulation) -> None:
    order = ready.query(cohort=WAREHOUSES)
    value = explanation(ready.home, order)
    assert [row["node"] for row in value["accounts"]] == list(WAREHOUSES)
    for row in value["accounts"]:
        assert row["subjects"] == "customers"
        assert row["before"] == 0
        assert row["cost"] == row["after"] == float(order.epsilon)
        assert row["left"] == row["limit"] - row["after"]
        assert row["fits"]
    assert {"noise_multiplier", "rows_per_unit", "cells", "numbers", "errors", "left"} <= set(value)
    dear = explanation(ready.home, ready.query(epsilon="6", cohort=WAREHOUSES))["accounts"]
    assert not any(row["fits"] for row in dear)
    assert all("customers" in row["refusal"] for row in dear)


def test_it_says_who_would_learn_what(ready: Simulation) -> None:
    order = ready.query(cohort=WAREHOUSES)
    told = explanation(ready.home, order)["learns"]
    assert {row["party"] for row in told if row["as"] == "recipient"} == {*order.recipients}
    assert [row["party"] for row in told if row["as"] == "keyholder"] == list(KEYHOLDERS)
    said = {row["as"]: row["what"] for row in told}
    assert "it alone opens" in said["recipient"] and "parts of 2 keyholders" in said["recipient"]
    assert "ciphertexts that it cannot open" in said["aggregator"]
    assert "sum once" not in said["aggregator"]
    assert "alone it reads nothing" in said["keyholder"]
    assert "2 of the 3 keyholders and the aggregator together" in said["keyholder"]
    assert "with that party's noise" in said["keyholder"]
    assert [row["party"] for row in told if row["as"] == "node"] == list(order.cohort)
    assert {row["as"] for row in told} == {"recipient", "aggregator", "keyholder", "node"}


def test_it_names_the_rules_that_decide_and_whose_they_are(ready: Simulation) -> None:
    fine = explanation(ready.home, ready.query(cohort=WAREHOUSES))["rules"]
    assert all(row["permits"] and row["decides"] and not row["reasons"] for row in fine)
    assert any(row["transfers"] for row in fine)
    order = ready.query(cohort=WAREHOUSES, purpose="marketing", minimum=1)
    refused = {row["node"]: row for row in explanation(ready.home, order)["rules"]}
    assert not refused[EU]["permits"]
    owners = {reason["id"]: reason["owner"] for reason in refused[EU]["reasons"]}
    assert owners["EU-001"] == "law"
    assert owners["BASE-008"] == "federation"
    assert set(owners) <= set(refused[EU]["decides"])
    # What it foretells is what the node says.
    reply = ready.offer(EU, order).body
    assert {reason["id"] for reason in reply["reasons"]} == set(owners)


def test_it_knows_drowned_cells_from_a_past_release_alone(ready: Simulation) -> None:
    text = "SELECT category, COUNT(*) AS n FROM orders GROUP BY category"
    order = ready.query(cohort=WAREHOUSES, sql=text)
    found = explanation(ready.home, order)["drowned"]
    task = QueryTask.from_json(order.parameters)
    assert found["least_rows"] == least_rows(task.plan, task.noise_multiplier, len(WAREHOUSES))
    assert (found["cells"], found["from"]) == ([], None)
    job = ready.run(order)
    assert job.status == "done", job.result
    note_time(ready.jobs, order, job.result, 3.21)
    note_time(ready.jobs, order, {**job.result, "reused": {"run": "x"}}, 0.0)
    rows = {row["keys"][0]: int(row["cells"][0]["value"]) for row in job.result["answer"]["rows"]}
    again = explanation(ready.home, ready.query(epsilon="0.1", cohort=WAREHOUSES, sql=SQL))
    needed = again["drowned"]["least_rows"]
    assert again["drowned"]["from"] == order.id
    assert again["drowned"]["cells"] == [[key] for key, count in rows.items() if count < needed]
    assert again["drowned"]["cells"]
    assert again["seconds"] == 3.2
    # To whom that release was not shown, it is not there.
    stranger = dataclasses.replace(order, proposer=CN, recipients=(CN,), nonce="ab" * 16)
    assert explanation(ready.home, stranger)["drowned"]["from"] is None
    other = ready.query(cohort=WAREHOUSES, sql=text.replace("GROUP", "WHERE amount > 5 GROUP"))
    assert explanation(ready.home, other)["drowned"]["from"] is None


def test_an_order_of_version_1_on_the_table_is_passed_over(ready: Simulation) -> None:
    """Tables of work outlive versions of the language."""
    old = ready.query(cohort=WAREHOUSES)
    parameters = json.loads(json.dumps(old.parameters))
    parameters["plan"]["v"] = 1
    old = dataclasses.replace(old, parameters=parameters)
    ready.put(old)
    ready.jobs.end(old.id, "done", {"answer": {"rows": []}, "parties": []})
    value = explanation(ready.home, ready.query(cohort=WAREHOUSES))
    assert (value["drowned"]["from"], value["reused"]) == (None, None)
    again = dataclasses.replace(old, nonce="ab" * 16)
    job = ready.run(again)
    assert job.status == "failed"
    for said in (job.result["error"], ready.offer(CN, again).body["reasons"][0]["en"]):
        assert "version 1 of the query language" in said
        assert "ask the question anew" in said


def test_the_command_says_all_of_it(
    ready: Simulation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    where = ["--federation", str(ready.home.folder)]
    assert run(["query", SQL, "--explain", *where]) == 0
    said = capsys.readouterr().out
    for part in ("noise drowns every cell of fewer than", "who would learn", "would permit it by"):
        assert part in said
    told = tmp_path / "told.json"
    assert run(["query", SQL, "--explain", "--json", "--output", str(told), *where]) == 0
    assert json.loads(told.read_text())["schema"] == "entrepot.query.explain/1"


WRONG = [
    (["--json", "--format", "csv"], "two formats"),
    (["--explain", "--format", "arrow"], "a table or JSON"),
    (["--output", "/proc/none/at/all"], "cannot be"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_a_format_that_cannot_be_is_one_sentence_before_anything_is_asked(
    ready: Simulation, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["query", SQL, *options, "--federation", str(ready.home.folder)])
    captured = capsys.readouterr()
    assert code == 2
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert not ready.jobs.done()
