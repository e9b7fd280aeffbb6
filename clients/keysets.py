"""Sets of row keys, 16 bytes each, laid end to end: which of some are among others.

DuckDB compares them, in memory and with no way out.
"""

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clients.rowkeys import KEY_BYTES


def not_among(keys: bytes, known: bytes) -> bytes:
    """Return those of `keys` that are not `known`, each once, in an order that says nothing."""
    with _tables(rows=_column(keys), known=_column(known)) as db:
        found = db.sql(
            "SELECT DISTINCT key FROM rows ANTI JOIN known USING (key) ORDER BY key"
        ).to_arrow_table()
    return b"".join(found.column("key").to_pylist())


def among(keys: bytes, chosen: Sequence[bytes]) -> NDArray[np.int64]:
    """Return the places of those of `keys` that stand in every one of `chosen`, ascending."""
    places = np.arange(len(keys) // KEY_BYTES, dtype=np.int64)
    rows = pa.table({"key": _keys(keys), "place": places})
    for own in chosen:
        with _tables(rows=rows, own=_column(own)) as db:
            rows = db.sql("SELECT key, place FROM rows SEMI JOIN own USING (key)").to_arrow_table()
    found: NDArray[np.int64] = np.sort(rows.column("place").to_numpy())
    return found


@contextmanager
def _tables(**tables: Any) -> Iterator[Any]:
    """Yield a database in memory that holds `tables` alone and can reach nothing else."""
    with _database().cursor() as db:
        for name, table in tables.items():
            db.register(name, table)  # seen by this cursor, and gone with it
        yield db


@cache
def _database() -> Any:
    """One for the process, always empty: to make one takes ten times as long as to ask it."""
    atexit.register(_database.cache_clear)  # what is left at the very end is told as a leak
    db = duckdb.connect(":memory:", config={"threads": "1"})
    db.execute("SET temp_directory=''")
    db.execute("SET enable_external_access=false")
    return db


def _column(keys: bytes) -> Any:
    return pa.table({"key": _keys(keys)})


def _keys(keys: bytes) -> Any:
    size = len(keys) // KEY_BYTES
    return pa.Array.from_buffers(pa.binary(KEY_BYTES), size, [None, pa.py_buffer(keys)])
