"""Windows against a simple model."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingested import Folder, contract, rows

STEP = st.one_of(
    st.tuples(st.just("write"), st.sets(st.integers(0, 9), max_size=6)),
    st.tuples(st.just("label"), st.sampled_from(["2025", "2026", "2027"])),
    st.tuples(st.just("look"), st.none()),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(STEP, max_size=9))
def test_rows_keep_the_window_that_a_simple_model_gives_them(tmp_path_factory, steps):
    folder = Folder(tmp_path_factory.mktemp("node"))
    there, label, opened, window = {0}, "2025", ["2025"], {}
    folder.write(rows(0))

    def look():
        folder.start(contract(label))
        if label not in opened:
            opened.append(label)
        for order in there:
            window.setdefault(order, opened[-1])

    look()
    for verb, value in steps:
        if verb == "write":
            there = set(value)
            folder.write(rows(*sorted(value)))
        elif verb == "label":
            label = value
            look()
        else:
            look()
    look()
    for one in opened:
        assert folder.orders(one) == sorted(o for o in there if window[o] == one)
