"""What an order states beside what it may spend: restated so that what is suggested passes."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.budget import accountant
from policies.budget.events import Approximate, Event, Gaussian, Repeated, SampledGaussian
from policies.budget.outlay import Outlay
from policies.engine import Reason, load_law
from policies.law.bundle import SCHEMA_NAME, Caps, bundle
from policies.nearest import nearest, restated
from policies.parties import Jurisdiction, PartyId, Role
from policies.situations import plain

DELTA = Decimal("1e-6")


def price(event: Event, count: int) -> float:
    return accountant.epsilon([Repeated(event, count)], 1e-6)


def outlay(event: Event, releases: int, spare: int) -> Outlay:
    return Outlay(event, releases, spare, DELTA)


def test_rounds_that_come_to_nothing_are_spent_and_not_stated() -> None:
    found = outlay(Gaussian("8"), 3, 4)
    assert found.stated == price(Gaussian("8"), 3)
    assert found.most == price(Gaussian("8"), 7)
    same = outlay(Gaussian("8"), 3, 0)
    assert same.stated == same.most


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(0, 100),
    st.decimals("0.2", "9", places=2),
    st.sampled_from(["0.8", "2", "9"]),
    st.booleans(),
)
def test_what_is_to_be_stated_keeps_what_is_spent_below_the_bound(
    releases: int, spare: int, most: Decimal, noise: str, sampled: bool
) -> None:
    event = SampledGaussian("0.2", noise) if sampled else Gaussian(noise)
    found = outlay(event, releases, spare)
    stated = found.stating(float(most))
    if not stated:
        return
    rate = 0.2 if sampled else 1.0
    if price(event, releases) <= stated:
        assert found.most <= float(most)
        return
    multiplier = accountant.calibrate(rate, releases, stated, 1e-6)
    chosen = SampledGaussian("0.2", multiplier) if sampled else Gaussian(multiplier)
    assert price(chosen, releases + spare) <= float(most)
    told = found.most_at(stated)
    assert told is not None and told <= float(most)
    assert told == pytest.approx(price(chosen, releases + spare), rel=0.01, abs=2e-3)
    more = accountant.calibrate(rate, releases, stated + 0.05, 1e-6)
    louder = SampledGaussian("0.2", more) if sampled else Gaussian(more)
    louder_most = price(louder, releases + spare)
    assert louder_most > float(most) or stated + 0.05 > price(event, releases)


def test_what_no_noise_can_bring_down_is_not_suggested() -> None:
    found = outlay(Approximate(Gaussian("2"), "1e-3"), 3, 3)
    assert found.stating(0.0000001) == 0.0


CAP = Reason("NODE-001", "law", "en", "zh", "lower it", "降", "privacy.epsilon=8.0")


def test_a_reason_says_what_to_state() -> None:
    wanted = outlay(Gaussian("1.2"), 6, 3)
    told = restated(CAP, wanted)
    assert told.override == f"privacy.epsilon={wanted.stating(8.0):.2f}"
    assert f"{wanted.stating(8.0):.2f}" in told.fix_en and "3" in told.fix_en
    assert f"{wanted.stating(8.0):.2f}" in told.fix_zh
    assert restated(CAP, None) is CAP
    assert restated(CAP, replace(wanted, spare=0)) is CAP
    other = replace(CAP, override="purpose=market_statistics")
    assert restated(other, wanted) is other


def test_the_nearest_order_is_tried_with_what_it_may_spend() -> None:
    caps = Caps(train_epsilon=Decimal(8), query_epsilon=Decimal("0.5"))
    texts = bundle(PartyId("node"), Jurisdiction.EU, caps)
    schema = texts.pop(SCHEMA_NAME)
    law = load_law(list(texts.values()), schema)
    wanted = outlay(Gaussian("1.2"), 6, 3)
    request = replace(
        plain(Jurisdiction.EU),
        action="train",
        purpose="demand_forecasting",
        proposer_role=Role.ANALYST,
        epsilon=repr(wanted.most),
    )
    stated = f"privacy.epsilon={wanted.stating(8.0):.2f}"
    assert nearest(request, law, (), wanted) == (stated,)
    assert nearest(request, law, ["privacy.epsilon=2.00"], wanted) == ("privacy.epsilon=2.00",)
    # An account could pay 7.99; with the rounds that come to nothing the law would not have it.
    assert nearest(request, law, ["privacy.epsilon=7.99"], wanted) == (stated,)
