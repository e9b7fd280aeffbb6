"""A table's rows as its contract promises them, those of heavy units apart: made once per file.

    light.parquet   rows of units that have at most K rows: no question leaves one of them out
    heavy.parquet   all other rows that have a unit, one unit after the other
    sizes.parquet   how many rows each of these units has there, in the same order
    made.json       how many rows there are, and in which state each file was left

A question over one table that only chooses among its rows then draws among the heavy units alone,
and casts, clips and compares nothing that a contract says. Which rows of a heavy unit stay is drawn
anew for every question (`choosing`), from those of its rows that the question counts: a bound
comes after the filter here as well.

Whether there is a copy shows in how long an answer takes, and so does how many heavy rows there
are, as without it; answers leave in slots (`clients.slots`). The copy costs no privacy: nothing of
it leaves. It lies beside the rows and as they do, readable by the node's user alone; one whose
files are not in the state that they were left in is no copy.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from clients.errors import ComputeError
from clients.ingestion import Stamp, stamp_of
from clients.queries.choosing import Truths, chosen
from clients.queries.compile import Statement
from clients.queries.compile_prepared import PreparedCompiler
from clients.queries.relations import Table
from federation.queries.tree import Plan
from policies.contracts import DataContract
from secure_compute.entropy import Entropy

FORMAT: Final = 1
OWNER: Final = "owner"
"""The column that numbers units; no two units have one number, the heavy ones come first."""

FILES: Final = ("light.parquet", "heavy.parquet", "sizes.parquet")
MANIFEST: Final = "made.json"
_HEAVY: Final = "read_parquet($heavy, file_row_number = true)"
_KEPT: Final = f"""(
    SELECT * FROM read_parquet($light)
    UNION ALL SELECT * EXCLUDE (place, stays, file_row_number)
    FROM (SELECT * FROM {_HEAVY} POSITIONAL JOIN drawn) WHERE stays AND place = file_row_number
) AS kept"""  # noqa: S608  written here, no names


def name_of(contract: DataContract, stamp: Stamp) -> str:
    """Return the name of the copy of a file in that state: whose it is, and of which state.

    It is another where the contract reads the rows otherwise, or this program or DuckDB writes it
    otherwise.
    """
    read = (FORMAT, duckdb.__version__, contract.unit, contract.columns, str(stamp))
    return f"{owner_of(contract)}-{_short(repr(read))}"


def owner_of(contract: DataContract) -> str:
    """Return how the names of all copies for a contract begin."""
    return _short(contract.name)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A copy of one table in `folder`, for one contract; light, heavy: rows of its two files."""

    folder: Path
    light: int
    heavy: int

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that a question reads."""
        return tuple(self.folder / name for name in FILES)

    def rows(
        self, connection: Any, plan: Plan, contract: DataContract, entropy: Entropy
    ) -> list[tuple[Any, ...]]:
        """Return the rows of sums of a plan that `is_plain`, as `compile.vector` lays them out.

        Raises:
            duckdb.Error: a file cannot be read.
        """
        light, heavy = map(str, self.paths[:2])
        stays = self._drawn(connection, plan, contract, entropy)
        drawn = {"place": np.arange(self.heavy), "stays": stays}
        connection.register("drawn", pa.table(drawn))
        made = self._compiler(plan, contract, _KEPT, "0").summing()
        values = {**made.parameters, "light": light, "heavy": heavy}
        found: list[tuple[Any, ...]] = connection.execute(made.text, values).fetchall()
        return found

    def _compiler(
        self, plan: Plan, contract: DataContract, relation: str, place: str
    ) -> PreparedCompiler:
        table = Table(frozenset(), relation, place, OWNER)
        return PreparedCompiler(plan, contract, table, self.light + self.heavy)

    def _asked(self, connection: Any, made: Statement) -> Any:
        values = {**made.parameters, "heavy": str(self.paths[1])}
        return connection.execute(made.text, values).fetchnumpy()

    def _drawn(
        self, connection: Any, plan: Plan, contract: DataContract, entropy: Entropy
    ) -> Truths:
        """Return which of the heavy rows stay, [heavy]; of those that do not count, whichever."""
        most = contract.unit.rows

        def counted(what: str) -> Any:
            compiler = self._compiler(plan, contract, _HEAVY, "file_row_number")
            return self._asked(connection, compiler.counting(what))

        if counted("count(*) AS n")["n"][0] == self.heavy:
            text = "SELECT n FROM read_parquet($sizes)"
            found = connection.execute(text, {"sizes": str(self.paths[2])}).fetchnumpy()
            return chosen(found["n"], most, entropy)
        rows = counted("u0 AS owner, position AS place")
        order = np.argsort(rows["owner"], kind="stable")
        places, sizes = rows["place"][order], np.bincount(rows["owner"])
        stays = np.zeros(self.heavy, np.bool_)
        stays[places[chosen(sizes[sizes > 0], most, entropy)]] = True
        return stays


def found(folder: Path) -> Prepared | None:
    """Return the copy in `folder`; None where there is none, or not as it was left."""
    try:
        made = json.loads((folder / MANIFEST).read_bytes())
        if made["files"] != {name: list(stamp_of(folder / name)) for name in FILES}:
            return None
        return Prepared(folder, int(made["light"]), int(made["heavy"]))
    except (OSError, ValueError, LookupError, TypeError, ComputeError):
        return None
