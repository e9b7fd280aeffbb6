"""Whether the relations of a plan read one unit's rows alone: joins, windows, nested conditions.

Two contracts may be joined where they are about the same unit of the same subjects and the join
equates every column that names it; so a joined row is one unit's, whatever else is equated, and
removing a unit removes its rows and changes no other. A window's partition has the unit by
construction: the tree only says by what else rows are told apart.
"""

from collections.abc import Mapping
from typing import Final

from federation.errors import UnsupportedQueryError
from federation.queries.relations import (
    MAX_FRAME,
    Contracts,
    readable_in,
    scope_of_source,
    unit_of,
)
from federation.queries.scope import kind_of
from federation.queries.sources import Filter, Join, Scan, Source, Window, scans, sources
from federation.queries.tree import Plan, source
from policies.contracts import Column, DataContract

MAX_SCANS: Final = 4
MAX_WINDOWS: Final = 16
WINDOW: Final = "window_{}"
"""How a plan calls the columns that windows make, counted from 1."""

ARGUED: Final = frozenset({"sum", "min", "max", "lag", "lead"})
ORDERED: Final = frozenset({"row_number", "lag", "lead"})


def names_of(contracts: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the leaves of a plan are called: nothing for one, else contracts, counted."""
    if len(contracts) < 2:
        return ("",) * len(contracts)
    names: list[str] = []
    for at, contract in enumerate(contracts):
        again = contracts[:at].count(contract)
        names.append(f"{contract}_{again + 1}" if again else contract)
    return tuple(names)


def fit_relations(plan: Plan, contracts: Contracts) -> None:
    """Accept relations that keep every row one unit's own.

    Raises:
        UnsupportedQueryError: they do not; the sentence names the clause.
    """
    top = source(plan)
    _fit_names(top, contracts)
    _fit_windows(tuple(item for item in sources(top) if isinstance(item, Window)), contracts)
    for relation in sources(top):
        match relation:
            case Join():
                require_join(relation, contracts)
            case Filter(child, condition):
                if kind_of(condition, scope_of_source(child, contracts)).type != "boolean":
                    raise UnsupportedQueryError(
                        "WHERE takes a condition: compare the value with something"
                    )
            case Scan() | Window():
                pass


def require_join(join: Join, contracts: Contracts) -> None:
    """Refuse a join that may put rows of two units together.

    Raises:
        UnsupportedQueryError: the units differ, or the condition lacks their equality.
    """
    first, second = (contracts[scans(side)[0].contract] for side in (join.left, join.right))
    mine, theirs = _unit_named(first), _unit_named(second)
    if mine != theirs:
        raise UnsupportedQueryError(
            f"JOIN puts {first.name}, whose rows belong to {_words(mine)}, beside {second.name}, "
            f"whose rows belong to {_words(theirs)}: join contracts about one unit, or ask about "
            "each on its own"
        )
    wanted = set(zip(unit_of(join.left, contracts), unit_of(join.right, contracts), strict=True))
    lacking = sorted(wanted - set(join.on))
    if lacking:
        raise UnsupportedQueryError(
            f"JOIN … ON does not say {_equalities(lacking)}, so rows of different {first.subjects} "
            f"would meet: write {nearest_join(join, contracts)}"
        )
    for pair in join.on:
        if pair not in wanted:
            _require_pair(join, pair, contracts)


def nearest_join(join: Join, contracts: Contracts) -> str:
    """Return the condition nearest to a join's own that passes."""
    pairs = zip(unit_of(join.left, contracts), unit_of(join.right, contracts), strict=True)
    return "ON " + " AND ".join(f"{a} = {b}" for a, b in dict.fromkeys([*join.on, *pairs]))


def _require_pair(join: Join, pair: tuple[str, str], contracts: Contracts) -> None:
    sides = zip((join.left, join.right), pair, strict=True)
    found = [readable_in(side, contracts, name, "JOIN … ON") for side, name in sides]
    types = {column.type for column in found if isinstance(column, Column)}
    if None in found or len(types) != 1:
        raise UnsupportedQueryError(
            f"JOIN … ON {pair[0]} = {pair[1]} does not equate two columns of one type: leave it "
            "out, and compare in WHERE"
        )


def _unit_named(contract: DataContract) -> tuple[str, str, int]:
    return contract.unit.kind, contract.subjects, len(contract.unit.columns)


def _words(unit: tuple[str, str, int]) -> str:
    kind, subjects, columns = unit
    several = f" of {columns} columns" if columns > 1 else ""
    return f"one {kind}{several} among {subjects}"


def _equalities(pairs: list[tuple[str, str]]) -> str:
    return " and ".join(f"{first} = {second}" for first, second in pairs)


def _fit_names(top: Source, contracts: Mapping[str, DataContract]) -> None:
    leaves = scans(top)
    if len(leaves) > MAX_SCANS:
        raise UnsupportedQueryError(
            f"the query reads {len(leaves)} tables and one answer joins {MAX_SCANS}: ask for less"
        )
    if tuple(leaf.name for leaf in leaves) != names_of(tuple(leaf.contract for leaf in leaves)):
        raise UnsupportedQueryError(
            "the plan calls its tables by other names than their contracts': write the query anew"
        )
    every = [
        leaf.column(column.name) for leaf in leaves for column in contracts[leaf.contract].columns
    ]
    windows = [item.name for item in sources(top) if isinstance(item, Window)]
    if len(set(every + windows)) != len(every) + len(windows):
        raise UnsupportedQueryError(
            "two columns of the joined tables have one name: join other tables, or rename a "
            "contract's column"
        )


def _fit_windows(windows: tuple[Window, ...], contracts: Contracts) -> None:
    if len(windows) > MAX_WINDOWS:
        raise UnsupportedQueryError(
            f"the query has {len(windows)} windows and may have {MAX_WINDOWS}: ask for fewer"
        )
    for place, window in enumerate(windows, start=1):
        if window.name != WINDOW.format(place) or not _is_sound(window):
            raise UnsupportedQueryError("the plan's windows are malformed: write the query anew")
        scope_of_source(window, contracts)
        known = scope_of_source(window.child, contracts)
        ordered = tuple(item.expression for item in window.order)
        for expression in (*window.partition, *ordered):
            kind_of(expression, known)


def _is_sound(window: Window) -> bool:
    function = window.function
    argued = window.argument is not None
    if (function in ARGUED and not argued) or (function == "row_number" and argued):
        return False
    if function in ORDERED and (not window.order or window.frame is not None):
        return False
    if window.frame is not None and not (0 <= window.frame < MAX_FRAME and window.order):
        return False
    return 1 <= window.offset <= MAX_FRAME if function in {"lag", "lead"} else window.offset == 0
