"""What is compiled computes the integers that arrays do, to the last bit, whatever it is given."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

import clients
from clients.training import compiled, ghost, kernels
from clients.training.exact import DOUBLE, SINGLE
from clients.training.gradients import IDLE, grouped
from clients.training.network import Network
from clients.training.service import Trainer
from federation.models import ModelSpec
from tests.properties.test_ghost_sums import SHAPES, recipe, same
from tests.steps import batch as made_batch

COUNTED = compiled.add_shares


@pytest.fixture(params=["single", "double"])
def precision(request, monkeypatch):
    for name in ("SMALL", "LARGE"):
        monkeypatch.setattr(ghost, name, 0 if request.param == "single" else 1 << 62)
    return {"single": SINGLE, "double": DOUBLE}[request.param]


def by_arrays(monkeypatch, agreed, weights, batch):
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "kernels", lambda: None)
        patch.setattr(compiled, "add_shares", None)
        return ghost.exact_sums(agreed, weights, batch)


def alone(features, targets, present=None):
    """A batch of units of one row."""
    present = np.ones(len(features)) if present is None else present
    return made_batch(features[:, None], np.asarray(targets)[:, None], np.asarray(present)[:, None])


def spread(generator, units, inputs):
    """Rows of every size, among them some of zeros and some that are not finite."""
    features = generator.normal(size=(units, inputs))
    features *= 2.0 ** generator.integers(-70, 70, (units, 1))
    features[generator.random((units, inputs)) < 0.2] = 0.0
    features[generator.random(units) < 0.1] = generator.choice([np.nan, np.inf, 1e250, 0.0])
    return features


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-60, 60),
    layers=st.sampled_from([*SHAPES, (17, 40, 3, 20, 1), (1, 90, 1)]),
    loss=st.sampled_from(["bce", "huber", "mse"]),
    units=st.sampled_from([1, 2, 31, 32, 33, 300, 1024, 1025]),
    steps=st.sampled_from([("0.001", 2**32), ("1", 4096), ("1", 2**32), ("30", 1)]),
)
def test_the_sums_are_those_of_arrays(
    precision, monkeypatch, seed, exponent, layers, loss, units, steps
):
    generator = np.random.default_rng(seed)
    agreed = recipe(ModelSpec(layers), *steps, loss)
    weights = generator.normal(size=agreed.model.dimension) * 2.0**exponent
    weights[generator.random(len(weights)) < 0.1] = 0.0
    batch = alone(
        spread(generator, units, layers[0]),
        generator.integers(0, 2, units),
        generator.random(units) < 0.9,
    )
    expected = by_arrays(monkeypatch, agreed, weights, batch)
    assert same(ghost.exact_sums(agreed, weights, batch), expected)


@pytest.mark.parametrize("layers", [(30, 64, 32, 1), (33, 16, 1), (5, 300, 1)])
def test_so_are_those_of_a_longer_batch_in_the_shipped_precision(monkeypatch, layers):
    generator = np.random.default_rng(7)
    agreed = recipe(ModelSpec(layers), loss="bce")
    weights = agreed.model.init(1).astype(float) + 0.1
    features = generator.normal(size=(5000, layers[0]))
    batch = alone(features, generator.integers(0, 2, 5000))
    found = ghost.exact_sums(agreed, weights, batch)
    assert all(layer.any() for layer in found)
    assert same(found, by_arrays(monkeypatch, agreed, weights, batch))


def cut_in(monkeypatch, agreed, weights, batch) -> tuple[int, list[np.ndarray]]:
    """How many units were cut back once more, and the sums."""
    cut = []
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "add_shares", lambda *given: cut.append(COUNTED(*given)))
        found = ghost.exact_sums(agreed, weights, batch)
    return sum(cut), found


@pytest.mark.parametrize("margin", [1.0, 1.3])
@pytest.mark.parametrize("layers", [(6, 40, 30, 1), (9, 20, 1)])
def test_who_is_above_the_clip_is_cut_as_in_arrays(precision, monkeypatch, layers, margin):
    """With nothing, or less, left of the clip for rounding, so that it happens to many."""
    monkeypatch.setattr(ghost, "_margin", lambda _: margin)
    generator = np.random.default_rng(4)
    agreed = recipe(ModelSpec(layers), grid=1)
    weights = generator.normal(size=agreed.model.dimension)
    batch = alone(generator.normal(size=(200, layers[0])), np.full(200, -99.0))
    cut, found = cut_in(monkeypatch, agreed, weights, batch)
    assert cut == 200 if margin > 1.0 else 10 < cut < 200
    assert any(layer.any() for layer in found) == (margin == 1.0)
    assert same(found, by_arrays(monkeypatch, agreed, weights, batch))


@pytest.mark.parametrize("units", [1, 40, 1024])
def test_sums_that_one_product_would_round_are_exact(precision, units):
    """Everybody pushes the same entries as far as a clip goes."""
    agreed = recipe(ModelSpec((30, 40, 1)))
    weights = np.zeros(agreed.model.dimension)
    weights[:1200:30] = -1.0  # of the first input: one hidden unit lives
    weights[0], weights[-41:] = 1.0, 1.0
    row = np.append(1000.0, np.zeros(29))
    found = ghost.exact_sums(agreed, weights, alone(np.tile(row, (units, 1)), np.zeros(units)))
    one = ghost.exact_sums(agreed, weights, alone(row[None], [0.0]))
    assert same(found, [units * layer for layer in one])
    if units == 1024 and precision is SINGLE:
        assert abs(found[0]).max() > 2.0**SINGLE.bits


@pytest.mark.parametrize("layers", [(5, 1), (30, 64, 32, 1), (900, 900, 1)])
@pytest.mark.parametrize("clip", ["0.01", "2.5"])
def test_no_sum_over_a_tile_is_too_large_for_double_precision(precision, layers, clip):
    """By the grids, whatever the rows are: no lane's share is longer than the clip."""
    for grid in ghost.layer_grids(recipe(ModelSpec(layers), clip, 1)):
        if grid.precision is DOUBLE:
            assert (compiled.LANES + IDLE) * grid.clip * (1.0 + 2.0**-40) < 2.0**53


def test_a_product_is_cut_into_as_many_pieces_as_it_takes(precision):
    generator = np.random.default_rng(2)
    agreed = recipe(ModelSpec((4, 9, 5, 1)), loss="bce")
    network = Network.of(
        agreed.model, generator.normal(size=agreed.model.dimension), ghost.model_precision(agreed)
    )
    plan = ghost._plan(agreed.model, network, ghost.layer_grids(agreed))
    batch = alone(generator.normal(size=(100, 4)), generator.integers(0, 2, 100))
    expected = np.zeros(agreed.model.dimension, np.int64)
    (block,) = grouped(batch, lambda _: 136, None, precision.dtype, spare=1)
    compiled.add_shares(plan, block, "bce", expected)
    for most in (0.0, 2.0**12, 2.0**18):
        found = np.zeros_like(expected)
        compiled.add_shares(plan._replace(most=np.full(3, most)), block, "bce", found)
        assert np.array_equal(found, expected) and found.any()


def test_lanes_that_hold_nobody_make_no_sum_look_large():
    agreed = recipe(ModelSpec((4, 30, 20, 1)))
    weights = np.random.default_rng(8).normal(size=agreed.model.dimension)
    network = Network.of(agreed.model, weights.astype(np.float32), SINGLE)
    plan = ghost._plan(agreed.model, network, ghost.layer_grids(agreed))
    features, present = np.ones((4, 40), np.float32), np.arange(40) < 9
    tile = kernels.forward(plan, features, present)
    for last in (4, 35, 56):
        assert np.array_equal(tile.inputs[last] > 0, present)


@pytest.mark.parametrize(
    ("layers", "activation", "rows"),
    [((4, 3, 1), "tanh", 1), ((4, 3, 1), "relu", 2), ((4, 3, 1, 1), "relu", 1)],
)
def test_others_go_by_arrays(monkeypatch, layers, activation, rows):
    """tanh, units of several rows, and a hidden layer of one output."""
    monkeypatch.setattr(compiled, "add_shares", None)
    agreed = recipe(ModelSpec(layers, activation))
    features = np.random.default_rng(3).normal(size=(5, rows, 4))
    batch = made_batch(features, *np.ones((2, 5, rows)))
    assert ghost.exact_sums(agreed, np.ones(agreed.model.dimension), batch)[0].any()


def test_products_of_a_tile_take_one_thread_and_leave_the_others_theirs(monkeypatch):
    threads = []

    def observed(outputs, targets, loss):
        threads.append(
            {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}
        )
        return outputs - targets

    monkeypatch.setattr(compiled, "loss_slopes", observed)
    agreed = recipe(ModelSpec((4, 3, 1)))
    with threadpool_limits(2, user_api="blas"):
        ghost.exact_sums(
            agreed, np.ones(agreed.model.dimension), alone(np.ones((5, 4)), np.ones(5))
        )
        observed(0.0, 0.0, "mse")
    assert threads == [{1}, {2}]


@pytest.mark.parametrize(("layers", "times"), [((4, 3, 1), 1), ((4, 1), 0)])
def test_a_training_process_compiles_while_it_loads_its_rows(monkeypatch, layers, times):
    called = []
    monkeypatch.setattr(compiled, "add_shares", lambda *given: called.append(COUNTED(*given)))
    monkeypatch.setattr(Trainer, "_load", lambda self, job: (None, None))
    task = SimpleNamespace(recipe=recipe(ModelSpec(layers)), begun=0)
    assert Trainer().perform(SimpleNamespace(task=task), 0, None) == b""
    assert len(called) == times


@pytest.fixture
def unknown():
    """What is loaded is asked anew."""
    compiled.kernels.cache_clear()
    yield
    compiled.kernels.cache_clear()


def test_without_numba_everything_goes_by_arrays(monkeypatch, unknown):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert not compiled.usable(ModelSpec((4, 3, 1)))


def test_so_it_does_where_numba_is_told_not_to_compile(monkeypatch, unknown):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert not compiled.usable(ModelSpec((4, 3, 1)))


@pytest.mark.parametrize("writable", [True, False])
def test_where_no_folder_can_be_written_to_it_is_compiled_for_the_process(tmp_path, writable):
    source, package = Path(clients.__file__).parent, tmp_path / "clients" / "training"
    package.mkdir(parents=True)
    for name in ("__init__.py", "training/__init__.py", "training/exact.py", "training/kernels.py"):
        shutil.copy(source / name, tmp_path / "clients" / name)
    (tmp_path / "home").touch()  # no folder
    if not writable:
        (package / "__pycache__").touch()
    script = "import clients.training.kernels as k; print(type(k.forward._cache).__name__)"
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-B", "-c", script],
        cwd=tmp_path,
        env=home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ("FunctionCache" if writable else "NullCache")
