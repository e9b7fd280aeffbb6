"""A node whose folder is wrong does not start: one sentence, exit code 2, no traceback."""

import shutil
import sqlite3
from contextlib import closing

import pandas as pd
import pytest

from clients import turned_away, worker
from clients.errors import BusyError
from clients.patience import NotRegisteredError
from clients.rosters import LEAVING
from clients.serve import LoopFailedError
from clients.worker import run
from federation.errors import RolledBackError
from tests.simulator import CN, KEYHOLDER


def rewrite(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def table(change):
    def spoil(folder):
        path = folder / "data" / "demand.parquet"
        change(pd.read_parquet(path)).to_parquet(path)

    return spoil


def another_roster(folder):
    wire = (folder / "roster.bin").read_bytes()
    (folder / "roster.bin").write_bytes(wire[:-2] + b" " + wire[-2:])


def books(name):
    return lambda folder: (folder / name).write_bytes(b"no database at all" * 100)


BAD = {
    "no such folder": (shutil.rmtree, "no node.toml"),
    "no node.toml": (lambda folder: (folder / "node.toml").unlink(), "no node.toml"),
    "node.toml is no TOML": (lambda f: (f / "node.toml").write_text("party ="), "not TOML"),
    "node.toml is no text": (lambda f: (f / "node.toml").write_bytes(b"\xff\xfe"), "not TOML"),
    "a field is missing": (
        lambda f: rewrite(f / "node.toml", "role = ", "rule = "),
        "lacks 'role'",
    ),
    "an unknown role": (lambda f: rewrite(f / "node.toml", '"warehouse"', '"shop"'), "shop"),
    "an aggregator without fields": (
        lambda f: rewrite(f / "node.toml", "[aggregator]", 'aggregator = "x"\n[other]'),
        "node.toml",
    ),
    "a pin of another federation": (
        lambda f: rewrite(f / "node.toml", pin_of(f), "ab" * 32),
        "the roster begins with the founding",
    ),
    "a pin that is none": (lambda f: rewrite(f / "node.toml", pin_of(f), "abc"), "node.toml"),
    "an altered roster": (another_roster, "the roster is no chain of epochs"),
    "no roster": (lambda f: (f / "roster.bin").unlink(), "roster.bin is missing"),
    "no identity key": (lambda f: (f / "keys/identity.key").unlink(), "identity.key is missing"),
    "half an identity key": (lambda f: (f / "keys/identity.key").write_bytes(b"x" * 16), "key"),
    "somebody else's key": (
        lambda f: (f / "keys/identity.key").write_bytes(b"x" * 32),
        "is not the key of warehouse-cn",
    ),
    "no opening key": (lambda f: (f / "keys/opening.key").unlink(), "opening.key is missing"),
    "half an opening key": (lambda f: (f / "keys/opening.key").write_bytes(b"x" * 64), "96 bytes"),
    "somebody else's opening key": (
        lambda f: (f / "keys/opening.key").write_bytes(b"x" * 96),
        "does not open what is sealed to warehouse-cn",
    ),
    "no table": (lambda f: (f / "data/demand.parquet").unlink(), "is missing"),
    "a table that is none": (
        lambda f: (f / "data/demand.parquet").write_bytes(b"retailer;week"),
        "not a whole Parquet file",
    ),
    "half a table": (
        lambda f: (f / "data/demand.parquet").write_bytes(
            (f / "data/demand.parquet").read_bytes()[:200]
        ),
        "not a whole Parquet file",
    ),
    "a missing column": (table(lambda rows: rows.drop(columns="price")), "no column price"),
    "a wrong type": (
        table(lambda rows: rows.assign(week=rows["week"].astype(str))),
        "column week is",
    ),
    "an empty table": (table(lambda rows: rows.iloc[:0]), "has no rows"),
    "a contract that is no TOML": (
        lambda f: (f / "contract/demand.toml").write_text("name = demand"),
        "",
    ),
    "a contract that is no text": (
        lambda f: (f / "contract/demand.toml").write_bytes(b"\xff\xfe\x00"),
        "demand.toml",
    ),
    "a contract without a limit": (
        lambda f: rewrite(f / "contract/demand.toml", "[limit]", "[limits]"),
        "limit",
    ),
    "a limit that is no number": (
        lambda f: rewrite(f / "contract/demand.toml", 'epsilon = "6.5"', 'epsilon = "much"'),
        "epsilon",
    ),
    "a policy that does not parse": (
        lambda f: (f / "policy/node.cedar").write_text("permit (principal, action"),
        "policy",
    ),
    "a policy of another vocabulary": (
        lambda f: rewrite(f / "policy/base.cedar", "context.private", "context.public"),
        "schema",
    ),
    "a policy that is no text": (
        lambda f: (f / "policy/node.cedar").write_bytes(b"\xff\xfe"),
        "node.cedar",
    ),
    "no policy": (lambda folder: shutil.rmtree(folder / "policy"), "policy/"),
    "no schema": (lambda f: (f / "policy/schema.cedarschema").unlink(), "schema.cedarschema"),
    "books that are none": (books("books.sqlite"), "account book"),
    "an outbox that is none": (books("outbox.sqlite"), "outbox"),
}


def pin_of(folder):
    text = (folder / "node.toml").read_text(encoding="utf-8")
    return text.split('pin = "')[1].split('"')[0]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def connected(*_):
        raise AssertionError("the node went on to connect")

    monkeypatch.setattr("clients.worker.serve_both", connected)


@pytest.mark.parametrize("fault", BAD)
def test_a_node_with_a_wrong_folder_says_so_and_ends(simulation, capfd, fault):
    spoil, words = BAD[fault]
    folder = simulation.folder(CN)
    spoil(folder)
    assert run(folder) == 2
    out, err = capfd.readouterr()
    lines = (out + err).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("entrepot node: ")
    assert words in lines[0]
    assert "Traceback" not in lines[0] and "Error" not in lines[0]


@pytest.mark.parametrize("party", [CN, KEYHOLDER])
def test_a_node_with_a_sound_folder_connects(simulation, party):
    with pytest.raises(AssertionError, match="went on to connect"):
        run(simulation.folder(party))


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("books.sqlite", ["BEGIN IMMEDIATE"]),
        ("outbox.sqlite", ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "COMMIT"]),
    ],
)
def test_a_file_that_another_program_holds_is_not_to_be_restored(
    simulation, capfd, monkeypatch, name, how
):
    folder = simulation.folder(CN)
    simulation.node(CN)
    simulation.kill(CN)
    monkeypatch.setattr("federation.sqlite_files.WAIT", 0.1)
    contract = folder / "contract" / "demand.toml"
    contract.write_text(contract.read_text() + "\n# so that there is something to write down\n")
    with closing(sqlite3.connect(folder / name, isolation_level=None)) as held:
        for words in how:
            held.execute(words)
        assert run(folder) == 20
    said = capfd.readouterr().out
    assert "other program" in said and "restore" not in said and "Traceback" not in said
    with pytest.raises(AssertionError, match="went on to connect"):
        run(folder)


@pytest.mark.parametrize("failure", [LoopFailedError("broken"), BusyError("outbox.sqlite"), None])
def test_a_ledger_that_cannot_be_trusted_ends_the_node_for_good(
    simulation, capfd, monkeypatch, failure
):
    """Whatever else went wrong at the same time: 30 is the one code after which nothing restarts"""
    built = []
    real = worker.build

    def spy(*arguments, **others):
        built.append(real(*arguments, **others))
        return built[-1]

    def served(*_):
        built[-1].ended = RolledBackError("an older copy was put back")
        if failure is not None:
            raise failure

    monkeypatch.setattr(worker, "build", spy)
    monkeypatch.setattr(worker, "serve_both", served)
    assert run(simulation.folder(CN)) == 30
    assert capfd.readouterr().out == "entrepot node: an older copy was put back\n"


@pytest.mark.parametrize(("leaves", "code"), [(True, 2), (False, 20)])
def test_who_has_left_is_told_so_and_is_not_started_again(
    simulation, capfd, monkeypatch, leaves, code
):
    def served(*_):
        raise NotRegisteredError("the aggregator does not know this key")

    monkeypatch.setattr(worker, "serve_both", served)
    folder = simulation.folder(CN)
    if leaves:
        (folder / LEAVING).touch()
    assert run(folder) == code
    assert ("has left; nothing is to be run" in capfd.readouterr().out) is leaves
    assert (turned_away.since(folder) is not None) is leaves  # for `node leave`, said again


@pytest.mark.parametrize("said", [True, False])
def test_the_loop_is_told_whether_the_node_has_said_that_it_leaves(simulation, monkeypatch, said):
    folder, seen = simulation.folder(CN), []
    (folder / LEAVING).touch()
    if said:
        simulation.node(CN)._rosters.leaving()
        simulation.kill(CN)
    monkeypatch.setattr(worker, "serve_both", lambda flower, *_: seen.append(flower.leaving()))
    assert run(folder) == 0
    assert seen == [said]
