"""Makes a prepared copy of a table (`prepared`), in one folder and within so much memory.

Columns are read by the text that a question would read them by, once for all questions. A row
without a unit counts nowhere and is left out.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from clients.ingestion import stamp_of
from clients.queries.partial import lock, present
from clients.queries.prepared import FILES, MANIFEST, OWNER
from clients.queries.relations import Relations, Rows, Table, promised
from clients.queries.scalars import Scalars
from federation.queries.sources import Scan
from federation.whole_files import keep_file, sync
from policies.contracts import DataContract

MEMORY: Final = "1GiB"
"""What is more while a copy is made waits in its folder, and is gone before the copy is."""

_COUNTED: Final = """
    SELECT CAST(coalesce(sum(n) FILTER (NOT heavy), 0) AS BIGINT),
        CAST(coalesce(sum(n) FILTER (heavy), 0) AS BIGINT)
    FROM owners
"""
_PARQUET: Final = "(FORMAT parquet, COMPRESSION uncompressed)"


def prepare(contract: DataContract, table: Path, folder: Path) -> None:
    """Leave the copy of `table` in the empty `folder`, on disk and for this user alone.

    Raises:
        duckdb.Error: the table cannot be read, or the folder holds no more.
        OSError: the folder cannot be written to.
    """
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        connection.execute(f"SET memory_limit='{MEMORY}'")
        lock(connection, table, work=folder)
        read = _Read.of(contract, present(connection, table))
        values = {**read.constants, "data": str(table)}
        most = contract.unit.rows
        connection.execute(read.numbered(), {**values, "most": most})
        for name, (text, own) in zip(FILES, read.files(values), strict=True):
            where = {"made": str(folder / name)}
            connection.execute(f"COPY ({text}) TO $made {_PARQUET}", {**own, **where})
        light, heavy = connection.execute(_COUNTED).fetchone()
    shutil.rmtree(folder / "spill", ignore_errors=True)
    files = {name: _settled(folder / name) for name in FILES}
    said = {"light": light, "heavy": heavy, "files": files}
    keep_file(folder / MANIFEST, json.dumps(said).encode())


@dataclass(frozen=True, slots=True)
class _Read:
    """The relation of a table's rows as promised: its text, its names, its constants."""

    contract: DataContract
    text: str
    rows: Rows
    constants: dict[str, str]

    @classmethod
    def of(cls, contract: DataContract, there: frozenset[str]) -> "_Read":
        """Return how a file with such columns is read."""
        constants, unit = Scalars({}, {}), contract.unit.columns
        names = frozenset(column.name for column in contract.columns) - {*unit}
        one = {contract.name: Table(there)}
        relations = Relations({contract.name: contract}, one, names, constants)
        rows = relations.rows(Scan(contract.name, contract.version))
        return cls(contract, ", ".join(relations.parts), rows, constants.parameters)

    def numbered(self) -> str:
        """Return what makes `owners`: all units that have a row, the heavy ones first."""
        units = ", ".join(self.rows.units)
        there = " AND ".join(f"{unit} IS NOT NULL" for unit in self.rows.units)
        return f"""CREATE TABLE owners AS WITH {self.text}, counted AS (
                SELECT {units}, count(*) AS n FROM {self.rows.name} WHERE {there} GROUP BY {units}
            )
            SELECT *, n > $most AS heavy,
                CAST(row_number() OVER (ORDER BY n <= $most) - 1 AS UINTEGER) AS {OWNER}
            FROM counted"""  # noqa: S608  names are quoted, values are parameters

    def files(self, values: dict[str, str]) -> tuple[tuple[str, dict[str, str]], ...]:
        """Return what stands in each of the files, and its parameters."""
        units, order = ", ".join(self.rows.units), ", ".join(self.rows.positions)
        rows = f"""WITH {self.text} SELECT {", ".join([OWNER, *self._columns()])}
            FROM {self.rows.name} JOIN owners USING ({units}) WHERE"""  # noqa: S608  as above
        sizes = f"SELECT n FROM owners WHERE heavy ORDER BY {OWNER}"  # noqa: S608  as above
        return (
            (f"{rows} NOT heavy", values),
            (f"{rows} heavy ORDER BY {OWNER}, {order}", values),
            (sizes, {}),
        )

    def _columns(self) -> list[str]:
        named = ((self.contract.column(name), as_) for name, as_ in self.rows.columns.items())
        return [f"{as_} AS {promised(self.contract, column)}" for column, as_ in named]


def _settled(file: Path) -> list[int]:
    """Leave a file on disk, for this user alone; return its state."""
    file.chmod(0o600)
    sync(file)
    return list(stamp_of(file))
