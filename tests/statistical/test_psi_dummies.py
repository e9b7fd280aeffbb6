"""Dummies are drawn from the law that is paid for, moved and cut as it says, and no other.

Thresholds are six standard deviations and p = 1e-8; each test also shows what it would notice.
"""

import math
from decimal import Decimal

import numpy as np
import pytest
from scipy.stats import chi2

from secure_compute import noise
from secure_compute.entropy import SystemEntropy
from secure_compute.errors import LocalProtocolError
from secure_compute.psi.dummies import Law
from tests.matched import Pair, terms

DRAWS = 12_000
P_SMALL = 1e-8
LAW = Law(scale=4, shift=60)


def pmf(law, reach=None):
    """Return P(z) of z = 0 … 2·shift, from the definition; reach: of the law without a cut."""
    end = law.shift if reach is None else reach
    weights = np.exp(-np.abs(np.arange(-end, end + 1)) / law.scale)
    return weights / weights.sum()


def chi_square_p(draws, expected):
    """Return the p-value of the draws, cells of fewer than 10 expected in one."""
    counts = np.bincount(draws, minlength=len(expected)).astype(float)
    wanted = expected * len(draws)
    small = wanted < 10
    cells = [*((counts - wanted) ** 2 / wanted)[~small]]
    cells.append((counts[small].sum() - wanted[small].sum()) ** 2 / max(wanted[small].sum(), 1))
    return float(chi2.sf(sum(cells), len(cells) - 1))


def mean_score(draws, law):
    return (draws.mean() - law.shift) / math.sqrt(2 * law.scale**2 / len(draws))


def variance_score(draws, law):
    """Return how many standard deviations the sample variance is off; kurtosis about 6."""
    support = np.arange(-law.shift, law.shift + 1)
    wanted = (pmf(law) * support**2).sum()
    return (((draws - law.shift) ** 2).mean() / wanted - 1) / math.sqrt(5 / len(draws))


@pytest.fixture(scope="module")
def draws():
    return LAW.draws(DRAWS, SystemEntropy())


def test_the_distribution_is_the_one_that_is_paid_for(draws):
    assert chi_square_p(draws, pmf(LAW)) > P_SMALL
    assert abs(mean_score(draws, LAW)) < 6
    assert abs(variance_score(draws, LAW)) < 6


def test_a_tenth_less_noise_and_a_forgotten_shift_would_be_noticed(draws):
    quieter = np.rint((draws - LAW.shift) * 0.9).astype(int) + LAW.shift
    assert variance_score(quieter, LAW) < -6
    assert chi_square_p(quieter, pmf(LAW)) < P_SMALL
    finer = noise.discrete_laplace(36, DRAWS, SystemEntropy()) / 10
    assert variance_score(finer + LAW.shift, LAW) < -6
    for forgotten in (draws - LAW.shift, np.maximum(draws - LAW.shift, 0)):
        assert abs(mean_score(forgotten, LAW)) > 100


@pytest.mark.parametrize("scale", [1, 3])
def test_a_short_shift_cuts_and_does_not_pile_up(scale):
    law = Law(scale, 2)
    some = law.draws(4000, SystemEntropy())
    assert chi_square_p(some, pmf(law)) > P_SMALL
    piled = np.clip(noise.discrete_laplace(scale, 4000, SystemEntropy()), -2, 2) + 2
    assert chi_square_p(piled, pmf(law)) < P_SMALL


@pytest.mark.parametrize("scale", [1, 2, 30])
def test_the_bulk_sampler_is_discrete_laplace(scale):
    some = noise.discrete_laplace(scale, 50_000, SystemEntropy())
    reach = 30 * scale
    assert chi_square_p(some + reach, pmf(Law(scale, 1), reach)) > P_SMALL


def test_one_at_a_time_is_the_same_law():
    entropy = SystemEntropy()
    some = np.array([LAW.draw(entropy) for _ in range(500)])
    assert chi_square_p(some, pmf(LAW)) > P_SMALL
    assert abs(mean_score(some, LAW)) < 6


def test_bad_scales():
    for scale in (0, -1, 1 << 61):
        with pytest.raises(LocalProtocolError):
            noise.discrete_laplace(scale, 1, SystemEntropy())
    for bad in ((0, 1), (1, 0), (10_001, 1), (1, 10**6 + 1), (True, 1), (1.0, 1), (1, 2.0)):
        with pytest.raises(LocalProtocolError):
            Law(*bad)


@pytest.mark.parametrize("law", [Law(1, 3), Law(2, 44), Law(4, 10), Law(10, 100)])
def test_the_charged_delta_is_the_distance_from_the_uncut_law(law):
    reach = 40 * law.scale + law.shift
    whole, cut = pmf(law, reach), np.zeros(2 * reach + 1)
    cut[reach - law.shift : reach + law.shift + 1] = pmf(law)
    distance = np.abs(whole - cut).sum() / 2
    assert distance <= float(law.failure) <= 1.02 * distance


@pytest.mark.parametrize("law", [Law(1, 3), Law(2, 44), Law(4, 10), Law(10, 100)])
@pytest.mark.parametrize("most", [1, 3])
def test_neighbours_differ_by_no_more_than_is_charged(law, most):
    """Sizes c + z and c + most + z: the worst set of outcomes, exactly."""
    epsilon, p = most / law.scale, pmf(law)
    one, other = (np.pad(p, pads) for pads in ((0, most), (most, 0)))
    for left, right in ((one, other), (other, one)):
        beyond = np.maximum(left - math.exp(epsilon) * right, 0).sum()
        assert beyond <= (1 + math.exp(epsilon)) * float(law.failure)


def test_the_least_shift_for_a_delta():
    for scale, delta in ((1, "1e-9"), (2, "1e-9"), (10, "1e-12"), (500, "1e-6")):
        law = Law.within(scale, Decimal(delta))
        assert law.failure <= Decimal(delta) < Law(scale, law.shift - 1).failure
    with pytest.raises(LocalProtocolError):
        Law.within(10_000, Decimal("1e-60"))


def test_the_receiver_sees_the_law_around_the_size():
    """Over whole sessions, with different sets of the same overlap."""
    agreed = terms(receiver_cap=4, sender_cap=4, dummies=Law(1, 3))
    seen = np.array([Pair(agreed, "abc", "bcd").run().noised for _ in range(120)])
    assert chi_square_p(seen - 2 + 3, pmf(Law(1, 3))) > P_SMALL
    assert len(set(seen)) >= 4
