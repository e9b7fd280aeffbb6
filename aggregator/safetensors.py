"""Named arrays in one file, as safetensors lays them out: numbers and text, nothing that can run.

Eight bytes hold the length of a header, little-endian; the header is a JSON object from names to
dtype, shape and place in what follows; what follows is the arrays, row-major and little-endian, one
after the other without a hole [https://github.com/huggingface/safetensors, "Format"]. The header's
`__metadata__` maps text to text. One value has one file here: names sorted, header padded with
spaces to a multiple of eight. Files of other programs are read if they keep the specification.

Reading gives either arrays of exactly what the header says, or one sentence; sizes are compared
before anything is made of them.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aggregator.errors import MalformedModelError

Tensors: TypeAlias = Mapping[str, NDArray[Any]]

DTYPES: Final = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8"}
_NAMES: Final = {np.dtype(code): name for name, code in DTYPES.items()}
LARGEST_HEADER: Final = 1 << 20
_MOST_TENSORS: Final = 64
_MOST_AXES: Final = 8
_METADATA: Final = "__metadata__"


def encode(tensors: Tensors, metadata: Mapping[str, str]) -> bytes:
    """Return the one file of these arrays and texts.

    Raises:
        MalformedModelError: an array is of a kind that no model has.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    parts, end = [], 0
    for name in sorted(tensors):
        array = tensors[name].astype(tensors[name].dtype.newbyteorder("<"))
        if array.dtype not in _NAMES or name == _METADATA:
            raise MalformedModelError(f"a model holds no array {name!r} of {array.dtype}")
        data = array.tobytes()
        place = {"dtype": _NAMES[array.dtype], "shape": list(array.shape)}
        header[name] = place | {"data_offsets": [end, end + len(data)]}
        end += len(data)
        parts.append(data)
    text = json.dumps(header, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def decode(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the arrays and texts of a file.

    Raises:
        MalformedModelError: it is no such file, or not all of one.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(LARGEST_HEADER, len(data) - 8):
        raise MalformedModelError("is no safetensors file, or was cut off")
    header = _header(data[8 : 8 + length])
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise MalformedModelError("has metadata that is not text")
    if len(header) > _MOST_TENSORS:
        raise MalformedModelError(f"holds more than {_MOST_TENSORS} arrays")
    body, reached = data[8 + length :], 0
    found: dict[str, NDArray[Any]] = {}
    for name, entry in sorted(header.items(), key=lambda item: _start(item[1])):
        dtype, shape, start, end = _entry(entry)
        if start != reached or end - start != dtype.itemsize * math.prod(shape) or end > len(body):
            raise MalformedModelError(f"says of {name[:40]!r} what its size denies")
        found[name] = np.frombuffer(body[start:end], dtype).reshape(shape).copy()
        reached = end
    if reached != len(body):
        raise MalformedModelError("holds bytes that belong to no array")
    return found, metadata


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as why:
        raise MalformedModelError("has a header that is no JSON object") from why
    if not text.startswith(b"{") or not isinstance(header, dict):
        raise MalformedModelError("has a header that is no JSON object")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice: two readers might believe different ones."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _start(entry: object) -> int:
    return _entry(entry)[2]


def _entry(entry: object) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """Return dtype, shape, start and end of an array."""
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [start, end], **more} if (
            not more and code in DTYPES and len(shape) <= _MOST_AXES
        ):
            numbers = [*shape, start, end]
            if all(type(number) is int and 0 <= number < 1 << 40 for number in numbers):
                return np.dtype(DTYPES[code]), tuple(shape), start, end
    raise MalformedModelError("describes an array in a way that is not understood")
