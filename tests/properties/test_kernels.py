"""What is compiled computes the integers that arrays do, to the last bit, whatever it is given."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from clients.training import compiled, ghost, trial
from clients.training.exact import DOUBLE, SINGLE
from clients.training.gradients import IDLE, grouped
from clients.training.network import Network
from clients.training.service import Trainer
from federation.losses import Pinball
from federation.models import ModelSpec
from tests.properties.test_ghost_sums import SHAPES, recipe, same
from tests.steps import batch as made_batch

FIT = [layers for layers in SHAPES if 1 not in layers[1:-1]]
DEEP = (4, 5, 6, 5, 4, 5, 6, 1)
KERNELS, TRIED = compiled.kernels(), compiled.kernels.__wrapped__
ADD_SHARES = compiled.add_shares


@pytest.fixture(autouse=True)
def single(monkeypatch):
    """Every model's products are in single precision, and nothing is tried once more."""
    for name in ("SMALL", "LARGE"):
        monkeypatch.setattr(ghost, name, 0)
    monkeypatch.setattr(compiled, "kernels", lambda: KERNELS)


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
    layers=st.sampled_from([*FIT, (17, 40, 3, 20, 1), (1, 90, 1), (3, 2000, 1), DEEP]),
    loss=st.sampled_from(["bce", "huber", "mse", Pinball(Decimal("0.9"))]),
    reach=st.sampled_from([0, 100]),
    units=st.sampled_from([1, 2, 31, 32, 33, 300, 1024, 1025]),
    steps=st.sampled_from([("0.001", 2**32), ("1", 4096), ("1", 2**32), ("30", 1)]),
)
def test_the_sums_are_those_of_arrays(seed, exponent, layers, loss, reach, units, steps):
    generator = np.random.default_rng(seed)
    agreed = recipe(ModelSpec(layers), *steps, loss)
    weights = generator.normal(size=agreed.model.dimension) * 2.0**exponent
    weights *= 2.0 ** generator.integers(-reach, reach + 1, len(weights))
    weights[generator.random(len(weights)) < 0.1] = 0.0
    batch = alone(
        spread(generator, units, layers[0]),
        generator.integers(0, 2, units),
        generator.random(units) < 0.9,
    )
    found = ghost.sums_by(KERNELS, agreed, weights, batch)
    assert same(found, ghost.sums_by(None, agreed, weights, batch))


@pytest.mark.parametrize("layers", [(30, 64, 32, 1), (33, 40, 1), (5, 300, 1)])
def test_so_are_those_of_a_longer_batch(layers):
    generator = np.random.default_rng(7)
    agreed = recipe(ModelSpec(layers), loss="bce")
    weights = agreed.model.init(1).astype(float) + 0.1
    features = generator.normal(size=(5000, layers[0]))
    batch = alone(features, generator.integers(0, 2, 5000))
    found = ghost.exact_sums(agreed, weights, batch)
    assert all(layer.any() for layer in found)
    assert same(found, ghost.sums_by(None, agreed, weights, batch))


@pytest.fixture
def cut(monkeypatch):
    """How many units were cut back once more, of each block."""
    counts = []
    monkeypatch.setattr(compiled, "add_shares", lambda *given: counts.append(ADD_SHARES(*given)))
    return counts


@pytest.mark.parametrize("margin", [1.0, 1.3])
@pytest.mark.parametrize("layers", [(6, 40, 30, 1), (9, 20, 1)])
def test_who_is_above_the_clip_is_cut_as_in_arrays(monkeypatch, cut, layers, margin):
    """With nothing, or less, left of the clip for rounding, so that it happens to many."""
    monkeypatch.setattr(ghost, "_margin", lambda _: margin)
    generator = np.random.default_rng(4)
    agreed = recipe(ModelSpec(layers), grid=1)
    weights = generator.normal(size=agreed.model.dimension)
    batch = alone(generator.normal(size=(200, layers[0])), np.full(200, -99.0))
    found = ghost.exact_sums(agreed, weights, batch)
    assert sum(cut) == 200 if margin > 1.0 else 10 < sum(cut) < 200
    assert any(layer.any() for layer in found) == (margin == 1.0)
    assert same(found, ghost.sums_by(None, agreed, weights, batch))


@pytest.mark.parametrize("units", [1, 40, 1024])
def test_sums_that_one_product_would_round_are_exact(units):
    """Everybody pushes the same entries as far as a clip goes."""
    agreed = recipe(ModelSpec((30, 40, 1)))
    weights = np.zeros(agreed.model.dimension)
    weights[:1200:30] = -1.0  # of the first input: one hidden unit lives
    weights[0], weights[-41:] = 1.0, 1.0
    row = np.append(1000.0, np.zeros(29))
    found = ghost.exact_sums(agreed, weights, alone(np.tile(row, (units, 1)), np.zeros(units)))
    one = ghost.exact_sums(agreed, weights, alone(row[None], [0.0]))
    assert same(found, [units * layer for layer in one])
    if units == 1024:
        assert abs(found[0]).max() > 2.0**SINGLE.bits


@pytest.mark.parametrize("layers", [(5, 1), (30, 64, 32, 1), (900, 900, 1)])
@pytest.mark.parametrize("clip", ["0.01", "2.5"])
def test_no_sum_over_a_tile_is_too_large_for_double_precision(layers, clip):
    """By the grids, whatever the rows are: no lane's share is longer than the clip."""
    for grid in ghost.layer_grids(recipe(ModelSpec(layers), clip, 1)):
        if grid.precision is DOUBLE:
            assert (compiled.LANES + IDLE) * grid.clip * (1.0 + 2.0**-40) < 2.0**53


def test_a_blocks_lanes_are_a_multiple_of_eight():
    """Compiled code looks eight lanes ahead, and nobody stops it at an array's end."""
    assert ghost._STEP % 8 == IDLE % 8 == compiled.LANES % 8 == 0


def test_a_product_is_cut_into_as_many_pieces_as_it_takes():
    generator = np.random.default_rng(2)
    agreed = recipe(ModelSpec((4, 9, 5, 1)), loss="bce")
    weights = generator.normal(size=agreed.model.dimension).astype(np.float32)
    plan = ghost._plan(Network.of(agreed.model, weights, SINGLE), ghost.layer_grids(agreed))
    batch = alone(generator.normal(size=(100, 4)), generator.integers(0, 2, 100))
    expected = np.zeros(agreed.model.dimension, np.int64)
    (block,) = grouped(batch, lambda _: 136, None, np.float32, spare=1)
    compiled.add_shares(KERNELS, plan, block, "bce", expected)
    for most in (0.0, 2.0**12, 2.0**18):
        found = np.zeros_like(expected)
        less = plan._replace(most=np.full(3, most))
        compiled.add_shares(KERNELS, less, block, "bce", found)
        assert np.array_equal(found, expected) and found.any()


def test_lanes_that_hold_nobody_make_no_sum_look_large():
    agreed = recipe(ModelSpec((4, 30, 20, 1)))
    weights = np.random.default_rng(8).normal(size=agreed.model.dimension)
    network = Network.of(agreed.model, weights.astype(np.float32), SINGLE)
    plan = ghost._plan(network, ghost.layer_grids(agreed))
    features, present = np.ones((4, 40), np.float32), np.arange(40) < 9
    tile = KERNELS.forward(plan, features, present)
    for last in (4, 35, 56):
        assert np.array_equal(tile.inputs[last] > 0, present)


@pytest.mark.parametrize(
    ("layers", "activation", "rows", "small"),
    [
        ((4, 3, 1), "tanh", 1, 0),
        ((4, 3, 1), "relu", 2, 0),
        ((4, 3, 1, 1), "relu", 1, 0),
        ((4, 3, 1), "relu", 1, 1000),
    ],
)
def test_others_go_by_arrays(monkeypatch, layers, activation, rows, small):
    """tanh, units of several rows, a hidden layer of one output, and double precision."""
    monkeypatch.setattr(compiled, "add_shares", None)
    monkeypatch.setattr(ghost, "LARGE", small)
    agreed = recipe(ModelSpec(layers, activation))
    features = np.random.default_rng(3).normal(size=(5, rows, 4))
    batch = made_batch(features, *np.ones((2, 5, rows)))
    assert ghost.exact_sums(agreed, np.ones(agreed.model.dimension), batch)[0].any()


def test_products_of_a_tile_take_one_thread_and_leave_the_others_theirs(monkeypatch):
    threads = []

    def observed(outputs, targets, loss):
        blas = [one for one in threadpool_info() if one["user_api"] == "blas"]
        threads.append({one["num_threads"] for one in blas})
        return outputs - targets

    monkeypatch.setattr(compiled, "loss_slopes", observed)
    agreed, batch = recipe(ModelSpec((4, 3, 1))), alone(np.ones((5, 4)), np.ones(5))
    with threadpool_limits(2, user_api="blas"):
        ghost.exact_sums(agreed, np.ones(agreed.model.dimension), batch)
        observed(0.0, 0.0, "mse")
    assert threads == [{1}, {2}]


@pytest.mark.parametrize(("layers", "times"), [((4, 3, 1), 1), ((4, 1), 0)])
def test_a_training_process_compiles_while_it_loads_its_rows(monkeypatch, cut, layers, times):
    monkeypatch.setattr(Trainer, "_load", lambda self, job: (None, None))
    task = SimpleNamespace(recipe=recipe(ModelSpec(layers)), begun=0)
    assert Trainer().perform(SimpleNamespace(task=task), 0, None) == b""
    assert len(cut) == times


def test_without_numba_everything_goes_by_arrays(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert TRIED() is None
    assert "not compiled" in caplog.text


def test_so_it_does_where_numba_is_told_not_to_compile(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert TRIED() is None


def test_what_gives_other_sums_is_not_believed_and_taken_away(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def off(kernels, plan, block, loss, totals):
        totals[0] += 1
        return ADD_SHARES(kernels, plan, block, loss, totals)

    monkeypatch.setattr(compiled, "add_shares", off)
    assert TRIED() is None
    assert "other sums" in caplog.text
    assert list((tmp_path / "entrepot").iterdir()) == []


def test_a_trial_is_of_rows_that_are_cut_and_rows_that_are_not(cut):
    assert trial.agrees(KERNELS)
    assert sum(cut) > 10 and len(cut) == 2


TRY = """
import logging, resource, sys
logging.basicConfig(format="%(message)s", stream=sys.stdout)
if sys.argv[1:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from clients.training import compiled
print("compiled" if compiled.kernels() else "arrays")
"""


def tried(home: Path, *most: int) -> str:
    """What a process says that finds its cache in `home`; most: the longest file it may write."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", TRY, *map(str, most)],
        cwd=Path(compiled.__file__).parents[2],
        env={"XDG_CACHE_HOME": str(home), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_what_was_compiled_is_kept_and_what_cannot_be_read_is_made_anew(tmp_path):
    assert "arrays" in tried(tmp_path, 6000)  # a disk that is full at some file
    assert tried(tmp_path) == "compiled\n"
    kept = sorted(tmp_path.rglob("*.nb?"))
    stamps = [path.stat().st_mtime_ns for path in kept]
    assert tried(tmp_path) == "compiled\n"
    assert [path.stat().st_mtime_ns for path in kept] == stamps
    (index,) = tmp_path.rglob("kernels.forward-*.nbi")
    index.write_bytes(b"")  # as after a cut of power
    assert "arrays" in tried(tmp_path)
    assert tried(tmp_path) == "compiled\n"


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path):
    for folder in (tmp_path / "home" / "entrepot", tmp_path / "home"):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
    said = tried(tmp_path / "home")
    assert "others may write" in said and said.endswith("arrays\n")
    (tmp_path / "file").touch()
    assert tried(tmp_path / "file").endswith("arrays\n")
