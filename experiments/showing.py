"""Answers and refusals of the federation as the values that terminal and report show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiments.outcome import Budget, Cell, Query, Reason, Row, Text, Unit
from experiments.statements import SHOWN_RUNS, NodeStatement
from federation.queries.answers import Answer
from federation.queries.answers import Cell as Answered
from federation.queries.readouts import COUNTED
from policies.engine import Reason as RuleReason


def query_of(sql: str, answer: Answer, exact: Sequence[Row], epsilon: float) -> Query:
    """Return the answer as shown; exact is in the order of its rows, by key and label."""
    return Query(
        sql=sql,
        rows=_rows(answer, "value", keys=True),
        error=_rows(answer, "error"),
        exact_for_demo=tuple(exact),
        epsilon=epsilon,
        low=_rows(answer, "low"),
        high=_rows(answer, "high"),
    )


def _rows(answer: Answer, part: str, *, keys: bool = False) -> tuple[Row, ...]:
    return tuple(
        {
            **(dict(zip(answer.keys, row.keys, strict=True)) if keys else {}),
            **{
                label: _number(cell, part, unit)
                for label, unit, cell in zip(answer.labels, answer.units, row.cells, strict=True)
            },
        }
        for row in answer.rows
    )


def _number(cell: Answered, part: str, unit: str) -> Cell:
    text = getattr(cell, part)
    if text is None:
        return None
    return int(text) if unit in COUNTED and "." not in text else float(text)


def budget_of(row: NodeStatement) -> Budget:
    """Return the account of a node as shown, with what it means for people."""
    kind = "commercial" if row.account.scope.unit == "commercial" else row.unit
    spent, limit = row.failures
    left = row.runs_left
    return Budget(
        node=row.node,
        dataset=row.dataset,
        unit=Unit.of_contract(kind),
        epsilon=row.epsilon,
        delta=row.delta,
        limit=row.limit,
        releases=row.releases,
        pending=row.pending,
        subjects=row.account.scope.subjects,
        window=row.account.scope.window,
        certificate=row.certificate(),
        lifetime=row.account.statement.lifetime,
        failures_spent=spent,
        failures_limit=limit,
        runs_left=None if left is None else min(left, SHOWN_RUNS),
        runs_more=left is not None and left > SHOWN_RUNS,
        plain=row.plain(),
        person=row.person(),
        course=row.course(),
    )


def reason_of(reason: RuleReason) -> Reason:
    """Return a rule's refusal as shown."""
    return Reason(reason.id, Text(reason.text_en, reason.text_zh), reason.law)


def fix_of(reasons: Sequence[RuleReason]) -> Text:
    """Return what would help, of all rules that refused, in both languages."""
    return Text(
        "; ".join(reason.fix_en for reason in reasons),
        "；".join(reason.fix_zh for reason in reasons),
    )


def columns_of(query: Query) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns of an answer in order: those that name a row, those that were noised."""
    noised = {name for row in query.error for name in row}
    names = tuple(query.rows[0]) if query.rows else ()
    return (
        tuple(name for name in names if name not in noised),
        tuple(name for name in names if name in noised),
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """One released number, its interval, and what it would be without noise; place: its row."""

    place: int
    value: float
    low: float
    high: float
    exact: float | None


def intervals(query: Query, column: str) -> Iterator[tuple[float, float, float, float | None]]:
    """Yield (value, low, high, exact) of one noised column, without the cells that say nothing."""
    for item in placed(query, column):
        yield item.value, item.low, item.high, item.exact


def placed(query: Query, column: str) -> Iterator[Shown]:
    """Yield the cells of one noised column that say something."""
    for place, row in enumerate(query.rows):
        value = _float(row.get(column))
        error = _float(query.error[place].get(column)) if place < len(query.error) else None
        if value is None or error is None:
            continue
        low = _float(query.low[place].get(column)) if query.low else value - error
        high = _float(query.high[place].get(column)) if query.high else value + error
        exact = query.exact_for_demo[place].get(column) if query.exact_for_demo else None
        if low is not None and high is not None:
            yield Shown(place, value, low, high, _float(exact))


def coverage(query: Query) -> tuple[int, int]:
    """Return how many exact values lie in their interval, and how many there are."""
    inside = [
        low <= exact <= high
        for column in columns_of(query)[1]
        for _, low, high, exact in intervals(query, column)
        if exact is not None
    ]
    return sum(inside), len(inside)


def _float(value: Cell) -> float | None:
    return float(value) if isinstance(value, int | float) else None
