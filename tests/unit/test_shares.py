"""Noise behind a secure sum: who adds how much, never less than is charged, and the price of it."""

import itertools
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from federation.errors import MalformedOrderError
from federation.shares import Released, Shares, event, own_delta
from policies.budget import accountant, divergences
from policies.budget.attack import from_renyi
from policies.budget.events import (
    Approximate,
    Event,
    Repeated,
    SampledGaussian,
    Skellam,
    dumps,
    loads,
)
from policies.budget.events import own_delta as summed_delta
from policies.budget.moments import ORDERS
from policies.budget.person import person_view
from secure_compute import fixedpoint, skellam
from tests.one_dimension import mixed, moved, renyi
from tests.one_dimension import skellam as exactly

COHORTS = [(3, 1, 3), (4, 1, 3), (8, 1, 5), (8, 3, 6), (10, 3, 7), (100, 33, 67)]
DELTA = 1e-6


def cohort(nodes: int, colluders: int, threshold: int, variance: int = 840) -> Shares:
    return Shares(nodes=nodes, colluders=colluders, threshold=threshold, variance=variance)


@pytest.mark.parametrize("numbers", COHORTS)
def test_whoever_is_lost_no_coalition_leaves_less_than_is_charged(numbers) -> None:
    """Counted out part by part: survivors without c of them, layers beyond the lost removed."""
    shares = cohort(*numbers)
    nodes, colluders, threshold = numbers
    assert len(shares.layers) == nodes - threshold
    for lost in range(nodes - threshold + 1):
        one = shares.base + sum(shares.layers[:lost], Fraction(0))
        assert one == shares.kept(lost)
        assert (nodes - lost - colluders) * one == 840
        assert (nodes - lost) * one == shares.left(lost)
        assert shares.left(lost) == Fraction(840 * (nodes - lost), nodes - lost - colluders)


def test_the_layers_are_the_published_ones() -> None:
    shares = cohort(8, 1, 5)
    assert shares.base == 120
    assert shares.layers == tuple(
        840 * (Fraction(1, 7 - k) - Fraction(1, 8 - k)) for k in (1, 2, 3)
    )
    assert shares.parts == (120, 20, 28, 42)
    assert cohort(3, 1, 3).parts == (420,)


def test_silence_about_a_layer_only_adds_noise() -> None:
    shares = cohort(10, 3, 7)
    for lost, silent in itertools.product(range(4), range(8)):
        more = silent * sum(shares.layers[lost:], Fraction(0))
        assert shares.left(lost) + more >= shares.left(lost) >= 840


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ((4, 0, 3), "own noise"),
        ((4, 1, 2), "threshold from 3 to 4"),
        ((8, 3, 5), "threshold from 6 to 8"),
        ((8, 1, 9), "threshold"),
        ((2, 2, 2), "threshold"),
    ],
)
def test_numbers_that_leave_somebody_open_are_refused(numbers, why) -> None:
    with pytest.raises(MalformedOrderError, match=why):
        cohort(*numbers)


def test_no_noise_and_a_sum_below_its_threshold_have_no_price() -> None:
    with pytest.raises(MalformedOrderError, match="noise"):
        cohort(4, 1, 3, 0)
    for lost in (-1, 2):
        with pytest.raises(MalformedOrderError, match="threshold"):
            cohort(4, 1, 3).kept(lost)


def released(grid: int, dimension: int = 4097, rate: str = "0.05") -> tuple[Released, int]:
    """What a sum at clip 1 is, and σ for a noise multiplier of 2.163."""
    l2 = fixedpoint.l2_sensitivity(grid, Fraction(1), dimension)
    l1 = fixedpoint.l1_sensitivity(l2, dimension)
    of = Released(sampling_rate=rate, l1=l1, l2=l2, dimension=dimension, epsilon=8)
    return of, fixedpoint.noise_scale(l2, Fraction("2.163"))


def price(released_sum: Event, rounds: int = 300) -> float:
    return accountant.epsilon([Repeated(released_sum, rounds)], DELTA)


def test_the_event_says_what_the_worst_survivors_hide_and_is_stored_as_skellam() -> None:
    of, sigma = released(1 << 18)
    made = event(cohort(8, 1, 5, sigma**2), of)
    assert isinstance(made, Approximate)
    assert made.event == Skellam("0.05", sigma**2, of.l1, of.l2)
    assert loads(dumps(made)) == made
    assert {dumps(event(cohort(*numbers, sigma**2), of)) for numbers in COHORTS} != {dumps(made)}
    assert {event(cohort(*n, sigma**2), of).event for n in COHORTS} == {made.event}  # type: ignore[union-attr]


def test_in_a_ring_of_32_bits_the_price_is_the_gaussians_to_four_digits_and_never_below() -> None:
    of, sigma = released(1 << 18)
    paid = price(event(cohort(8, 1, 5, sigma**2), of))
    multiplier = Decimal(sigma) / of.l2
    normal = price(SampledGaussian("0.05", round(multiplier, 12)))
    assert normal <= paid == pytest.approx(normal, rel=1e-4)
    assert paid == pytest.approx(2.1552, abs=2e-4)


@pytest.mark.parametrize("grid", [16, 62, 711, 1 << 18])
def test_skellam_noise_is_never_cheaper_than_the_gaussian_of_its_scale(grid: int) -> None:
    of, sigma = released(grid)
    normal = price(SampledGaussian("0.05", round(Decimal(sigma) / of.l2, 12)))
    assert price(event(cohort(8, 1, 5, sigma**2), of)) >= normal


def test_in_a_ring_of_16_bits_rounding_is_most_of_the_price() -> None:
    """62 steps to the clip: noise for s·C alone, as if nothing were rounded, costs three times."""
    of, sigma = released(62)
    assert of.l2 > 2 * 62
    honest = price(event(cohort(8, 1, 5, sigma**2), of))
    careless = fixedpoint.noise_scale(62, Fraction("2.163"))
    assert price(event(cohort(8, 1, 5, careless**2), of)) > 2.5 * honest
    pretended = Released(sampling_rate="0.05", l1=62**2, l2=62, dimension=4097, epsilon=8)
    assert price(event(cohort(8, 1, 5, careless**2), pretended)) < 1.01 * honest
    twenty, scale = released(711)
    careless = fixedpoint.noise_scale(711, Fraction("2.163"))
    assert 1.1 < price(event(cohort(8, 1, 5, careless**2), twenty)) / 2.155 < 1.2
    assert scale > careless


def test_all_draws_of_all_nodes_are_charged_for_their_tables() -> None:
    """Counted out: every node, every part, every coordinate, and e^ε of it."""
    of, sigma = released(1 << 18)
    shares = cohort(8, 1, 5, sigma**2)
    made = event(shares, of)
    assert isinstance(made, Approximate)
    draws = 8 * 4 * 4097
    least = draws * Fraction(1, 1 << 66) * Fraction(2981)  # e^8 > 2980
    most = draws * Fraction(1, 1 << 63) * Fraction(2982)
    assert least < Fraction(made.delta) < most
    errors = sum(skellam.table_error(part) for part in shares.parts)
    assert Fraction(made.delta) >= errors * 8 * 4097 * Fraction("2981.95")
    assert Fraction(made.delta) <= errors * 8 * 4097 * Fraction("2981.96") + Fraction(1, 10**30)
    assert summed_delta([Repeated(made, 300)]) == 300 * made.delta < Decimal("1e-6")


def test_own_deltas_grow_with_coordinates_nodes_parts_and_epsilon() -> None:
    of, sigma = released(1 << 10)
    shares = cohort(4, 1, 3, sigma**2)
    paid = own_delta(shares.parts, 4, of)
    wider = Released(sampling_rate="0.05", l1=of.l1, l2=of.l2, dimension=2 * 4097, epsilon=8)
    dearer = Released(sampling_rate="0.05", l1=of.l1, l2=of.l2, dimension=4097, epsilon=9)
    near = Decimal("1e-20")
    assert abs(own_delta(shares.parts, 4, wider) - 2 * paid) < near
    assert abs(own_delta(shares.parts, 8, of) - 2 * paid) < near
    assert own_delta(shares.parts, 4, dearer) > 2 * paid
    assert own_delta(shares.parts[:1], 4, of) < paid


@pytest.mark.parametrize("epsilon", [37, 60, 500])
def test_a_price_of_tables_that_is_beyond_all_probability_is_one(epsilon: int) -> None:
    of = Released(sampling_rate=1, l1=1, l2=1, dimension=10**7, epsilon=epsilon)
    shares = cohort(8, 1, 5)
    assert own_delta(shares.parts, 8, of) == 1
    made = event(shares, of)
    assert loads(dumps(made)) == made


def test_one_table_pays_for_total_variation_in_both_worlds() -> None:
    """(ε, δ) of exact noise and τ of tables: δ + (1 + e^ε) τ, seen on one exact pair of worlds."""
    of = Released(sampling_rate=1, l1=1, l2=1, dimension=1, epsilon=1)
    paid = Fraction(own_delta([Fraction(4)], 1, of))
    tau = skellam.table_error(4)
    assert 1 + Fraction("2.718281828") <= paid / tau <= 1 + Fraction("2.71829") + 1


@pytest.mark.parametrize("silos", [1, 2, 3, 8])
def test_a_person_at_several_silos_meets_one_noise(silos: int) -> None:
    """All m lots are moved under one noise: the binomial mixture, above the Gaussian's own view."""
    of, sigma = released(1 << 18)
    run = [Repeated(event(cohort(8, 1, 5, sigma**2), of), 300)]
    seen = person_view(run, DELTA, [silos], "shared")[silos]
    normal = [Repeated(SampledGaussian("0.05", round(Decimal(sigma) / of.l2, 12)), 300)]
    as_normal = person_view(normal, DELTA, [silos], "shared")[silos]
    assert as_normal <= seen <= 1.35 * as_normal
    apart = person_view(run, DELTA, [silos], "independent")[silos]
    assert seen >= apart
    assert seen == apart or silos > 1


@pytest.mark.parametrize("silos", [2, 3])
def test_without_sampling_a_person_moves_the_sum_by_all_silos_units(silos: int) -> None:
    of = Released(sampling_rate=1, l1=4096, l2=64, dimension=4096, epsilon=8)
    alone = event(cohort(4, 1, 3, 500**2), of)
    many = Released(sampling_rate=1, l1=4096 * silos, l2=64 * silos, dimension=4096, epsilon=8)
    together = event(cohort(4, 1, 3, 500**2), many)
    view = person_view([alone], DELTA, [silos], "shared")[silos]
    assert view == pytest.approx(accountant.epsilon([together], DELTA), abs=2e-4)


def one_dimension(rate: float, shift: int) -> Event:
    of = Released(sampling_rate=rate, l1=shift, l2=shift, dimension=1, epsilon=8)
    return event(cohort(4, 1, 3, 30), of)


@pytest.mark.parametrize("rate", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("shift", [1, 3, 6])
def test_exact_divergences_of_one_dimension_are_below_the_price_at_every_order(
    rate: float, shift: int
) -> None:
    """Summed over all outcomes, both ways round, at all orders up to 64 that prices are kept at."""
    noise = exactly(30.0, 900)
    parts = (moved(noise, 0, 500), moved(noise, shift, 500))
    release = mixed(parts, (1 - rate, rate))
    charged = divergences.of_event(one_dimension(rate, shift))
    orders = [order for order in ORDERS if order <= 64]
    for place, order in enumerate(orders):
        truth = max(renyi(order, release, parts[0]), renyi(order, parts[0], release))
        assert truth <= charged[place] * (1 + 1e-9)
    assert charged[0] < 1.3 * renyi(2, release, parts[0]) + 1e-3


def test_the_whole_curve_of_an_exact_attack_is_below_the_price() -> None:
    """δ at every ε of exact Skellam noise in one dimension."""
    noise = exactly(30.0, 400)
    plain, other = np.exp(moved(noise, 0, 300)), np.exp(moved(noise, 3, 300))
    for epsilon in (0.1, 0.5, 1.0, 2.0):
        exact = float(np.maximum(other - np.exp(epsilon) * plain, 0).sum())
        charged = from_renyi(divergences.of_event(one_dimension(1, 3)), np.array([epsilon]))
        assert exact <= float(charged[0])
