"""Whether a table has what its contract promises, seen from its schema alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from policies.contracts import Column, ColumnType, DataContract
from policies.errors import NonConformantError
from policies.evidence import Minted


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
