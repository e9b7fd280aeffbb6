"""Sums are exact: every ring, every set of dropouts that is allowed, a hundred organisations."""

from itertools import combinations, product

import numpy as np
import pytest

from secure_compute.errors import LocalProtocolError
from secure_compute.secagg import aggregator
from secure_compute.secagg.aggregator import Gathering, Phase
from secure_compute.secagg.layers import carried, remaining
from secure_compute.secagg.messages import Kind
from tests.masked import cohort, names, play, vectors, wanted

SILENCES = (Kind.UPLOAD, Kind.REVEAL, Kind.CERTIFY, Kind.OPEN)
SIZES = [(3, 1), (4, 1), (4, 2), (5, 1), (5, 2), (5, 3), (6, 1), (6, 2), (6, 3), (6, 4)]


def dropouts(parties, most):
    """Every choice of at most `most` parties, each silent from one message on.

    Where nobody is missing no seeds are revealed, so nobody falls silent there.
    """
    for count in range(most + 1):
        for who in combinations(parties, count):
            for since in product(SILENCES, repeat=count):
                if Kind.REVEAL in since and Kind.UPLOAD not in since:
                    continue
                yield {k: {p for p, s in zip(who, since, strict=True) if s is k} for k in SILENCES}


ROUNDS = [
    pytest.param(bits, n, c, marks=[pytest.mark.slow] if (n, c) == (6, 1) and bits < 32 else [])
    for bits in (16, 20, 32)
    for n, c in SIZES
]


@pytest.mark.parametrize(("ring_bits", "organisations", "colluding"), ROUNDS)
def test_every_allowed_set_of_dropouts(ring_bits, organisations, colluding):
    most = cohort(organisations, colluding).terms.parameters.dropouts
    for index, silent in enumerate(dropouts(names(organisations), most)):
        made = cohort(organisations, colluding, ring_bits=ring_bits, dimension=3, seed=index)
        inputs = vectors(made, index)
        state = play(made, inputs, silent)
        assert state.phase is Phase.OPENED, (silent, state.reason)
        result = aggregator.combine(state, made.expand)
        assert np.array_equal(result.values, wanted(made, inputs, result)), silent
        lost = silent[Kind.UPLOAD] | silent[Kind.REVEAL]
        assert set(result.dropped) == lost
        surplus = tuple(range(len(lost) + 1, most + 1))
        quiet = set().union(*silent.values())
        carries = remaining(made.terms.parameters, result.layers.values())
        least = carried(made.terms.parameters, len(lost))
        assert carries >= least
        assert (carries == least) is (not silent[Kind.CERTIFY] | silent[Kind.OPEN] or not surplus)
        assert result.layers == {p: () if p in quiet else surplus for p in result.survivors}


def test_one_dropout_too_many_ends_the_round_without_a_sum():
    for since in product(SILENCES, repeat=2):
        made = cohort(4, 1)
        silent = {k: {p for p, s in zip(names(2), since, strict=True) if s is k} for k in SILENCES}
        state = play(made, vectors(made), silent)
        assert state.phase is Phase.ABANDONED
        assert "parties answered" in state.reason
        with pytest.raises(LocalProtocolError, match="no sum"):
            aggregator.combine(state, made.expand)


def test_those_who_fall_silent_while_seeds_are_revealed_join_the_dropped():
    made = cohort(7, 1, threshold=5)
    silent = {Kind.UPLOAD: {"node-000"}, Kind.REVEAL: {"node-001"}}
    inputs = vectors(made)
    state = play(made, inputs, silent)
    result = aggregator.combine(state, made.expand)
    assert result.dropped == ("node-000", "node-001")
    assert np.array_equal(result.values, wanted(made, inputs, result))


def test_a_hundred_organisations():
    made = cohort(100, 33, dimension=1000)
    inputs = vectors(made)
    silent = {Kind.UPLOAD: set(names(10)), Kind.OPEN: set(names(20)[10:])}
    result = aggregator.combine(play(made, inputs, silent), made.expand)
    assert len(result.survivors) == 90
    assert np.array_equal(result.values, wanted(made, inputs, result))


@pytest.mark.parametrize("ring_bits", [16, 20, 32])
@pytest.mark.parametrize("dimension", [1, 2, 7, 70_001])
def test_long_and_odd_vectors_at_the_edge_of_the_ring(ring_bits, dimension):
    made = cohort(3, 1, ring_bits=ring_bits, dimension=dimension)
    edge = 1 << (ring_bits - 1)
    inputs = {
        "node-000": np.full(dimension, edge - 1),
        "node-001": np.full(dimension, -edge),
        "node-002": np.arange(dimension, dtype=np.int64) % 3,
    }
    result = aggregator.combine(play(made, inputs), made.expand)
    assert np.array_equal(result.values, inputs["node-002"] - 1)


def test_a_sum_beyond_the_ring_wraps_as_modular_arithmetic_does():
    for ring_bits in (16, 20, 32):
        made = cohort(3, 1, ring_bits=ring_bits, dimension=2)
        top = (1 << (ring_bits - 1)) - 1
        inputs = {party: np.array([top, -(1 << 62)]) for party in names(3)}
        result = aggregator.combine(play(made, inputs), made.expand)
        low = (3 * top + (1 << (ring_bits - 1))) % (1 << ring_bits) - (1 << (ring_bits - 1))
        assert result.values.tolist() == [low, 0]


def test_a_fresh_round_waits_for_the_whole_cohort():
    made = cohort(3, 1)
    assert Gathering(terms=made.terms).waiting_for == names(3)
    assert not Gathering(terms=made.terms).is_enough
