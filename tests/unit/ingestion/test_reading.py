"""What is read of a table."""

import numpy as np
import pytest

from clients import ingestion
from clients.errors import ComputeError
from clients.ingestion import Readable
from clients.queries import partial
from clients.training.tables import load_rows
from experiments.ordering import published_contracts
from federation.queries import parse
from federation.tasks import TrainingTask
from tests.ingested import contract, rows
from tests.orders_table import COHORT
from tests.seeded import SeededEntropy
from tests.simulator import demand_table, recipe

COUNT = "SELECT COUNT(*), SUM(amount) FROM orders"


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
