"""What every store of a ledger keeps to, whichever database it lives in."""

import os
import random
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from clients import books_tables
from federation.errors import BadProofError, ForeignLedgerError, ReadOnlyLogError
from federation.ledger import merkle, notes, witness
from federation.ledger.database import layout, leaves
from federation.ledger.entries import Encoded, decode
from federation.ledger.notes import Checkpoint, NamedKey
from federation.ledger.store import Log, open_engine, reading, tables, writing
from secure_compute.primitives.signature import SigningKey
from tests.ledgers import KEYS, NOW, TRUST, named_key, ordinary, signed

ORIGIN = "entrepot/demo/cn"
KEY = SigningKey(bytes(range(32)))


def words(count: int, start: int = 0) -> list[Encoded]:
    return [Encoded(b"entry %d" % n) for n in range(start, start + count)]


@pytest.fixture
def engine(where: str) -> Iterator[Engine]:
    engine = open_engine(where, books_tables.beside)
    yield engine
    engine.dispose()


@pytest.fixture
def log(engine: Engine) -> Log:
    return Log(engine, ORIGIN, KEY)


def append(log: Log, entries: list[Encoded]) -> int:
    with writing(log.engine) as connection:
        return log.append(connection, entries)


def size(log: Log) -> int:
    with reading(log.engine) as connection:
        return log.size(connection)


def test_every_commit_waits_for_the_disk(engine: Engine) -> None:
    for mode in (reading, writing):
        with mode(engine) as connection:
            if engine.dialect.name == "sqlite":
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            else:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
                assert connection.exec_driver_sql("SHOW fsync").scalar() == "on"


def test_entries_are_numbered_and_read_back(log: Log) -> None:
    assert append(log, words(3)) == 0
    assert append(log, []) == 3
    assert append(log, words(2, 3)) == 3
    with reading(log.engine) as connection:
        assert log.size(connection) == 5
        assert log.entries(connection) == words(5)
        assert log.entries(connection, 1, 3) == words(2, 1)
        assert log.entries(connection, 4) == words(1, 4)
        assert log.entries(connection, 5) == []


def test_entries_as_values_are_kept_as_their_bytes(log: Log) -> None:
    with writing(log.engine) as connection:
        log.append(connection, ordinary())
        assert [decode(data) for data in log.entries(connection)] == ordinary()


@pytest.mark.parametrize("batches", [[1] * 20, [255, 1, 1], [256, 257], [300, 212], [1, 511, 600]])
def test_every_root_and_proof_is_right_across_tiles(log: Log, batches: list[int]) -> None:
    total = 0
    for batch in batches:
        append(log, words(batch, total))
        total += batch
    edges = {0, 1, 2, 255, 256, 257, 511, 512, 513, 768, 1024, 1100, total - 1, total}
    sizes = sorted(n for n in edges if n <= total)
    roots = merkle.roots(words(total), sizes)
    with reading(log.engine) as connection:
        assert {n: log.root(connection, n) for n in sizes} == {n: roots[n] for n in sizes}
        for new in sizes:
            for old in (n for n in sizes if n <= new):
                proof = log.consistency(connection, old, new)
                merkle.verify_consistency(old, new, proof, roots[old], roots[new])
            for number in {n for n in (0, 1, 254, 255, 256, 511, 512, new - 1) if 0 <= n < new}:
                proof = log.inclusion(connection, number, new)
                leaf = merkle.leaf_hash(words(1, number)[0])
                merkle.verify_inclusion(leaf, number, new, proof, roots[new])


def test_tiles_of_tiles_are_right_too(log: Log) -> None:
    total = 65_536 + 300
    append(log, words(65_000))
    append(log, words(total - 65_000, 65_000))
    chance = random.Random(7)
    sizes = sorted({65_535, 65_536, 65_537, total, *(chance.randrange(1, total) for _ in range(6))})
    roots = merkle.roots(words(total), sizes)
    with reading(log.engine) as connection:
        for n in sizes:
            assert log.root(connection, n) == roots[n]
            proof = log.consistency(connection, n, total)
            merkle.verify_consistency(n, total, proof, roots[n], roots[total])
            proof = log.inclusion(connection, n - 1)
            leaf = merkle.leaf_hash(words(1, n - 1)[0])
            merkle.verify_inclusion(leaf, n - 1, total, proof, roots[total])


def test_what_is_not_there_is_not_proven(log: Log) -> None:
    append(log, words(3))
    with reading(log.engine) as connection:
        for call in (log.root, log.consistency, log.inclusion):
            with pytest.raises(BadProofError):
                call(connection, 4)
        with pytest.raises(BadProofError):
            log.inclusion(connection, 0, 4)
        with pytest.raises(BadProofError):
            log.root(connection, -1)


def test_a_head_is_signed_once_and_kept(log: Log) -> None:
    with writing(log.engine) as connection:
        assert log.last_note(connection) is None
        empty = log.checkpoint(connection)
        log.append(connection, words(5))
        note = log.checkpoint(connection)
        assert log.checkpoint(connection) == note
        assert log.last_note(connection) == note
    named = NamedKey(ORIGIN, KEY.verify_key)
    assert notes.open_note(note, named) == Checkpoint(ORIGIN, 5, merkle.roots(words(5))[5])
    assert notes.open_note(empty, named).root == merkle.EMPTY_ROOT
    with reading(log.engine) as connection:
        assert log.shown(connection) == (0, 5)


def test_every_store_signs_the_same_head(log: Log, tmp_path: Path) -> None:
    other = Log(open_engine(tmp_path / "other.sqlite"), ORIGIN, KEY)
    found = set()
    for one in (log, other):
        append(one, words(300))
        with writing(one.engine) as connection:
            found.add(one.checkpoint(connection))
    assert len(found) == 1


def test_an_export_holds_the_last_head_that_enough_others_cosigned(log: Log) -> None:
    with writing(log.engine) as connection:
        for count, names in ((4, ("eu", "br")), (8, ("eu", "br", "hub")), (12, ("eu", "ana"))):
            log.append(connection, ordinary(f"order-{count}"))
            note = log.checkpoint(connection)
            for name in names:
                line = witness.cosign(note, f"entrepot/demo/{name}", KEYS[name], NOW)
                log.keep_cosignature(connection, count, f"entrepot/demo/{name}", line)
        unsigned = log.append(connection, words(2))
        found = log.exported(connection, TRUST)
        assert found is not None
        assert unsigned == 12
    assert (notes.read(found.head).checkpoint.size, len(found.entries)) == (12, 12)
    booked = notes.read(found.witnessed)
    assert (booked.checkpoint.size, len(booked.lines)) == (8, 4)
    again = replace(TRUST, colluding=3)
    with writing(log.engine) as connection:
        bare = log.exported(connection, again)
    assert bare is not None
    lonely = notes.read(bare.witnessed)
    assert (lonely.checkpoint.size, len(lonely.lines)) == (12, 1)  # booked by nobody


def test_reading_a_log_signs_nothing(log: Log) -> None:
    append(log, words(3))
    with reading(log.engine) as connection:
        assert log.exported(connection, TRUST) is None
        assert log.booked_note(connection, TRUST) is None
        assert log.last_note(connection) is None


def test_a_log_is_read_without_a_key_and_signs_nothing_then(log: Log) -> None:
    append(log, words(3))
    reader = Log(log.engine, ORIGIN, None)
    with writing(log.engine) as connection:
        with pytest.raises(ReadOnlyLogError, match="opened to be read"):
            reader.checkpoint(connection)
        note = log.checkpoint(connection)
        log.append(connection, words(5)[3:])
        found = reader.exported(connection, TRUST)
        assert found is not None
        assert (found.head, list(found.entries)) == (note, words(3))
        assert reader.root(connection) == merkle.roots(words(5))[5]


def test_a_line_that_is_not_genuine_books_nothing(log: Log) -> None:
    append(log, words(3))
    with writing(log.engine) as connection:
        note = log.checkpoint(connection)
        good = witness.cosign(note, "entrepot/demo/eu", KEYS["eu"], NOW)
        kept = {"eu": good, "br": good, "hub": "garbage\n", "cn": good}
        for name, line in kept.items():
            log.keep_cosignature(connection, 3, f"entrepot/demo/{name}", line)
        assert log.booked_note(connection, TRUST) is None


def test_what_was_seen_is_kept_and_said(log: Log) -> None:
    other = "entrepot/demo/eu"
    with writing(log.engine) as connection:
        assert log.last_seen(connection, other) is None
        for number in (1, 7, 7):
            log.remember_seen(connection, signed("eu", number, bytes(32)), NOW)
        last = log.last_seen(connection, other)
        assert last is not None
        assert notes.open_note(last.note, named_key("eu")) == Checkpoint(other, 7, bytes(32))
        assert log.last_seen(connection, ORIGIN) is None
        said = [decode(data).body["size"] for data in log.entries(connection)]
    assert said == [1, 7]


def test_a_transaction_that_fails_leaves_nothing(log: Log) -> None:
    append(log, words(2))
    with pytest.raises(KeyError), writing(log.engine) as connection:
        log.append(connection, words(300, 2))
        log.checkpoint(connection)
        raise KeyError
    assert size(log) == 2
    assert append(log, words(1, 2)) == 2
    with reading(log.engine) as connection:
        assert log.last_note(connection) is None
        assert log.root(connection) == merkle.roots(words(3))[3]


def test_what_was_written_is_there_after_opening_again(log: Log, where: str) -> None:
    append(log, words(300))
    log.engine.dispose()
    again = open_engine(where)
    assert size(Log(again, ORIGIN, KEY)) == 300
    again.dispose()


def test_a_reader_sees_one_moment(log: Log) -> None:
    append(log, words(1))
    with reading(log.engine) as connection:
        assert log.size(connection) == 1
        append(log, words(1, 1))
        assert log.size(connection) == 1
    assert size(log) == 2


def test_writers_take_turns(where: str) -> None:
    def work(name: int) -> list[int]:
        engine = open_engine(where)
        log = Log(engine, ORIGIN, KEY)
        numbers = [append(log, [Encoded(b"%d/%d" % (name, n))]) for n in range(40)]
        engine.dispose()
        return numbers

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(work, range(3)))
    assert sorted(n for part in found for n in part) == list(range(120))
    engine = open_engine(where)
    with reading(engine) as connection:
        entries = Log(engine, ORIGIN, KEY).entries(connection)
    assert [entries[n] for n in found[1]] == [b"1/%d" % n for n in range(40)]
    engine.dispose()


def test_a_child_process_leaves_the_connections_of_its_parent_alone(log: Log) -> None:
    append(log, words(1))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = append(log, words(1, 1)) - 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert append(log, words(1, 2)) == 2
    with reading(log.engine) as connection:
        assert log.entries(connection) == words(3)


# -- nothing is ever changed -----------------------------------------------------------------------


def made_up(column: "sa.Column[Any]") -> object:
    if isinstance(column.type, sa.LargeBinary):
        return b"x"
    return "x" if isinstance(column.type, sa.Text) else 77


@pytest.mark.parametrize("table", tables.sorted_tables, ids=lambda table: table.name)
def test_no_table_lets_a_row_be_changed_or_removed(engine: Engine, table: sa.Table) -> None:
    row = {column.name: made_up(column) for column in table.columns}
    with writing(engine) as connection:
        connection.execute(sa.insert(table), row)
        before = connection.execute(sa.select(table)).all()
    column = list(table.columns)[-1]
    for change in (
        sa.update(table).values({column: made_up(column)}),
        sa.delete(table),
        sa.delete(table).where(table.columns[0] == row[table.columns[0].name]),
    ):
        with pytest.raises(sa.exc.DBAPIError, match="only ever added to"), writing(engine) as c:
            c.execute(change)
    with reading(engine) as connection:
        assert connection.execute(sa.select(table)).all() == before


def test_no_row_is_put_in_the_place_of_another(log: Log) -> None:
    append(log, words(1))
    row = {"number": 0, "entry": b"other"}
    statements: list[Any] = [sa.insert(leaves)]
    if log.engine.dialect.name == "sqlite":
        statements.append(sa.insert(leaves).prefix_with("OR REPLACE"))
    else:
        statements.append(sa.text("TRUNCATE leaves"))
    for statement in statements:
        with pytest.raises(sa.exc.DBAPIError), writing(log.engine) as connection:
            connection.execute(statement, {} if "TRUNCATE" in str(statement) else row)
    with reading(log.engine) as connection:
        assert log.entries(connection) == words(1)


def test_a_table_that_comes_later_refuses_too(where: str) -> None:
    open_engine(where).dispose()
    later = sa.Table("came_later", tables, sa.Column("value", sa.Text, primary_key=True))
    try:
        engine = open_engine(where, [later])
        with writing(engine) as connection:
            connection.execute(sa.insert(later), {"value": "a"})
        with pytest.raises(sa.exc.DBAPIError, match="only ever added to"), writing(engine) as c:
            c.execute(sa.delete(later))
        engine.dispose()
    finally:
        tables.remove(later)


def test_a_database_holds_the_tables_it_was_opened_with(where: str) -> None:
    alone = {"ledger_layout", "leaves", "tiles", "heads", "cosignatures", "witnessed"}
    books = alone | {table.name for table in books_tables.beside}
    for beside, expected in (((), alone), (books_tables.beside, books), ((), books)):
        engine = open_engine(where, beside)
        with reading(engine) as connection:
            assert set(sa.inspect(connection).get_table_names()) == expected
        engine.dispose()


# -- what is opened --------------------------------------------------------------------------------


def test_a_ledger_of_another_version_is_refused(where: str) -> None:
    engine = open_engine(where)
    with writing(engine) as connection:
        connection.execute(sa.insert(layout).values(version=2))
    engine.dispose()
    with pytest.raises(ForeignLedgerError, match="version 2"):
        open_engine(where)


def test_something_else_is_refused(where: str) -> None:
    if "://" in where:
        other = sa.create_engine(where.replace("://", "+psycopg://"), poolclass=sa.NullPool)
        with other.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE guests (name TEXT)")
    else:
        Path(where).parent.mkdir()
        with sqlite3.connect(where) as plain:
            plain.execute("CREATE TABLE guests (name TEXT)")
        plain.close()
    with pytest.raises(ForeignLedgerError, match="no ledger"):
        open_engine(where)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(ForeignLedgerError, match="not readable"):
        open_engine(path)


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(ForeignLedgerError, match="SQLite or PostgreSQL"):
        open_engine("mysql://somewhere/ledger")


def test_a_new_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.sqlite"
    open_engine(path).dispose()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir() if p.suffix == ""] == []
