"""A small database: a transaction whole or not at all, its owner alone reads it, nothing stays."""

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from federation.durable import Database

SCHEMA = "CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY);"


def words(database: Database) -> list[str]:
    return [row[0] for row in database.read("SELECT word FROM words ORDER BY word")]


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "small.sqlite", SCHEMA)
    with pytest.raises(RuntimeError), database.writing() as db:
        db.execute("INSERT INTO words VALUES ('half')")
        raise RuntimeError
    with database.writing() as db:
        db.execute("INSERT INTO words VALUES ('whole')")
    assert words(database) == words(Database(tmp_path / "small.sqlite", SCHEMA)) == ["whole"]


def test_no_file_is_made_before_it_is_opened_and_then_it_is_its_owners_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "small.sqlite"
    database = Database(path, SCHEMA)
    assert not path.exists()
    path.touch(mode=0o644)
    assert words(database) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_deleted_and_wiped_stands_in_no_file(tmp_path: Path) -> None:
    database = Database(tmp_path / "small.sqlite", SCHEMA)
    with database.writing() as db:
        db.execute("INSERT INTO words VALUES ('a seed that nobody may find')")
    with closing(sqlite3.connect(tmp_path / "small.sqlite")) as beside:
        assert beside.execute("SELECT * FROM words").fetchall()  # whoever closes last folds the log
        with database.writing() as db:
            db.execute("DELETE FROM words")
        assert b"nobody may find" in written(tmp_path)
        database.wipe()
        assert b"nobody may find" not in written(tmp_path)


def written(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


def test_a_file_that_is_held_keeps_its_log_until_it_is_let_go(tmp_path: Path) -> None:
    """Folding the log in is what waits for the disk; whoever lets go may be another thread."""
    path = tmp_path / "small.sqlite"
    log, database = path.with_name("small.sqlite-wal"), Database(path, SCHEMA)
    database.hold()
    database.hold()
    with database.writing() as db:
        db.execute("INSERT INTO words VALUES ('a seed that nobody may find')")
    with database.writing() as db:
        db.execute("DELETE FROM words")
    assert b"nobody may find" in log.read_bytes()
    letting = threading.Thread(target=database.let_go)
    letting.start()
    letting.join()
    assert not log.exists() and b"nobody may find" not in path.read_bytes()
    database.let_go()
    assert words(database) == []


def test_what_is_written_while_a_file_is_held_is_there_for_everybody(tmp_path: Path) -> None:
    database, other = (Database(tmp_path / "small.sqlite", SCHEMA) for _ in range(2))
    database.hold()
    with other.writing() as db:
        db.execute("INSERT INTO words VALUES ('theirs')")
    with database.writing() as db:
        db.execute("INSERT INTO words VALUES ('ours')")
    assert words(database) == words(other) == ["ours", "theirs"]
    database.let_go()


def test_a_held_connection_is_one_threads_at_a_time(tmp_path: Path) -> None:
    """Two that shared it would read, and end, each other's transactions."""
    database, others = Database(tmp_path / "small.sqlite", SCHEMA), list[bool]()
    database.hold()
    with database.writing():
        other = threading.Thread(
            target=lambda: others.append(database._guard.acquire(blocking=False))
        )
        other.start()
        other.join()
    assert others == [False]
    database.let_go()
