"""The fault table finds what was lost, sent twice or opened twice, where something was."""

import sqlite3
import subprocess
from contextlib import contextmanager

import psutil
import pytest

from experiments import bench_joining, faults, mishaps
from experiments.bench_entering import Entering
from experiments.faults import Cell, Seen, beside, markdown, places
from experiments.home import Home
from experiments.local_fleet import wait_until
from federation.control.captures import Capture
from federation.envelopes import Envelope, seal
from federation.messages import Kind
from policies.parties import PartyId
from secure_compute.primitives.signature import SigningKey

KEY, NODE, TABLE = SigningKey(bytes(range(32))), PartyId("node"), PartyId("table")


@pytest.fixture
def node(tmp_path):
    with sqlite3.connect(tmp_path / "books.sqlite") as books:
        books.execute("CREATE TABLE settlements (order_id TEXT, release_key TEXT)")
    with sqlite3.connect(tmp_path / "keys.sqlite") as keys:
        keys.execute("CREATE TABLE openings (query TEXT, key TEXT)")
    return tmp_path


def sends(node, *, kind=Kind.SUM_UPLOAD, sequence=0, order="one", **blobs):
    capture = Capture(node / "captures" / "node.cap")
    capture.append(seal(Envelope(kind, NODE, TABLE, order, sequence, {}, blobs), KEY))
    capture.close()


def charges(node, release, order="one"):
    with sqlite3.connect(node / "books.sqlite") as books:
        books.execute("INSERT INTO settlements VALUES (?, ?)", (order, release))


def test_what_left_and_was_charged_is_well(node):
    sends(node, upload=b"a", head=b"1")
    sends(node, upload=b"a", head=b"2")  # the same again, beside a newer head of its ledger
    sends(node, upload=b"b", sequence=1)
    charges(node, "0")
    charges(node, "1")
    assert beside(node, "one") == Seen(left=2, lost=0, double=0, reused=0)


def test_what_was_charged_and_did_not_leave_is_well(node):
    charges(node, "0")
    assert beside(node, "one") == Seen(left=0, lost=0, double=0, reused=0)


def test_what_left_for_nothing_is_lost(node):
    sends(node, upload=b"a")
    sends(node, upload=b"b", sequence=1)
    charges(node, "0")
    charges(node, "0", order="another")
    assert beside(node, "one") == Seen(left=2, lost=1, double=0, reused=0)


def test_two_answers_of_one_round_are_a_release_made_twice(node):
    sends(node, upload=b"a")
    sends(node, upload=b"b")
    charges(node, "0")
    assert beside(node, "one") == Seen(left=1, lost=0, double=1, reused=0)


def test_words_that_say_nothing_of_rows_are_no_answers(node):
    sends(node, kind=Kind.ACCEPTED, upload=b"a")
    sends(node, kind=Kind.QUERY_REVEALED, head=b"a")
    sends(node, order="another", upload=b"a")
    assert beside(node, "one").left == 0


def test_a_key_that_opened_two_questions_is_found(node):
    with sqlite3.connect(node / "keys.sqlite") as keys:
        keys.executemany("INSERT INTO openings VALUES (?, ?)", [("a", "k"), ("b", "k"), ("c", "l")])
    assert beside(node, "one").reused == 1


def test_a_folder_without_books_or_keys_has_nothing_to_say(tmp_path):
    assert beside(tmp_path, "one") == Seen(0, 0, 0, 0)


def test_every_process_stands_at_every_step_once():
    cells = places()
    assert len(cells) == len(set(cells)) == 47
    assert ("question", "endorsed", "keyholder") in cells
    assert ("run", "round 1", "keyholder") not in cells


def test_the_table_and_its_figures_tell_the_same():
    cells = [
        Cell("run", "offered", "node", "done", "", Seen(4, 0, 0, 0)),
        Cell("run", "round 1", "node", "abandoned", "too few | were left", Seen(2, 1, 1, 1)),
    ]
    text = markdown(cells)
    assert "2 kills; 1 abandoned, 1 done; 1 spends lost, 1 releases twice" in text
    row = "| run | round 1 | kill -9 | node | abandoned: too few / were left | 2 | 1 | 1 | 1 |"
    assert row in text
    assert "mishaps" not in text
    figures = {row["name"]: row["value"] for row in bench_joining.kills(cells)}
    assert figures == {
        "kill_matrix_cells": 2,
        "kill_matrix_done": 1,
        "kill_matrix_answers": 6,
        "kill_matrix_lost_spend": 1,
        "kill_matrix_double_release": 1,
        "kill_matrix_reused_keys": 1,
    }


def test_an_entry_is_told_beside_its_limit():
    own, let_in = bench_joining.entry(Entering(own=7.254321, let_in=3.0))
    assert (own["name"], own["value"], own["peer_value"]) == ("join_s", 7.254, 10)
    assert (let_in["name"], let_in["value"]) == ("join_let_in_s", 3.0)


def test_mishaps_stand_below_the_kills_and_are_none_of_them():
    kill = Cell("run", "offered", "node", "done", "", Seen(4, 0, 0, 0))
    cut = Cell("run", "offered", "node", "done", "", Seen(3, 0, 0, 0), "cut")
    above, below = markdown([cut, kill]).split("## What else")
    assert "1 kills; 1 done" in above
    assert "| cut |" not in above
    assert "1 mishaps; 1 done" in below
    assert "| run | offered | cut | node | done | 3 | 0 | 0 | 0 |" in below


def test_every_mishap_befalls_every_machine_and_the_joinings_come_last():
    cells = mishaps.places()
    assert len(cells) == len(set(cells)) == 4 * (3 * 3 + 2 * 2 + 2)
    assert ("cut", "question", "revealed", "keyholder") in cells
    protocols = [protocol for _, protocol, _, _ in cells]
    assert protocols[-8:] == ["join"] * 8
    assert "join" not in protocols[:-8]


class Machines:
    """What was done to machines, in order."""

    names = ("aggregator", "merchant-uk", "keyholder-ch")

    def __init__(self):
        self.done = []

    def set_clock(self, name, seconds):
        self.done.append((name, seconds))

    @contextmanager
    def slow_disk(self, pids):
        self.done.append(("slow", *pids))
        yield
        self.done.append("as ever")


@pytest.fixture
def machines(tmp_path, monkeypatch):
    monkeypatch.setattr(mishaps, "AWAY_SECONDS", 0.0)
    (tmp_path / "nodes" / "merchant-uk" / "run").mkdir(parents=True)
    return Machines()


def befall(machines, folder, *which):
    """What was done while mishaps befell a node, one after the other."""
    happening = mishaps.Mishaps(Home(folder, "faults", "", PartyId("x")), machines)
    for mishap in which:
        before = list(machines.done)
        with happening.befalling(mishap, "node") as strike:
            assert machines.done == before
            strike()
            machines.done.append("struck")
    return machines.done


def test_a_fast_clock_is_right_again_when_the_order_is_over(machines, tmp_path):
    done = befall(machines, tmp_path, "fast clock")
    assert done == [("merchant-uk", 600), "struck", ("merchant-uk", 0)]


def test_an_hour_goes_by_for_everybody_and_stays_gone_by(machines, tmp_path):
    done = befall(machines, tmp_path, "away", "fast clock")
    assert done[:5] == [*((name, 3600) for name in ("world", *machines.names)), "struck"]
    assert done[5:] == [("merchant-uk", 4200), "struck", ("merchant-uk", 3600)]


def test_who_is_away_stands_still_and_goes_on(machines, tmp_path):
    with subprocess.Popen(["sleep", "60"]) as standing:
        try:
            pid = tmp_path / "nodes" / "merchant-uk" / "run" / "node.pid"
            pid.write_text(str(standing.pid))
            states = []
            machines.set_clock = lambda *_: states.append(psutil.Process(standing.pid).status())
            befall(machines, tmp_path, "away")
            assert set(states) == {psutil.STATUS_STOPPED}
            wait_until(lambda: psutil.Process(standing.pid).status() != psutil.STATUS_STOPPED)
        finally:
            standing.kill()


def test_a_slow_disk_is_that_of_all_processes_of_a_machine(machines, tmp_path):
    run = tmp_path / "nodes" / "merchant-uk" / "run"
    (run / "node.pid").write_text("4242")
    (run / "other.pid").write_text("4343")
    assert befall(machines, tmp_path, "slow disk") == [("slow", 4242, 4343), "struck", "as ever"]


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["--quick"], 2)])
def test_asking_for_help_makes_no_table(words, code, monkeypatch, capsys):
    for name in ("enter", "_everything"):
        monkeypatch.setattr(faults, name, lambda *_: pytest.fail("half an hour of faults began"))
    with pytest.raises(SystemExit) as ended:
        faults.main(words)
    assert ended.value.code == code
    said = "".join(capsys.readouterr())
    assert "usage: python -m experiments.faults" in said
    assert ("FAULTS.md" in said) is (code == 0)
