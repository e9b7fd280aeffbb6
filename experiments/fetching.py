"""Puts together what the aggregator hands a person in pieces; the whole has the hash it was told.

data, told = fetched(me.ask, "Answer", order=run)      # b"" where nothing comes in pieces
"""

from collections.abc import Callable
from typing import Any, Final

from experiments.errors import IntegrityError
from secure_compute import canonical
from secure_compute.canonical import JSON

LARGEST: Final = 1 << 27
"""Bytes of anything that is handed out: a model's file is half as large at most."""


def fetched(
    ask: Callable[..., dict[str, Any]], method: str, **body: JSON
) -> tuple[bytes, dict[str, Any]]:
    """Return the whole, and what the first answer said besides.

    Raises:
        IntegrityError: the pieces are none, or another thing than was begun with.
        ClientError: see `clients.calling`.
    """
    first = told = ask(method, begin=0, **body)
    parts = bytearray()
    while "part" in told:
        part = _part(told)
        parts += part
        if len(parts) >= first["size"] or not part:
            break
        told = ask(method, begin=len(parts), **body)
    rest = {name: one for name, one in first.items() if name not in {"part", "size"}}
    whole = (first.get("size", 0), first.get("digest"))
    if "part" in first and whole != (len(parts), canonical.digest_bytes(bytes(parts))):
        raise IntegrityError("the pieces are not of one whole: it changed meanwhile; try again")
    return bytes(parts), rest


def _part(told: dict[str, Any]) -> bytes:
    try:
        part, size = bytes.fromhex(told["part"]), told["size"]
    except (KeyError, TypeError, ValueError) as why:
        raise IntegrityError("the aggregator hands out what is no piece of anything") from why
    if type(size) is not int or not len(part) <= size <= LARGEST:
        raise IntegrityError(f"the aggregator hands out pieces of more than {LARGEST} bytes")
    return part
