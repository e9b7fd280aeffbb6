"""How often a ring wraps is estimated from public numbers, never too low where they hold."""

import inspect
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom, norm

from secure_compute import headroom
from secure_compute.errors import LocalProtocolError
from secure_compute.headroom import RARELY, Load, finest_grid, wrap_chance
from secure_compute.secagg.ring import Ring

LOAD = Load(
    ring_bits=16,
    nodes=8,
    units=8000,
    clip=Fraction(1),
    dimension=4097,
    noise_multiplier=Fraction("2.163"),
)


@pytest.mark.parametrize("bits", [16, 20, 24, 32])
def test_the_finest_grid_rarely_wraps_and_the_next_finer_does_not_keep_that(bits: int) -> None:
    load = replace(LOAD, ring_bits=bits)
    grid = finest_grid(load)
    assert wrap_chance(load, grid) < RARELY <= wrap_chance(load, grid + 1)


def test_sixteen_bits_leave_some_forty_steps_to_the_clip_and_32_bits_millions() -> None:
    assert 30 < finest_grid(LOAD) < 62  # an estimate of six deviations allowed 62
    assert 500 < finest_grid(replace(LOAD, ring_bits=20)) < 1000
    assert finest_grid(replace(LOAD, ring_bits=32)) > 1 << 20


def test_whatever_fills_the_ring_makes_a_wrap_likelier() -> None:
    grid = finest_grid(LOAD)
    base = wrap_chance(LOAD, grid)
    for name, more in {
        "units": 16000,
        "clip": Fraction(5, 4),
        "noise_multiplier": Fraction(20),
        "surplus": Fraction(8),
        "nodes": 8000,
    }.items():
        assert wrap_chance(replace(LOAD, **{name: more}), grid) > base, name
    assert wrap_chance(replace(LOAD, ring_bits=17), grid) < base
    assert wrap_chance(LOAD, 1 << 15) == 1.0


@pytest.mark.parametrize("grid", [48, 56, 64, 72])
def test_sums_under_the_assumption_wrap_no_oftener_than_estimated(grid: int) -> None:
    """400 units push one coordinate by their whole clip, this way or that, and a little more that.

    Its exact tail, once for each of d coordinates: less than the estimate, and not absurdly less.
    """
    load = replace(LOAD, ring_bits=14, units=400, dimension=4096, noise_multiplier=Fraction(2))
    up = np.arange(401)
    pushed = binom.logpmf(up, 400, 0.5 + 0.5 / 64)
    sigma, edge = 2.0 * (grid + 64), 2.0**13
    beyond = norm.sf(edge, grid * (2 * up - 400), sigma) + norm.cdf(
        -edge, grid * (2 * up - 400), sigma
    )
    exact = 4096 * float(np.exp(pushed) @ beyond)
    assert exact < wrap_chance(load, grid) < min(1.0, 1e4 * exact)


def test_no_grid_for_a_ring_that_is_too_narrow() -> None:
    with pytest.raises(LocalProtocolError, match="wider ring"):
        finest_grid(replace(LOAD, ring_bits=8))


@pytest.mark.parametrize("name", [field.name for field in fields(Load)])
def test_a_load_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        replace(LOAD, **{name: type(getattr(LOAD, name))(0)})


def test_the_estimate_has_no_way_to_see_data() -> None:
    """Its arguments are the public numbers of a load and a grid; arrays have no place in it."""
    assert list(inspect.signature(wrap_chance).parameters) == ["load", "grid"]
    assert {field.type for field in fields(Load)} <= {int, Fraction}
    assert "numpy" not in inspect.getsource(headroom)


@pytest.mark.parametrize("value", [1 << 30, -(1 << 30), (1 << 31) - 1, -(1 << 31)])
def test_a_sum_within_a_factor_of_two_of_its_edge_is_near_it(value: int) -> None:
    assert Ring(32).is_near_the_edge(np.array([0, value, 3]))
    assert not Ring(32).is_near_the_edge(np.array([0, (1 << 30) - 1, 3]))
