"""A row belongs to the window in which it was first seen, whatever anybody says of it later."""

import datetime
import multiprocessing
import sqlite3
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients import ingestion
from clients.errors import ComputeError, NodeSettingsError
from clients.ingestion import Ingestion, Readable, open_windows
from clients.queries import partial
from clients.rowkeys import key_columns, row_keys
from clients.training.tables import load_rows
from experiments.ordering import published_contracts
from federation.queries import parse
from federation.tasks import TrainingTask
from policies.contracts import load_contract
from tests.orders_table import COHORT
from tests.seeded import SeededEntropy
from tests.simulator import demand_table, recipe

TEXT = """
name = "NAME"
version = 1
table = "TABLE"
subjects = "customers"
KEY
[unit]
kind = "customer"
columns = ["customer_id"]
rows = 3
[limit]
epsilon = "3"
delta = "1e-6"
window = "WINDOW"
ALSO
[[columns]]
name = "order_id"
type = "integer"
grade = "S3"
[[columns]]
name = "customer_id"
type = "integer"
grade = "S3"
[[columns]]
name = "amount"
type = "float"
grade = "S2"
low = "0"
high = "500"
unit = "EUR"
[[columns]]
name = "day"
type = "date"
grade = "S1"
"""
ALSO = """
[[also]]
kind = "order"
columns = ["order_id"]
subjects = "purchases"
[also.limit]
epsilon = "3"
delta = "1e-6"
window = "WINDOW"
"""
KEY = 'key = ["order_id"]'
COUNT = "SELECT COUNT(*), SUM(amount) FROM orders"


def contract(window="2025", *, name="orders", table="orders.parquet", key=KEY, also=""):
    text = TEXT.replace("NAME", name).replace("TABLE", table).replace("ALSO", also)
    return load_contract(text.replace("KEY", key).replace("WINDOW", window))


class Windows:
    """What the books say of windows, in memory."""

    def __init__(self):
        self.opened = {}

    def windows(self):
        return {subjects: tuple(labels) for subjects, labels in self.opened.items()}

    def open_window(self, subjects, label):
        assert label not in self.opened.get(subjects, [])
        self.opened.setdefault(subjects, []).append(label)


class Told:
    """What the node's log says of the file, in memory."""

    def __init__(self):
        self.entries = []

    def ingested(self, subjects):
        return dict(self.entries).get(subjects, "")

    def ingest(self, subjects, commitment):
        assert len(commitment) == 64
        self.entries.append((subjects, commitment))


def rows(*orders, day=datetime.date(2025, 5, 1), amount=1.0):
    return [
        {"order_id": n, "customer_id": 1000 + n, "amount": float(amount), "day": day}
        for n in orders
    ]


class Folder:
    """A node's folder, its contracts, and the books that outlive a restart."""

    def __init__(self, path):
        self.path = path
        self.books = Windows()
        self.told = Told()
        self.contracts = [contract()]

    def write(self, found, name="orders.parquet"):
        frame = pd.DataFrame(found, columns=["order_id", "customer_id", "amount", "day"])
        frame.to_parquet(self.path / name)

    @property
    def ingestion(self):
        return Ingestion(self.path, self.contracts, SeededEntropy(7), self.told)

    def start(self, *contracts):
        """The node starts: labels are opened, then every table is looked at."""
        self.contracts = list(contracts) or self.contracts
        open_windows(self.contracts, self.books)
        for one in self.contracts:
            self.ingestion.look(one, self.path / one.table, self.books.windows())

    def readable(self, *windows, name="orders", also=None):
        (one,) = [c for c in self.contracts if c.name == name]
        opened = self.books.windows()
        paid = {subjects: frozenset(labels) for subjects, labels in opened.items()}
        paid["customers"] = frozenset(windows)
        paid |= also or {}
        return self.ingestion.readable(one, self.path / one.table, opened, paid)

    def orders(self, *windows, name="orders", **more):
        """The orders that whoever pays in `windows` can read."""
        found = self.readable(*windows, name=name, **more)
        (one,) = [c for c in self.contracts if c.name == name]
        ids = pd.read_parquet(self.path / one.table)["order_id"]
        chosen = ids if found.positions is None else ids[found.positions]
        return sorted(int(order) for order in chosen)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


# -- the window of a row ---------------------------------------------------------------------------


def test_a_new_label_is_for_new_rows_alone(folder):
    folder.write(rows(1, 2))
    folder.start()
    folder.write(rows(1, 2, 3))
    folder.start(contract("2026"))
    assert folder.books.windows() == {"customers": ("2025", "2026")}
    assert folder.orders("2025") == [1, 2]
    assert folder.orders("2026") == [3]
    assert folder.orders("2025", "2026") == [1, 2, 3]
    assert folder.orders() == []


def test_rows_that_come_while_a_window_is_open_belong_to_it(folder):
    folder.write(rows(1))
    folder.start()
    folder.write(rows(1, 2))
    assert folder.orders("2025") == [1, 2]  # seen before anything reads it
    folder.start(contract("2026"))
    assert folder.orders("2026") == []


def test_a_label_used_before_opens_nothing(folder):
    folder.write(rows(1))
    folder.start()
    folder.start(contract("2026"))
    folder.write(rows(1, 2))
    folder.start(contract("2025"))
    assert folder.books.windows() == {"customers": ("2025", "2026")}
    assert folder.orders("2025") == [1]
    assert folder.orders("2026") == [2]


@pytest.mark.parametrize("year", [1970, 2020, 2025, 2030, 2199])
def test_a_rows_own_date_says_nothing(folder, year):
    folder.write(rows(1))
    folder.start()
    folder.write(rows(1, day=datetime.date(2199, 1, 1)) + rows(2, day=datetime.date(year, 1, 1)))
    folder.start(contract("2026"))
    assert folder.orders("2025") == [1]
    assert folder.orders("2026") == [2]


def test_other_contents_under_the_same_key_are_the_same_row(folder):
    folder.write(rows(1, 2))
    folder.start()
    folder.write(rows(1, amount=77, day=datetime.date(2026, 1, 1)) + rows(2))
    folder.start(contract("2026"))
    assert folder.orders("2026") == []
    assert folder.orders("2025") == [1, 2]


def test_without_a_key_a_row_that_changed_is_never_new(folder):
    """One corrected cell makes another row of it; its old contents were paid for in 2025."""
    folder.write(rows(1, 2))
    folder.start(contract(key=""))
    folder.write(rows(1, amount=77) + rows(2))
    folder.start(contract("2026", key=""))
    assert folder.orders("2025") == [2]
    assert folder.orders("2026") == []
    assert folder.orders("2025", "2026") == [1, 2]


def test_a_row_that_was_deleted_comes_back_to_its_window(folder):
    folder.write(rows(1, 2))
    folder.start()
    folder.write(rows(2))
    folder.start(contract("2026"))
    folder.write(rows(1, 2, 3))
    assert folder.orders("2026") == [3]
    assert folder.orders("2025") == [1, 2]


def test_a_copy_under_another_name_is_the_same_rows(folder):
    folder.write(rows(1, 2))
    folder.start()
    folder.write(rows(1, 2, 3), "view.parquet")
    folder.start(contract("2026"), contract("2026", name="view", table="view.parquet"))
    assert folder.orders("2026", name="view") == [3]
    assert folder.orders("2025", name="view") == [1, 2]


def test_a_row_seen_in_the_view_first_is_known_in_the_table(folder):
    folder.write(rows(1))
    folder.write(rows(1, 2), "view.parquet")
    both = contract(), contract(name="view", table="view.parquet")
    folder.start(*both)
    folder.write(rows(1, 2))
    folder.start(contract("2026"), contract("2026", name="view", table="view.parquet"))
    assert folder.orders("2026") == []
    assert folder.orders("2025") == [1, 2]


def test_rows_whose_keys_cannot_be_compared_are_in_every_window(folder):
    folder.write(rows(1, 2))
    folder.start()
    folder.write(rows(1, 2, 3), "view.parquet")
    other = contract("2026", name="view", table="view.parquet", key='key = ["amount"]')
    folder.start(contract("2026"), other)
    assert folder.orders("2026", name="view") == []
    assert folder.orders("2025", name="view") == []
    assert folder.orders("2025", "2026", name="view") == [1, 2, 3]
    # also later: a row that comes to the view may have been in the table all along
    folder.start(contract("2027"), other)
    folder.write(rows(1, 2, 3, 4), "view.parquet")
    assert folder.orders("2027", name="view") == []
    assert folder.orders("2025", "2026", name="view") == [1, 2, 3]


def test_keys_that_cannot_be_compared_say_nothing_also_if_they_were_there_from_the_first(folder):
    folder.write(rows(1, 2))
    folder.write(rows(1), "view.parquet")
    both = contract(), contract(name="view", table="view.parquet", key='key = ["amount", "day"]')
    folder.start(*both)
    folder.write(rows(1, 2), "view.parquet")  # the second was read in the table, in 2025
    folder.start(contract("2026"), both[1])
    assert folder.orders("2026", name="view") == []
    assert folder.orders("2025", "2026", name="view") == [1, 2]


def test_a_lost_file_puts_what_is_there_into_every_window(folder):
    folder.write(rows(1))
    folder.start()
    folder.write(rows(1, 2))
    folder.start(contract("2026"))
    (folder.path / "ingestion.sqlite").unlink()
    assert folder.orders("2026") == folder.orders("2025") == []
    assert folder.orders("2025", "2026") == [1, 2]
    # also later: a row that was not in the table that day may have been read before
    folder.write(rows(1, 2, 3))
    folder.start(contract("2027"))
    assert folder.orders("2027") == []
    assert folder.orders("2025", "2026") == [1, 2]
    assert folder.orders("2025", "2026", "2027") == [1, 2, 3]


def keep_copy(folder):
    """A copy of the file as it stands; the key that its rows are hashed under stays where it is."""
    path = folder.path / "ingestion.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.read_bytes()


def put_back(folder, copy):
    for path in folder.path.glob("ingestion.sqlite*"):
        path.unlink()
    (folder.path / "ingestion.sqlite").write_bytes(copy)


def test_an_old_copy_of_the_file_makes_no_row_new(folder):
    folder.write(rows(*range(3)))
    folder.start()
    copy = keep_copy(folder)
    folder.write(rows(*range(9)))
    folder.start()  # six more come in, and are read and paid for in 2025
    folder.start(contract("2026"))
    put_back(folder, copy)
    assert folder.orders("2026") == []
    assert folder.orders("2025") == [0, 1, 2]
    assert folder.orders("2025", "2026") == [*range(9)]


def test_an_old_copy_stays_in_doubt(folder):
    """A row that was taken out while the copy was put back, and a table that was not looked at."""
    folder.write(rows(1))
    folder.start()
    copy = keep_copy(folder)
    folder.write(rows(1, 2, 3))
    folder.start()
    put_back(folder, copy)
    folder.write(rows(1))
    folder.start()
    folder.start(contract("2026"))
    folder.write(rows(1, 2, 4))
    folder.write(rows(1, 3), "view.parquet")
    folder.start(contract("2026"), contract("2026", name="view", table="view.parquet"))
    assert folder.orders("2026") == folder.orders("2026", name="view") == []
    assert folder.orders("2025", "2026") == [1, 2, 4]
    assert folder.orders("2025", "2026", name="view") == [1, 3]


def test_the_copy_from_before_a_doubt_is_in_doubt_again(folder):
    folder.write(rows(1))
    folder.start()
    copy = keep_copy(folder)
    folder.write(rows(1, 2))
    folder.start()
    for _ in range(2):
        put_back(folder, copy)
        folder.start(contract("2026"))
        assert folder.orders("2026") == []


def test_a_lost_file_is_in_doubt_also_while_one_window_is_open(folder):
    folder.write(rows(1, 2))
    folder.start()
    (folder.path / "ingestion.sqlite").unlink()
    folder.write(rows(1))
    folder.start()
    folder.start(contract("2026"))
    folder.write(rows(1, 2))
    assert folder.orders("2026") == []


def test_the_log_is_told_of_new_rows_alone_and_before_they_are_read(folder):
    folder.write(rows(1))
    folder.start()
    assert len(folder.told.entries) == 1
    folder.start()
    folder.write(rows(1))
    folder.start()
    assert len(folder.told.entries) == 1
    folder.write(rows(1, 2))
    folder.readable("2025")
    assert len(folder.told.entries) == 2
    assert len(set(folder.told.entries)) == 2


def test_rows_whose_booking_the_log_was_not_told_of_are_not_read_and_stay_booked(
    folder, monkeypatch
):
    folder.write(rows(1))
    folder.start()
    folder.write(rows(1, 2))
    folder.start(contract("2026"))
    folder.write(rows(1, 2, 3))

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(folder.told, "ingest", crash)
    with pytest.raises(KeyboardInterrupt):
        folder.readable("2026")
    monkeypatch.undo()
    folder.start(contract("2027"))
    assert folder.orders("2026") == [2, 3]
    assert folder.orders("2027") == []
    folder.write(rows(1, 2, 3, 4))  # the file is in no doubt
    assert folder.orders("2027") == [4]


def test_a_file_that_was_lost_before_the_log_was_told_of_any_is_in_doubt(folder):
    folder.write(rows(1, 2))
    folder.start()
    folder.start(contract("2026"))
    (folder.path / "ingestion.sqlite").unlink()
    folder.told = Told()  # as a version left it that told the log nothing
    folder.write(rows(1))
    folder.start()
    folder.start(contract("2027"))
    folder.write(rows(1, 2))
    assert folder.orders("2027") == []


def test_a_commitment_says_nothing_without_the_secret(tmp_path):
    said = []
    for seed in (1, 2):
        path = tmp_path / str(seed)
        path.mkdir()
        folder = Folder(path)
        folder.write(rows(1))
        told = folder.told
        open_windows(folder.contracts, folder.books)
        one = Ingestion(path, folder.contracts, SeededEntropy(seed), told)
        one.look(contract(), path / "orders.parquet", folder.books.windows())
        said += told.entries
    assert len({commitment for _, commitment in said}) == 2


def test_every_unit_that_pays_has_windows_of_its_own(folder):
    folder.write(rows(1))
    folder.start(contract(also=ALSO))
    assert folder.books.windows() == {"purchases": ("2025",), "customers": ("2025",)}
    folder.write(rows(1, 2))
    folder.books.open_window("purchases", "later")
    assert folder.orders("2025") == [1, 2]
    assert folder.orders("2025", also={"purchases": frozenset({"2025"})}) == [1]
    assert folder.orders("2025", also={"purchases": frozenset({"later"})}) == [2]
    assert folder.orders("2025", also={"purchases": frozenset()}) == []


def test_a_row_is_known_to_every_group_that_paid_for_it(folder):
    """Read as somebody's purchase in 2025, an order is no new order in 2026."""
    folder.write(rows(1))
    folder.start(contract(also=ALSO))
    orders = load_contract(
        TEXT.replace("NAME", "purchases")
        .replace("TABLE", "purchases.parquet")
        .replace('subjects = "customers"', 'subjects = "purchases"')
        .replace("KEY", KEY)
        .replace("ALSO", "")
        .replace("WINDOW", "2026")
        .replace('kind = "customer"', 'kind = "order"')
        .replace('columns = ["customer_id"]', 'columns = ["order_id", "customer_id"]')
    )
    folder.write(rows(1, 2), "purchases.parquet")
    folder.start(contract(also=ALSO), orders)
    assert folder.books.windows()["purchases"] == ("2025", "2026")
    alone = {"purchases": frozenset({"2026"})}
    assert folder.orders(name="purchases", also=alone) == [2]


# -- clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("years", [-5, 5])
def test_the_clock_has_no_say(folder, years, monkeypatch):
    folder.write(rows(1))
    folder.start()
    real, shift = time.time, years * 365 * 86_400
    monkeypatch.setattr(time, "time", lambda: real() + shift)
    monkeypatch.setattr(time, "time_ns", lambda: int((real() + shift) * 1e9))
    folder.write(rows(1, 2))
    folder.start()
    assert folder.books.windows() == {"customers": ("2025",)}
    folder.start(contract("2026"))
    folder.write(rows(1, 2, 3))
    assert folder.orders("2025") == [1, 2]
    assert folder.orders("2026") == [3]


# -- what is read ----------------------------------------------------------------------------------


def answer(folder, *windows):
    plan = parse.parse(COUNT, {"orders": folder.contracts[0]}, COHORT)
    found = folder.readable(*windows)
    return partial.evaluate(
        plan, folder.contracts[0], found.table, SeededEntropy(1), positions=found.positions
    ).values


def test_a_partial_reads_the_paid_rows_alone(folder):
    folder.write(rows(1, 2))
    folder.start()
    folder.write(rows(3, amount=5) + rows(1, 2) + rows(4, amount=7))
    folder.start(contract("2026"))
    assert answer(folder, "2025") == (2, 200)
    assert answer(folder, "2026") == (2, 1200)
    assert answer(folder, "2025", "2026") == (4, 1400)


def test_the_bound_is_over_the_paid_rows(folder):
    old = [{**row, "customer_id": 5} for row in rows(1, 2, 3)]
    folder.write(old)
    folder.start()
    folder.write(old + [{**row, "customer_id": 5} for row in rows(4, 5, 6, 7)])
    folder.start(contract("2026"))
    assert answer(folder, "2026") == (3, 300)


def test_rows_are_read_only_as_they_were_booked(folder):
    folder.write(rows(1))
    folder.start()
    found = folder.readable("2025")
    found.require_unchanged()
    folder.write(rows(1, 2))
    with pytest.raises(ComputeError, match="changed while it was read"):
        found.require_unchanged()
    (folder.path / "orders.parquet").unlink()
    with pytest.raises(ComputeError, match="not there"):
        found.require_unchanged()


def test_nobody_makes_readable_rows_elsewhere(tmp_path):
    with pytest.raises(TypeError):
        Readable(tmp_path, None, None)


def test_a_file_that_changes_under_the_look_is_not_booked(folder, monkeypatch):
    folder.write(rows(0))
    folder.start()
    folder.write(rows(0, 1))
    real = ingestion.row_keys

    def slow(*given):
        keys = real(*given)
        folder.write(rows(0, 1, 2))
        return keys

    monkeypatch.setattr(ingestion, "row_keys", slow)
    with pytest.raises(ComputeError, match="changed while it was read"):
        folder.start()
    monkeypatch.undo()
    folder.start(contract("2026"))
    assert folder.orders("2026") == [1, 2]  # neither was ever read before


def test_a_table_that_is_not_there_is_said_so(folder):
    with pytest.raises(ComputeError, match=r"orders\.parquet"):
        folder.start()


def test_training_reads_the_paid_rows_alone(tmp_path):
    one = published_contracts()["demand"]
    task = TrainingTask("demand", 1, 0, recipe())
    table = demand_table(1)
    table.to_parquet(tmp_path / "all.parquet")
    positions = np.arange(30, 120)
    table.iloc[positions].to_parquet(tmp_path / "some.parquet")
    found = load_rows(task, one, tmp_path / "all.parquet", SeededEntropy(1), positions)
    alone = load_rows(task, one, tmp_path / "some.parquet", SeededEntropy(1))
    assert np.array_equal(found.features, alone.features)
    whole = load_rows(task, one, tmp_path / "all.parquet", SeededEntropy(1))
    assert 0 < len(found.features) < len(whole.features)


# -- on disk ---------------------------------------------------------------------------------------


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


# -- keys ------------------------------------------------------------------------------------------


def keys_of(table, path, one=None):
    pq.write_table(table, path)
    found = row_keys(one or contract(), path, b"s" * 32)
    return [found[n : n + 16] for n in range(0, len(found), 16)]


def test_the_units_columns_are_part_of_every_key():
    assert key_columns(contract()) == ("customer_id", "order_id")
    assert key_columns(contract(key="", also=ALSO)) == ("amount", "customer_id", "day", "order_id")


def test_a_key_does_not_depend_on_how_the_file_holds_it(tmp_path):
    plain = pa.table({"order_id": [1, 2], "customer_id": pa.array([7, None], pa.int64())})
    other = pa.table(
        {
            "customer_id": pa.array([7, None], pa.int32()),
            "amount": [1.0, 2.0],
            "order_id": pa.array([1, 2], pa.uint8()).dictionary_encode(),
        }
    )
    assert keys_of(plain, tmp_path / "a") == keys_of(other, tmp_path / "b")


def test_another_secret_gives_other_keys(tmp_path):
    pq.write_table(pa.table({"order_id": [1], "customer_id": [1]}), tmp_path / "a")
    first, second = (row_keys(contract(), tmp_path / "a", s * 32) for s in (b"a", b"b"))
    assert len(first) == 16 and first != second


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.none() | st.binary(max_size=4)] * 2), min_size=2, max_size=12))
def test_two_rows_have_one_key_exactly_when_they_are_equal(tmp_path_factory, values):
    """Also where text is not UTF-8, holds separators, or is absent."""
    text = TEXT.replace("KEY", 'key = ["note", "mark"]').replace("ALSO", "")
    for name in ("note", "mark"):
        text += f'[[columns]]\nname = "{name}"\ntype = "string"\ngrade = "S2"\n'
    one = load_contract(text)
    columns = [pa.array([row[n] for row in values], pa.binary()) for n in (0, 1)]
    table = pa.table(
        {
            "customer_id": [1] * len(values),
            "note": columns[0].view(pa.string()),
            "mark": columns[1].view(pa.string()),
        }
    )
    found = keys_of(table, tmp_path_factory.mktemp("keys") / "t", one)
    for x, first in zip(values, found, strict=True):
        for y, second in zip(values, found, strict=True):
            assert (x == y) == (first == second)


def test_odd_values_stop_nothing(tmp_path):
    every = contract(key='key = ["amount", "day"]')
    table = pa.table(
        {
            "customer_id": pa.array([1, 1, 1], pa.int64()),
            "amount": pa.array([float("nan"), float("inf"), None]),
            "day": pa.array([2**31 - 1, -(2**31), None], pa.int32()).view(pa.date32()),
        }
    )
    assert len(set(keys_of(table, tmp_path / "odd", every))) == 3


@pytest.mark.parametrize(
    "kind",
    [
        pa.timestamp("s"),
        pa.timestamp("ms", tz="Asia/Shanghai"),
        pa.timestamp("us", tz="UTC"),
        pa.timestamp("ns"),
        pa.uint64(),
        pa.int8(),
        pa.decimal128(20, 4),
        pa.float32(),
        pa.float16(),
        pa.bool_(),
        pa.date64(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
    ],
    ids=str,
)
def test_every_type_has_keys(kind, tmp_path):
    types = {"t": "timestamp", "u": "integer", "i": "integer", "b": "boolean"}
    named = "date" if "date" in str(kind) else types.get(str(kind)[0], "string")
    named = "float" if pa.types.is_decimal(kind) or pa.types.is_floating(kind) else named
    text = TEXT.replace("KEY", 'key = ["odd"]').replace("ALSO", "")
    one = load_contract(f'{text}[[columns]]\nname = "odd"\ntype = "{named}"\ngrade = "S2"\n')
    textual = named == "string"
    step = 1000 if str(kind) == "timestamp[ns]" else 1  # below a microsecond it is one moment
    values = ["a", "b", None, "a"] if textual else [0, step, None, 0]
    if pa.types.is_date(kind):
        values = [datetime.date(2025, 1, 1), datetime.date(2025, 1, 2), None] * 2
        values = [values[n] for n in (0, 1, 2, 0)]
    if pa.types.is_boolean(kind):
        values = [False, True, None, False]
    table = pa.table({"customer_id": [1] * 4, "odd": pa.array(values, kind)})
    found = keys_of(table, tmp_path / "odd", one)
    assert found[0] == found[3] and len(set(found)) == 3


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_moments_at_the_end_of_the_range_stop_nothing(unit, tmp_path):
    text = TEXT.replace("KEY", 'key = ["at"]').replace("ALSO", "")
    one = load_contract(f'{text}[[columns]]\nname = "at"\ntype = "timestamp"\ngrade = "S2"\n')
    ends = pa.array([2**63 - 1, -(2**63), 0], pa.int64()).view(pa.timestamp(unit))
    table = pa.table({"customer_id": [1] * 3, "at": ends})
    assert len(keys_of(table, tmp_path / "odd", one)) == 3


def test_a_million_rows_are_taken_in(folder):
    count = 1_000_000
    table = pa.table(
        {
            "order_id": np.arange(count),
            "customer_id": np.arange(count) % 50_000,
            "amount": np.ones(count),
            "day": pa.array(np.zeros(count, np.int32)).view(pa.date32()),
        }
    )
    pq.write_table(table, folder.path / "orders.parquet")
    folder.start()
    assert folder.readable("2025").positions is None


# -- a model of it ---------------------------------------------------------------------------------

STEP = st.one_of(
    st.tuples(st.just("write"), st.sets(st.integers(0, 9), max_size=6)),
    st.tuples(st.just("label"), st.sampled_from(["2025", "2026", "2027"])),
    st.tuples(st.just("look"), st.none()),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(STEP, max_size=9))
def test_rows_keep_the_window_that_a_simple_model_gives_them(tmp_path_factory, steps):
    folder = Folder(tmp_path_factory.mktemp("node"))
    there, label, opened, window = {0}, "2025", ["2025"], {}
    folder.write(rows(0))

    def look():
        folder.start(contract(label))
        if label not in opened:
            opened.append(label)
        for order in there:
            window.setdefault(order, opened[-1])

    look()
    for verb, value in steps:
        if verb == "write":
            there = set(value)
            folder.write(rows(*sorted(value)))
        elif verb == "label":
            label = value
            look()
        else:
            look()
    look()
    for one in opened:
        assert folder.orders(one) == sorted(o for o in there if window[o] == one)
