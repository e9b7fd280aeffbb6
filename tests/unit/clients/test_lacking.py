"""What a source lacks of what is read of it, whether its operator or the contract says so."""

from hypothesis import given
from hypothesis import strategies as st

from clients.errors import SourceError
from clients.sources.declared import Span
from clients.sources.lacking import Lack, lacking
from clients.sources.mapped import Way
from clients.sources.wanted import Wanted
from tests.sourced import TABLE

NAMES = ("amount", "day", "note", "weight")
OWN = ("Betrag", "Notiz", "Währung", *NAMES)
WAYS = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(Way, source=st.sampled_from(OWN), currency=st.sampled_from(["", "Währung"])),
)


def wanted(ways: dict[str, Way], optional: frozenset[str], chosen: frozenset[str]) -> Wanted:
    columns = dict.fromkeys(NAMES, "float")
    rows = {name: Span("1", "") for name in sorted(chosen)}
    return Wanted(TABLE, columns, optional, rows, ways)  # type: ignore[arg-type]


def refuses(asked: Wanted, there: frozenset[str]) -> bool:
    """Whether reading the source would, in one of its two steps."""
    try:
        asked.asked().among(there, "export.csv")
        read = {n for n in asked.columns if set(asked.way(n).sources) <= there}
        asked.among(read, "export.csv")
    except SourceError:
        return True
    return False


@given(
    WAYS,
    st.frozensets(st.sampled_from(NAMES)),
    st.frozensets(st.sampled_from(NAMES)),
    st.frozensets(st.sampled_from(OWN)),
)
def test_what_is_whole_is_read_whole_and_what_is_refused_is_named(
    ways: dict[str, Way],
    optional: frozenset[str],
    chosen: frozenset[str],
    there: frozenset[str],
) -> None:
    one = wanted(ways, optional, chosen)
    found = lacking(one, there)
    let_go = any(not set(way.sources) <= there for way in ways.values())
    assert bool(found) == (refuses(one, there) or let_go)
    assert all(lack.source not in there for lack in found)
    assert all(lack.source in one.way(lack.column).sources for lack in found)
    assert {lack.column for lack in found if not lack.declared}.isdisjoint(ways)


def test_an_optional_column_may_be_absent_unless_it_was_said_where_it_is() -> None:
    optional = frozenset({"note"})
    there = ("amount", "day", "weight")
    assert lacking(wanted({}, optional, frozenset()), there) == ()
    said = wanted({"note": Way(source="Notiz")}, optional, frozenset())
    assert lacking(said, there) == (Lack("note", "Notiz", declared=True),)
    money = wanted({"amount": Way(source="amount", currency="Währung")}, optional, frozenset())
    assert lacking(money, there) == (Lack("amount", "Währung", declared=True),)
    chosen = wanted({}, optional, optional)
    assert lacking(chosen, there) == (Lack("note", "note", declared=False),)
