"""The one encoding of everything that is signed or hashed.

JSON as RFC 8785 spells it, with two things left out: floats, whose spelling depends on the printer,
and what is nested deeper than `DEEPEST`, which some would read and others not.
A number that is not an integer travels as a decimal string. Keys are sorted by code point.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from secure_compute.errors import LocalProtocolError, NotCanonicalError

JSON: TypeAlias = "bool | int | str | Sequence[JSON] | Mapping[str, JSON] | None"

MAX_INTEGER = 2**63 - 1

DEEPEST: Final = 256
"""Arrays and objects that may stand within each other, wherever they are read or written."""

_WRITER: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
)


def encode(value: JSON) -> bytes:
    """Return the only spelling of `value`.

    Raises:
        LocalProtocolError: the value holds a float, a key that is no string, or a huge integer, or
            is nested too deep.
    """
    _check(value)
    return _WRITER.encode(value).encode()


def decode(data: bytes) -> JSON:
    """Read a value, accepting exactly the bytes `encode` can produce.

    Raises:
        NotCanonicalError: the bytes are not JSON, or not its one spelling.
    """
    try:
        value: JSON = _READER.decode(data.decode())
        if data.count(b"[") + data.count(b"{") > DEEPEST:
            _check(value)
        again = _WRITER.encode(value).encode()
    except (ValueError, RecursionError, LocalProtocolError) as why:
        raise NotCanonicalError("not a canonical value") from why
    if again != data:
        raise NotCanonicalError("not the canonical spelling of its value")
    return value


def digest(value: JSON) -> str:
    """Return the SHA-256 of the canonical bytes, in hexadecimal."""
    return hashlib.sha256(encode(value)).hexdigest()


def digest_bytes(data: bytes) -> str:
    """Return the SHA-256 of raw bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _check(value: Any, room: int = DEEPEST) -> None:
    kind = type(value)  # nearly all values are of these very types, and there are many
    if kind is str or kind is bool or value is None:
        return
    if kind is list or kind is tuple:
        _check_items(value, room)
    elif kind is dict:
        _check_object(value, room)
    elif kind is int:
        _check_integer(value)
    else:
        _check_other(value, room)


def _check_items(value: Sequence[Any], room: int) -> None:
    _require(room)
    for item in value:
        _check(item, room - 1)


def _check_object(value: Mapping[Any, Any], room: int) -> None:
    _require(room)
    for key, item in value.items():
        if not isinstance(key, str):
            raise LocalProtocolError("every key of a canonical object is a string")
        _check(item, room - 1)


def _require(room: int) -> None:
    if not room:
        raise LocalProtocolError("what is nested so deep has no canonical spelling")


def _check_integer(value: int) -> None:
    if abs(value) > MAX_INTEGER:
        raise LocalProtocolError("an integer beyond 63 bits has no canonical spelling")


def _check_other(value: object, room: int) -> None:
    match value:
        case str():
            return
        case int():
            _check_integer(value)
        case Mapping():
            _check_object(value, room)
        case list() | tuple():
            _check_items(value, room)
        case _:
            raise LocalProtocolError(f"a {type(value).__name__} has no canonical spelling")


def _integer(text: str) -> int:
    found = int(text)
    _check_integer(found)
    return found


def _no_float(text: str) -> float:
    raise LocalProtocolError(f"{text:.20} has no canonical spelling")


_READER: Final = json.JSONDecoder(
    parse_int=_integer, parse_float=_no_float, parse_constant=_no_float
)
"""Reads exactly what `_check` accepts, so that nothing is looked at twice."""
