"""Discrete noise, mixtures and groups cost at least what exact sums and quadrature say."""

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.budget import accountant, divergences, groups, mixtures
from policies.budget.certificate import certify
from policies.budget.events import (
    Approximate,
    Composed,
    DiscreteGaussian,
    DiscreteLaplace,
    Event,
    Gaussian,
    Grouped,
    Mixture,
    Repeated,
    SampledGaussian,
    Skellam,
)
from policies.budget.moments import ORDERS
from tests.one_dimension import laplace, log_sum, mixed, moved, renyi

DELTA = 1e-6
ABOVE = 1 + 1e-9


def price(event: Event, order: int) -> float:
    return float(divergences.of_event(event)[ORDERS.index(order)])


def quadrature(z: float, weights: Sequence[float], order: int) -> tuple[float, float]:
    """Both directions for M = Σ p_k N(k, z²) and P = N(0, z²), on a fine line."""
    reach = 12 * z + (order + 1) * len(weights)
    x = np.linspace(-reach, reach, 20_001)
    step = math.log(x[1] - x[0])
    parts = [
        -((x - k) ** 2) / (2 * z**2) - math.log(z * math.sqrt(2 * math.pi)) + step
        for k in range(len(weights))
    ]
    release = mixed(parts, weights)
    return renyi(order, release, parts[0]), renyi(order, parts[0], release)


MIXTURES = [
    (2.16, ["0.9025", "0.095", "0.0025"]),
    (1.0, ["0.7", "0.2", "0", "0.1"]),
    (4.0, ["0.0625", "0.25", "0.375", "0.25", "0.0625"]),
    (0.7, ["0.97", "0.02", "0.01"]),
    (3.0, ["0", "0.5", "0.5"]),
]


@pytest.mark.parametrize("order", [2, 3, 5, 12, 32])
@pytest.mark.parametrize(("multiplier", "shares"), MIXTURES)
def test_a_mixture_costs_the_worse_of_both_directions(
    multiplier: float, shares: list[str], order: int
) -> None:
    floats = [float(share) for share in shares]
    added, removed = quadrature(multiplier, floats, order)
    charged = price(Mixture(multiplier, shares), order)
    assert max(added, removed) <= charged * ABOVE + 1e-10
    assert charged <= max(added, removed) * (1 + 1e-6) + 1e-10  # exact, not only a bound
    tangents = mixtures._under_tangents(multiplier, floats, (order,))[0] / (order - 1)
    assert removed <= tangents * ABOVE + 1e-10
    assert tangents <= removed * 1.02 + 1e-9


@pytest.mark.parametrize("order", [2, 3, 5, 12])
@pytest.mark.parametrize(("multiplier", "shares"), MIXTURES)
def test_the_bound_for_any_noise_is_above_both_directions(
    multiplier: float, shares: list[str], order: int
) -> None:
    floats = [float(share) for share in shares]

    def units(size: int) -> np.ndarray:
        return divergences.moments(Gaussian(multiplier), size, order)

    bound = mixtures.of_any(floats, units, (order,))[0]
    assert max(quadrature(multiplier, floats, order)) <= bound * ABOVE + 1e-10


def test_a_mixture_costs_more_than_its_certificate() -> None:
    event = Mixture("2.16", ["0.9025", "0.095", "0.0025"])
    proven, gate = certify([event], DELTA), accountant.epsilon([event], DELTA)
    assert proven is not None
    assert proven <= gate
    many = [Repeated(event, 300)]
    proven, gate = certify(many, DELTA), accountant.epsilon(many, DELTA)
    assert proven is not None
    assert proven <= gate <= 1.1 * proven


def test_a_mixture_of_none_and_one_is_a_sampled_release() -> None:
    mixture = divergences.of_leaf(Mixture(2, ["0.95", "0.05"]))
    assert mixture == pytest.approx(divergences.of_leaf(SampledGaussian("0.05", 2)), rel=1e-8)
    always = divergences.of_leaf(Mixture(2, [0, 0, 1]))
    assert always == pytest.approx(divergences.of_leaf(Gaussian(1)), rel=1e-8)


def test_many_units_fall_back_to_the_bound_and_are_never_free() -> None:
    shares = mixtures.binomial(Decimal("0.01"), 400)
    assert 0 < accountant.epsilon([Mixture(500, shares)], DELTA) < 1


@given(st.decimals("0.0001", "1", places=4), st.integers(1, 40))
def test_binomial_probabilities_sum_to_one_and_lean_to_more_units(
    rate: Decimal, units: int
) -> None:
    shares = mixtures.binomial(rate, units)
    assert sum(map(Fraction, shares)) == 1
    assert Mixture(1, shares).probabilities == shares
    exact = [
        math.comb(units, k) * Fraction(rate) ** k * (1 - Fraction(rate)) ** (units - k)
        for k in range(units + 1)
    ]
    for k in range(1, units + 1):
        excess = sum(map(Fraction, shares[k:])) - sum(exact[k:])
        assert 0 <= excess < Fraction(1, 10**26)


def test_lots_of_a_mixture_are_folded() -> None:
    halves = (Decimal("0.5"), Decimal("0.5"))
    assert mixtures.folded(halves, 3) == mixtures.binomial(Decimal("0.5"), 3)


@pytest.mark.parametrize("order", [2, 3, 17, 64])
@pytest.mark.parametrize(("sensitivity", "scale"), [(1, 50.0), (3, 2.0), (1, 0.3), (7, 4.0)])
def test_discrete_laplace_is_exact(sensitivity: int, scale: float, order: int) -> None:
    # Ratios of tails stay bounded, so the line must be long in scales only.
    keep = math.ceil(45 * scale) + sensitivity
    noise = laplace(scale, keep + sensitivity)
    truth = renyi(order, moved(noise, sensitivity, keep), moved(noise, 0, keep))
    assert price(DiscreteLaplace(sensitivity, scale), order) == pytest.approx(truth, rel=1e-9)


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.1, 1e4), st.sampled_from([2, 5, 64, 256]))
def test_a_laplace_sensitivity_split_over_coordinates_costs_no_more(
    first: int, second: int, scale: float, order: int
) -> None:
    split = price(DiscreteLaplace(first, scale), order) + price(
        DiscreteLaplace(second, scale), order
    )
    assert split <= price(DiscreteLaplace(first + second, scale), order) * ABOVE + 1e-13


@pytest.mark.parametrize("order", [2, 8, 64])
@pytest.mark.parametrize(("sensitivity", "sigma"), [(1, 0.8), (3, 4.0), (2, 20.0)])
def test_the_discrete_gaussian_without_sampling(sensitivity: int, sigma: float, order: int) -> None:
    keep = math.ceil(12 * sigma) + (order + 1) * sensitivity
    logs = -(np.arange(-keep - sensitivity, keep + sensitivity + 1) ** 2) / (2 * sigma**2)
    noise = logs - log_sum(logs)
    truth = renyi(order, moved(noise, sensitivity, keep), moved(noise, 0, keep))
    charged = price(DiscreteGaussian(sensitivity, sigma), order)
    assert truth <= charged * ABOVE
    assert charged == pytest.approx(order * sensitivity**2 / (2 * sigma**2), rel=1e-9)


leaves = st.sampled_from(
    [
        Gaussian(20),
        DiscreteGaussian(3, 60),
        DiscreteLaplace(2, 100),
        Skellam(1, 4096, 16, 4),
    ]
)


@given(leaves, st.integers(2, 30))
def test_a_group_without_sampling_has_the_sensitivity_of_all_its_units(
    leaf: Event, size: int
) -> None:
    larger: Event
    match leaf:
        case Gaussian():
            larger = Gaussian(20 / size)
        case DiscreteGaussian():
            larger = DiscreteGaussian(3 * size, 60)
        case DiscreteLaplace():
            larger = DiscreteLaplace(2 * size, 100)
        case _:
            larger = Skellam(1, 4096, 16 * size, 4 * size)
    grouped = divergences.of_event(Grouped(leaf, size))
    assert grouped == pytest.approx(divergences.of_event(larger), rel=1e-9)
    if isinstance(leaf, Gaussian | DiscreteGaussian):
        assert grouped == pytest.approx(size**2 * divergences.of_event(leaf), rel=1e-6)


@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_a_chain_of_gaussian_units_loses_only_what_rounding_the_order_loses(size: int) -> None:
    link = np.arange(groups.REACH + 1) / 800
    link[:2] = np.inf
    exact = size**2 * link
    bound = groups.chained(link, size)
    assert (bound[2:] >= exact[2:] * (1 - 1e-12)).all()
    near = slice(16, 512 // size - 8)
    assert (bound[near] <= exact[near] * 1.05).all()


@pytest.mark.parametrize("order", [2, 3, 5, 12, 32])
@pytest.mark.parametrize(("rate", "multiplier"), [("0.05", 2.16), ("0.3", 4.0)])
@pytest.mark.parametrize("size", [2, 3, 6])
def test_a_group_of_sampled_units_costs_at_least_the_mixture(
    rate: str, multiplier: float, size: int, order: int
) -> None:
    weights = [float(share) for share in mixtures.binomial(Decimal(rate), size)]
    truth = max(quadrature(multiplier, weights, order))
    assert truth <= price(Grouped(SampledGaussian(rate, multiplier), size), order) * ABOVE


@pytest.mark.parametrize(("size", "tight"), [(2, 4.31), (4, 9.62), (8, 22.8)])
def test_a_group_of_sampled_units_is_near_the_certificate_of_the_mixture(
    size: int, tight: float
) -> None:
    grouped = Repeated(Grouped(SampledGaussian("0.05", "2.16"), size), 300)
    assert tight <= accountant.epsilon([grouped], DELTA) <= 1.2 * tight


def test_a_group_of_all_releases_is_a_group_in_each() -> None:
    parts = (Repeated(SampledGaussian("0.05", 2), 3), Approximate(Gaussian(9), "1e-9"))
    outside = divergences.of_event(Grouped(Composed(parts), 4))
    inside = divergences.of_event(
        Composed((Repeated(Grouped(SampledGaussian("0.05", 2), 4), 3), Grouped(Gaussian(9), 4)))
    )
    assert outside == pytest.approx(inside, rel=1e-12)
    twice = divergences.of_event(Grouped(Grouped(Composed(parts), 2), 2))
    assert twice == pytest.approx(inside, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([SampledGaussian("0.05", 2), Skellam("0.1", 500, 9, 3), Gaussian(9)]))
def test_an_own_delta_changes_no_divergence_and_one_unit_is_no_group(leaf: Event) -> None:
    for event in (Approximate(leaf, "0.001"), Grouped(leaf, 1), Composed((leaf,))):
        assert (divergences.of_event(event) == divergences.of_event(leaf)).all()


def test_vectors_that_are_shared_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        divergences.of_event(Gaussian(1))[0] = 0
