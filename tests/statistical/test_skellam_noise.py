"""Drawn noise is Skellam of the variance that was paid for: one draw, shares, and layers.

Thresholds are about six standard deviations, so that right noise fails once in 10^8 runs; the tests
also show that they would notice a variance 3 % off.
"""

import secrets
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import chi2

from federation.shares import Shares
from secure_compute import skellam
from tests.one_dimension import skellam as exact_logs

P_SMALL = 1e-8
DRAWS = 600_000


def fresh(variance: Fraction | int, size: int = DRAWS) -> np.ndarray:
    return skellam.draw(variance, size, secrets.token_bytes(32))


def chi_square_p(draws: np.ndarray, variance: Fraction | float) -> float:
    """The p-value of the draws under Skellam noise of that variance, far tails in one cell each."""
    reach = int(3.5 * np.sqrt(float(variance))) + 2
    whole = np.exp(exact_logs(float(variance), 3 * reach + 40))
    middle = len(whole) // 2
    inner = whole[middle - reach + 1 : middle + reach]
    tail = (1.0 - inner.sum()) / 2
    expected = np.concatenate([[tail], inner, [tail]]) * len(draws)
    counts = np.bincount(np.clip(draws, -reach, reach) + reach, minlength=2 * reach + 1)
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), len(expected) - 1))


def deviations(draws: np.ndarray, variance: float) -> tuple[float, float, float]:
    """How many standard deviations mean, variance and fourth moment lie from Skellam's."""
    scaled = draws.astype(np.float64) / np.sqrt(float(variance))
    size, excess = len(scaled), 1 / float(variance)  # Skellam: kurtosis 3 + 1/variance
    mean = scaled.mean() * np.sqrt(size)
    square = (np.mean(scaled**2) - 1) / np.sqrt((2 + excess) / size)
    fourth = (np.mean(scaled**4) - 3 - excess) / np.sqrt((96 + 300 * excess) / size)
    return float(mean), float(square), float(fourth)


@pytest.mark.parametrize(
    "variance", [Fraction(1, 2), Fraction(1), Fraction(10, 3), Fraction(20), Fraction(500)], ids=str
)
def test_small_variances_have_the_exact_distribution_and_others_are_noticed(variance) -> None:
    draws = fresh(variance)
    assert chi_square_p(draws, variance) > P_SMALL
    for wrong in (0.97, 1.03):
        assert chi_square_p(draws, variance * Fraction(wrong)) < P_SMALL


def test_noise_drawn_for_97_percent_of_the_variance_is_noticed() -> None:
    assert chi_square_p(fresh(Fraction(97, 100) * 20), 20) < P_SMALL


@pytest.mark.parametrize(
    "variance", [9, 2000, 200_000, 10**6, Fraction(10**10, 7), 10**11, 1 << 42]
)
def test_mean_variance_and_tails_are_those_of_the_variance(variance) -> None:
    draws = fresh(variance)
    assert max(map(abs, deviations(draws, variance))) < 6
    assert abs(deviations(draws, variance * Fraction(97, 100))[1]) > 6
    assert abs(deviations(draws, variance * Fraction(103, 100))[1]) > 6


@pytest.mark.parametrize("variance", [10**6, 10**10])
def test_wide_noise_is_even_between_the_strides_of_its_coarse_table(variance) -> None:
    """Every residue of a power of two is as likely: a coarse table alone, or none, would show."""
    draws = fresh(variance)
    for places in (2, 32, 1024):
        counts = np.bincount(np.mod(draws, places), minlength=places)
        expected = DRAWS / places
        assert chi2.sf(((counts - expected) ** 2 / expected).sum(), places - 1) > P_SMALL


def uploaded(shares: Shares, seeds: list[list[bytes]], size: int) -> np.ndarray:
    """The noise of all nodes' uploads: every part, each from a seed of its own."""
    return sum(
        skellam.draw(part, size, seed)
        for own in seeds
        for part, seed in zip(shares.parts, own, strict=True)
    )


def removed(shares: Shares, seeds: list[list[bytes]], lost: int, size: int) -> np.ndarray:
    """What the revealed seeds of layers beyond `lost` say is to be taken off."""
    off = np.zeros(size, np.int64)
    for own in seeds:
        for part, seed in list(zip(shares.parts, own, strict=True))[1 + lost :]:
            off += skellam.draw(part, size, seed)
    return off


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_layers_kept_and_removed_leave_the_variance_that_is_paid_for(lost) -> None:
    """Eight nodes, one colluder, three lost at most: the sum, and what no coalition knows of it."""
    shares = Shares(nodes=8, colluders=1, threshold=5, variance=60)
    seeds = [[secrets.token_bytes(32) for _ in shares.parts] for _ in range(8 - lost)]
    noise = uploaded(shares, seeds, DRAWS) - removed(shares, seeds, lost, DRAWS)
    whole = shares.left(lost)
    assert chi_square_p(noise, whole) > P_SMALL
    assert chi_square_p(noise, whole * Fraction(97, 100)) < P_SMALL
    known = uploaded(shares, seeds[:1], DRAWS) - removed(shares, seeds[:1], lost, DRAWS)
    unknown = noise - known
    assert chi_square_p(unknown, 60) > P_SMALL
    assert chi_square_p(unknown, 60 * 0.97) < P_SMALL


def test_a_node_silent_about_its_seeds_leaves_more_noise() -> None:
    shares = Shares(nodes=4, colluders=1, threshold=3, variance=30)
    seeds = [[secrets.token_bytes(32) for _ in shares.parts] for _ in range(4)]
    noise = uploaded(shares, seeds, DRAWS) - removed(shares, seeds[1:], 0, DRAWS)
    assert chi_square_p(noise, shares.left(0) + shares.layers[0]) > P_SMALL
    assert deviations(noise, shares.left(0))[1] > 6


def test_two_seeds_and_two_coordinates_share_no_noise() -> None:
    for variance in (20, 10**9):
        first, second = fresh(variance), fresh(variance)
        for one, other in (
            (first, second),
            (first[1:], first[:-1]),
            (first[16384:], first[:-16384]),
        ):
            assert abs(np.corrcoef(one, other)[0, 1]) < 6 / np.sqrt(len(one))
        assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 6 / np.sqrt(DRAWS)


def test_seeds_next_to_one_another_share_no_noise() -> None:
    draws = [skellam.draw(1000, 50_000, bytes(31) + bytes([i])) for i in range(8)]
    assert np.abs(np.corrcoef(draws) - np.eye(8)).max() < 6 / np.sqrt(50_000)


def test_coordinates_add_up_to_the_noise_of_their_number() -> None:
    """The sum over 16 coordinates is Skellam of 16 times the variance: what audits rest on."""
    summed = fresh(Fraction(5, 2), 16 * DRAWS).reshape(16, -1).sum(0)
    assert chi_square_p(summed, 40) > P_SMALL
    assert chi_square_p(summed, 40 * 0.97) < P_SMALL
