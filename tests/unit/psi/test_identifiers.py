"""One spelling for one person, and nothing guessed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_compute.errors import IdentifierError, LocalProtocolError
from secure_compute.psi.identifiers import Kind, canonical, collect
from tests.seeded import SeededEntropy

GOOD = [
    (Kind.EMAIL, "Ann.Lee@Example.COM", "ann.lee@example.com"),
    (Kind.EMAIL, "  ann@x.org\n", "ann@x.org"),
    (Kind.EMAIL, "ann+shop@x.org", "ann+shop@x.org"),
    (Kind.EMAIL, "a.n.n@gmail.com", "a.n.n@gmail.com"),
    (Kind.EMAIL, "info@Bücher.example", "info@xn--bcher-kva.example"),
    (Kind.EMAIL, "info@xn--bcher-kva.example", "info@xn--bcher-kva.example"),
    (Kind.EMAIL, "info@straße.de", "info@xn--strae-oqa.de"),
    (Kind.EMAIL, "li@例子。中国", "li@xn--fsqu00a.xn--fiqs8s"),
    (Kind.PHONE, "+44 20 7946 0958", "+442079460958"),
    (Kind.PHONE, "+1 (555) 010-9999", "+15550109999"),
    (Kind.PHONE, "+86.138.0013.8000", "+8613800138000"),
    (Kind.PHONE, "+683 4000", "+6834000"),
    (Kind.PAN_TOKEN, "4111 1111 1111 1111", "4111111111111111"),
    (Kind.PAN_TOKEN, "3782-822463-10005", "378282246310005"),
    (Kind.PAN_TOKEN, "500180KX2BTPC4SJ7M0N6QW1R3Y5Z", "500180KX2BTPC4SJ7M0N6QW1R3Y5Z"),
]
BAD = [
    (Kind.EMAIL, ""),
    (Kind.EMAIL, "ann"),
    (Kind.EMAIL, "@x.org"),
    (Kind.EMAIL, "ann@"),
    (Kind.EMAIL, "ann@localhost"),
    (Kind.EMAIL, "ann@x..org"),
    (Kind.EMAIL, "ann@x.org."),
    (Kind.EMAIL, "ann@192.168.0.1"),
    (Kind.EMAIL, "ann@[192.168.0.1]"),
    (Kind.EMAIL, "ann@x_y.org"),
    (Kind.EMAIL, "ann@-x.org"),
    (Kind.EMAIL, "a nn@x.org"),
    (Kind.EMAIL, "a@b@x.org"),
    (Kind.EMAIL, '"a b"@x.org'),
    (Kind.EMAIL, ".ann@x.org"),
    (Kind.EMAIL, "a..n@x.org"),
    (Kind.EMAIL, "änn@x.org"),
    (Kind.EMAIL, "\u212aim@x.org"),  # the Kelvin sign, whose lower case is k
    (Kind.EMAIL, "İ@x.org"),
    (Kind.EMAIL, "a" * 65 + "@x.org"),
    (Kind.EMAIL, "a@" + "x" * 64 + ".org"),
    (Kind.EMAIL, "a@" + ".".join(["x" * 60] * 5) + ".org"),
    (Kind.EMAIL, "Ann <ann@x.org>"),
    (Kind.EMAIL, "ann@x.org\0"),
    (Kind.PHONE, "020 7946 0958"),
    (Kind.PHONE, "0044 20 7946 0958"),
    (Kind.PHONE, "+44 (0)20 7946 0958"),
    (Kind.PHONE, "+44 ( 0 ) 20 7946 0958"),
    (Kind.PHONE, "+0 20 7946 0958"),
    (Kind.PHONE, "+123456"),
    (Kind.PHONE, "+1234567890123456"),
    (Kind.PHONE, "+1 555 010 9999 x12"),
    (Kind.PHONE, "++15550109999"),
    (Kind.PHONE, "(+1) 5550109999"),
    (Kind.PHONE, "+١٥٥٥٠١٠٩٩٩٩"),
    (Kind.PHONE, ""),
    (Kind.PAN_TOKEN, "4111111111111112"),
    (Kind.PAN_TOKEN, "0000000000000000"),
    (Kind.PAN_TOKEN, "411111111111"),
    (Kind.PAN_TOKEN, "41111111111111111111"),
    (Kind.PAN_TOKEN, "500180kx2btpc4sj7m0n6qw1r3y5z"),
    (Kind.PAN_TOKEN, "500180KX2BTPC4SJ7M0N6QW1R3Y5"),
    (Kind.PAN_TOKEN, "٤١١١١١١١١١١١١١١١"),
    (Kind.PAN_TOKEN, ""),
]


@pytest.mark.parametrize(("kind", "raw", "wanted"), GOOD)
def test_good(kind, raw, wanted):
    assert canonical(kind, raw) == wanted
    assert canonical(kind, wanted) == wanted


@pytest.mark.parametrize(("kind", "raw"), BAD)
def test_bad_is_refused_without_being_repeated(kind, raw):
    with pytest.raises(IdentifierError) as caught:
        canonical(kind, raw)
    assert len(raw) < 4 or raw not in str(caught.value)


@given(st.sampled_from(Kind), st.text(max_size=20) | st.from_regex(r"[+a-zA-Z0-9@. -]{1,20}"))
@settings(max_examples=60, deadline=None)
def test_whatever_comes_has_one_spelling_or_none(kind, raw):
    try:
        text = canonical(kind, raw)
    except IdentifierError:
        return
    assert canonical(kind, text) == text
    assert text.isascii()
    assert text == text.strip()


def gathered(rows, most=2, cap=100, seed=1, kind=Kind.EMAIL):
    return collect(kind, rows, most=most, cap=cap, entropy=SeededEntropy(seed))


def test_bad_rows_are_counted_and_the_others_stay():
    rows = [("p", "ann@x.org"), ("p", "ANN@X.org"), ("q", "nobody"), ("r", "bob@x.org"), ("r", "")]
    found = gathered(rows)
    assert found.identifiers == ("ann@x.org", "bob@x.org")
    assert (found.bad, found.left_out) == (2, 0)


def test_a_set_never_prints_itself():
    assert "ann" not in repr(gathered([("p", "ann@x.org")]))


def test_a_person_brings_at_most_so_many():
    rows = [("p", f"p{i}@x.org") for i in range(9)] + [("q", "q@x.org")]
    found = gathered(rows)
    assert len(found.identifiers) == 3
    assert found.left_out == 7
    assert "q@x.org" in found.identifiers


def test_too_many_are_cut_and_not_refused_by_an_order_that_is_not_theirs():
    rows = [(f"p{i}", f"p{i}@x.org") for i in range(50)]
    cuts = {gathered(rows, cap=10, seed=seed).identifiers for seed in range(5)}
    assert all(len(cut) == 10 for cut in cuts)
    assert len(cuts) == 5


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=25),
    st.sets(st.integers(0, 12)),
    st.integers(1, 3),
    st.integers(1, 8),
    st.integers(0, 5),
)
def test_one_person_moves_a_count_of_matches_by_at_most_so_many(rows, other, most, cap, leaves):
    whole = [(f"p{who}", f"i{which}@x.org") for who, which in rows]
    less = [row for row in whole if row[0] != f"p{leaves}"]
    partner = {f"i{which}@x.org" for which in other}
    counts = [
        len(partner & set(gathered(some, most=most, cap=cap).identifiers)) for some in (whole, less)
    ]
    assert abs(counts[0] - counts[1]) <= most


@pytest.mark.parametrize("bounds", [{"most": 0}, {"cap": 0}])
def test_bad_bounds(bounds):
    with pytest.raises(LocalProtocolError):
        gathered([], **bounds)
