"""`entrepot aggregator roster`, `revoke` and `entrepot node leave`, as people see them."""

import json

import pytest

from clients.rosters import LEAVING
from experiments.cli import run
from experiments.founding import AGGREGATOR
from federation.roster_chain import Remove
from tests.simulator import CN, UK


@pytest.fixture
def entrepot(simulation, capsys):
    """Run one command line in the federation; return its exit code and what it printed."""

    def command(*words):
        code = run([*words, "--federation", str(simulation.home.folder)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def roster_of(entrepot):
    code, out, _ = entrepot("aggregator", "roster", "--json")
    assert code == 0
    return json.loads(out)


def test_the_roster_says_who_is_in_and_who_signed_what(entrepot, simulation):
    value = roster_of(entrepot)
    assert value["schema"] == "entrepot.aggregator.roster/1"
    assert value["pin"] == simulation.home.pin
    assert (value["epoch"], value["colluding"]) == (1, 1)
    assert {m["party"] for m in value["members"]} == {m.party for m in simulation.roster.members}
    assert value["organisations"] == len({m.organisation for m in simulation.roster.members})
    (epoch,) = value["epochs"]
    assert epoch["change"] == "founding"
    assert set(epoch["signers"]) == {m.party for m in simulation.roster.members}


def test_a_member_is_suspended_and_restored_and_the_reasons_stay(entrepot):
    code, out, _ = entrepot("aggregator", "revoke", UK, "--reason", "laptop stolen\x1b[2J")
    assert code == 0
    assert out.startswith("warehouse-uk is suspended from epoch 2 on; to remove warehouse-uk for")
    assert "2 members of other organisations sign" in out
    value = roster_of(entrepot)
    assert [m["party"] for m in value["members"] if m["suspended"]] == [UK]
    assert value["epochs"][-1]["signers"] == [AGGREGATOR]
    code, out, _ = entrepot("aggregator", "revoke", UK, "--restore", "--reason", "found", "--json")
    done = json.loads(out)
    assert (done["schema"], done["change"], done["epoch"]) == (
        "entrepot.aggregator.revoke/1",
        "restored",
        3,
    )
    value = roster_of(entrepot)
    assert not any(m["suspended"] for m in value["members"])
    assert [(r["change"], r["epoch"]) for r in value["reasons"]] == [
        ("suspended", 2),
        ("restored", 3),
    ]


def test_it_is_told_in_words_that_move_no_cursor(entrepot, simulation):
    entrepot("aggregator", "revoke", UK, "--reason", "laptop stolen\x1b[2J")
    simulation.lengthen(Remove(CN), CN)
    code, out, _ = entrepot("aggregator", "roster")
    assert code == 0
    assert "simulated is at epoch 3: 12 members of 12 organisations" in out
    assert "Felixstowe Stores, SUSPENDED" in out
    assert "warehouse-cn     was here under key" in out
    assert "epoch 2: suspend warehouse-uk, signed by aggregator" in out
    assert "because: laptop stolen\\x1b[2J" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nobody", "--reason", "x"), "'nobody' is no member of simulated at epoch 1"),
        ((AGGREGATOR, "--reason", "x"), "aggregator is the aggregator"),
        ((UK, "--reason", "x", "--restore"), "warehouse-uk is not suspended"),
        ((UK, "--reason", " "), "say why"),
    ],
)
def test_what_cannot_be_revoked(entrepot, simulation, words, said):
    before = (simulation.home.aggregator / "roster.bin").read_bytes()
    code, out, err = entrepot("aggregator", "revoke", *words)
    assert code == 2
    assert out == ""
    assert said in err
    assert (simulation.home.aggregator / "roster.bin").read_bytes() == before


def test_an_older_roster_is_an_integrity_failure(entrepot, simulation):
    first = (simulation.home.aggregator / "roster.bin").read_bytes()
    entrepot("aggregator", "revoke", UK, "--reason", "x")
    simulation.home.roster()
    (simulation.home.aggregator / "roster.bin").write_bytes(first)
    code, _, err = entrepot("budget", "show")
    assert code == 30
    assert "ends at epoch 1 and this party is at 2 already" in err


def test_a_federation_of_an_earlier_version_says_what_to_do(entrepot, simulation):
    old = b"\x01" * 64 + b'{"epoch":1,"federation":"simulated","members":[],"version":1}'
    for folder in (simulation.home.folder, simulation.home.aggregator):
        (folder / "roster.bin").write_bytes(old)
    code, _, err = entrepot("aggregator", "roster")
    assert code == 2
    assert err == (
        "entrepot: the roster is of an earlier version, in which one founder's key signed it; no "
        "member agreed to it, so it is not converted: found the federation anew, beside this "
        "folder\n"
    )


def test_a_node_is_told_to_leave(simulation, capsys):
    folder = simulation.folder(CN)
    assert run(["node", "leave", str(folder), "--yes", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["schema"] == "entrepot.node.leave/1"
    assert (value["party"], value["epoch"], value["running"]) == (CN, 1, False)
    assert "as soon as it runs and is connected" in value["said"]
    assert (folder / LEAVING).exists()


def test_nobody_leaves_by_mistake(simulation, capsys, monkeypatch):
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    folder = simulation.folder(CN)
    assert run(["node", "leave", str(folder)]) == 12
    assert not (folder / LEAVING).exists()
    assert capsys.readouterr().err.endswith("entrepot: not agreed: nothing was signed\n")


def test_who_has_left_leaves_no_more(simulation, capsys):
    folder = simulation.folder(CN)
    (folder / "roster.bin").write_bytes(simulation.lengthen(Remove(CN), CN))
    assert run(["node", "leave", str(folder), "--yes"]) == 2
    assert "warehouse-cn has left simulated" in capsys.readouterr().err
