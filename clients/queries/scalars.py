"""DuckDB's spelling of total expressions: no text here can raise, whatever a row holds.

Numbers are doubles, and finite: what might overflow is checked and becomes NULL, and so does a
division by zero. Constants travel as parameters. LEAST and GREATEST are NULL where a part is NULL,
as in standard SQL; DuckDB's own would skip it.
"""

from collections.abc import Callable, Mapping
from typing import Final

from federation.queries.expressions import Call, Column, Expression, Literal
from federation.queries.scope import Scope, kind_of, overflows

CASTS: Final = {
    "number": "DOUBLE",
    "text": "VARCHAR",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
INFIX: Final = {
    "eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "and": "AND", "or": "OR", "add": "+", "subtract": "-", "multiply": "*",
}  # fmt: skip
PLAIN: Final[Mapping[str, str]] = {
    "negate": "(-{0})",
    "abs": "abs({0})",
    "floor": "floor({0})",
    "ceil": "ceil({0})",
    "round": "round({0})",
    "to_whole": "TRY_CAST(TRY_CAST({0} AS BIGINT) AS DOUBLE)",
    "not": "(NOT {0})",
    "is_null": "({0} IS NULL)",
    "lower": "lower({0})",
    "starts_with": "starts_with({0}, {1})",
    "weekday": "CAST(dayofweek({0}) AS DOUBLE)",
    **{
        name: f"CAST({name}({{0}}) AS DOUBLE)"
        for name in ("year", "quarter", "month", "day", "hour")
    },
    **{
        f"trunc_{unit}": f"CAST(date_trunc('{unit}', {{0}}) AS DATE)"
        for unit in ("day", "week", "month", "quarter", "year")
    },
    **{
        f"diff_{unit}": (
            f"CAST(date_diff('{unit}', CAST({{0}} AS DATE), CAST({{1}} AS DATE)) AS DOUBLE)"
        )
        for unit in ("day", "month", "year")
    },
}


class Scalars:
    """Spells expressions over the columns `c0, c1, …` and keeps the constants they name.

    parameters: where they are kept, if one statement holds several of these.
    """

    def __init__(
        self, scope: Scope, places: Mapping[str, str], parameters: dict[str, str] | None = None
    ) -> None:
        self._scope = scope
        self._places = places
        self.parameters: dict[str, str] = {} if parameters is None else parameters

    def text(self, expression: Expression) -> str:
        """Return DuckDB's text of an expression."""
        match expression:
            case Column(name):
                return self._places[name]
            case Literal(kind, text):
                return self.constant(text, CASTS[kind])
            case Call(name, arguments):
                parts = [self.text(part) for part in arguments]
                return self._call(expression, name, parts)

    def constant(self, text: str, kind: str) -> str:
        """Return a parameter of that type, and keep its value."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = text
        return f"CAST(${name} AS {kind})"

    def _call(self, call: Call, name: str, parts: list[str]) -> str:
        if name in PLAIN:
            return PLAIN[name].format(*parts)
        if name in INFIX:
            joined = "(" + f" {INFIX[name]} ".join(parts) + ")"
            return self._checked(call, joined) if name in _ARITHMETIC else joined
        if name == "divide":
            return self._checked(call, _divided(*parts))
        return SPELLED[name](parts)

    def _checked(self, call: Call, text: str) -> str:
        return _finite(text) if overflows(kind_of(call, self._scope)) else text


_ARITHMETIC: Final = frozenset({"add", "subtract", "multiply"})


def finite_years(text: str) -> str:
    """Return NULL for a day outside the years 1 to 9999, and else the day."""
    return f"CASE WHEN year({text}) BETWEEN 1 AND 9999 THEN {text} END"


def _finite(text: str) -> str:
    return f"(CASE WHEN isfinite({text}) THEN {text} END)"


def _divided(x: str, y: str) -> str:
    return f"(CASE WHEN {y} <> 0 THEN {x} / {y} END)"


def _case(parts: list[str]) -> str:
    pairs = zip(parts[::2], parts[1::2], strict=False)
    whens = " ".join(f"WHEN {condition} THEN {result}" for condition, result in pairs)
    other = f" ELSE {parts[-1]}" if len(parts) % 2 else ""
    return f"(CASE {whens}{other} END)"


def _extreme(name: str) -> Callable[[list[str]], str]:
    def spelled(parts: list[str]) -> str:
        present = " AND ".join(f"{part} IS NOT NULL" for part in parts)
        return f"(CASE WHEN {present} THEN {name}({', '.join(parts)}) END)"

    return spelled


SPELLED: Final[Mapping[str, Callable[[list[str]], str]]] = {
    "in": lambda parts: f"({parts[0]} IN ({', '.join(parts[1:])}))",
    "case": _case,
    "coalesce": lambda parts: f"coalesce({', '.join(parts)})",
    "least": _extreme("least"),
    "greatest": _extreme("greatest"),
    "to_number": lambda parts: _finite(f"TRY_CAST({parts[0]} AS DOUBLE)"),
    "to_date": lambda parts: f"({finite_years(f'TRY_CAST({parts[0]} AS DATE)')})",
}
