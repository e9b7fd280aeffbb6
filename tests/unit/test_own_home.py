"""A party's own folder shows its own books and ledger, and says whose are elsewhere."""

import json

import pytest

from experiments.cli import run
from experiments.home import open_home
from tests.simulator import CN, EU, SQL


def said(capsys, *words):
    code = run([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def folder(simulation):
    """One party's folder, with no other beside it."""
    return simulation.folder(CN)


def test_a_partner_sees_its_own_account_and_whose_are_elsewhere(folder, simulation, capsys):
    code, out, err = said(capsys, "budget", "show", "--federation", folder, "--json")
    assert code == 0
    assert {row["node"] for row in json.loads(out)["budgets"]} == {CN}
    others = [m.party for m in simulation.home.holders() if m.party != CN]
    assert f"do not lie here: {', '.join(others)}\n" in err


def test_a_partner_reads_its_own_ledger_alone(folder, capsys):
    words = ("audit", "show", "--federation", folder, "--json")
    code, out, _ = said(capsys, *words)
    assert code == 0
    logs = {log["party"]: log["entries"] for log in json.loads(out)["logs"]}
    code, out, _ = said(capsys, *words, "--node", CN)
    assert [log["party"] for log in json.loads(out)["logs"]] == [CN]
    assert not any(size for party, size in logs.items() if party != CN)


def test_the_federation_is_the_one_that_the_node_believes(folder, simulation):
    own, whole = open_home(folder), simulation.home
    assert (own.name, own.pin, own.analyst) == (whole.name, whole.pin, whole.analyst)
    assert own.node(CN) == folder.resolve() and not own.node(EU).exists()
    assert own.roster() == whole.roster()


@pytest.mark.parametrize(
    "words", [("query", SQL, "--explain"), ("budget", "what-if", "query", SQL)]
)
def test_bad_a_price_where_a_partys_folder_is_elsewhere(simulation, capsys, words):
    code, out, err = said(capsys, *words, "--federation", simulation.home.folder)
    assert (code, out) == (2, "")
    assert f"the folder of {CN} does not lie here" in err and "node.toml" not in err
