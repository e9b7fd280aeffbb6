"""Events have one spelling, and the parser accepts nothing else."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.budget.events import (
    Composed,
    Event,
    Gaussian,
    Repeated,
    SampledGaussian,
    dumps,
    from_json,
    loads,
    to_json,
)
from policies.errors import MalformedEventError

multipliers = st.decimals(min_value="0.001", max_value="9999", places=3)
rates = st.decimals(min_value="0.0001", max_value="1", places=4)
leaves = st.builds(Gaussian, multipliers) | st.builds(SampledGaussian, rates, multipliers)
events = st.recursive(
    leaves,
    lambda inner: (
        st.builds(Repeated, inner, st.integers(1, 10**9))
        | st.builds(Composed, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


def depth(event: Event) -> int:
    match event:
        case Repeated():
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
