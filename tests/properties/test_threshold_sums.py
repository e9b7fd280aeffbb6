"""Joint sums against plain integers: whoever answers, whatever the cells, whoever opens."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.joined import HOLDERS, PARTIES, answered, make_key


@st.composite
def questions(draw):
    """Cells of three to five parties, a reach that they keep, and a quorum of two."""
    reach = draw(st.sampled_from([1, 10**6, 2**57, 2**60, 10**30]))
    parties = draw(st.integers(4, 5))
    cells = draw(st.integers(1, 30))
    value = st.sampled_from([reach, -reach, 0, -1]) | st.integers(-reach, reach)
    row = st.lists(value, min_size=cells, max_size=cells)
    rows = {name: draw(row) for name in PARTIES[:parties]}
    return reach, rows, draw(st.permutations(HOLDERS[:3]))[:2]


@settings(deadline=None, max_examples=12)
@given(questions())
def test_a_joint_sum_is_the_sum_of_plain_integers(asked):
    reach, rows, quorum = asked
    opened = answered(make_key(3, 2), rows, reach=reach).open(quorum)
    assert opened == tuple(map(sum, zip(*rows.values(), strict=True)))
