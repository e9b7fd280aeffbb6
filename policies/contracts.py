"""The data contract: what a table promises, how much of it one unit may contribute, and its limit.

A contract is a TOML file that the node's operator writes and signs for; code reads it once, here,
and refuses what it does not know. Prices, explanations and refusals are functions of the contract,
never of the rows.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from policies.errors import MalformedContractError, NonConformantError
from policies.evidence import Minted
from policies.parties import Grade

ColumnType: TypeAlias = Literal["float", "integer", "string", "boolean", "date", "timestamp"]
UnitKind: TypeAlias = Literal["customer", "order", "commercial"]

COMMERCIAL_LABEL: Final = "commercial confidentiality"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its type, public bounds or domain, and how sensitive it is.

    low, high: every value is clipped into [low, high] before it counts; None for no bound.
    domain:    the public list of values of a string or integer column; None where it is open.
    optional:  True where a role may lack the column.
    """

    name: str
    type: ColumnType
    grade: Grade
    low: Decimal | None = None
    high: Decimal | None = None
    unit: str | None = None
    domain: tuple[str, ...] | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise MalformedContractError(f"column {self.name}: write both low and high, or neither")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise MalformedContractError(f"column {self.name}: low is not below high")
        if self.low is not None and self.type not in {"float", "integer"}:
            raise MalformedContractError(f"column {self.name}: only numbers have bounds")
        if self.domain is not None and (
            not self.domain or len(set(self.domain)) < len(self.domain)
        ):
            raise MalformedContractError(f"column {self.name}: a domain lists distinct values")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOfPrivacy:
    """Whose presence is hidden: all rows that share a value of `columns`.

    rows: the contribution bound K, most rows that one unit may contribute.
    """

    kind: UnitKind
    columns: tuple[str, ...]
    rows: int

    def __post_init__(self) -> None:
        if not self.columns or self.rows < 1:
            raise MalformedContractError("a unit of privacy names its columns and at least one row")

    @property
    def label(self) -> str:
        """What a report calls this unit; a commercial unit is never called personal data."""
        return COMMERCIAL_LABEL if self.kind == "commercial" else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The most that may ever be spent on the subjects of one window."""

    epsilon: Decimal
    delta: Decimal
    window: str

    def __post_init__(self) -> None:
        if not (self.epsilon.is_finite() and self.epsilon > 0 and 0 < self.delta < 1):
            raise MalformedContractError("a limit has epsilon above 0 and delta between 0 and 1")
        if not (self.window and self.window.isprintable()):
            raise MalformedContractError("a limit names its window in printable text")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataContract:
    """What one table promises.

    table:    file name under the node's data folder.
    subjects: the group of people or firms the rows are about; contracts over the same subjects
              share one account.
    """

    name: str
    version: int
    table: str
    subjects: str
    unit: UnitOfPrivacy
    limit: Limit
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if not all(text and text.isprintable() for text in (self.name, self.subjects)):
            raise MalformedContractError("a contract has a printable name and subjects")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise MalformedContractError(f"contract {self.name}: a column stands twice")
        absent = [name for name in self.unit.columns if name not in names]
        if absent:
            raise MalformedContractError(f"contract {self.name}: no unit column {absent[0]}")
        if any(self.column(name).optional for name in self.unit.columns):
            raise MalformedContractError(f"contract {self.name}: a unit column is never optional")
        if not self.table or "/" in self.table or "\\" in self.table or self.table.startswith("."):
            raise MalformedContractError(f"contract {self.name}: table is a plain file name")

    def column(self, name: str) -> Column:
        """Return the column of that name.

        Raises:
            MalformedContractError: the contract has none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise MalformedContractError(f"contract {self.name} has no column {name}")

    def grades(self, names: Iterable[str]) -> frozenset[Grade]:
        """Return the grades of the named columns.

        Raises:
            MalformedContractError: the contract has no such column.
        """
        return frozenset(self.column(name).grade for name in names)


@dataclass(frozen=True, slots=True)
class Conformant(metaclass=Minted):
    """The table was held against its contract and has what the contract promises."""

    contract: DataContract
    present: frozenset[str]


_FAMILIES: Final[Mapping[str, ColumnType]] = {
    **dict.fromkeys(
        ("float", "double", "float64", "float32", "halffloat", "real", "decimal"), "float"
    ),
    **dict.fromkeys(("integer", "int", "bigint", "smallint", "tinyint", "hugeint"), "integer"),
    **dict.fromkeys(
        (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "integer"
    ),
    **dict.fromkeys(
        ("string", "large_string", "string_view", "varchar", "str", "object"), "string"
    ),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("date", "date32", "date64"), "date"),
    **dict.fromkeys(("timestamp", "datetime64", "datetime"), "timestamp"),
}


def conform(contract: DataContract, schema: Mapping[str, str], empty: bool) -> Conformant:
    """Hold a table's schema (column → type name, as Arrow, DuckDB or pandas say it) to `contract`.

    Raises:
        NonConformantError: a column is missing or of another type, or there are no rows.
    """
    for column in contract.columns:
        if column.name not in schema:
            if column.optional:
                continue
            raise NonConformantError(
                f"{contract.table} has no column {column.name}, which contract {contract.name} "
                f"promises; add it, or mark it optional in a new version of the contract"
            )
        _conform_type(contract, column, schema[column.name])
    if empty:
        raise NonConformantError(
            f"{contract.table} has no rows; put data into it before this node takes part"
        )
    present = frozenset(column.name for column in contract.columns if column.name in schema)
    return Conformant._mint(contract, present)  # noqa: SLF001  the home of this evidence


def _conform_type(contract: DataContract, column: Column, found: str) -> None:
    family = _family(found)
    # Every integer is a float; nothing else widens.
    if family != column.type and (family, column.type) != ("integer", "float"):
        raise NonConformantError(
            f"{contract.table}: column {column.name} is {found}, contract {contract.name} says "
            f"{column.type}; convert the column, or write a new version of the contract"
        )


def _family(found: str) -> ColumnType | None:
    plain = found.lower().strip()
    if plain.startswith("dictionary<values="):
        plain = plain.removeprefix("dictionary<values=").split(",")[0]
    for end in ("[", "(", " "):
        plain = plain.split(end)[0]
    return _FAMILIES.get(plain.removesuffix("128") if plain == "decimal128" else plain)


def load_contract(text: str) -> DataContract:
    """Read a contract's TOML; every key must be known.

    Raises:
        MalformedContractError: it says too little, too much, or something impossible.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as why:
        raise MalformedContractError(f"the contract is not TOML: {why}") from why
    top = _table(
        raw,
        "the contract",
        {
            "name": str,
            "version": int,
            "table": str,
            "subjects": str,
            "unit": dict,
            "limit": dict,
            "columns": list,
        },
    )
    unit = _table(top["unit"], "[unit]", {"kind": str, "columns": list, "rows": int})
    limit = _table(top["limit"], "[limit]", {"epsilon": str, "delta": str, "window": str})
    return DataContract(
        name=top["name"],
        version=top["version"],
        table=top["table"],
        subjects=top["subjects"],
        unit=UnitOfPrivacy(
            kind=cast("UnitKind", _among(unit["kind"], get_args(UnitKind), "unit kind")),
            columns=_texts(unit["columns"], "[unit] columns"),
            rows=unit["rows"],
        ),
        limit=Limit(
            epsilon=_decimal(limit["epsilon"], "epsilon"),
            delta=_decimal(limit["delta"], "delta"),
            window=limit["window"],
        ),
        columns=tuple(_column(item) for item in top["columns"]),
    )


def _column(raw: object) -> Column:
    kinds = {
        "name": str,
        "type": str,
        "grade": str,
        "low": str,
        "high": str,
        "unit": str,
        "domain": list,
        "optional": bool,
    }
    column = _table(raw, "[[columns]]", kinds, needed={"name", "type", "grade"})
    name = column["name"]
    return Column(
        name=name,
        type=cast("ColumnType", _among(column["type"], get_args(ColumnType), f"type of {name}")),
        grade=Grade(_among(column["grade"], tuple(Grade), f"grade of {name}")),
        low=_decimal(column["low"], f"low of {name}") if "low" in column else None,
        high=_decimal(column["high"], f"high of {name}") if "high" in column else None,
        unit=column.get("unit"),
        domain=_texts(column["domain"], f"domain of {name}") if "domain" in column else None,
        optional=column.get("optional", False),
    )


def _table(
    raw: object, where: str, kinds: Mapping[str, type], needed: set[str] | None = None
) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise MalformedContractError(f"{where} is not a table")
    for key, value in raw.items():
        if key not in kinds:
            raise MalformedContractError(f"{where}: unknown key {key!r}")
        if type(value) is not kinds[key]:
            raise MalformedContractError(f"{where}: {key} must be {_SPOKEN[kinds[key]]}")
    for key in sorted(kinds.keys() if needed is None else needed):
        if key not in raw:
            raise MalformedContractError(f"{where}: {key} is missing")
    return raw


_SPOKEN: Final[Mapping[type, str]] = {
    str: "text in quotes",
    int: "a whole number",
    list: "a list",
    dict: "a table",
    bool: "true or false",
}


def _among(value: str, known: Iterable[str], what: str) -> str:
    if value not in known:
        raise MalformedContractError(f"{what} is {value!r}; known: {', '.join(known)}")
    return value


def _texts(values: list[object], what: str) -> tuple[str, ...]:
    texts = tuple(value for value in values if isinstance(value, str))
    if len(texts) != len(values):
        raise MalformedContractError(f"{what} must be a list of texts")
    return texts


def _decimal(text: str, what: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as why:
        raise MalformedContractError(f"{what} is not a decimal number") from why
    if not number.is_finite():
        raise MalformedContractError(f"{what} is not a finite number")
    return number
