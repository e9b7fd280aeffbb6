"""How a column of a contract comes from a column of the operator's, where it is not the same one.

    [sources."orders.parquet".columns]
    order_id = "Bestellnummer"                                     # another name, the same values
    ts = { from = "Zeit", zone = "Europe/Berlin", form = "dmy" }   # local time to UTC
    amount = { from = "Betrag", decimal = ",", times = "0.01" }    # cents, a comma before tenths
    customer_id = { from = "Kundennummer", ids = "text" }          # DE-10023 and so on
    category = { from = "Warengruppe", codes = { "Bücher" = "books" } }

    from      the operator's column; without it, that of the contract's name
    decimal   the mark before tenths, "." or ","; the other one groups thousands
    times     what a number is multiplied with, exactly: cents are EUR times 0.01
    rate      a stated rate into the contract's currency; results are rounded to cents, half to even
    currency  a column that names each row's currency, and
    rates     the stated rate of each; a currency without one makes the value missing
    form      how moments and dates are written: ymd, dmy, mdy, or epoch-s, epoch-ms, epoch-us
    zone      the IANA zone of moments that name none
    twice     which of both is meant of an hour that the clocks showed twice: first or second
    codes     the operator's value → the contract's; another one is missing
    ids       "text": the values are names such as DE-10023, and each becomes a whole number of its
              own, the same in every table of this node where that is said

Everything is said before a row is read. `clients.sources.converting` does it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias, cast, get_args
from zoneinfo import ZoneInfo

from clients.errors import NodeSettingsError

Form: TypeAlias = Literal["ymd", "dmy", "mdy", "epoch-s", "epoch-ms", "epoch-us"]
Mark: TypeAlias = Literal[".", ","]
Twice: TypeAlias = Literal["first", "second"]
Ids: TypeAlias = Literal["text"]

FORMS: Final[tuple[Form, ...]] = get_args(Form)
NUMERIC: Final = frozenset({"decimal", "times", "rate", "currency", "rates"})
TEMPORAL: Final = frozenset({"form", "zone", "twice"})
_KINDS: Final = (NUMERIC, TEMPORAL, frozenset({"codes"}), frozenset({"ids"}))
_FIELDS: Final = frozenset({"from"}).union(*_KINDS)
_FACTOR: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """From one column of the source to one of the contract; see above. "" or None: not said."""

    source: str
    decimal: Mark | None = None
    times: Decimal | None = None
    rate: Decimal | None = None
    currency: str = ""
    rates: Mapping[str, Decimal] = field(default_factory=dict)
    form: Form | None = None
    zone: str = ""
    twice: Twice | None = None
    codes: Mapping[str, str] | None = None
    ids: Ids | None = None

    @property
    def said(self) -> frozenset[str]:
        """What is said beside the column's name; nothing where values are taken as they are."""
        words = frozenset[str]().union(*_KINDS)
        return frozenset(name for name in words if getattr(self, name) not in (None, "", {}))

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (self.source, *((self.currency,) if self.currency else ()))

    def to_toml(self) -> str | dict[str, Any]:
        """Return what `way_of` reads."""
        if not self.said:
            return self.source
        value: dict[str, Any] = {"from": self.source}
        for name in sorted(self.said):
            found = getattr(self, name)
            match found:
                case Decimal():
                    value[name] = format(found, "f")
                case Mapping():
                    value[name] = {key: _spelt(item) for key, item in found.items()}
                case _:
                    value[name] = found
        return value


def ways_of(raw: object, where: str) -> dict[str, Way]:
    """Return what `columns` of a source declares, by the contract's column.

    Raises:
        NodeSettingsError: it says too little, too much or something that cannot be.
    """
    if not isinstance(raw, dict):
        raise NodeSettingsError(f"{where}: columns is a table of the contract's columns")
    return {
        str(name): _way(str(name), value, f"{where}: columns.{name}") for name, value in raw.items()
    }


def factor(text: object, where: str) -> Decimal:
    """Return an exact number above 0 that stands in quotes.

    Raises:
        NodeSettingsError: it is none.
    """
    if not isinstance(text, str) or not _FACTOR.fullmatch(text) or not Decimal(text):
        raise NodeSettingsError(f'{where} is a number above 0 in quotes, such as "0.01"')
    return Decimal(text)


def zone(name: object, where: str) -> str:
    """Return the name of a time zone that this machine knows.

    Raises:
        NodeSettingsError: it knows none of that name.
    """
    try:
        return ZoneInfo(str(name)).key
    except (ValueError, OSError, KeyError):
        raise NodeSettingsError(
            f"{where}: this machine knows no time zone {name!r}; write one as in Europe/Berlin"
        ) from None


def _spelt(value: object) -> object:
    return format(value, "f") if isinstance(value, Decimal) else value


def _way(name: str, raw: object, where: str) -> Way:
    if isinstance(raw, str) and raw:
        return Way(source=raw)
    if not isinstance(raw, dict) or not raw or not raw.keys() <= _FIELDS:
        raise NodeSettingsError(
            f"{where} is the name of a column in quotes, or a table of {', '.join(sorted(_FIELDS))}"
        )
    if ("currency" in raw) != ("rates" in raw):
        raise NodeSettingsError(f"{where}: currency names a column, and rates what each is worth")
    if "rate" in raw and "rates" in raw:
        raise NodeSettingsError(f"{where}: either one rate, or the rates of a column of currencies")
    if "twice" in raw and "zone" not in raw:
        raise NodeSettingsError(f"{where}: twice is of clocks, so it needs their zone")
    if len([part for part in _KINDS if part & raw.keys()]) > 1:
        raise NodeSettingsError(
            f"{where}: a column is a number, a moment, codes or ids, and one alone"
        )
    return Way(
        source=_text(raw, "from", where) or name,
        decimal=cast("Mark | None", _among(raw, "decimal", get_args(Mark), where)),
        times=factor(raw["times"], f"{where}.times") if "times" in raw else None,
        rate=factor(raw["rate"], f"{where}.rate") if "rate" in raw else None,
        currency=_text(raw, "currency", where),
        rates={k: factor(v, f"{where}.rates.{k}") for k, v in _table(raw, "rates", where).items()},
        form=cast("Form | None", _among(raw, "form", FORMS, where)),
        zone=zone(raw["zone"], where) if "zone" in raw else "",
        twice=cast("Twice | None", _among(raw, "twice", get_args(Twice), where)),
        codes=_codes(raw, where) if "codes" in raw else None,
        ids=cast("Ids | None", _among(raw, "ids", get_args(Ids), where)),
    )


def _text(raw: Mapping[str, Any], name: str, where: str) -> str:
    value = raw.get(name, "")
    if not isinstance(value, str) or (name in raw and not value):
        raise NodeSettingsError(f"{where}: {name} is text in quotes")
    return value


def _among(raw: Mapping[str, Any], name: str, known: tuple[str, ...], where: str) -> str | None:
    if name in raw and raw[name] not in known:
        raise NodeSettingsError(f"{where}: {name} is one of {', '.join(known)}")
    return cast("str | None", raw.get(name))


def _table(raw: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    value = raw.get(name, {})
    if not isinstance(value, dict) or (name in raw and not value):
        raise NodeSettingsError(f"{where}: {name} is a table, and not an empty one")
    return value


def _codes(raw: Mapping[str, Any], where: str) -> dict[str, str]:
    codes = _table(raw, "codes", where)
    if not all(isinstance(value, str) for value in codes.values()):
        raise NodeSettingsError(f"{where}: codes are texts in quotes")
    return {str(key): str(value) for key, value in codes.items()}
