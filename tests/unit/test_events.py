"""Events have one spelling, and the parser accepts nothing else."""

import json
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    dumps,
    from_json,
    loads,
    own_delta,
    to_json,
)
from policies.errors import MalformedEventError

multipliers = st.decimals(min_value="0.001", max_value="9999", places=3)
rates = st.decimals(min_value="0.0001", max_value="1", places=4)
shares = st.lists(st.integers(0, 999), min_size=1, max_size=5).map(
    lambda parts: [*(Decimal(part) / 10_000 for part in parts), 1 - Decimal(sum(parts)) / 10_000]
)
leaves = (
    st.builds(Gaussian, multipliers)
    | st.builds(SampledGaussian, rates, multipliers)
    | st.builds(DiscreteGaussian, multipliers, multipliers)
    | st.builds(Skellam, rates, multipliers, multipliers, multipliers)
    | st.builds(DiscreteLaplace, st.integers(1, 10**9), multipliers)
    | st.builds(Mixture, multipliers, shares)
)
events = st.recursive(
    leaves,
    lambda inner: (
        st.builds(Repeated, inner, st.integers(1, 10**9))
        | st.builds(Grouped, inner, st.integers(1, 10**6))
        | st.builds(Approximate, inner, rates)
        | st.builds(Composed, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


def depth(event: Event) -> int:
    match event:
        case Repeated() | Grouped() | Approximate():
            return 1 + depth(event.event)
        case Composed():
            return 1 + max((depth(part) for part in event.events), default=0)
        case _:
            return 1


@given(events.filter(lambda event: depth(event) <= 8))
def test_every_event_is_read_back(event: Event) -> None:
    assert from_json(to_json(event)) == event
    assert loads(dumps(event)) == event


def test_numbers_have_their_shortest_plain_spelling() -> None:
    assert SampledGaussian(0.05, "2.1630") == SampledGaussian("0.050", 2.163)
    assert json.loads(dumps(SampledGaussian(1e-7, "1E+1"))) == {
        "event": "sampled_gaussian",
        "v": 1,
        "sampling_rate": "0.0000001",
        "noise_multiplier": "10",
    }


STORED = [
    (Gaussian("8.677"), '{"event":"gaussian","noise_multiplier":"8.677","v":1}'),
    (
        SampledGaussian("0.05", "2.163"),
        '{"event":"sampled_gaussian","noise_multiplier":"2.163","sampling_rate":"0.05","v":1}',
    ),
    (
        DiscreteGaussian("1.5", 30),
        '{"event":"discrete_gaussian","sensitivity":"1.5","sigma":"30","v":1}',
    ),
    (
        Skellam("0.05", 4096, 64, "8.5"),
        '{"event":"skellam","l1":"64","l2":"8.5","sampling_rate":"0.05","v":1,"variance":"4096"}',
    ),
    (DiscreteLaplace(3, 50), '{"event":"discrete_laplace","scale":"50","sensitivity":3,"v":1}'),
    (
        Mixture(2, ["0.25", "0.5", "0", "0.25"]),
        '{"event":"mixture","noise_multiplier":"2","probabilities":["0.25","0.5","0","0.25"],"v":1}',
    ),
    (
        Grouped(Gaussian(1), 4),
        '{"event":"grouped","of":{"event":"gaussian","noise_multiplier":"1","v":1},"size":4,"v":1}',
    ),
    (
        Approximate(Gaussian(1), "1E-9"),
        dumps(Gaussian(1)).join(
            ('{"delta":"0.000000001","event":"approximate","of":', ',"v":1}'),
        ),
    ),
    (
        Repeated(Gaussian(1), 3),
        '{"count":3,"event":"repeated","of":{"event":"gaussian","noise_multiplier":"1","v":1},"v":1}',
    ),
    (
        Composed((Gaussian(1),)),
        '{"event":"composed","of":[{"event":"gaussian","noise_multiplier":"1","v":1}],"v":1}',
    ),
]


@pytest.mark.parametrize(("event", "text"), STORED, ids=[type(e).__name__ for e, _ in STORED])
def test_what_was_stored_once_is_read_for_ever(event: Event, text: str) -> None:
    assert dumps(event) == text
    assert loads(text) == event


@pytest.mark.parametrize("event", [event for event, _ in STORED])
def test_one_field_more_or_less_is_refused(event: Event) -> None:
    value = to_json(event)
    for name in value:
        with pytest.raises(MalformedEventError):
            from_json({key: part for key, part in value.items() if key != name})
        with pytest.raises(MalformedEventError):
            from_json({**value, name: 1.5})
    with pytest.raises(MalformedEventError):
        from_json({**value, "more": "1"})


def walked(event: Event) -> Fraction:
    """Own δ's, one after the other, by counting instead of multiplying."""
    match event:
        case Approximate():
            return Fraction(event.delta) + walked(event.event)
        case Repeated():
            return sum((walked(event.event) for _ in range(event.count)), Fraction(0))
        case Grouped():
            return sum((walked(event.event) for _ in range(event.size)), Fraction(0))
        case Composed():
            return sum(map(walked, event.events), Fraction(0))
        case _:
            return Fraction(0)


small = st.recursive(
    leaves,
    lambda inner: (
        st.builds(Repeated, inner, st.integers(1, 4))
        | st.builds(Grouped, inner, st.integers(1, 4))
        | st.builds(Approximate, inner, st.decimals("1e-20", "1e-3", places=20))
        | st.builds(Composed, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=5,
)


@given(st.lists(small, max_size=4))
def test_own_deltas_are_summed_exactly(held: list[Event]) -> None:
    assert Fraction(own_delta(held)) == sum(map(walked, held), Fraction(0))


def test_own_deltas_far_apart_lose_no_digit() -> None:
    odd = Approximate(Gaussian(1), "0.0000000000000000000000000000000000001")
    many = Repeated(Approximate(Gaussian(1), "0.1"), 10**9)
    assert own_delta([odd, many]) == Decimal("100000000.0000000000000000000000000000000000001")


@pytest.mark.parametrize(
    "probabilities",
    [[], [1], ["0.5", "0.4"], ["0.5", "0.5", 0], ["1.5", "-0.5"], ["-0", 1], [0.5] * 2 + ["1e-30"]],
)
def test_a_mixture_that_is_none_is_refused(probabilities: list[str]) -> None:
    with pytest.raises(MalformedEventError):
        Mixture(1, probabilities)


GOOD = {"event": "sampled_gaussian", "v": 1, "sampling_rate": "0.05", "noise_multiplier": "2.163"}
REPEATED = {"event": "repeated", "v": 1, "of": GOOD, "count": 3}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="bad_nothing"),
        pytest.param([], id="bad_list"),
        pytest.param({}, id="bad_empty"),
        pytest.param({**GOOD, "event": "laplace"}, id="bad_kind"),
        pytest.param({**GOOD, "event": ["gaussian"]}, id="bad_kind_type"),
        pytest.param({**GOOD, "v": 2}, id="bad_version"),
        pytest.param({**GOOD, "v": True}, id="bad_version_bool"),
        pytest.param({**GOOD, "v": 1.0}, id="bad_version_float"),
        pytest.param({**GOOD, "note": "x"}, id="bad_extra_field"),
        pytest.param({k: v for k, v in GOOD.items() if k != "v"}, id="bad_no_version"),
        pytest.param({**GOOD, "sampling_rate": 0.05}, id="bad_float"),
        pytest.param({**GOOD, "sampling_rate": "0.050"}, id="bad_trailing_zero"),
        pytest.param({**GOOD, "sampling_rate": ".05"}, id="bad_no_leading_zero"),
        pytest.param({**GOOD, "sampling_rate": "5E-2"}, id="bad_exponent"),
        pytest.param({**GOOD, "sampling_rate": "1.5"}, id="bad_rate_above_one"),
        pytest.param({**GOOD, "noise_multiplier": "0"}, id="bad_no_noise"),
        pytest.param({**GOOD, "noise_multiplier": "-1"}, id="bad_negative"),
        pytest.param({**GOOD, "noise_multiplier": "+1"}, id="bad_plus"),
        pytest.param({**GOOD, "noise_multiplier": "1_0"}, id="bad_underscore"),
        pytest.param({**GOOD, "noise_multiplier": "\u0661"}, id="bad_other_digits"),
        pytest.param({**GOOD, "noise_multiplier": "much"}, id="bad_word"),
        pytest.param({**GOOD, "noise_multiplier": "NaN"}, id="bad_nan"),
        pytest.param({**GOOD, "noise_multiplier": "Infinity"}, id="bad_infinity"),
        pytest.param({**GOOD, "noise_multiplier": "1" * 41}, id="bad_too_many_digits"),
        pytest.param({**REPEATED, "count": 0}, id="bad_count_zero"),
        pytest.param({**REPEATED, "count": True}, id="bad_count_bool"),
        pytest.param({**REPEATED, "count": "3"}, id="bad_count_text"),
        pytest.param({**REPEATED, "count": 10**9 + 1}, id="bad_count_huge"),
        pytest.param({**REPEATED, "of": [GOOD]}, id="bad_repeated_list"),
        pytest.param({"event": "composed", "v": 1, "of": GOOD}, id="bad_composed_object"),
    ],
)
def test_another_spelling_is_refused(value: object) -> None:
    with pytest.raises(MalformedEventError):
        from_json(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        " " + dumps(Gaussian(1)),
        dumps(Gaussian(1)).replace(":", ": "),
        '{"event":"gaussian","event":"gaussian","noise_multiplier":"1","v":1}',
        '{"v":1,"event":"gaussian","noise_multiplier":"1"}',
        "[" * 100_000,
    ],
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(MalformedEventError):
        loads(text)


def test_deep_nesting_is_refused_not_a_crash() -> None:
    value: object = GOOD
    for _ in range(2000):
        value = {"event": "repeated", "v": 1, "of": value, "count": 1}
    with pytest.raises(MalformedEventError):
        from_json(value)


def test_reading_events_needs_no_scipy() -> None:
    code = "import sys, policies.budget.events; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
