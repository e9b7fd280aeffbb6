"""A text to one SELECT, and the clauses that no SELECT may have."""

import contextlib
import io
import logging
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from federation.errors import UnsupportedQueryError
from federation.queries.clauses import CLAUSES, MAX_TEXT

MAX_RELATIONS: Final = 8
"""How deeply relations may stand in relations."""

INSTEAD: Final = {
    **CLAUSES,
    "distinct": ("DISTINCT", "use GROUP BY over a key with a public domain"),
}


def item_of(node: exp.Expr) -> tuple[str, exp.Expr]:
    """Return what an item of SELECT is called, and the item."""
    return (node.alias, node.this) if isinstance(node, exp.Alias) else ("", node)


def select_of(sql: str) -> exp.Select:
    """Return the one SELECT that a text is.

    Raises:
        UnsupportedQueryError: it is another text.
    """
    if len(sql) > MAX_TEXT:
        raise UnsupportedQueryError(f"the query is longer than {MAX_TEXT} characters: shorten it")
    statements = _statements(sql)
    if len(statements) != 1:
        raise UnsupportedQueryError("give exactly one statement: one SELECT ... FROM a contract")
    return plain(statements[0], "the query")


def plain(node: exp.Expr, what: str) -> exp.Select:
    """Return a SELECT whose clauses are all read.

    Raises:
        UnsupportedQueryError: it is none, or has another clause; the sentence names it.
    """
    if isinstance(node, exp.SetOperation):
        raise UnsupportedQueryError(
            "UNION, INTERSECT and EXCEPT are not supported: ask one query after the other"
        )
    if not isinstance(node, exp.Select):
        raise UnsupportedQueryError(
            f"only a query can be asked, and {what} is none: begin with SELECT key, COUNT(*)"
        )
    read = {"expressions", "from_", "where", "group", "having", "with_", "joins"}
    for name, value in node.args.items():
        if value and name not in read:
            clause, instead = INSTEAD.get(name, (name.strip("_").upper(), "leave it out"))
            raise UnsupportedQueryError(f"{clause} is not supported: {instead}")
    return node


def _statements(sql: str) -> list[exp.Expr]:
    # sqlglot logs a warning about statements it only half understands; they are refused below.
    logger = logging.getLogger("sqlglot")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            parsed = sqlglot.parse(sql, read="duckdb")
    except (SqlglotError, RecursionError) as why:
        raise UnsupportedQueryError(
            "the text is not SQL that could be read: write SELECT ... FROM contract "
            "[WHERE ...] [GROUP BY ...] [HAVING ...]"
        ) from why
    finally:
        logger.setLevel(level)
    return [statement for statement in parsed if isinstance(statement, exp.Expr)]
