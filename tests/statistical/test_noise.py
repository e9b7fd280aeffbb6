"""The noise is the discrete Gaussian of the scale that was paid for, and no other.

Thresholds are about six standard deviations, so that a right sampler fails once in 10^8 runs;
each test also shows that it would notice a scale 30 % off.
"""

import numpy as np
import pytest
from scipy.stats import chi2

from secure_compute import noise
from secure_compute.entropy import SystemEntropy
from secure_compute.errors import LocalProtocolError

DRAWS = 60_000
P_SMALL = 1e-8


def mass(scale: float, reach: int) -> np.ndarray:
    support = np.arange(-reach, reach + 1)
    weights = np.exp(-(support**2) / (2.0 * scale**2))
    return weights / weights.sum()


def chi_square_p(draws: np.ndarray, scale: float) -> float:
    """Return the p-value of the draws under N_ℤ(0, scale²), tails in one cell each."""
    reach = int(4 * scale) + 1
    whole = mass(scale, 40 * int(scale + 1))
    middle = len(whole) // 2
    inner = whole[middle - reach + 1 : middle + reach]
    tail = (1.0 - inner.sum()) / 2
    expected = np.concatenate([[tail], inner, [tail]]) * len(draws)
    counts = np.bincount(np.clip(draws, -reach, reach) + reach, minlength=2 * reach + 1)
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), len(expected) - 1))


def variance_score(draws: np.ndarray, scale: float) -> float:
    """Return how many standard deviations the sample variance lies from scale²."""
    ratio = np.mean(draws.astype(np.float64) ** 2) / scale**2
    return float((ratio - 1.0) / np.sqrt(2.0 / len(draws)))


@pytest.mark.parametrize("scale", [1, 2, 7])
def test_small_scales_have_the_exact_distribution(scale):
    draws = noise.discrete_gaussian(scale, DRAWS, SystemEntropy())
    assert chi_square_p(draws, scale) > P_SMALL


@pytest.mark.parametrize("wrong", [0.7, 1.3])
@pytest.mark.parametrize("scale", [1, 10])
def test_the_distribution_test_notices_another_scale(scale, wrong):
    draws = noise.discrete_gaussian(scale, DRAWS, SystemEntropy())
    assert chi_square_p(draws, scale * wrong) < P_SMALL


@pytest.mark.parametrize("scale", [3, 1000, 92_939, 2**31, 2**59])
def test_variance_mean_and_tails_are_those_of_the_scale(scale):
    draws = noise.discrete_gaussian(scale, DRAWS, SystemEntropy()).astype(np.float64) / scale
    assert abs(variance_score(draws, 1.0)) < 6
    assert abs(draws.mean()) * np.sqrt(DRAWS) < 6
    assert abs((draws**4).mean() / 3.0 - 1.0) < 6 * np.sqrt(32.0 / 3.0 / DRAWS)
    for wrong in (0.7, 1.3):
        assert abs(variance_score(draws, wrong)) > 6


def test_the_parity_of_draws_is_fair():
    """The lowest bit says nothing: noise rounded from floats would fail here for huge scales."""
    draws = noise.discrete_gaussian(2**55, DRAWS, SystemEntropy())
    assert abs((draws & 1).mean() - 0.5) < 3.0 / np.sqrt(DRAWS)


def test_coins_and_uniforms_keep_their_bounds():
    entropy = SystemEntropy()
    assert not noise.bernoulli(0, 7, 500, entropy).any()
    assert noise.bernoulli(7, 7, 500, entropy).all()
    assert noise.bernoulli(2**62, 2**62, 500, entropy).all()
    assert abs(noise.bernoulli(1, 3, DRAWS, entropy).mean() - 1 / 3) < 3.0 / np.sqrt(DRAWS)
    drawn = noise.uniform(6, DRAWS, entropy)
    assert set(drawn.tolist()) == set(range(6))
    assert np.bincount(drawn.astype(np.int64)).std() < 6 * np.sqrt(DRAWS / 6)


def test_draws_do_not_repeat():
    first, second = (noise.discrete_gaussian(10**6, 4096, SystemEntropy()) for _ in range(2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert len(noise.discrete_gaussian(5, 0, SystemEntropy())) == 0


@pytest.mark.parametrize("scale", [0, -3, 2**60 + 1])
def test_a_scale_without_a_price_is_refused(scale):
    with pytest.raises(LocalProtocolError):
        noise.discrete_gaussian(scale, 1, SystemEntropy())


@pytest.mark.parametrize("denominator", [0, -1, 2**62 + 1, 10**22])
def test_a_denominator_beyond_62_bits_is_refused_instead_of_drawn_for_ever(denominator):
    for draw in (
        lambda: noise.bernoulli(1, denominator, 4, SystemEntropy()),
        lambda: noise.uniform(denominator, 4, SystemEntropy()),
    ):
        with pytest.raises(LocalProtocolError, match="62"):
            draw()
