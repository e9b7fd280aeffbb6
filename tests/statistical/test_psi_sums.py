"""The noise of a sum is the one that is paid for: its size, its shape, and one draw for each end.

Seeds are fixed numbers, so what passes passes always; each test also shows what it would notice.
"""

import dataclasses
import hashlib
import math

import numpy as np
import pytest
from scipy.stats import chi2

from federation.match_values import half_width
from secure_compute.primitives.seed_stream import SeedStream
from secure_compute.psi.summing import noise
from secure_compute.psi.terms import Role
from tests.summed import VALUE, summing_terms

DRAWS = 200_000
SESSIONS = 1500
SCALE = 4000
VALUES = dataclasses.replace(VALUE, high=2000, scale=SCALE)
SMALL = dataclasses.replace(VALUE, high=1, scale=2)


def drawn(agreed, role, count=SESSIONS):
    """Return the noise of one end in so many sessions, by their seeds."""
    seeds = (hashlib.sha256(b"%d" % number).digest() for number in range(count))
    return np.array([noise(agreed, role, seed) for seed in seeds], np.float64)


def draws_of(value, what):
    return value.draws(DRAWS, SeedStream(bytes(32), what)).astype(np.float64)


@pytest.fixture(scope="module")
def draws():
    return {role: draws_of(VALUES, role.value.encode()) for role in Role}


def size_score(found, scale=SCALE):
    """Return how many standard deviations the mean of |noise| is off; it is the scale."""
    return (np.abs(found).mean() / scale - 1) * math.sqrt(len(found))


def mean_score(found, scale=SCALE):
    return found.mean() / (scale * math.sqrt(2 / len(found)))


def test_the_noise_is_of_the_scale_that_is_paid_for(draws):
    for found in draws.values():
        assert abs(size_score(found)) < 3
        assert abs(mean_score(found)) < 3


def test_three_percent_less_noise_would_be_noticed(draws):
    for found in draws.values():
        assert size_score(found * 0.97) < -6
        assert size_score(found * 1.03) > 6


def test_its_shape_is_that_of_a_discrete_laplace_distribution():
    found = draws_of(SMALL, b"shape").astype(int)
    gaussian = np.rint(np.random.default_rng(1).normal(0, found.std(), DRAWS)).astype(int)
    assert shape_p(found) > 0.001
    assert shape_p(gaussian) < 1e-8


def shape_p(found):
    """Return the p-value of draws of scale 2, what is beyond 12 in one cell."""
    p, reach = math.exp(-1 / 2), 12
    support = range(-reach, reach + 1)
    wanted = [(1 - p) / (1 + p) * p ** abs(n) * len(found) for n in support]
    counts = [int((found == n).sum()) for n in support]
    wanted.append(len(found) - sum(wanted))
    counts.append(len(found) - sum(counts))
    cells = [(c - w) ** 2 / w for c, w in zip(counts, wanted, strict=True)]
    return chi2.sf(sum(cells), len(cells) - 1)


@pytest.mark.parametrize("role", list(Role))
def test_what_a_session_adds_is_one_such_draw(role):
    found = drawn(summing_terms(value=VALUES), role)
    assert abs(size_score(found)) < 3 and abs(mean_score(found)) < 3
    assert len(set(found)) > 0.8 * SESSIONS


def test_the_ends_draw_apart_and_so_do_sessions():
    """Who knows one end's noise knows nothing of the other's."""
    agreed, other = summing_terms(value=VALUES), summing_terms(session="s2", value=VALUES)
    theirs = drawn(agreed, Role.SENDER)
    for found in (drawn(agreed, Role.RECEIVER), drawn(other, Role.SENDER)):
        assert abs(np.corrcoef(found, theirs)[0, 1]) * math.sqrt(SESSIONS) < 4


def test_the_interval_holds_nineteen_times_of_twenty(draws):
    """Of one end's noise and of both; and with three percent less width it would not by as much."""
    both = draws[Role.RECEIVER] + draws[Role.SENDER]
    for found, count in ((draws[Role.SENDER], 1), (both, 2)):
        inside = (np.abs(found) <= half_width(SCALE, count)).mean()
        assert abs(inside - 0.95) < 3 * math.sqrt(0.95 * 0.05 / DRAWS)
        narrow = (np.abs(found) <= 0.97 * half_width(SCALE, count)).mean()
        assert narrow < inside


@pytest.mark.parametrize("scale", [1, 2, 5, 40])
@pytest.mark.parametrize("draws_", [1, 2])
def test_the_interval_is_the_least_by_adding_up_outcomes(scale, draws_):
    p, reach = math.exp(-1 / scale), 60 * scale
    one = (1 - p) / (1 + p) * p ** np.abs(np.arange(-reach, reach + 1))
    law = one if draws_ == 1 else np.convolve(one, one)
    middle = len(law) // 2
    width = half_width(scale, draws_)
    assert law[middle - width : middle + width + 1].sum() >= 0.95
    assert width == 0 or law[middle - width + 1 : middle + width].sum() < 0.95
