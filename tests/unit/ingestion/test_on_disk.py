"""What is booked is on disk, whatever dies."""

import multiprocessing
import sqlite3

import pytest

from clients import ingestion
from clients.errors import NodeSettingsError
from tests.ingested import ALSO, Folder, contract, rows


def test_a_crash_before_the_booking_leaves_the_rows_unbooked_and_unread(folder, monkeypatch):
    folder.write(rows(1))
    folder.start()
    folder.write(rows(1, 2))

    def crash(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ingestion, "book", crash)
    with pytest.raises(KeyboardInterrupt):
        folder.orders("2025")
    monkeypatch.undo()
    folder.start(contract("2026"))
    assert folder.orders("2026") == [2]
    assert folder.orders("2025") == [1]


def test_a_crash_between_two_groups_books_neither(folder, monkeypatch):
    folder.write(rows(0))
    folder.start(contract(also=ALSO))
    folder.write(rows(0, 1))
    real = ingestion.book

    def once(*given, **more):
        real(*given, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(ingestion, "book", once)
    with pytest.raises(KeyboardInterrupt):
        folder.start()
    monkeypatch.undo()
    with sqlite3.connect(folder.path / "ingestion.sqlite") as db:
        assert db.execute("SELECT COUNT(*) FROM batches").fetchone() == (2,)


@pytest.mark.parametrize("table", ["made", "kinds", "batches"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET rowid = rowid"])
def test_what_is_booked_is_never_changed(folder, table, change):
    folder.write(rows(1))
    folder.start()
    with (
        sqlite3.connect(folder.path / "ingestion.sqlite") as db,
        pytest.raises(sqlite3.DatabaseError, match="keeps its window"),
    ):
        db.execute(change.format(table))


def test_a_file_seen_before_is_not_hashed_again(folder, monkeypatch):
    folder.write(rows(1))
    folder.start()
    monkeypatch.setattr(ingestion, "row_keys", None)
    folder.start()
    assert folder.readable("2025").positions is None


def test_neither_file_says_anything_without_the_other(folder):
    folder.write(rows(*range(50)))
    folder.start()
    secret = folder.path / "keys" / "ingestion.key"
    kept = (folder.path / "ingestion.sqlite").read_bytes()
    assert secret.read_bytes() not in kept
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (folder.path / "ingestion.sqlite").stat().st_mode & 0o777 == 0o600
    secret.write_bytes(bytes(32))
    with pytest.raises(NodeSettingsError, match="restore both"):
        folder.start()
    secret.unlink()
    with pytest.raises(NodeSettingsError, match="restore both"):
        folder.start()


def test_books_that_know_fewer_windows_are_an_old_copy(folder):
    folder.write(rows(1))
    folder.start()
    folder.start(contract("2026"))
    folder.write(rows(1, 2))
    folder.start()
    folder.books.opened = {"customers": ["2025"]}
    with pytest.raises(NodeSettingsError, match="old copy"):
        folder.readable("2025")


def test_a_file_that_is_no_database_is_said_so(folder):
    (folder.path / "ingestion.sqlite").write_bytes(b"nothing of the kind" * 100)
    folder.write(rows(1))
    with pytest.raises(NodeSettingsError, match="restore it"):
        folder.start()


def _look(path, ready):
    folder = Folder(path)
    folder.books.opened = {"customers": ["2025"]}
    ready.wait(30)
    folder.start()


def test_two_processes_book_every_row_once(folder):
    folder.write(rows(*range(300)))
    folder.start()
    folder.write(rows(*range(900)))
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    others = [context.Process(target=_look, args=(folder.path, ready)) for _ in range(2)]
    for other in others:
        other.start()
    ready.set()
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    with sqlite3.connect(folder.path / "ingestion.sqlite") as db:
        booked = [keys for (keys,) in db.execute("SELECT keys FROM batches")]
    each = [keys[n : n + 16] for keys in booked for n in range(0, len(keys), 16)]
    assert len(each) == len(set(each)) == 900
