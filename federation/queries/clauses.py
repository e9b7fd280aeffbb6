"""What a query may not say, by clause, and how a part of SQL is called in a refusal."""

from typing import Final

from sqlglot import exp

from federation.errors import UnsupportedQueryError

MAX_TEXT: Final = 10_000
"""Characters of a query."""

CLAUSES: Final = {
    "with_": ("WITH", "query the contract's table directly"),
    "distinct": ("DISTINCT", "use GROUP BY over a column with a public domain"),
    "joins": ("JOIN", "name one contract in FROM; tables of several contracts cannot be combined"),
    "laterals": ("LATERAL", "name one contract in FROM"),
    "having": ("HAVING", "filter the answer after it has arrived; that costs nothing"),
    "qualify": ("QUALIFY", "filter the answer after it has arrived; that costs nothing"),
    "windows": ("WINDOW", "use GROUP BY: an expression may read one unit's rows only"),
    "order": ("ORDER BY", "sort the answer after it has arrived; that costs nothing"),
    "limit": ("LIMIT", "cut the answer after it has arrived; that costs nothing"),
    "offset": ("OFFSET", "cut the answer after it has arrived; that costs nothing"),
    "sample": ("USING SAMPLE", "leave it out; the contract bounds each unit's rows already"),
    "into": ("INTO", "leave it out; the answer is returned"),
    "locks": ("FOR UPDATE", "leave it out; nothing is changed"),
    "pivots": ("PIVOT", "use GROUP BY"),
}
"""What a SELECT may not say: its name, and what to write instead."""

TITLES: Final[tuple[tuple[type[exp.Expr], str], ...]] = (
    (exp.Subquery, "a subquery"),
    (exp.Select, "a subquery"),
    (exp.Window, "a window function (OVER)"),
    (exp.Filter, "FILTER"),
    (exp.Star, "*"),
    (exp.Null, "NULL"),
)


def only(node: exp.Expr, allowed: set[str], clause: str) -> None:
    """Refuse any attribute of `node` that is set and not in `allowed`."""
    for name, value in node.args.items():
        if value and name not in allowed:
            raise UnsupportedQueryError(
                f"{clause} says {name.strip('_').upper()}, which is not supported: leave it out"
            )


def title_of(node: object) -> str:
    """Return how a part of SQL is called, without the values in it."""
    for kind, title in TITLES:
        if isinstance(node, kind):
            return title
    if isinstance(node, exp.Func):
        return f"{node.sql_name()}()"
    return type(node).__name__.upper()
