"""Questions, their plans and answers."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from federation import (
    tasks,
)
from federation.errors import FederationError
from federation.queries import answers, tree
from federation.queries import parse as queries
from secure_compute import canonical
from tests.parsers.making import Parser, a_federation, a_query, of_mapping, of_text, of_value
from tests.queries_cases import CASES
from tests.queries_table import contract as query_contract


def parsers() -> Iterator[Parser]:
    of = "federation.queries"
    offered = {"orders": query_contract()}
    yield Parser(
        (f"{of}.parse.parse",),
        of_text(lambda sql: queries.parse(sql, offered, a_federation().roster.members)),
        lambda: [sql.encode() for sql in _statements()],
        text=True,
    )
    inside = (f"{of}.expressions.from_json", f"{of}.sources.read_source")
    yield Parser((f"{of}.tree.from_json", *inside), of_value(tree.from_json), _plans)
    yield Parser(("federation.tasks.read_plan",), of_mapping(tasks.read_plan), _plans)
    yield Parser(
        ("federation.tasks.QueryTask.from_json",),
        of_mapping(tasks.QueryTask.from_json),
        lambda: [canonical.encode(a_query().parameters)],
    )
    answer = answers.Answer(
        keys=("category",),
        labels=("n",),
        units=("",),
        rows=(answers.Row(("home",), (_cell(),)),),
        contributors=3,
    )
    yield Parser(
        (f"{of}.answers.read_answer",),
        lambda data: answers.read_answer(loose(data)),
        lambda: [json.dumps(answer.to_json()).encode()],
    )


def loose(data: bytes) -> Any:
    """Read JSON as any library does: numbers that are none, keys that stand twice."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as why:
        raise FederationError("no JSON") from why


def _cell() -> answers.Cell:
    return answers.Cell("1", "0", "2", "")


def _statements() -> list[str]:
    return [*_NESTED, *(_statement(*clauses) for clauses in CASES)]


_NESTED: Final = (
    (
        "WITH firsts AS (SELECT *, ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY day) AS n"
        " FROM orders) SELECT category, COUNT(*) FROM firsts WHERE n <= 2 GROUP BY category"
    ),
    "SELECT COUNT(*) AS n FROM orders GROUP BY category HAVING n > 3",
)


def _statement(select: str, where: str, group: str) -> str:
    keys = f"{group}, " if group else ""
    only = f" WHERE {where}" if where else ""
    return f"SELECT {keys}{select} FROM orders{only}" + (f" GROUP BY {group}" if group else "")


@cache
def _plans() -> list[bytes]:
    offered = {"orders": query_contract()}
    made = (queries.parse(sql, offered, _cohort()) for sql in _statements()[:40])
    return [canonical.encode(tree.to_json(plan)) for plan in made]


def _cohort() -> Any:
    return a_federation().roster.members
