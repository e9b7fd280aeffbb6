"""Cells packed into coefficients and wide ones into limbs: exact sums, and nothing wraps unseen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.threshold.layout import MAX_REACH, Layout
from secure_compute.threshold.params import (
    LARGEST,
    LIFETIME,
    MAX_PARTIES,
    MODULUS,
    PLAIN_MODULUS,
    SLOTS,
    budget_bits,
    ciphertext_noise,
    hiding_bits,
    opening_noise,
    piece_count,
    require_safe,
)


@st.composite
def columns(draw):
    parties = draw(st.integers(1, 60))
    reach = draw(st.integers(1, 190).map(lambda bits: 2**bits) | st.integers(1, MAX_REACH))
    value = st.sampled_from([reach, -reach, 0, -1, reach - 1]) | st.integers(-reach, reach)
    cells = draw(st.integers(1, 4))
    cell = st.lists(value, min_size=cells, max_size=cells)
    return reach, draw(st.lists(cell, min_size=parties, max_size=parties))


@settings(deadline=None, max_examples=60)
@given(columns())
def test_limbs_add_to_what_integers_add_to(made):
    reach, rows = made
    layout = Layout(len(rows[0]), reach, len(rows))
    spread = [layout.spread(row) for row in rows]
    total = [np.sum([s[0].astype(object) for s in spread], axis=0)]
    assert max(abs(v) for v in total[0]) <= LARGEST  # nothing wraps
    opened = [total[0].astype(np.int64)]
    assert layout.collect(opened, len(rows)) == tuple(map(sum, zip(*rows, strict=True)))


@pytest.mark.parametrize("parties", [1, 3, 10, 1000])
def test_the_fewest_limbs_that_cannot_wrap(parties):
    assert Layout(1, LARGEST // parties, parties).limbs == 1
    assert Layout(1, LARGEST // parties + 1, parties).limbs == 2
    assert Layout(1, MAX_REACH, parties).limbs <= 5


def test_cells_fill_ciphertexts_in_order():
    layout = Layout(SLOTS + 1, 10, 3)
    values = [n % 21 - 10 for n in range(SLOTS + 1)]
    first, second = layout.spread(values)
    assert first.tolist() == values[:SLOTS]
    assert second[0] == values[-1]
    assert not second[1:].any()
    assert layout.collect((first, second), 1) == tuple(values)


@pytest.mark.parametrize("wide", [10**6, 10**25])
def test_values_beyond_the_bound_are_refused_before_encryption(wide):
    layout = Layout(2, wide, 3)
    for values in ([wide + 1, 0], [0, -wide - 1], [1], [1, 2, 3]):
        with pytest.raises(LocalProtocolError):
            layout.spread(values)
    layout.spread([wide, -wide])


def test_sums_that_the_parties_could_not_make_are_refused():
    layout = Layout(2, 100, 3)
    row = np.zeros(SLOTS, dtype=np.int64)
    row[0] = 300
    assert layout.collect([row], 3) == (300, 0)
    with pytest.raises(PeerProtocolError, match="larger"):
        layout.collect([row], 2)
    row[:] = 0
    row[2] = 1
    with pytest.raises(PeerProtocolError, match="behind the last cell"):
        layout.collect([row], 3)


@pytest.mark.parametrize(
    ("cells", "reach", "parties"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, MAX_REACH + 1, 1)]
)
def test_impossible_layouts_are_refused(cells, reach, parties):
    with pytest.raises(LocalProtocolError):
        Layout(cells, reach, parties)


@pytest.mark.parametrize(("holders", "threshold"), [(3, 2), (5, 3), (7, 2), (7, 4), (7, 7)])
@pytest.mark.parametrize("parties", [3, 10, 50])
def test_what_may_be_asked_always_opens_and_stays_hidden(holders, threshold, parties):
    count = piece_count(holders, threshold)
    require_safe(parties, count)
    # A sum opens when t times its noise is below q/2: at the worst of every coefficient, together.
    noise = ciphertext_noise(parties, count) + count * 2**98
    assert noise == opening_noise(parties, count)
    assert 2 * PLAIN_MODULUS * noise * 2 ** budget_bits(parties, count) <= MODULUS
    assert budget_bits(parties, count) >= 3
    # Statistical distance of a smudge moved by B from one that is not: B / 2^99, by every
    # coefficient of every ciphertext that is ever opened.
    told = ciphertext_noise(parties, count) * SLOTS * LIFETIME
    assert told * 2 ** hiding_bits(parties, count) <= 2**99
    assert hiding_bits(parties, count) >= 40


def test_the_numbers_of_the_specification():
    assert (budget_bits(10, 3), hiding_bits(10, 3)) == (7, 49)
    assert (budget_bits(10, 10), hiding_bits(10, 10)) == (5, 47)
    assert (budget_bits(50, 35), hiding_bits(50, 35)) == (3, 43)


def test_what_smudging_would_not_hide_is_refused():
    with pytest.raises(LocalProtocolError, match="hides too little"):
        require_safe(MAX_PARTIES, 35)
    with pytest.raises(LocalProtocolError, match="might not open"):
        require_safe(MAX_PARTIES + 1, 3)
    with pytest.raises(LocalProtocolError, match="might not open"):
        require_safe(10, 80)
