"""Finding and reading the files of the real data sets, or one sentence that says what is missing.

The folder is, in this order, the one named by `data.folder=`, the one named by the environment
variable ENTREPOT_DATA, or, in a checkout, `../shared/data` beside it. Nothing is downloaded.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.errors import UsageError
from policies.parties import PartyId

VARIABLE: Final = "ENTREPOT_DATA"
Kind: TypeAlias = Literal["integer", "number", "text", "moment", "truth"]

_ROOT: Final = Path(__file__).resolve().parents[2]
_TYPES: Final[Mapping[Kind, Any]] = {
    "integer": np.int64,
    "number": np.float64,
    "text": object,
    "moment": "datetime64[us]",
    "truth": np.bool_,
}


@dataclass(frozen=True, slots=True)
class Table:
    """One published file: its name, columns with their kinds, and rows. gaps: may lack values."""

    file: str
    rows: int
    columns: Mapping[str, Kind]
    gaps: frozenset[str] = frozenset()


def folder_of(named: str = "", root: Path = _ROOT) -> Path | None:
    """Return the folder that holds the data sets, or None if nobody named one."""
    if chosen := named or os.environ.get(VARIABLE, ""):
        return Path(chosen).expanduser()
    beside = root.parent / "shared" / "data"
    return beside if (root / "pyproject.toml").exists() and beside.is_dir() else None


def path_of(table: Table, named: str = "") -> Path:
    """Return where the file of `table` lies.

    Raises:
        UsageError: it is not there.
    """
    folder = folder_of(named)
    how = f"name its folder in the variable {VARIABLE}, or with data.folder=DIR"
    if folder is None:
        raise UsageError(f"{table.file} is needed and is not part of this software: {how}")
    if not (folder / table.file).is_file():
        raise UsageError(f"{table.file} is not in {folder}: {how}")
    return folder / table.file


def read(table: Table, named: str = "") -> pd.DataFrame:
    """Return the whole table in its declared kinds, rows in the file's order.

    Raises:
        UsageError: the file is missing, is no Parquet, or is not the table that was published.
    """
    path = path_of(table, named)
    try:
        frame = pq.read_table(path).to_pandas()
    except (pa.ArrowException, OSError) as why:
        raise UsageError(f"{path} is not a Parquet file that can be read") from why
    if len(frame) != table.rows:
        raise UsageError(
            f"{table.file} has {len(frame):,} rows; the published table has {table.rows:,}"
        )
    return conform(frame, table)


def conform(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Return the declared columns in their kinds: int64, float64, object, datetime64[us], bool.

    Raises:
        UsageError: a column is missing, of another kind, or has gaps it may not have.
    """
    if missing := [name for name in table.columns if name not in frame.columns]:
        raise UsageError(f"{table.file} lacks the column {', '.join(missing)}")
    return pd.DataFrame(
        {name: _column(frame[name], kind, table) for name, kind in table.columns.items()},
        index=frame.index,
    )


def party_name(text: str) -> PartyId:
    """Return the name of a party that a table calls `text`: lower case, dashes between words."""
    return PartyId("-".join(re.findall("[a-z0-9]+", text.lower())))


def _column(values: Any, kind: Kind, table: Table) -> Any:
    if not _is_of(values.dtype, kind):
        raise UsageError(f"{table.file}: the column {values.name} is not of kind {kind}")
    if values.name not in table.gaps and values.isna().any():
        raise UsageError(f"{table.file}: the column {values.name} has gaps")
    if kind == "text":
        return pd.Series(values.to_numpy(object, na_value=None), values.index, dtype=object)
    return values.astype(_TYPES[kind])


def _is_of(dtype: Any, kind: Kind) -> bool:
    check = {
        "integer": pd.api.types.is_integer_dtype,
        "number": pd.api.types.is_numeric_dtype,
        "text": lambda it: pd.api.types.is_object_dtype(it) or pd.api.types.is_string_dtype(it),
        "moment": pd.api.types.is_datetime64_any_dtype,
        "truth": pd.api.types.is_bool_dtype,
    }
    return bool(check[kind](dtype))
