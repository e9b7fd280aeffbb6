"""What one person's data at several silos cost, with noise of their own and with shared noise."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.budget import accountant
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
from policies.budget.person import Noise, as_events, person_view

DELTA = 1e-6
RUN = [Repeated(SampledGaussian("0.05", "2.16"), 300)]  # ε of one record: 1.99 by certificate

TABLE = [
    # silos, independent noise, one shared noise; both by certificate
    (1, 1.99, 1.99),
    (2, 2.86, 4.31),
    (3, 3.56, 6.86),
    (5, 4.71, 12.6),
]


@pytest.mark.parametrize(("silos", "independent", "shared"), TABLE)
def test_the_person_view_meets_the_table(silos: int, independent: float, shared: float) -> None:
    columns: list[tuple[Noise, float]] = [("independent", independent), ("shared", shared)]
    for noise, column in columns:
        digits = 0.06 if column > 10 else 0.006
        certificate = certify(as_events(RUN, silos, noise), DELTA)
        assert certificate == pytest.approx(column, abs=digits)
        assert certificate is not None
        # The view itself is the gate's: above the certificate, by the usual tenth.
        view = person_view(RUN, DELTA, [silos], noise)[silos]
        assert certificate <= view <= 1.1 * certificate


RECORDS = [
    (2, 4.31),
    (4, 9.62),
    pytest.param(8, 22.8, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("records", "tight"), RECORDS)
def test_a_person_with_several_records_meets_the_table(records: int, tight: float) -> None:
    """K records sampled on their own are the same mixture as K silos under one noise."""
    assert certify(as_events(RUN, records, "shared"), DELTA) == pytest.approx(tight, abs=0.05)
    assert tight <= person_view(RUN, DELTA, [records], "shared")[records] <= 1.15 * tight


kinds = st.sampled_from(
    [
        Gaussian(30),
        SampledGaussian("0.05", 3),
        Skellam("0.05", 40_000, 4000, 64),
        Skellam(1, 400_000, 300, 20),
        DiscreteGaussian(2, 90),
        DiscreteLaplace(1, 120),
        Mixture(30, ["0.5", "0.3", "0.2"]),
        Grouped(Gaussian(90), 2),
        Grouped(SampledGaussian("0.02", 4), 2),
        Approximate(Gaussian(40), "1e-9"),
        Composed((Gaussian(40), SampledGaussian("0.1", 9))),
    ]
)
plans = st.lists(st.builds(Repeated, kinds, st.integers(1, 20)), min_size=1, max_size=3)


def _is_summed(plan: list[Event]) -> bool:
    """Whether all of it is Skellam noise, which is of secure sums alone."""
    return all("Skellam" in repr(event) for event in plan)


@settings(max_examples=40, deadline=None)
@given(plans)
def test_shared_noise_is_worse_and_more_silos_never_better(plan: list[Event]) -> None:
    apart = person_view(plan, DELTA, (1, 2, 3, 5), "independent")
    shared = person_view(plan, DELTA, (1, 2, 3, 5), "shared")
    assert apart[1] == shared[1] == accountant.epsilon(plan, DELTA)
    for fewer, more in ((1, 2), (2, 3), (3, 5)):
        assert apart[fewer] < apart[more]
        assert shared[fewer] < shared[more]
        assert apart[more] < shared[more] or (_is_summed(plan) and apart == shared)


@settings(max_examples=20, deadline=None)
@given(plans, st.integers(2, 4))
def test_the_events_of_a_person_cost_what_the_view_says(plan: list[Event], silos: int) -> None:
    noises: tuple[Noise, ...] = ("independent", "shared")
    for noise in noises:
        view = person_view(plan, DELTA, [silos], noise)[silos]
        as_told = accountant.epsilon(as_events(plan, silos, noise), DELTA)
        # Of sampled Skellam noise only the chain is an event; the view may know better.
        assert view <= as_told + 2e-4
        if "Skellam(sampling_rate=Decimal('0.05')" not in repr(plan):
            assert as_told == pytest.approx(view, abs=2e-4)


def test_without_sampling_a_person_moves_the_sum_by_all_units() -> None:
    view = person_view([Gaussian(30)], DELTA, (1, 2, 3, 16), "shared")
    for silos, epsilon in view.items():
        assert epsilon == pytest.approx(accountant.epsilon([Gaussian(30 / silos)], DELTA), abs=2e-4)


def test_skellam_noise_is_that_of_a_secure_sum_and_so_never_a_silos_own() -> None:
    summed = [Approximate(Skellam(1, 10**8, 10**4, 1000), "1e-12")]
    mixed = [*summed, *RUN]
    for silos in (2, 4):
        together = person_view(summed, DELTA, [silos], "shared")
        assert person_view(summed, DELTA, [silos], "independent") == together
        assert as_events(summed, silos, "independent") == as_events(summed, silos, "shared")
        own = person_view(RUN, DELTA, [silos], "independent")[silos]
        assert own < person_view(mixed, DELTA, [silos], "independent")[silos]
        assert (
            person_view(mixed, DELTA, [silos], "independent")[silos]
            < person_view(mixed, DELTA, [silos], "shared")[silos]
        )


def test_fine_skellam_noise_is_near_the_gaussian_for_few_silos() -> None:
    fine = [Repeated(Skellam("0.05", 2.16**2 * 1e8, 640_000, 10_000), 300)]
    skellam = person_view(fine, DELTA, (1, 2, 3), "shared")
    normal = person_view(RUN, DELTA, (1, 2, 3), "shared")
    for silos in (1, 2, 3):
        assert normal[silos] <= skellam[silos] <= 1.02 * normal[silos]


def test_nobody_is_at_no_silo() -> None:
    with pytest.raises(ValueError, match="one silo or more"):
        person_view(RUN, DELTA, (1, 0), "shared")
