"""The data contract: what a table promises, how much of it one unit may contribute, and its limit.

A contract is a TOML file that the node's operator writes and signs for; code reads it once, here,
and refuses what it does not know. Prices, explanations and refusals are functions of the contract,
never of the rows.
"""

import datetime
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, TypeAlias, cast, get_args

from policies.errors import MalformedContractError
from policies.parties import Grade
from policies.toml_fields import among, finite, table, texts

ColumnType: TypeAlias = Literal["float", "integer", "string", "boolean", "date", "timestamp"]
UnitKind: TypeAlias = Literal["customer", "order", "commercial"]
Identifier: TypeAlias = Literal["email", "e164", "pan_token"]

MAX_CAP: Final = 1 << 24
COMMERCIAL_LABEL: Final = "commercial confidentiality"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its type, public bounds or domain, and how sensitive it is.

    low, high: every value is clipped into [low, high] before it counts; None for no bound.
    domain:    the public list of values of a string or integer column; None where it is open.
    optional:  True where a role may lack the column.
    holds:     what this party's own rows may hold of it, where that is less than the contract
               allows: values of the domain, or for a column without one the two ends. It is public,
               and says which cells a party can be alone in.
    """

    name: str
    type: ColumnType
    grade: Grade
    low: Decimal | None = None
    high: Decimal | None = None
    unit: str | None = None
    domain: tuple[str, ...] | None = None
    optional: bool = False
    holds: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self._require_holds()
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

    def _require_holds(self) -> None:
        if self.holds is None:
            return
        if self.domain is not None:
            if not self.holds or not set(self.holds) <= set(self.domain):
                raise MalformedContractError(
                    f"column {self.name}: holds lists values of its domain"
                )
            return
        if self.type in {"string", "boolean"} or len(self.holds) != 2:
            raise MalformedContractError(
                f"column {self.name}: holds lists the two ends of a number or date, or values of a "
                "domain"
            )
        try:
            low, high = (_ordered(self.type, end) for end in self.holds)
        except ValueError as why:
            raise MalformedContractError(f"column {self.name}: holds is no {self.type}") from why
        if low > high:
            raise MalformedContractError(f"column {self.name}: holds ends before it begins")


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
    """The most that may ever be spent on the subjects of one window.

    delta:    the purse at which ε is read; no event draws from it.
    failures: the other purse of δ: the sum of what every event may leak outright by its own δ.
    """

    epsilon: Decimal
    delta: Decimal
    window: str
    failures: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if not (self.failures.is_finite() and 0 <= self.failures < 1):
            raise MalformedContractError("a limit has failures of 0 or more and below 1")
        if not (self.epsilon.is_finite() and self.epsilon > 0 and 0 < self.delta < 1):
            raise MalformedContractError("a limit has epsilon above 0 and delta between 0 and 1")
        if not (self.window and self.window.isprintable()):
            raise MalformedContractError("a limit names its window in printable text")


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherUnit:
    """Another unit whose privacy every run over the table spends.

    touches: most main units whose rows one of it can change.
    whole:   True where it comes and goes with whole main units; False where it changes their rows.
    """

    kind: UnitKind
    columns: tuple[str, ...]
    subjects: str
    limit: Limit
    touches: int = 1
    whole: bool = False

    def __post_init__(self) -> None:
        if not self.columns or self.touches < 1:
            raise MalformedContractError("[[also]] names its columns and touches at least one unit")
        if not (self.subjects and self.subjects.isprintable()):
            raise MalformedContractError("[[also]] names its subjects in printable text")

    @property
    def group(self) -> int:
        """How many main units, added or removed one by one, lead from with it to without it.

        A main unit that only changes is removed and added again: two steps.
        """
        return self.touches if self.whole else 2 * self.touches


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRule:
    """What should hold of every row, as a condition in SQL over the contract's columns.

    How many rows break it is said to the party itself and to nobody else: no answer depends on it.
    """

    name: str
    holds: str

    def __post_init__(self) -> None:
        if not all(text and text.isprintable() for text in (self.name, self.holds)):
            raise MalformedContractError("[[rules]] have a printable name and a condition")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """By which columns, and how far, people of the table may be matched with another party's.

    cap:     most identifiers that one set may hold: this party's, and the one it is matched with.
    most:    most identifiers of one person.
    columns: column → which kind of identifier it holds.
    """

    cap: int
    most: int
    columns: Mapping[str, Identifier]

    def __post_init__(self) -> None:
        if not 1 <= self.cap <= MAX_CAP or not 1 <= self.most <= self.cap:
            raise MalformedContractError(
                f"[match] has a cap of 1 to {MAX_CAP} and a most from 1 to the cap"
            )
        if not self.columns:
            raise MalformedContractError("[match] names at least one column of identifiers")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataContract:
    """What one table promises.

    table:    file name under the node's data folder.
    subjects: the group of people or firms the rows are about; contracts over the same subjects
              share one account.
    key:      the columns that name a row; empty for all of them.
    persons:  declared upper bound on the people in the table; None where nothing is declared.
    also:     further units that every run pays in, beside `unit`.
    rules:    what should hold of every row; the party is told how many rows break it.
    match:    how people may be matched across parties; None where they may not.
    """

    name: str
    version: int
    table: str
    subjects: str
    unit: UnitOfPrivacy
    limit: Limit
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    persons: int | None = None
    also: tuple[FurtherUnit, ...] = ()
    rules: tuple[QualityRule, ...] = ()
    match: Matching | None = None

    def __post_init__(self) -> None:
        if not all(text and text.isprintable() for text in (self.name, self.subjects)):
            raise MalformedContractError("a contract has a printable name and subjects")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise MalformedContractError(f"contract {self.name}: a column stands twice")
        for columns in (self.unit.columns, *(unit.columns for unit in self.also)):
            self._require_columns(columns, "unit")
        self._require_columns(self.key, "key")
        if len({rule.name for rule in self.rules}) < len(self.rules):
            raise MalformedContractError(f"contract {self.name}: a rule stands twice")
        self._require_identifiers()
        if self.persons is not None and self.persons < 1:
            raise MalformedContractError(f"contract {self.name}: persons is at least 1")
        pairs = [(unit.subjects, unit.kind) for unit in self.also]
        if len({(self.subjects, self.unit.kind), *pairs}) < len(pairs) + 1:
            raise MalformedContractError(f"contract {self.name}: a unit stands twice")
        if not self.table or "/" in self.table or "\\" in self.table or self.table.startswith("."):
            raise MalformedContractError(f"contract {self.name}: table is a plain file name")

    def _require_columns(self, wanted: Iterable[str], what: str) -> None:
        known = {column.name: column for column in self.columns}
        for name in wanted:
            if name not in known:
                raise MalformedContractError(f"contract {self.name}: no {what} column {name}")
            if known[name].optional:
                raise MalformedContractError(
                    f"contract {self.name}: a {what} column is never optional"
                )

    def _require_identifiers(self) -> None:
        for name in self.match.columns if self.match else ():
            if self.column(name).type != "string":
                raise MalformedContractError(
                    f"contract {self.name}: identifiers stand in columns of type string, and "
                    f"{name} is {self.column(name).type}"
                )

    @property
    def row_key(self) -> tuple[str, ...]:
        """The columns that together name one row."""
        return self.key or tuple(column.name for column in self.columns)

    @property
    def opens_fresh_windows(self) -> bool:
        """Whether rows can be told to be new, so that a new window has an account of its own.

        Without a key a row is all of its values, and one that was corrected looks like a new one.
        """
        return bool(self.key)

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


def _ordered(kind: ColumnType, text: str) -> float:
    """Return where a number or a date lies, as `holds` spells it.

    Raises:
        ValueError: it is no such value.
    """
    if kind in {"date", "timestamp"}:
        return float(datetime.date.fromisoformat(text).toordinal())
    return float(finite(text, "holds"))


def load_contract(text: str) -> DataContract:
    """Read a contract's TOML; every key must be known.

    Raises:
        MalformedContractError: it says too little, too much, or something impossible.
    """
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as why:  # numbers and nesting beyond Python's own limits
        raise MalformedContractError(f"the contract is not TOML: {why}") from why
    top = table(raw, "the contract", {**_TOP, **_TOP_MORE}, needed=_TOP.keys())
    unit = table(top["unit"], "[unit]", {"kind": str, "columns": list, "rows": int})
    return DataContract(
        name=top["name"],
        version=top["version"],
        table=top["table"],
        subjects=top["subjects"],
        unit=UnitOfPrivacy(
            kind=_kind(unit["kind"], "unit kind"),
            columns=texts(unit["columns"], "[unit] columns"),
            rows=unit["rows"],
        ),
        limit=_limit(top["limit"], "[limit]"),
        columns=tuple(_column(item) for item in top["columns"]),
        key=texts(top.get("key", []), "key"),
        persons=top.get("persons"),
        also=tuple(_further(item) for item in top.get("also", [])),
        rules=tuple(_rule(item) for item in top.get("rules", [])),
        match=_matching(top["match"]) if "match" in top else None,
    )


_TOP: Final[Mapping[str, type]] = {
    "name": str,
    "version": int,
    "table": str,
    "subjects": str,
    "unit": dict,
    "limit": dict,
    "columns": list,
}
_TOP_MORE: Final[Mapping[str, type]] = {
    "key": list,
    "persons": int,
    "also": list,
    "rules": list,
    "match": dict,
}
_LIMIT: Final[Mapping[str, type]] = {"epsilon": str, "delta": str, "window": str}
_ALSO: Final[Mapping[str, type]] = {"kind": str, "columns": list, "subjects": str, "limit": dict}


def _kind(raw: str, what: str) -> UnitKind:
    return cast("UnitKind", among(raw, get_args(UnitKind), what))


def _limit(raw: object, where: str) -> Limit:
    limit = table(raw, where, {**_LIMIT, "failures": str}, needed=_LIMIT.keys())
    return Limit(
        epsilon=finite(limit["epsilon"], "epsilon"),
        delta=finite(limit["delta"], "delta"),
        window=limit["window"],
        failures=finite(limit.get("failures", "0"), "failures"),
    )


def _matching(raw: object) -> Matching:
    found = table(raw, "[match]", {"cap": int, "most": int, "columns": dict})
    names = {str(name): str for name in found["columns"]}
    columns = table(found["columns"], "[match.columns]", names)
    kinds = get_args(Identifier)
    return Matching(
        cap=found["cap"],
        most=found["most"],
        columns={name: cast("Identifier", among(k, kinds, name)) for name, k in columns.items()},
    )


def _further(raw: object) -> FurtherUnit:
    kinds = {**_ALSO, "touches": int, "whole": bool}
    also = table(raw, "[[also]]", kinds, needed=_ALSO.keys())
    return FurtherUnit(
        kind=_kind(also["kind"], "[[also]] kind"),
        columns=texts(also["columns"], "[[also]] columns"),
        subjects=also["subjects"],
        limit=_limit(also["limit"], "[also.limit]"),
        touches=also.get("touches", 1),
        whole=also.get("whole", False),
    )


def _rule(raw: object) -> QualityRule:
    rule = table(raw, "[[rules]]", {"name": str, "holds": str})
    return QualityRule(name=rule["name"], holds=rule["holds"])


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
        "holds": list,
    }
    column = table(raw, "[[columns]]", kinds, needed={"name", "type", "grade"})
    name = column["name"]
    return Column(
        name=name,
        type=cast("ColumnType", among(column["type"], get_args(ColumnType), f"type of {name}")),
        grade=Grade(among(column["grade"], tuple(Grade), f"grade of {name}")),
        low=finite(column["low"], f"low of {name}") if "low" in column else None,
        high=finite(column["high"], f"high of {name}") if "high" in column else None,
        unit=column.get("unit"),
        domain=texts(column["domain"], f"domain of {name}") if "domain" in column else None,
        optional=column.get("optional", False),
        holds=texts(column["holds"], f"holds of {name}") if "holds" in column else None,
    )
