"""Certificates meet the known table, stand only where they may, and are quick."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.queries import parse, pricing
from policies.budget import accountant, attack, mixtures
from policies.budget.attack import GaussianShift
from policies.budget.certificate import INTERVAL, LEAST_DELTA, STEPS, Certificate, certify
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
from policies.budget.losses import Losses, Side
from policies.contracts import load_contract
from tests.one_dimension import Logs, laplace, log_sum, mixed, moved
from tests.orders_table import COHORT, CONTRACT_TEXT

DELTA = 1e-6

TABLE = [
    # rate, multiplier, releases; PLD at 1e-4 and 1e-3; with 50 Gaussian counts; 50 Laplace counts
    ("0.01", "1", 2000, 2.955, 2.957, 3.392, 3.027),
    ("0.01", "1", 5000, 4.735, 4.737, 5.064, 4.788),
    ("0.05", "2", 500, 2.873, 2.873, 3.337, 2.949),
    ("0.1", "4", 1000, 3.869, 3.869, 4.260, 3.933),
    ("0.001", "0.8", 10_000, 0.947, 0.960, 1.806, 1.099),
    ("1", "40", 100, 1.061, 1.061, 1.925, 1.229),
    ("0.02", "0.7", 300, 6.423, 6.423, 6.631, 6.456),
]
GAUSSIANS = Repeated(Gaussian(20), 50)
LAPLACES = Repeated(DiscreteLaplace(1, 50), 50)
HALF = 0.0005 + 0.0001  # half of the last digit stated, and our rounding up


@pytest.mark.parametrize(("rate", "multiplier", "count", "fine", "coarse", "_", "__"), TABLE)
def test_the_certificate_meets_the_table(
    rate: str, multiplier: str, count: int, fine: float, coarse: float, _: float, __: float
) -> None:
    run = [Repeated(SampledGaussian(rate, multiplier), count)]
    assert certify(run, DELTA, 1e-3) == pytest.approx(coarse, abs=HALF)
    assert certify(run, DELTA, 1e-4) == pytest.approx(fine, abs=HALF)


@pytest.mark.parametrize(("rate", "multiplier", "count", "_", "__", "normal", "laplace"), TABLE)
def test_the_certificate_of_composed_kinds_meets_the_table(
    rate: str, multiplier: str, count: int, _: float, __: float, normal: float, laplace: float
) -> None:
    run = Repeated(SampledGaussian(rate, multiplier), count)
    assert certify([run, GAUSSIANS], DELTA, 1e-4) == pytest.approx(normal, abs=HALF)
    # The table has continuous Laplace noise; the discrete one costs 0.0003 more.
    assert certify([run, LAPLACES], DELTA, 1e-4) == pytest.approx(laplace, abs=HALF + 0.0008)


def test_the_counts_alone_meet_the_table() -> None:
    assert certify([GAUSSIANS], DELTA, 1e-4) == pytest.approx(1.54, abs=0.005)
    assert certify([LAPLACES], DELTA, 1e-4) == pytest.approx(0.556, abs=0.001)


@pytest.mark.parametrize(
    "event",
    [
        Skellam("0.05", 4096, 64, 8),
        Skellam(1, 4096, 64, 8),
        DiscreteGaussian(1, "1.7"),
        Grouped(SampledGaussian("0.05", 2), 2),
        Grouped(Mixture(4, ["0.5", "0.5"]), 2),
        Grouped(Skellam(1, 4096, 64, 8), 2),
        Grouped(DiscreteGaussian(1, "1.7"), 2),
        Gaussian("0.01"),  # ε in the thousands: nothing that a certificate would make better
    ],
)
def test_what_has_no_certificate_gets_none(event: Event) -> None:
    others = [Repeated(Gaussian(50), 3), Approximate(Composed((event,)), "1e-9")]
    assert certify([event], DELTA) is None
    assert certify(others, DELTA) is None
    plan = Certificate.of(others[:1])
    assert plan is not None
    assert plan.with_one_more(event) is None


def test_a_delta_that_floats_cannot_hold_gets_none() -> None:
    assert certify([Gaussian(5)], LEAST_DELTA) is not None
    assert certify([Gaussian(5)], LEAST_DELTA / 2) is None


def test_own_deltas_are_apart() -> None:
    assert certify([Approximate(Gaussian(5), "0.01")], DELTA) == certify([Gaussian(5)], DELTA)


def test_a_group_of_gaussian_units_moves_the_sum_by_all_of_them() -> None:
    assert certify([Grouped(Gaussian(20), 4)], DELTA) == certify([Gaussian(5)], DELTA)
    assert certify([Grouped(SampledGaussian(1, 20), 4)], DELTA) == certify([Gaussian(5)], DELTA)
    assert certify([Grouped(DiscreteGaussian(3, 60), 4)], DELTA) == certify(
        [DiscreteGaussian(12, 60)], DELTA
    )
    assert certify([Grouped(DiscreteLaplace(1, 50), 4)], DELTA) == certify(
        [DiscreteLaplace(4, 50)], DELTA
    )


# -- what is really drawn --------------------------------------------------------------------------
#
# Every sampler is discrete. Exact sums over its outcomes say what a release really shows.

GRID = np.linspace(0.0, 8.0, 81)


def drawn(sigma: float, reach: int) -> Logs:
    """log N_ℤ(0, σ²) on −reach … reach."""
    logs = -(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)
    return logs - log_sum(logs)


def curve(over: Logs, under: Logs) -> Logs:
    """δ at every ε of `GRID`."""
    return np.array(
        [float(np.maximum(np.exp(over) - np.exp(e + under), 0.0).sum()) for e in GRID.tolist()]
    )


def repeated(sigma: int, moves: tuple[int, ...]) -> Logs:
    """δ at every ε of `GRID` of releases, or coordinates, that move by `moves`: all outcomes."""
    reach = 14 * sigma
    plain, ahead = np.zeros(1), np.zeros(1)
    for move in moves:
        noise = drawn(sigma, reach + move)
        plain = np.add.outer(plain, moved(noise, 0, reach)).ravel()
        ahead = np.add.outer(ahead, moved(noise, move, reach)).ravel()
    return np.maximum(curve(plain, ahead), curve(ahead, plain))


def require_above(truth: Logs, event: Event) -> None:
    """The certificate and the plain numbers lie nowhere below the truth."""
    certificate = Certificate.of([event])
    assert certificate is not None
    assert (certificate.deltas(GRID) >= truth - 1e-12).all()
    plain = attack.curve([event])
    assert plain.advantage() >= truth[0] - 1e-12
    for delta in (1e-3, 1e-5, 1e-6, 1e-8):
        said = certify([event], delta)
        assert said is not None
        if said <= GRID[-1]:
            assert truth[said <= GRID][:1] <= delta * (1 + 1e-9)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("sensitivity", "sigma"), [(1, 2), (1, 3), (2, 3), (1, 5), (3, 7), (8, 9)])
def test_a_certificate_is_above_what_discrete_noise_shows(
    sensitivity: int, sigma: int, count: int
) -> None:
    if count * sigma <= 9:
        event = Repeated(DiscreteGaussian(sensitivity, sigma), count)
        require_above(repeated(sigma, (sensitivity,) * count), event)


@pytest.mark.parametrize(
    ("sensitivity", "sigma", "moves"),
    [(2, 2, (1, 1, 1)), (5, 4, (3, 4)), (3, 3, (2, 2)), (5, 6, (0, 5)), (13, 11, (5, 12))],
)
def test_a_certificate_is_above_what_a_unit_in_several_cells_shows(
    sensitivity: int, sigma: int, moves: tuple[int, ...]
) -> None:
    require_above(repeated(sigma, moves), DiscreteGaussian(sensitivity, sigma))


def test_continuous_noise_shows_less_than_what_is_drawn() -> None:
    """What the certificate of a count said when it took the noise for continuous."""
    truth = repeated(2, (1,))
    shift = GaussianShift(1 / 2)
    assert shift.advantage() < truth[0] - 0.001
    assert any(shift.delta(e) < d * 0.99 for e, d in zip(GRID.tolist(), truth, strict=True) if d)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("multiplier", ["1", "2", "2.4", "3", "5.001"])
def test_a_certificate_is_above_what_a_joint_query_shows(multiplier: str, rows: int) -> None:
    """The event that production emits states z·Δ; what is drawn has σ = ceil(z·Δ)."""
    contract = load_contract(CONTRACT_TEXT)
    contract = replace(contract, unit=replace(contract.unit, rows=rows))
    plan = parse.parse("SELECT COUNT(*) FROM orders", {"orders": contract}, COHORT)
    event, (sigma,) = pricing.price(plan, multiplier), pricing.scales(plan, multiplier)
    truth = repeated(sigma, (rows,))
    if certify([event], DELTA) is not None:
        require_above(truth, event)
    assert truth[0] <= attack.curve([event]).advantage()
    assert accountant.epsilon([event], DELTA) == accountant.epsilon([Gaussian(multiplier)], DELTA)


@pytest.mark.parametrize(("rate", "multiplier"), [(1.0, 2.0), (0.05, 1.0), (0.5, 0.7), (0.01, 4.0)])
def test_a_certificate_is_above_what_a_training_step_shows(rate: float, multiplier: float) -> None:
    """The noise of a step is drawn on a grid, at the coarsest that a recipe may have."""
    move = math.floor(STEPS / multiplier)
    reach = 14 * STEPS
    noise = drawn(STEPS, reach + move)
    out = moved(noise, 0, reach)
    inside = mixed((out, moved(noise, move, reach)), (1 - rate, rate))
    truth = np.maximum(curve(out, inside), curve(inside, out))
    require_above(truth, SampledGaussian(rate, multiplier))


KINDS = (
    SampledGaussian("0.05", "2.163"),
    SampledGaussian("0.01", "1.1"),
    SampledGaussian("0.1", 4),
    SampledGaussian("0.02", "1.5"),
    Gaussian(60),
    Gaussian(80),
    Gaussian(100),
    DiscreteLaplace(1, 200),
    DiscreteLaplace(2, 500),
    DiscreteLaplace(1, 1000),
    Grouped(Gaussian(300), 2),
)
kinds = st.sampled_from(KINDS)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.builds(Repeated, kinds, st.integers(1, 40)), min_size=1, max_size=4), kinds)
def test_one_more_event_is_as_if_it_had_been_there(plan: list[Event], one: Event) -> None:
    before, together = Certificate.of(plan), Certificate.of([*plan, one])
    assert before is not None
    assert together is not None
    after = before.with_one_more(one)
    assert after is not None
    assert after.epsilon(DELTA) == pytest.approx(together.epsilon(DELTA), abs=2e-3)
    assert before.epsilon(DELTA) <= after.epsilon(DELTA) + 1e-9
    # Never above the gate, and never so low that nothing was spent.
    assert 0 < after.epsilon(DELTA) <= accountant.epsilon([*plan, one], DELTA)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.builds(Repeated, kinds, st.integers(1, 40)), min_size=1, max_size=3),
    st.sampled_from([1e-9, 1e-6, 1e-3, 0.1]),
)
def test_the_answers_are_those_of_the_library(plan: list[Event], delta: float) -> None:
    from dp_accounting.pld import PLDAccountant

    library = PLDAccountant(value_discretization_interval=INTERVAL)
    for event in plan:
        inner = event.event if isinstance(event, Repeated) else event
        inner = Gaussian(150) if isinstance(inner, Grouped) else inner
        count = event.count if isinstance(event, Repeated) else 1
        library.compose(accountant.to_dp_event(inner), count)
    ours = Certificate.of(plan)
    assert ours is not None
    grid = np.array([0.0, 0.1, 0.7, 2.0])
    theirs = [library.get_delta(epsilon) for epsilon in grid]
    assert ours.deltas(grid) == pytest.approx(theirs, rel=2e-2, abs=1e-9)
    gate = accountant.epsilon(plan, delta)
    exact = library.get_epsilon(delta)
    assert ours.epsilon(delta) == pytest.approx(min(exact, gate), abs=2e-3)


def test_rounding_is_upwards() -> None:
    plan = Certificate.of([Gaussian(3)])
    assert plan is not None
    epsilon = plan.epsilon(DELTA)
    assert epsilon is not None
    assert plan.deltas(np.array([epsilon]))[0] <= DELTA
    assert plan.deltas(np.array([epsilon - 0.0002]))[0] > DELTA
    # and the truth is below: μ = 1/3
    from policies.budget.attack import GaussianShift

    assert GaussianShift(1 / 3).delta(epsilon) <= DELTA


def test_losses_are_cut_off_upwards_only() -> None:
    side = Side(-1, np.array([0.25, 0.5, 0.25 - 1e-12]), 1e-12)
    both = side
    for _ in range(3):
        both = both.composed(side)
    assert both.infinite >= 4e-12 * (1 - 1e-3)
    assert both.masses.sum() + both.infinite == pytest.approx(1.0, abs=1e-15)
    losses = Losses(0.5, both, both)
    assert losses.epsilon(1e-13) == math.inf
    for delta in (1e-3, 0.01, 0.1):
        epsilon = losses.epsilon(delta)
        assert losses.deltas(np.array([epsilon]))[0] == pytest.approx(delta, rel=1e-9)
    assert losses.epsilon(0.2) == 0.0


def test_losses_that_are_cut_off_count_as_without_end() -> None:
    rare = 2e-16
    side = Side(0, np.array([1 - rare, 0.0, 0.0, rare]), 0.0)
    many = side
    for _ in range(99):
        many = many.composed(side)
    assert len(many.masses) < 4
    assert many.infinite == pytest.approx(100 * rare, rel=0.3, abs=0)


@pytest.mark.parametrize(("scale", "parts"), [(0.7, (1, 1)), (2.0, (1, 2)), (5.0, (2, 2, 3))])
def test_all_of_a_laplace_sensitivity_in_one_coordinate_is_the_worst(
    scale: float, parts: tuple[int, ...]
) -> None:
    whole = Certificate.of([DiscreteLaplace(sum(parts), scale)])
    assert whole is not None
    reach = math.ceil(20 * scale) + 3
    noise = laplace(scale, reach + max(parts))
    plain, ahead = np.zeros(1), np.zeros(1)
    for part in parts:
        plain = np.add.outer(plain, moved(noise, 0, reach)).ravel()
        ahead = np.add.outer(ahead, moved(noise, part, reach)).ravel()
    for epsilon in (0.0, 0.3, 1.0, 2.0, 4.0):
        split = np.maximum(np.exp(plain) - np.exp(epsilon + ahead), 0.0).sum()
        assert split <= whole.deltas(np.array([epsilon]))[0] + 1e-9


def fastest(call: Callable[[], object], tries: int) -> float:
    """CPU seconds of the fastest try: other processes must not fail this test."""
    times = []
    for _ in range(tries):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def test_ten_thousand_events_are_certified_by_kind_and_one_more_by_itself() -> None:
    mixture = Mixture(4, mixtures.binomial(SampledGaussian("0.01", 1).sampling_rate, 2))
    events = [([*KINDS[:10], mixture])[number % 11] for number in range(10_000)]
    plan = Certificate.of(events)
    assert plan is not None

    def again() -> None:
        from policies.budget import certificate

        certificate._losses.cache_clear()
        certificate._normal.cache_clear()
        assert certify(events, DELTA) is not None

    def one_more() -> None:
        more = plan.with_one_more(KINDS[0])
        assert more is not None
        more.epsilon(DELTA)

    def one_by_one() -> None:
        for event in events[:22]:
            plan.with_one_more(event)

    # Ratios alone, since machines differ: `entrepot bench books` says how long each takes.
    whole = fastest(again, 2)
    assert fastest(one_by_one, 1) / 22 * len(events) > 10 * whole
    assert fastest(one_more, 5) < whole / 5
