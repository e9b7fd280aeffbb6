"""The statements of a plan over a prepared copy, whose rows are read as promised already.

Nothing here decides which rows of a unit stay: one statement says which rows count, the other sums
those that are left. The sums are `compile`'s to the last bit. What is spared is what cannot change
them: a key that is a column with its whole domain needs no list of values, what cannot lie outside
its bounds is not clipped, and whole numbers whose sums stay below 2^53 are added as doubles, which
is exact in every order.
"""

from decimal import Decimal
from typing import Final

from clients.queries.compile import Compiler, Statement
from clients.queries.relations import Table, in_steps
from federation.queries.expressions import Call, Column, Expression, Literal
from federation.queries.sensitivity import measures
from federation.queries.sources import Filter, Scan, sources
from federation.queries.tree import Key, Plan, Value, scan
from policies.contracts import Column as Declared
from policies.contracts import DataContract

EXACT: Final = 1 << 53
"""Below it doubles hold every whole number, and sums of such numbers are exact."""


def is_plain(plan: Plan, contract: DataContract) -> bool:
    """Whether a plan only chooses among the rows of one table and bounds them as `contract` does.

    Then a unit that has few enough rows in the table has few enough in the answer.
    """
    leaf, bound = scan(plan), plan.child.child
    own = tuple(leaf.column(name) for name in contract.unit.columns)
    only_chooses = all(isinstance(one, Scan | Filter) for one in sources(bound.child))
    return only_chooses and (bound.unit, bound.rows) == (own, contract.unit.rows)


class PreparedCompiler(Compiler):
    """Spells one statement of a plan for which `is_plain`; rows: most rows that the copy has."""

    def __init__(self, plan: Plan, contract: DataContract, table: Table, rows: int) -> None:
        super().__init__(plan, {contract.name: contract}, {contract.name: table})
        self._leaf, self._contract = scan(plan), contract
        summed = {v for m in measures(plan) if m.kind == "total" for v in m.values}
        other = {v for m in measures(plan) if m.kind != "total" for v in m.values}
        self._doubles = {v for v in summed - other if v.reach * rows < EXACT}

    def counting(self, chosen: str) -> Statement:
        """Return `chosen` of the rows that count; u0 is a row's unit and position its place."""
        return self._over(chosen, "")

    def summing(self) -> Statement:
        """Return the sums over all rows that count."""
        return self._over(", ".join([*self._keys, self._measured()]), self._group())

    def _over(self, chosen: str, group: str) -> Statement:
        text = f"WITH {self._known()} SELECT {chosen} FROM known{group}"  # noqa: S608  no names
        return Statement(text, {**self._scalars.parameters})

    def _conditions(self) -> list[str]:
        return list(map(self._domain, self._plan.child.keys, self._keys))  # every row has a unit

    def _domain(self, key: Key, as_: str) -> str:
        if isinstance(key.expression, Column):
            column = self._declared(key.expression)
            if column is not None and column.type == "string" and column.domain == key.domain:
                return f"{as_} IS NOT NULL"
        return super()._domain(key, as_)

    def _held(self, value: Value) -> str:
        if value not in self._doubles:
            return super()._held(value)
        text = in_steps(self._scalars.text(value.expression), value.step)
        if self._fits(value):
            return text
        low, high = (f"CAST({end} AS DOUBLE)" for end in (value.low, value.high))
        return (
            f"CASE WHEN {text} > {high} THEN {high} WHEN {text} < {low} THEN {low} ELSE {text} END"
        )

    def _fits(self, value: Value) -> bool:
        """Whether no value can be rounded to a step outside its bounds: scaling keeps the order."""
        ends = self._ends(value.expression)
        if ends is None:
            return False
        size = Decimal(value.step)
        low, high = (x * int(1 / size) if size < 1 else x / int(size) for x in ends)
        return value.low - 0.25 <= low and high <= value.high + 0.25

    def _ends(self, expression: Expression) -> tuple[float, float] | None:
        """Return between which doubles a number lies that is one of those it is made of."""
        match expression:
            case Column():
                column = self._declared(expression)
                if column is None or column.low is None or column.high is None:
                    return None
                return float(column.low), float(column.high)
            case Literal("number", text):
                return float(text), float(text)
            case Call("least" | "greatest" as name, arguments):
                parts = [ends for ends in map(self._ends, arguments) if ends is not None]
                if len(parts) < len(arguments):
                    return None
                pick = min if name == "least" else max
                return pick(low for low, _ in parts), pick(high for _, high in parts)
        return None

    def _declared(self, named: Column) -> Declared | None:
        every = self._contract.columns
        return next((c for c in every if self._leaf.column(c.name) == named.name), None)
