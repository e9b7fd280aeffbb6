"""Values as an operator has them to values as the contract's type reads them; total, and exact.

Every function takes a text and gives a text, or None where the text cannot be what was declared:
such a value is missing, and counted. Numbers are multiplied as decimals of as many digits as they
have; nothing passes through a binary fraction. What is here reads no file and knows no row.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from hashlib import sha256
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from clients.sources.mapped import Form, Mark, Way
from policies.contracts import ColumnType

Convert: TypeAlias = Callable[[str, str | None], str | None]
"""From a value, and its row's currency, to what the contract's type reads; None: missing."""

LONGEST: Final = 64
"""Characters of a number or a moment; a longer text is neither."""
ID_BITS: Final = 53
"""A number of so many bits is one also where a column with gaps is held in floats."""
CENT: Final = Decimal("0.01")
_EXACT: Final = Context(prec=400, rounding=ROUND_HALF_EVEN, traps=[])
_PLAIN: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_GROUPED: Final[Mapping[Mark, re.Pattern[str]]] = {
    ".": re.compile(r"[+-]?[0-9]{1,3}(?:[,' ][0-9]{3})+(?:\.[0-9]+)?", re.ASCII),
    ",": re.compile(r"[+-]?[0-9]{1,3}(?:[.' ][0-9]{3})+(?:,[0-9]+)?", re.ASCII),
}
_COMMA: Final = re.compile(r"[+-]?[0-9]+(?:,[0-9]+)?", re.ASCII)
_BLANKS: Final = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "−": "-"})
_DAY: Final = r"([0-9]{1,4})[-./年]([0-9]{1,2})[-./月]([0-9]{1,4})日?"
_CLOCK: Final = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
_OFFSET: Final = r" ?(Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)"
_MOMENT: Final = re.compile(rf"{_DAY}(?:[ T]+{_CLOCK}(?:{_OFFSET})?)?", re.ASCII)
_COMPACT: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})", re.ASCII)
_ORDER: Final[Mapping[str, tuple[int, int, int]]] = {
    "ymd": (0, 1, 2),
    "dmy": (2, 1, 0),
    "mdy": (2, 0, 1),
}
_TICKS: Final[Mapping[str, int]] = {"epoch-s": 1_000_000, "epoch-ms": 1000, "epoch-us": 1}
EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  what is read from it is UTC and says no zone


def converter(way: Way, kind: ColumnType) -> Convert:
    """Return what makes a value of the contract's type of one of the source's."""
    if way.codes is not None:
        codes = {key.strip(): value for key, value in way.codes.items()}
        return lambda text, _: codes.get(text.strip())
    if way.ids is not None:
        return lambda text, _: _numbered(text)
    match kind:
        case "float" | "integer":
            return lambda text, currency: _number(text, currency, way)
        case "timestamp":
            clock = ZoneInfo(way.zone) if way.zone else None
            return lambda text, _: _utc(text, way, clock)
        case "date":
            return lambda text, _: _day(text, way.form or "ymd")
        case _:
            return lambda text, _: text


def decimal_of(text: str, mark: Mark | None) -> Decimal | None:
    """Return the number that a text is, with that mark before its tenths; None where it is none."""
    plain = text.translate(_BLANKS).strip()
    if len(plain) > LONGEST:
        return None
    if mark is not None and _GROUPED[mark].fullmatch(plain):
        plain = re.sub(r"[,' ]" if mark == "." else r"[.' ]", "", plain)
    if mark == ",":
        if not _COMMA.fullmatch(plain):
            return None
        plain = plain.replace(",", ".")
    return Decimal(plain) if _PLAIN.fullmatch(plain) else None


def moment_of(text: str, form: Form) -> datetime | None:
    """Return the moment that a text is: of a zone where the text says one, else of none."""
    plain = text.strip()
    if len(plain) > LONGEST:
        return None
    try:
        if form in _TICKS:
            return _ticked(plain, _TICKS[form])
        return _written(plain, form)
    except (ValueError, OverflowError):
        return None


def instants(naive: datetime, clock: ZoneInfo) -> tuple[datetime, ...]:
    """Return the moments at which clocks showed `naive`: none, one, or two in autumn."""
    both = (naive.replace(tzinfo=clock, fold=fold).astimezone(UTC) for fold in (0, 1))
    shown = [one for one in both if one.astimezone(clock).replace(tzinfo=None) == naive]
    return tuple(dict.fromkeys(shown))


def _numbered(text: str) -> str | None:
    """Return the number of a name: two names have the same with a chance of 2^-53.

    Of n names any two do with at most n² / 2^54: six in a hundred thousand for a million.
    """
    name = text.strip()
    found = int.from_bytes(sha256(name.encode()).digest()[:8]) >> 64 - ID_BITS
    return str(found) if name else None


def _number(text: str, currency: str | None, way: Way) -> str | None:
    value = decimal_of(text, way.decimal)
    if value is None:
        return None
    if way.times is not None:
        value = _EXACT.multiply(value, way.times)
    rate = way.rate
    if way.currency:
        rate = way.rates.get((currency or "").strip())
        if rate is None:
            return None
    if rate is not None and rate != 1:
        value = _EXACT.quantize(_EXACT.multiply(value, rate), CENT)
    return format(value, "f") if value.is_finite() else None


def _utc(text: str, way: Way, clock: ZoneInfo | None) -> str | None:
    found = moment_of(text, way.form or "ymd")
    if found is None:
        return None
    try:
        if found.tzinfo is not None:
            found = found.astimezone(UTC)
        elif clock is not None and way.form not in _TICKS:
            shown = instants(found, clock)
            if not shown or (len(shown) > 1 and way.twice is None):
                return None
            found = shown[-1 if way.twice == "second" else 0]
    except OverflowError:
        return None
    return found.replace(tzinfo=None).isoformat(" ")


def _day(text: str, form: Form) -> str | None:
    found = moment_of(text, form)
    if found is None or found.tzinfo is not None or found.time() != time():
        return None
    return found.date().isoformat()


def _ticked(text: str, microseconds: int) -> datetime | None:
    found = decimal_of(text, None)
    ticks = None if found is None else _EXACT.multiply(found, Decimal(microseconds))
    if ticks is None or ticks != ticks.to_integral_value() or ticks.adjusted() > 18:
        return None
    return EPOCH + timedelta(microseconds=int(ticks))


def _written(text: str, form: Form) -> datetime | None:
    if form == "ymd" and (compact := _COMPACT.fullmatch(text)):
        return datetime.combine(date(*map(int, compact.groups())), time())
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    year, month, day = (found.groups()[at] for at in _ORDER[form])
    if len(year) != 4:
        return None
    hour, minute, second, fraction, offset = found.groups()[3:]
    part = (fraction or "")[:6].ljust(6, "0")
    clock = time(int(hour or 0), int(minute or 0), int(second or 0), int(part))
    moment = datetime.combine(date(int(year), int(month), int(day)), clock)
    if offset is None:
        return moment
    ends = "+00:00" if offset in {"Z", "UTC"} else offset
    return datetime.fromisoformat(f"{moment.isoformat()}{ends}")
