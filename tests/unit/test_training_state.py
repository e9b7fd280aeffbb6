"""A training run as arithmetic: what is absorbed, what is refused, what a checkpoint keeps."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.errors import AbandonedError, MalformedReplyError
from aggregator.training import absorb, begin, read_update, resume
from policies.parties import PartyId
from tests.simulator import recipe

PARTIES = tuple(PartyId(name) for name in "abcd")
SMALL = st.lists(st.floats(-10, 10, width=32), min_size=5, max_size=5)


def run(minimum=3, **changes):
    return begin(recipe(**changes), 7, minimum, PARTIES)


def update(value):
    return np.full(5, value, np.float32)


def test_a_round_is_the_plain_mean_of_its_updates():
    state = run()
    start = state.progress.weights.copy()
    after = absorb(state, {party: update(value) for value, party in enumerate(PARTIES)})
    assert np.allclose(after.progress.weights, start + 1.5)
    assert (after.round, after.parties, after.done) == (1, PARTIES, False)
    assert state.round == 0 and (state.progress.weights == start).all()


def test_who_misses_a_round_is_out_for_the_rest():
    state = absorb(run(), {party: update(1) for party in PARTIES[1:]})
    assert state.parties == PARTIES[1:]
    late = absorb(state, {party: update(1) for party in PARTIES})
    assert late.parties == PARTIES[1:]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_below_the_minimum_nothing_is_made_of_a_round(count):
    with pytest.raises(AbandonedError, match=r"round 1 .* of at least 3 .* missing: .*d"):
        absorb(run(), {party: update(1) for party in PARTIES[:count]})


def test_strangers_do_not_count_towards_the_minimum():
    updates = {PartyId(name): update(1) for name in "abxyz"}
    with pytest.raises(AbandonedError):
        absorb(run(), updates)


def test_a_run_ends_after_its_rounds():
    state = run(rounds=2)
    for _ in range(2):
        assert not state.done
        state = absorb(state, dict.fromkeys(PARTIES, update(0)))
    assert state.done


@pytest.mark.parametrize("size", [0, 1, 16, 19, 21, 24, 40])
def test_an_update_of_another_size_is_refused(size):
    with pytest.raises(MalformedReplyError, match=f"{size} bytes for 5 parameters"):
        read_update(b"\0" * size, 5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_is_refused(value):
    vector = update(0)
    vector[3] = value
    with pytest.raises(MalformedReplyError, match="finite"):
        read_update(vector.tobytes(), 5)


@given(st.lists(SMALL, min_size=3, max_size=4), st.sampled_from(["0", "0.5"]))
def test_a_run_resumed_from_its_checkpoint_goes_on_as_if_never_stopped(values, momentum):
    state = run(server_momentum=Decimal(momentum))
    updates = dict(zip(PARTIES, (np.array(value, np.float32) for value in values), strict=False))
    first = absorb(state, updates)
    again = resume(first.recipe, first.minimum, first.checkpoint())
    assert again.checkpoint() == first.checkpoint()
    assert absorb(again, updates).checkpoint() == absorb(first, updates).checkpoint()


def test_the_seed_decides_the_first_weights_alone():
    one, other = run(model=recipe().model), begin(recipe(), 7, 3, PARTIES[:3])
    assert one.weights == other.weights
