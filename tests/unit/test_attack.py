"""Plain numbers agree with each other, with the reference's table, and with an actual attacker."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.budget import accountant, attack, divergences
from policies.budget.attack import LUCK, AttackCurve, GaussianShift, Textbook
from policies.budget.certificate import certify
from policies.budget.events import (
    Approximate,
    DiscreteLaplace,
    Event,
    Gaussian,
    Repeated,
    SampledGaussian,
    Skellam,
)

DELTA = 1e-6


def shift_of(epsilon: float, delta: float = DELTA) -> float:
    """μ of the Gaussian release that is exactly (ε, δ)."""
    low, high = 1e-6, 20.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if GaussianShift(middle).delta(epsilon) > delta else (middle, high)
        )
    return high


TABLE = [
    # ε, μ, advantage by A and by the curve, caught at 1 % by A and by the curve, 1-in-1000 guess
    (1.0, 0.237, 0.46, 0.094, 0.027, 0.018, 0.0022),
    (3.1, 0.667, 0.91, 0.261, 0.22, 0.049, 0.0077),
    (3.9, 0.819, 0.96, 0.318, 0.49, 0.066, 0.0116),
    (8.0, 1.532, 0.999, 0.556, 1.00, 0.21, 0.0595),
]


@pytest.mark.parametrize(("epsilon", "mu", "loose", "tight", "many", "few", "guess"), TABLE)
def test_all_three_formulas_meet_the_table(
    epsilon: float, mu: float, loose: float, tight: float, many: float, few: float, guess: float
) -> None:
    shift, book = GaussianShift(shift_of(epsilon)), Textbook(epsilon, DELTA)
    assert shift.mu == pytest.approx(mu, abs=6e-4)
    assert book.advantage() == pytest.approx(loose, abs=5e-3)
    assert book.power() == pytest.approx(many, abs=5e-3)
    assert shift.advantage() == pytest.approx(tight, abs=6e-4)
    assert shift.power() == pytest.approx(few, abs=4e-3)
    assert shift.power(0.001) == pytest.approx(guess, abs=6e-5)
    curve = attack.curve([Gaussian(f"{1 / shift.mu:.9f}")])
    assert curve.source == "losses"
    assert curve.advantage() == pytest.approx(shift.advantage(), abs=1e-5)
    assert curve.power() == pytest.approx(shift.power(), abs=1e-4)
    assert curve.power(0.001) == pytest.approx(shift.power(0.001), abs=1e-4)


def test_the_words_of_the_officer() -> None:
    before = attack.curve([Gaussian(f"{1 / shift_of(3.1):.6f}")])
    after = attack.curve([Gaussian(f"{1 / shift_of(3.9):.6f}")])
    assert (before.caught_of_100(), after.caught_of_100(), LUCK) == (5, 7, 1)
    assert before.right_guess_rate() == pytest.approx(0.631, abs=6e-4)
    assert after.right_guess_rate() == pytest.approx(0.659, abs=6e-4)
    assert Textbook(3.9, DELTA).caught_of_100() == 50
    assert Textbook(3.9, DELTA).right_guess_rate() == pytest.approx(0.98, abs=1e-3)


def test_where_nothing_was_released_only_luck_is_left() -> None:
    curve = attack.curve([])
    assert curve.caught_of_100() == LUCK
    assert curve.right_guess_rate() == 0.5
    assert curve.power(0.3) == pytest.approx(0.3)


EVENTS = [
    Gaussian(3),
    Repeated(SampledGaussian("0.05", "2.163"), 300),
    Repeated(DiscreteLaplace(1, 10), 20),
    Repeated(Skellam("0.05", 4096, 64, 32), 100),
    Skellam(1, 100, 9, 3),
]
rates = st.floats(0.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EVENTS), rates, rates, st.booleans())
def test_a_curve_is_a_curve(event: Event, first: float, second: float, fixed: bool) -> None:
    curve = attack.curve([event], fixed=fixed)
    low, high = sorted((first, second))
    assert low - 1e-9 <= curve.power(low) <= curve.power(high) + 1e-12 <= 1 + 1e-12
    assert curve.power(high) - high <= curve.advantage() + 1e-9
    # the middle of two attackers is an attacker: the curve is concave
    middle = (curve.power(low) + curve.power(high)) / 2
    assert curve.power((low + high) / 2) >= middle - 1e-9


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EVENTS), rates, st.sampled_from([1e-9, 1e-6, 1e-3]))
def test_the_textbook_bound_of_the_same_events_is_never_smaller(
    event: Event, alpha: float, delta: float
) -> None:
    curve = attack.curve([event], fixed=False)
    book = Textbook(accountant.epsilon([event], delta), delta)
    # The curve knows δ(ε) on a grid: at an ε between two of its points it may be a little looser.
    assert curve.power(alpha) <= book.power(alpha) * 1.001 + 1e-6
    assert curve.advantage() <= book.advantage() + 1e-9


@pytest.mark.parametrize("event", EVENTS[:3])
def test_a_run_that_may_stop_early_shows_the_gate(event: Event) -> None:
    planned, free = attack.curve([event]), attack.curve([event], fixed=False)
    assert free.source == "renyi"
    for alpha in (0.001, 0.01, 0.1, 0.5):
        assert planned.power(alpha) <= free.power(alpha)
    assert planned.advantage() < free.advantage()


def test_where_there_is_no_certificate_the_curve_is_the_gates() -> None:
    event = Repeated(Skellam("0.05", 4096, 64, 32), 100)
    assert certify([event], DELTA) is None
    curve = attack.curve([event])
    assert curve.source == "renyi"
    assert 0 < curve.advantage() < 1
    assert (
        curve.caught_of_100() < Textbook(accountant.epsilon([event], DELTA), DELTA).caught_of_100()
    )


@pytest.mark.parametrize("mu", [0.05, 0.3, 1.0, 3.0])
def test_deltas_from_renyi_are_above_the_true_curve(mu: float) -> None:
    grid = np.linspace(0, 6, 61)
    proven = attack.from_renyi(divergences.of_leaf(Gaussian(1 / mu)), grid)
    truth = [GaussianShift(mu).delta(float(epsilon)) for epsilon in grid]
    assert (proven >= np.array(truth) - 1e-15).all()
    assert (np.diff(proven) <= 1e-15).all()
    if mu <= 1:
        assert proven[0] <= 1.8 * truth[0] + 1e-6  # at ε = 0 by the total variation


@given(st.floats(0.01, 20), st.sampled_from([1e-9, 1e-6, 1e-3, 0.05]))
def test_the_conversion_can_be_turned_round(scale: float, delta: float) -> None:
    divergence = scale * divergences.of_leaf(Gaussian(4))
    epsilon = accountant.converted(divergence, delta)
    back = attack.from_renyi(divergence, np.array([epsilon]))[0]
    assert back <= delta * (1 + 1e-6)


def test_own_deltas_are_added_to_every_delta() -> None:
    plain, own = attack.curve([Gaussian(3)]), attack.curve([Approximate(Gaussian(3), "0.02")])
    assert own.deltas - plain.deltas == pytest.approx(0.02)
    assert own.power() == pytest.approx(plain.power() + 0.02, abs=5e-3)
    assert attack.curve([Approximate(Gaussian(3), 1)]).caught_of_100() == 100


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_a_rate_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="false alarms"):
        AttackCurve(np.zeros(1), np.zeros(1), "renyi").power(alpha)


@pytest.mark.parametrize(("rate", "multiplier", "count"), [(0.5, 1.5, 4), (1.0, 2.0, 3)])
def test_an_attacker_who_does_his_best_catches_no_more(
    rate: float, multiplier: float, count: int
) -> None:
    """He sees every release and says "in" by the likelihood ratio, at 1 % false alarms."""
    draw = random.Random(7)

    def ratio(inside: bool) -> float:
        total = 0.0
        for _ in range(count):
            here = inside and draw.random() < rate
            seen = draw.gauss(1.0 if here else 0.0, multiplier)
            near = math.exp((2 * seen - 1) / (2 * multiplier**2))
            total += math.log(1 - rate + rate * near)
        return total

    trials = 20_000
    outside = sorted(ratio(inside=False) for _ in range(trials))
    threshold = outside[int(0.99 * trials)]
    caught = sum(ratio(inside=True) > threshold for _ in range(trials)) / trials
    bound = attack.curve([Repeated(SampledGaussian(rate, multiplier), count)]).power()
    noise = 4 * math.sqrt(caught / trials) + 4 * 0.001  # of the share, and of the threshold
    assert caught <= bound + noise
    assert caught >= 0.6 * bound  # the bound is near what can be done
