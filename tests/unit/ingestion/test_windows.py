"""Which window a row belongs to."""

import datetime
import sqlite3
import time

import pytest

from clients.ingestion import Ingestion, open_windows
from policies.contracts import load_contract
from tests.ingested import ALSO, KEY, TEXT, Folder, Told, contract, rows
from tests.seeded import SeededEntropy


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
