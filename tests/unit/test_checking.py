"""`entrepot node check` says what a start would say, and leaves no trace of having looked."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from clients import worker
from clients.settings import load_settings
from experiments.cli import run
from federation.ledger.entries import EntryKind
from tests.simulator import CN, KEYHOLDER, Simulation
from tests.unit.test_worker import BAD, rewrite

Fault = Callable[[Path], object]


def contents(folder: Path) -> dict[str, bytes | None]:
    """What lies in a folder; of files that only say who is connected, no more than that."""
    return {
        str(path.relative_to(folder)): None if path.name.endswith("-shm") else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def edit(folder: Path) -> None:
    """The contract names the next window, and the law has a further rule."""
    rewrite(folder / "contract" / "demand.toml", 'window = "2025"', 'window = "2026"')
    with (folder / "policy" / "node.cedar").open("a", encoding="utf-8") as law:
        law.write("\n// edited\n")


def stop(simulation: Simulation) -> None:
    """The node ends as it would on Ctrl-C: its connections are closed."""
    simulation.node(CN)._books.disconnect()
    simulation.kill(CN)


def nothing(_: Simulation) -> None:
    """The node never started."""


@pytest.mark.parametrize("before", [nothing, stop, lambda simulation: simulation.node(CN)])
def test_checking_an_edited_folder_writes_nothing(
    simulation: Simulation,
    before: Callable[[Simulation], object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whether the node never started, was started once, or runs."""
    folder = simulation.folder(CN)
    before(simulation)
    edit(folder)
    as_it_was = contents(folder)
    assert run(["node", "check", str(folder)]) == 0
    assert "is ready" in capsys.readouterr().out
    assert contents(folder) == as_it_was


def test_what_was_checked_is_written_down_by_the_start(simulation: Simulation) -> None:
    folder = simulation.folder(CN)
    stop(simulation)
    edit(folder)
    said = simulation.books(CN).entries()
    assert run(["node", "check", str(folder)]) == 0
    assert simulation.books(CN).entries() == said
    simulation.started(CN)
    news = [entry.kind for entry in simulation.books(CN).entries()[len(said) :]]
    assert {EntryKind.POLICY_CHANGED, EntryKind.CONTRACT_CHANGED} <= {*news}
    assert EntryKind.WINDOW_OPENED in news
    assert simulation.books(CN).windows()["retailers"] == ("2025", "2026")


def test_a_keyholder_has_no_tables_to_look_through(simulation: Simulation) -> None:
    as_it_was = contents(simulation.folder(KEYHOLDER))
    assert run(["node", "check", str(simulation.folder(KEYHOLDER))]) == 0
    assert contents(simulation.folder(KEYHOLDER)) == as_it_was


@pytest.mark.parametrize("fault", [fault for fault in BAD if fault != "no such folder"])
def test_checking_finds_what_a_start_would(
    simulation: Simulation, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, words = BAD[fault]
    folder = simulation.folder(CN)
    spoil(folder)
    as_it_was = contents(folder)
    assert run(["node", "check", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert len(err.splitlines()) == 1
    assert contents(folder) == as_it_was


def another_book(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "books.sqlite")) as books:
        books.execute("INSERT INTO closings VALUES ('nothing', 0)")
        books.commit()


STARTED: dict[str, tuple[Fault, str, int]] = {
    "a row without an entry": (another_book, "not those in the log", 30),
    "the secret is gone": (
        lambda f: (f / "keys" / "ingestion.key").unlink(),
        "ingestion.key is not the key",
        2,
    ),
    "the secret is another": (
        lambda f: (f / "keys" / "ingestion.key").write_bytes(b"x" * 32),
        "ingestion.key is not the key",
        2,
    ),
    "no ingestion file": (
        lambda f: (f / "ingestion.sqlite").write_bytes(b"no database at all" * 100),
        "ingestion.sqlite does not say",
        2,
    ),
}


@pytest.mark.parametrize("fault", STARTED)
def test_checking_reads_what_the_node_wrote(
    simulation: Simulation, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, words, code = STARTED[fault]
    folder = simulation.folder(CN)
    stop(simulation)
    spoil(folder)
    as_it_was = contents(folder)
    assert run(["node", "check", str(folder)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert contents(folder) == as_it_was
    with pytest.raises(Exception, match=words):
        worker.build(load_settings(folder))


def test_rows_put_back_without_their_books_are_accepted_as_by_a_start(
    simulation: Simulation,
) -> None:
    folder = simulation.folder(CN)
    stop(simulation)
    (folder / "ingestion.sqlite").unlink()
    (folder / "keys" / "ingestion.key").unlink()
    as_it_was = contents(folder)
    assert run(["node", "check", str(folder)]) == 0
    assert contents(folder) == as_it_was
    simulation.started(CN)
