"""A Parquet file's columns as they are: no value is refused, and none becomes another's.

pandas alone would read a column of integers with one gap as floats, and so make two large
numbers one; it refuses text that is not UTF-8 and moments that do not fit nanoseconds. Each
would let one row change, or stop, what is done with the rows of others.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_MARK: Final = "\N{REPLACEMENT CHARACTER}"
_PER_MICROSECOND: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}


def read_columns(table: Path, names: Sequence[str]) -> pd.DataFrame:
    """Return those of the named columns that the file has, all rows in the file's order.

    Integers come as Int64 (unsigned ones beyond 2^63 wrap), other numbers as float64, moments as
    datetime64[us], text as str; absent values as NA, NaN, NaT and None.
    """
    with pq.ParquetFile(table) as file:
        there = [name for name in names if name in file.schema_arrow.names]
        content = file.read(columns=there)
    return pd.DataFrame({name: _plain(content.column(name)) for name in there})


def _plain(column: Any) -> Any:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks)
    if pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_decode()
    kind = whole.type
    if pa.types.is_integer(kind):
        return pd.arrays.IntegerArray(_integers(whole), _absent(whole))
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return whole.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy()
    if pa.types.is_timestamp(kind):
        return _moments(whole)
    if pa.types.is_null(kind) or pa.types.is_nested(kind):
        return pd.Series(np.full(len(whole), None), dtype=object)
    return _texts(whole)


def _absent(whole: Any) -> NDArray[np.bool_]:
    return np.array(whole.is_null().to_numpy(zero_copy_only=False), np.bool_)


def _integers(whole: Any) -> NDArray[np.int64]:
    plain = whole.cast(pa.int64(), safe=False).fill_null(0)
    return np.array(plain.to_numpy(zero_copy_only=False), np.int64)


def _moments(whole: Any) -> NDArray[np.datetime64]:
    """Return moments in microseconds; what does not fit stays at the end of the range."""
    count = _integers(whole)
    if whole.type.unit == "ns":
        count = count // 1_000
    else:
        factor = _PER_MICROSECOND[whole.type.unit]
        most = np.iinfo(np.int64).max // factor
        count = np.clip(count, -most, most) * factor
    moments = count.view("datetime64[us]")
    moments[_absent(whole)] = np.datetime64("NaT", "us")
    return moments


def _texts(whole: Any) -> "pd.Series[str]":
    """Return text, also where it is not UTF-8; other kinds by their printed form."""
    if not pa.types.is_large_string(whole.type) and not pa.types.is_string(whole.type):
        whole = whole.cast(pa.string())
    binary = pa.large_binary() if pa.types.is_large_string(whole.type) else pa.binary()
    coded = whole.cast(binary).dictionary_encode()
    known = [_spelled(value) for value in coded.dictionary.to_pylist()]
    place = coded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
    return pd.Series(np.array([*known, None], object)[place], dtype=object)


def _spelled(value: bytes) -> str:
    """Return the text of `value`, or a mark and its digits: no two values become one text."""
    text = value.decode("utf-8", "replace")
    return _MARK + value.hex() if _MARK in text else text
