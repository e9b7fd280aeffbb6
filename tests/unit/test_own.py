"""What a party learns about a model on its own rows: exact, and for itself."""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.training.demand import DemandRows
from clients.training.errors import TrainingDataError
from clients.training.own import (
    HeldOut,
    Tuning,
    average_precision,
    does_it_help,
    held_out_orders,
    held_out_weeks,
)
from clients.training.sampling import UnitRows
from federation.models import ModelSpec
from tests.seeded import SeededEntropy

ROOT = Path(__file__).resolve().parents[2]
MODEL = ModelSpec((5, 1))
TASK = (MODEL, "bce")
BRISK = Tuning(steps=150, learning_rate=0.1)
AIM = np.array([1.5, -1.0, 0.8, 0.0, 0.5])

scored = st.lists(
    st.tuples(st.booleans(), st.one_of(st.floats(-9, 9, width=16), st.just(-np.inf))),
    min_size=1, max_size=40,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(scored)
def test_precision_is_the_mean_over_frauds_of_the_precision_down_to_each(rows):
    truth, scores = (np.array(part) for part in zip(*rows, strict=True))
    each = [truth[scores >= score].mean() for score in scores[truth]]
    found = average_precision(truth, scores)
    assert found == pytest.approx(np.mean(each)) if truth.any() else np.isnan(found)


def test_a_score_that_is_no_number_is_the_lowest():
    truth, scores = np.array([True, False, True]), np.array([np.nan, -5.0, 3.0])
    assert average_precision(truth, scores) == average_precision(truth, np.array([-6.0, -5.0, 3.0]))
    assert np.isnan(average_precision(np.zeros(0, bool), np.zeros(0)))


def rows_of(units: int, seed: int, aim=AIM) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(units, 5)).astype(np.float32)
    chance = 1 / (1 + np.exp(-(features @ aim - 2.0)))
    return features, generator.random(units) < chance


def by_unit(features, truth) -> UnitRows:
    count = len(truth)
    return UnitRows(features[:, None], truth[:, None].astype(np.float32),
                    np.ones((count, 1), bool), np.zeros(count, np.int64))  # fmt: skip


def compared(federated, rows: int, seed: int):
    test, truth = rows_of(3000, 99)
    return does_it_help(
        TASK,
        MODEL.init(1),
        np.asarray(federated, np.float32),
        by_unit(*rows_of(rows, seed)),
        held_out_orders(test, truth, np.arange(3000) // 3),
        BRISK,
        SeededEntropy(3),
    )


def test_a_good_model_of_many_helps_whoever_has_few_rows():
    found = compared([*AIM, -2.0], 30, 1)
    assert found.answer == "it helps"
    assert found.federated.low > 0.0
    gain = found.values["federated"] - found.values["alone"]
    assert found.federated.value == pytest.approx(gain)
    assert found.federated.low <= gain <= found.federated.high


def test_a_bad_model_does_not_help_as_it_came():
    found = compared([*-AIM, -2.0], 3000, 2)
    assert found.federated.high < 0.0
    assert found.answer != "it helps"


def test_a_model_no_better_than_ones_own_is_too_close_to_tell():
    assert compared([*AIM, -2.0], 4000, 4).answer == "too close to tell"


def test_fitting_further_begins_at_the_federations_model():
    still = does_it_help(
        TASK, MODEL.init(1), np.array([*AIM, -2.0], np.float32), by_unit(*rows_of(30, 1)),
        held_out_orders(*rows_of(300, 9), np.arange(300)), Tuning(0, 0.1), SeededEntropy(1),
    )  # fmt: skip
    assert still.values["fine-tuned"] == still.values["federated"]


def test_less_error_is_a_gain():
    generator = np.random.default_rng(8)
    features = generator.normal(size=(400, 5)).astype(np.float32)
    target = (features @ AIM * 0.2).astype(np.float32)
    base = np.full(400, 4.0)
    weeks = DemandRows(features, target, base, np.expm1(target + base), np.expm1(base),
                       np.arange(400) % 40, np.arange(400) // 40, 2,
                       np.ones(400, np.int64), 1)  # fmt: skip
    few = by_unit(features[:4], target[:4])
    found = does_it_help(
        (MODEL, "mse"), MODEL.init(1), np.array([*AIM * 0.2, 0.0], np.float32), few,
        held_out_weeks(weeks), BRISK, SeededEntropy(2),
    )  # fmt: skip
    assert found.values["federated"] < 1e-5 < found.values["alone"]
    assert found.federated.low > 0.0 and found.answer == "it helps"


def test_rows_of_another_model_or_of_one_kind_are_refused():
    test, _ = rows_of(50, 1)
    train = by_unit(*rows_of(20, 2))
    words = (MODEL.init(1), MODEL.init(1), train)
    narrow = HeldOut("average_precision", test[:, :3], np.arange(50), lambda *_: 0.5)
    with pytest.raises(TrainingDataError, match="number of features"):
        does_it_help(TASK, *words, narrow, BRISK, SeededEntropy(1))
    nobody = held_out_orders(test, np.zeros(50, bool), np.arange(50))
    with pytest.raises(TrainingDataError, match="no value"):
        does_it_help(TASK, *words, nobody, BRISK, SeededEntropy(1))


def test_an_exact_result_neither_prints_nor_travels():
    found = compared([*AIM, -2.0], 30, 1)
    for value in (found, found.federated):
        with pytest.raises(TypeError, match="never leaves"):
            pickle.dumps(value)
        assert "0." not in repr(value)


def imported(path: Path) -> set[str]:
    """Every module, and every name of one, that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {item.name for item in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{i.name}" for i in node.names)}
    return names


def importers(package: str, module: str) -> set[str]:
    return {path.name for path in (ROOT / package).rglob("*.py") if module in imported(path)}


def test_nothing_that_sends_knows_of_exact_results():
    """Only an operator's command may ask, and only what it prints is told."""
    for package in ("clients", "aggregator", "federation", "policies", "secure_compute"):
        assert not importers(package, "clients.training.own"), package
    assert importers("experiments", "clients.training.own") == {
        "comparing.py", "comparing_view.py"
    }  # fmt: skip
    assert importers("experiments", "experiments.comparing") == {"comparing_view.py", "node.py"}
    assert importers("experiments", "experiments.comparing_view") == {"node.py"}
    writes = {"write_text", "write_bytes", "write_whole", "save_round", "open_books", "Books"}
    for name in ("comparing.py", "comparing_view.py", "handed_over.py"):
        source = (ROOT / "experiments" / name).read_text(encoding="utf-8")
        assert not {word for word in writes if f"{word}(" in source}, name
