"""A node and an aggregator whose ledgers lie in PostgreSQL, by the URLs in their settings."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aggregator.database import engine_of
from aggregator.errors import AggregatorError
from aggregator.settings import load_aggregator
from clients.errors import ClientError
from clients.settings import load_settings
from clients.worker import run as serve
from experiments.cli import run
from federation.errors import ForeignLedgerError
from policies.budget.events import from_json
from tests.simulator import CN, EU, SHOP, Simulation

SECRET = "open-sesame"
Database = Callable[[], str]


def name(path: Path, key: str, value: str) -> None:
    """The settings at `path` say one more thing."""
    path.write_text(f"{key} = {json.dumps(value)}\n{path.read_text()}")


def with_password(url: str) -> str:
    return url.replace("test@", f"test:{SECRET}@")


@pytest.fixture
def moved(simulation: Simulation, database: Database) -> Iterator[Simulation]:
    """A warehouse, a merchant and the aggregator keep their ledgers on a server, it all it has."""
    for party in (CN, SHOP):
        name(simulation.folder(party) / "node.toml", "books", with_password(database()))
    name(simulation.home.aggregator / "aggregator.toml", "database", with_password(database()))
    name(simulation.home.aggregator / "aggregator.toml", "ledger", with_password(database()))
    yield simulation
    engine_of(simulation.home.jobs).dispose()


def said(
    capsys: pytest.CaptureFixture[str], simulation: Simulation, *words: str
) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run([*words, "--federation", str(simulation.home.folder)])
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert "Traceback" not in err
    return code, out, err


def test_a_run_and_a_question_are_charged_there(
    moved: Simulation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for member in moved.home.holders():
        moved.folder(member.party)
    code, out, err = said(capsys, moved, "budget", "show", "--json")
    assert code == 0
    assert CN in err  # neither has books yet, and looking made none
    assert {row["releases"] for row in json.loads(out)["budgets"]} == {0}
    trained, asked = moved.training(rounds=2), moved.query()
    assert moved.run(trained).status == "done"
    assert moved.run(asked).status == "done"
    moved.coordinator().have_witnessed()
    moved.restart(CN)
    moved.assert_charged(CN, from_json(trained.event), 2)

    code, out, err = said(capsys, moved, "budget", "show", "--json")
    assert (code, err) == (0, "")
    rows = {(row["node"], row["dataset"]): row for row in json.loads(out)["budgets"]}
    assert rows[CN, "demand"]["releases"] == rows[EU, "demand"]["releases"] == 2
    assert rows[CN, "demand"]["epsilon"] == rows[EU, "demand"]["epsilon"] > 0
    assert rows[SHOP, "orders"]["releases"] == 1
    assert said(capsys, moved, "budget", "what-if", "train", "demand", "--json")[0] == 0

    code, out, _ = said(capsys, moved, "audit", "show", "--json")
    kinds = {log["party"]: [e["kind"] for e in log["shown"]] for log in json.loads(out)["logs"]}
    assert code == 0
    assert kinds[CN].count("settled") == kinds[EU].count("settled") == 3
    assert kinds["aggregator"].count("proposed") == 2
    file = tmp_path / "ledger.json"
    assert said(capsys, moved, "audit", "prove", "--out", str(file))[0] == 0
    keys = str(moved.home.folder / "trust.txt")
    assert run(["audit", "verify", str(file), "--trust", keys]) == 0
    assert not (moved.folder(CN) / "books.sqlite").exists()
    assert not list(moved.home.aggregator.glob("*.sqlite"))  # its state is there too
    assert moved.job(trained).id == trained.id and moved.jobs.last_round(trained.id).round == 2


def test_checking_writes_nothing_there(
    moved: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = moved.folder(CN)
    assert run(["node", "check", str(folder)]) == 0  # before there are books
    moved.started(CN)
    before = moved.books(CN).entries()
    contract = folder / "contract" / "demand.toml"
    contract.write_text(contract.read_text().replace('window = "2025"', 'window = "2026"'))
    assert run(["node", "check", str(folder)]) == 0
    assert moved.books(CN).entries() == before
    assert SECRET not in "".join(capsys.readouterr())


def test_a_database_belongs_to_one_party(
    moved: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    moved.started(CN)
    taken = str(load_settings(moved.folder(CN)).books)
    before = moved.books(CN).entries()
    name(moved.folder(EU) / "node.toml", "books", taken)
    assert run(["node", "check", str(moved.folder(EU))]) == 2
    assert serve(moved.folder(EU)) == 2
    code, _, err = said(capsys, moved, "budget", "show")
    assert code == 2
    assert "a database of its own" in err
    code, _, err = said(capsys, moved, "audit", "show")
    assert code == 2
    assert "a database of its own" in err
    settings = moved.home.aggregator / "aggregator.toml"
    settings.write_text(settings.read_text().partition("\n")[2])
    name(settings, "ledger", taken)
    with pytest.raises(ForeignLedgerError, match="a database of its own"):
        moved.coordinator()
    assert moved.books(CN).entries() == before


def test_a_server_that_does_not_answer_is_not_to_be_restored(
    simulation: Simulation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("psycopg")
    folder = simulation.folder(CN)
    name(folder / "node.toml", "books", f"postgresql://test:{SECRET}@/ours?host={tmp_path}")
    assert serve(folder) == 20
    assert run(["node", "check", str(folder)]) == 20
    for words in (("budget", "show"), ("audit", "show")):
        assert said(capsys, simulation, *words)[0] == 20
    out, err = capsys.readouterr()
    assert SECRET not in out + err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"books of {SECRET}", "not the URL of a database"),
        (f"postgresql://test:{SECRET}@host:port/ours", "not the URL of a database"),
        (f"mysql://test:{SECRET}@host/ours", "SQLite or PostgreSQL"),
        ("sqlite:///elsewhere.sqlite", "SQLite or PostgreSQL"),
    ],
)
def test_what_is_no_url_of_ours_is_one_sentence(
    simulation: Simulation, url: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node, aggregator = simulation.folder(CN), simulation.home.aggregator
    name(node / "node.toml", "books", url)
    name(aggregator / "aggregator.toml", "ledger", url)
    assert serve(node) == 2
    out = capsys.readouterr().out
    assert words in out
    assert len(out.splitlines()) == 1
    with pytest.raises(AggregatorError, match=words) as refusal:
        load_aggregator(aggregator)
    for command in (("budget", "show"), ("audit", "show")):
        code, shown, err = said(capsys, simulation, *command)
        assert (code, shown) == (2, "")
        assert words in err
    assert SECRET not in out + str(refusal.value)


def test_a_missing_driver_is_one_sentence(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    name(simulation.folder(CN) / "node.toml", "books", "postgresql://test@host/ours")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ClientError, match=r"install entrepot\[postgres\]"):
        load_settings(simulation.folder(CN))


def test_books_in_the_folder_are_not_left_behind(simulation: Simulation) -> None:
    """A node that was given a database after it had spent would begin with an empty account."""
    pytest.importorskip("psycopg")
    simulation.started(CN)
    name(simulation.folder(CN) / "node.toml", "books", "postgresql://test@host/ours")
    with pytest.raises(ClientError, match=r"books\.sqlite lies in the folder"):
        load_settings(simulation.folder(CN))


def test_settings_do_not_print_a_password(simulation: Simulation) -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql://test:{SECRET}@host/ours"
    name(simulation.folder(CN) / "node.toml", "books", url)
    name(simulation.home.aggregator / "aggregator.toml", "ledger", url)
    settings = load_settings(simulation.folder(CN)), load_aggregator(simulation.home.aggregator)
    assert (settings[0].books, settings[1].ledger) == (url, url)
    assert SECRET not in repr(settings)
