"""Skellam noise is charged at least what it costs in exact sums, both ways, and no Gaussian."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.budget import accountant, divergences, mixtures, skellam
from policies.budget.attack import GaussianShift, from_renyi
from policies.budget.events import Grouped, SampledGaussian, Skellam
from policies.budget.moments import ORDERS
from tests.one_dimension import Logs, mixed, moved, renyi
from tests.one_dimension import skellam as exactly

ABOVE = 1 + 1e-9


def worlds(variance: float, shifts: tuple[int, ...], order: int) -> list[Logs]:
    """The noise moved by every shift, on a line long enough for that order."""
    far = max(shifts)
    keep = math.ceil(12 * math.sqrt(variance)) + (order + 1) * far + 60
    noise = exactly(variance, keep + far)
    return [moved(noise, shift, keep) for shift in shifts]


def charged(event: Skellam | Grouped, order: int) -> float:
    return float(divergences.of_leaf(event)[ORDERS.index(order)])


@pytest.mark.parametrize("order", [2, 3, 8, 32, 128])
@pytest.mark.parametrize("shift", [1, 3, 8])
@pytest.mark.parametrize("variance", [0.1, 1.0, 4.0, 50.0, 2000.0])
def test_without_sampling_the_exact_divergence_is_below(
    variance: float, shift: int, order: int
) -> None:
    plain, other = worlds(variance, (0, shift), order)
    price = charged(Skellam(1, variance, shift, shift), order)
    assert renyi(order, other, plain) <= price * ABOVE
    assert renyi(order, plain, other) <= price * ABOVE


@pytest.mark.parametrize("order", [2, 3, 8, 16, 32])
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.7])
@pytest.mark.parametrize(("variance", "shift"), [(2.0, 1), (30.0, 3), (400.0, 10)])
def test_with_sampling_both_directions_are_below(
    variance: float, shift: int, rate: float, order: int
) -> None:
    plain, other = worlds(variance, (0, shift), order)
    release = mixed((plain, other), (1 - rate, rate))
    added, removed = renyi(order, release, plain), renyi(order, plain, release)
    price = charged(Skellam(rate, variance, shift, shift), order)
    assert removed <= added * ABOVE + 1e-13  # the lemma itself, before any bound
    assert added <= price * ABOVE
    if variance == 400 and order <= 8:
        assert added >= 0.95 * price  # and the bound is near, so the test has teeth


@pytest.mark.parametrize(("variance", "shift", "epsilon"), [(1.0, 1, 0.3), (1.0, 2, 1.0)])
def test_the_curve_of_a_gaussian_of_the_same_variance_would_be_too_low(
    variance: float, shift: int, epsilon: float
) -> None:
    plain, other = worlds(variance, (0, shift), 2)
    exact = float(np.maximum(np.exp(plain) - math.exp(epsilon) * np.exp(other), 0.0).sum())
    assert exact > 1.1 * GaussianShift(shift / math.sqrt(variance)).delta(epsilon)
    assert exact <= from_renyi(
        divergences.of_leaf(Skellam(1, variance, shift, shift)), np.array([epsilon])
    )


@pytest.mark.parametrize(
    ("event", "order", "value"),
    [
        (Skellam(1, 10, 1, 1), 2, "0.1225"),  # 2/20 + (3 + 6)/400
        (Skellam(1, "0.5", 1, 1), 3, "6"),  # 3/1 + 3/1: the second of the two terms is less
        (Skellam(1, 100, 6, 2), 5, "0.1015"),  # l1 is at most 4: 20/200 + (36 + 24)/40000
    ],
)
def test_the_bound_has_the_published_form(event: Skellam, order: int, value: str) -> None:
    assert charged(event, order) == pytest.approx(float(value), rel=1e-9)


@pytest.mark.parametrize("rate", ["0.05", "1"])
def test_skellam_costs_more_than_a_gaussian_and_little_more_with_fine_rounding(rate: str) -> None:
    def price(scale: int) -> np.ndarray:
        # 4,096 coordinates, L2 sensitivity `scale` and noise multiplier 2.163
        return divergences.of_leaf(Skellam(rate, 2.163**2 * scale**2, 64 * scale, scale))

    normal = divergences.of_leaf(SampledGaussian(rate, 2.163))
    assert (price(10) > price(100)).all()
    assert (price(100) > price(1000)).all()
    assert (price(1000) > normal).all()
    fine = accountant.epsilon_of(300 * price(10_000), 1e-6)
    assert fine == pytest.approx(accountant.epsilon_of(300 * normal, 1e-6), rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=4).filter(any),
    st.sampled_from([1.0, 9.0, 144.0]),
    st.sampled_from([2, 5, 17]),
)
def test_many_coordinates_cost_no_more_than_their_norms_say(
    vector: list[int], variance: float, order: int
) -> None:
    truth = 0.0
    for step in vector:
        plain, other = worlds(variance, (0, abs(step)), order)
        truth += renyi(order, other, plain) if step else 0.0
    l1, l2 = sum(map(abs, vector)), math.sqrt(sum(step**2 for step in vector))
    assert truth <= charged(Skellam(1, variance, l1, l2), order) * ABOVE


def test_the_tighter_of_both_norms_counts() -> None:
    order = np.array([2.0, 50.0])
    exact = skellam.divergence(30.0, 9.0, 3.0, order)
    assert (skellam.divergence(30.0, 1000.0, 3.0, order) == exact).all()  # ‖v‖₁ ≤ ‖v‖₂²
    assert (skellam.divergence(30.0, 9.0, 3.0, order) >= order * 9 / 60).all()
    assert (
        skellam.divergence(30.0, 9.0, 50.0, order) == skellam.divergence(30.0, 9.0, 9.0, order)
    ).all()


@pytest.mark.parametrize("order", [2, 3, 8, 16])
@pytest.mark.parametrize("rate", [0.05, 0.4])
@pytest.mark.parametrize("lots", [2, 3])
def test_a_person_at_several_lots_under_one_noise_costs_no_more_than_charged(
    lots: int, rate: float, order: int
) -> None:
    variance, shift = 60.0, 4
    parts = worlds(variance, tuple(shift * k for k in range(lots + 1)), order)
    weights = [math.comb(lots, k) * rate**k * (1 - rate) ** (lots - k) for k in range(lots + 1)]
    release = mixed(parts, weights)
    event = Skellam(rate, variance, shift, shift)
    truth = max(renyi(order, release, parts[0]), renyi(order, parts[0], release))
    place = ORDERS.index(order)
    assert truth <= divergences.of_skellam_lots(event, lots)[place] * ABOVE
    assert truth <= charged(Grouped(event, lots), order) * ABOVE

    def units(size: int) -> np.ndarray:
        return divergences.moments(event, size, 16)

    orders = tuple(range(2, 17))
    assert truth <= mixtures.of_any(weights, units, orders)[orders.index(order)] * ABOVE


def test_without_sampling_a_group_moves_the_sum_by_all_of_its_units() -> None:
    grouped = divergences.of_leaf(Grouped(Skellam(1, 500, 12, 4), 3))
    assert grouped == pytest.approx(divergences.of_leaf(Skellam(1, 500, 36, 12)), rel=1e-12)
