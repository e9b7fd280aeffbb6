"""Fields of a contract's TOML: each is of its kind, or one sentence says what it is not."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from policies.errors import MalformedContractError

_SPOKEN: Final[Mapping[type, str]] = {
    str: "text in quotes",
    int: "a whole number",
    list: "a list",
    dict: "a table",
    bool: "true or false",
}


def table(
    raw: object, where: str, kinds: Mapping[str, type], needed: AbstractSet[str] | None = None
) -> dict[str, Any]:
    """Return `raw`, a table whose keys all stand in `kinds`; `needed` ones (all if None) are there.

    Raises:
        MalformedContractError: it is no table, or a key is unknown, missing or of another kind.
    """
    if not isinstance(raw, dict):
        raise MalformedContractError(f"{where} is not a table")
    for key, value in raw.items():
        if key not in kinds:
            raise MalformedContractError(f"{where}: unknown key {key!r}")
        if type(value) is not kinds[key]:
            raise MalformedContractError(f"{where}: {key} must be {_SPOKEN[kinds[key]]}")
    for key in sorted(kinds.keys() if needed is None else needed):
        if key not in raw:
            raise MalformedContractError(f"{where}: {key} is missing")
    return raw


def among(value: str, known: Iterable[str], what: str) -> str:
    """Return `value`, which is one of `known`.

    Raises:
        MalformedContractError: it is not.
    """
    if value not in known:
        raise MalformedContractError(f"{what} is {value!r}; known: {', '.join(known)}")
    return value


def texts(values: list[object], what: str) -> tuple[str, ...]:
    """Return `values`, which are all text.

    Raises:
        MalformedContractError: one is not.
    """
    found = tuple(value for value in values if isinstance(value, str))
    if len(found) != len(values):
        raise MalformedContractError(f"{what} must be a list of texts")
    return found


def finite(text: str, what: str) -> Decimal:
    """Return the finite number that `text` spells.

    Raises:
        MalformedContractError: it spells none.
    """
    try:
        number = Decimal(text)
    except InvalidOperation as why:
        raise MalformedContractError(f"{what} is not a decimal number") from why
    if not number.is_finite():
        raise MalformedContractError(f"{what} is not a finite number")
    return number
