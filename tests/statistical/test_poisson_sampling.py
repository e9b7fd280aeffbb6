"""Units enter a step by coins of their own: the number drawn varies, rows come together."""

from decimal import Decimal

import numpy as np
import pytest

from clients.training.sampling import UnitRows, gather_units, poisson_sample
from secure_compute.entropy import SystemEntropy

UNITS, STEPS, RATE = 400, 600, Decimal("0.1")


def made_rows(units: int, phases: int = 1) -> UnitRows:
    ones = np.ones((units, 1), np.float32)
    return UnitRows(ones[:, :, None], ones, ones > 0, np.arange(units) % phases, phases)


def size_score(sizes: np.ndarray) -> float:
    """Return how far the variance of batch sizes lies from that of independent coins."""
    rate = float(RATE)
    expected = UNITS * rate * (1 - rate)
    return float((sizes.var() / expected - 1.0) / np.sqrt(2.0 / len(sizes)))


def inclusion_score(drawn: np.ndarray, epoch: int) -> float:
    """Return how far the variance of a unit's inclusions per epoch lies from independent coins."""
    counts = drawn.reshape(-1, epoch, UNITS).sum(1)
    rate = float(RATE)
    ratio = counts.var() / (epoch * rate * (1 - rate))
    return float((ratio - 1.0) / np.sqrt(2.0 / counts.size))


def poisson_draws() -> np.ndarray:
    rows, entropy = made_rows(UNITS), SystemEntropy()
    drawn = np.zeros((STEPS, UNITS), bool)
    for step in range(STEPS):
        drawn[step, poisson_sample(rows, RATE, step, entropy)] = True
    return drawn


def test_units_are_sampled_by_independent_coins():
    drawn = poisson_draws()
    sizes = drawn.sum(1)
    assert abs(size_score(sizes)) < 6
    assert abs(inclusion_score(drawn, 10)) < 6
    assert abs(sizes.mean() / (UNITS * float(RATE)) - 1) < 6 * np.sqrt(0.9 / (0.1 * drawn.size))


@pytest.mark.parametrize("wrong", ["fixed size", "shuffled"])
def test_the_sampler_test_notices_other_samplers(wrong):
    generator, size = np.random.default_rng(1), int(UNITS * RATE)
    drawn = np.zeros((STEPS, UNITS), bool)
    order = np.arange(UNITS)
    for step in range(STEPS):
        if wrong == "fixed size":
            chosen = generator.choice(UNITS, size, replace=False)
        else:
            place = step % (UNITS // size)
            order = generator.permutation(UNITS) if place == 0 else order
            chosen = order[place * size : (place + 1) * size]
        drawn[step, chosen] = True
    assert size_score(drawn.sum(1)) < -6
    if wrong == "shuffled":
        assert inclusion_score(drawn, 10) < -6


def test_a_step_draws_only_from_its_phase_and_everybody_at_rate_one():
    rows, entropy = made_rows(20, phases=5), SystemEntropy()
    for step in range(10):
        drawn = poisson_sample(rows, Decimal(1), step, entropy)
        assert drawn.tolist() == np.flatnonzero(rows.phase == step % 5).tolist()


def test_sampling_twice_draws_anew():
    rows, entropy = made_rows(200), SystemEntropy()
    first, second = (poisson_sample(rows, Decimal("0.5"), 0, entropy) for _ in range(2))
    assert first.tolist() != second.tolist()


def test_a_units_rows_stand_together_and_no_more_than_the_bound():
    units = np.array([9, 4, 9, 9, 4, 9, 9, 7])
    features = np.arange(8, dtype=np.float64)[:, None]
    rows = gather_units(features, units * 1.0, units, 3, SystemEntropy())
    assert rows.present.sum(1).tolist() == [2, 1, 3]
    for place, unit in enumerate([4, 7, 9]):
        here = rows.features[place][rows.present[place]][:, 0]
        assert len(set(here.tolist())) == len(here)
        assert set(here.tolist()) <= set(np.flatnonzero(units == unit).tolist())
        assert (rows.targets[place][rows.present[place]] == unit).all()


def test_rows_beyond_the_bound_are_left_out_uniformly():
    entropy, counts, trials = SystemEntropy(), np.zeros(6), 3000
    for _ in range(trials):
        rows = gather_units(np.arange(6.0)[:, None], np.zeros(6), np.zeros(6), 2, entropy)
        counts[rows.features[0][:, 0].astype(int)] += 1
    assert np.abs(counts / trials - 1 / 3).max() < 6 * np.sqrt(2 / 9 / trials)


def test_values_that_are_not_finite_count_as_nothing():
    features = np.array([[np.nan, 1.0], [np.inf, 2.0], [1e300, 3.0]])
    rows = gather_units(features, np.array([np.nan, 1.0, 2.0]), np.arange(3), 2, SystemEntropy())
    assert np.isfinite(rows.features).all() and np.isfinite(rows.targets).all()


def test_no_rows_are_no_units():
    rows = gather_units(np.zeros((0, 3)), np.zeros(0), np.zeros(0), 4, SystemEntropy())
    assert len(rows) == 0
    assert len(poisson_sample(rows, RATE, 0, SystemEntropy())) == 0
