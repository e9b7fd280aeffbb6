"""What the columns of a source look like: its rows are read here, at the node, and go nowhere.

A profile holds values of rows. It lives as long as a draft is made and is never written down.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clients.drafts.meaning import is_missing
from clients.queries.relations import quoted
from clients.sources.shaping import Looking, Raw

MOST: Final = 2000
"""Different values of a column that are looked at one by one: all of them, or those of a draw."""
NUMBERS: Final = ("INT", "DECIMAL", "DOUBLE", "FLOAT", "REAL", "NUMERIC", "YEAR")


@dataclass(frozen=True, slots=True)
class Seen:
    """One column.

    type:     as the source names it
    missing:  rows that have no value
    distinct: how many different values there are
    values:   value as text → rows that have it: all of them where there are `MOST` or fewer, else a
              draw that depends on the values alone, with the least and the greatest number
    """

    name: str
    type: str
    rows: int
    missing: int
    distinct: int
    values: Mapping[str, int] = field(repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether every value is among `values`."""
        return self.distinct <= MOST

    @property
    def is_number(self) -> bool:
        """Whether the source itself says that they are numbers."""
        return any(word in self.type.upper() for word in NUMBERS) and "INTERVAL" not in self.type


@dataclass(frozen=True, slots=True)
class Profile:
    """All columns of one source, by their names, in the source's order."""

    spoken: str
    rows: int
    columns: Mapping[str, Seen]


def profile(raw: Raw, work: Path, types: Mapping[str, str] | None = None) -> Profile:
    """Look at every column of `raw`.

    work:  a folder for this alone.
    types: what a database calls the columns, where the file that holds its rows says less.

    Raises:
        SourceError: the rows cannot be read.
    """
    with closing(Looking(raw, work)) as found:
        kinds = dict(found.types()) | dict(types or {})
        (rows,) = found.one("count(*)")
        seen = {name: _seen(found, name, kinds[name], rows) for name in raw.columns}
    return Profile(raw.spoken, rows, seen)


def _seen(found: Looking, name: str, kind: str, rows: int) -> Seen:
    text = f"CAST({quoted(name)} AS VARCHAR)"
    (distinct,) = found.one(f"count(DISTINCT {text})")
    counts = list(found.each(text, "md5(v)", MOST))
    if distinct > MOST:
        number = "TRY_CAST(v AS DOUBLE)"
        for order in (f"{number} NULLS LAST", f"{number} DESC NULLS LAST"):
            counts += found.each(text, order, 1)
    values = {value: count for value, count in counts if not is_missing(value)}
    told = sum(count for value, count in dict(counts).items() if is_missing(value))
    (empty,) = found.one(f"count(*) - count({text})")
    return Seen(name, kind, rows, empty + told, distinct, dict(sorted(values.items())))
