"""Every row's key as 16 keyed bytes: equal keys have equal bytes, and without the secret the bytes
say nothing about the key.

A row's key is made of the contract's key columns and of the columns of its units of privacy, so
that whether a row is the same row never depends on another unit's rows. Values are spelled as the
contract's type spells them: the same key in a file with other column types, another column order or
another name is the same key. No value stops the reading: what fails a cast is spelled as it stands.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clients.errors import ComputeError
from policies.contracts import DataContract
from secure_compute import canonical
from secure_compute.canonical import JSON

KEY_BYTES: Final = 16
SECRET_BYTES: Final = 32

_BATCH: Final = 1 << 16
_ARROW: Final = {
    "float": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}


def key_columns(contract: DataContract) -> tuple[str, ...]:
    """Return the columns whose values name a row of `contract`, sorted."""
    units = [contract.unit.columns, *(further.columns for further in contract.also)]
    return tuple(sorted({*contract.row_key, *(name for columns in units for name in columns)}))


def key_kind(contract: DataContract, table: Path) -> str:
    """Return how the keys of `table` are made: columns, types, and which of them are there.

    Keys of two kinds cannot be compared.

    Raises:
        ComputeError: the file cannot be read.
    """
    with _opened(contract, table) as file:
        there = set(file.schema_arrow.names)
    made: dict[str, JSON] = {
        name: [contract.column(name).type, name in there] for name in key_columns(contract)
    }
    return canonical.encode(made).decode()


def row_keys(contract: DataContract, table: Path, secret: bytes) -> bytes:
    """Return the keys of all rows in the file's order, [rows] times 16 bytes, one after another.

    Raises:
        ComputeError: the file cannot be read.
    """
    digest = hashlib.blake2b
    try:
        return b"".join(
            digest(text, key=secret, digest_size=KEY_BYTES).digest()
            for texts in _spelled(contract, table)
            for text in texts
        )
    except (pa.ArrowException, OSError) as why:
        raise _unreadable(contract) from why


def _spelled(contract: DataContract, table: Path) -> Iterator[list[bytes]]:
    names = key_columns(contract)
    with _opened(contract, table) as file:
        there = [name for name in names if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=_BATCH, columns=there):
            parts: list[Any] = []
            for name in there:
                parts += _framed(batch.column(name), contract.column(name).type)
            yield pc.binary_join_element_wise(*parts, b":").to_pylist()


def _framed(column: Any, kind: str) -> tuple[Any, Any]:
    """Return length and text of every value, so that no two rows are joined to the same bytes."""
    text = _text(column, kind)
    length = pc.cast(pc.cast(pc.binary_length(text), pa.string()), pa.binary())
    return pc.fill_null(length, b"-"), pc.fill_null(text, b"")


def _text(column: Any, kind: str) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind in _ARROW:
        column = pc.cast(column, _ARROW[kind], safe=False)
    if kind in {"date", "timestamp"}:  # as numbers: a moment that no calendar holds has one too
        column = pc.cast(column, pa.int32() if kind == "date" else pa.int64())
        column = pc.cast(column, pa.int64())
    return pc.cast(column if _is_text(column) else pc.cast(column, pa.string()), pa.binary())


def _is_text(column: Any) -> bool:
    kind = column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _opened(contract: DataContract, table: Path) -> Any:
    try:
        return pq.ParquetFile(table)
    except (pa.ArrowException, OSError) as why:
        raise _unreadable(contract) from why


def _unreadable(contract: DataContract) -> ComputeError:
    return ComputeError(
        f"the rows of contract {contract.name} could not be read; see that "
        f"{contract.table} is a whole Parquet file"
    )
