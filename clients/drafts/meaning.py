"""What names and codes of a partner's table mean, by lists of words in nine languages.

A name is taken for a column only where the whole of it is a word of the list; whatever is merely
like one is a guess, and guesses are asked about. The words are in `words.toml`.
"""

import difflib
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Final

GUESS: Final = 0.7
"""How like a word a name must be for a guess, as `difflib` measures it."""
_BETWEEN: Final = re.compile(r"[\W_]+")
_WHOLE: Final = re.compile(r"(?<=[0-9])\.0+$")
"""What a column of numbers adds to whole ones where some are missing."""
_WHOLE_LETTERS: Final = str.maketrans({"ß": "ss", "ł": "l", "Ł": "L", "ø": "o", "Ø": "O"})
"""What is no letter with an accent, and is written so where keyboards lack it."""
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@cache
def words() -> Mapping[str, Any]:
    """Return the lists."""
    return tomllib.loads(files("clients").joinpath("drafts", "words.toml").read_text("utf-8"))


def plain(name: str) -> str:
    """Return a name in the one spelling in which names are compared: `Bestell-Nr.` is bestellnr."""
    return "".join(_parts(name))


def is_called(column: str, name: str) -> bool:
    """Return whether a name says that it is that column of the contract, in a unit or in none."""
    parts = _parts(name)
    bare = {"".join(rest) for _, rest in _with_units(parts)}
    return bool(({"".join(parts)} | bare) & _called(column))


@cache
def likeness(column: str, name: str) -> float:
    """Return how like the words of a column a name is, in [0, 1]; 1 where it is one of them."""
    own = plain(name)
    called = _called(column)
    if own in called:
        return 1.0
    within = any(
        len(word) > 3 and (word in own or (len(own) > 3 and own in word)) for word in called
    )
    near = max((difflib.SequenceMatcher(None, own, word).ratio() for word in called), default=0.0)
    return max(near, GUESS if within else 0.0) if own else 0.0


def is_currency(name: str) -> bool:
    """Return whether a name says that it is a column of currencies."""
    return plain(name) in {plain(word) for word in words()["currency"]["names"]}


def currencies() -> frozenset[str]:
    """Return the currencies that are known by their codes of ISO 4217."""
    return frozenset(words()["currency"]["codes"])


def weights() -> Mapping[str, Decimal]:
    """Return how many kilograms one of each unit is, exactly."""
    return {unit: Decimal(text) for unit, text in words()["weights"].items()}


def unit_in(name: str) -> str | None:
    """Return the unit that a name ends in or begins with; None where it says none, or two."""
    units = {unit for unit, _ in _with_units(_parts(name))}
    return units.pop() if len(units) == 1 else None


def code_of(column: str, domain: Iterable[str], value: str) -> str | None:
    """Return the value of the domain that a partner's code is by name; None where it is none."""
    known = _codes(column, tuple(domain))
    return known.get(plain(_WHOLE.sub("", value)) or value)


def guess_code(column: str, domain: Iterable[str], value: str) -> str | None:
    """Return the value of the domain that a code looks like; None where it looks like none."""
    known = _codes(column, tuple(domain))
    near = difflib.get_close_matches(plain(value), sorted(known), n=1, cutoff=0.75)
    return known[near[0]] if near else None


def is_missing(value: str) -> bool:
    """Return whether a value is a way to write that there is none."""
    return value.strip().casefold() in words()["missing"]["words"]


def _with_units(parts: list[str]) -> list[tuple[str, list[str]]]:
    """Return the units that a name ends in or begins with, the longest, and what is left of it."""
    found: list[tuple[int, str, list[str]]] = []
    for unit, called in words()["units"].items():
        for one in map(_parts, called):
            if len(one) < len(parts) and parts[-len(one) :] == one:
                found.append((len(one), unit, parts[: -len(one)]))
            if len(one) < len(parts) and parts[: len(one)] == one:
                found.append((len(one), unit, parts[len(one) :]))
    longest = max((size for size, _, _ in found), default=0)
    is_small = bool({"cent", "cents"} & {*parts})
    return [
        (unit, rest)
        for size, unit, rest in found
        if size == longest and is_small == unit.endswith("/100")
    ]


def _parts(name: str) -> list[str]:
    spelt = unicodedata.normalize("NFKD", name.translate(_WHOLE_LETTERS))
    bare = "".join(letter for letter in spelt if not unicodedata.combining(letter))
    apart = _HUMP.sub(" ", bare).casefold()
    return [part for part in _BETWEEN.split(apart) if part]


@cache
def _called(column: str) -> frozenset[str]:
    return frozenset(map(plain, (column, *words()["columns"].get(column, ()))))


@cache
def _codes(column: str, domain: tuple[str, ...]) -> Mapping[str, str]:
    lists = words()["codes"]
    of_column = lists.get(words()["lists"].get(column, column), {})
    truth = lists["truth"]
    known: dict[str, str] = {}
    for value in domain:
        called = of_column.get(value, ())
        if {*domain} in ({"0", "1"}, {"false", "true"}):
            called = (*truth["true" if value in {"1", "true"} else "false"], value.lower())
            called = (*called, "true" if value in {"1", "true"} else "false")
        for word in (value, *called):
            known.setdefault(plain(word), value)
    return known
