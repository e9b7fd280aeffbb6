"""What the Cedar texts of a territory take from its pack: lists, words and last days."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date
from typing import Final

from policies.errors import MalformedPackError
from policies.law.packs import Pack, Place

EPOCH: Final = date(1970, 1, 1)
_HOLDS: Final[dict[Place, str]] = {
    "results": 'context.recipients.contains("{to}")',
    "aggregator": 'context.aggregator == "{to}"',
    "key": 'context has keyholder && context.keyholder == "{to}"',
}
_NAMES: Final[dict[str, Place]] = {"results": "results", "aggregators": "aggregator", "keys": "key"}


def facts(pack: Pack) -> dict[str, str]:
    """Return the values of every placeholder in the texts of the pack's territory.

    Raises:
        MalformedPackError: a fact has a sign that would end a text of a rule.
    """
    found = {
        "pack": pack.jurisdiction.value,
        "as_of": pack.as_of.isoformat(),
        "pack_sha256": fingerprint(pack),
        "reviewed_by": pack.reviewed_en,
        "risk_assessment": pack.records.get("risk_assessment", ""),
        **_spoken("barred", sorted(place.value for place in pack.barred)),
        "uncounted": _quoted(uncounted(pack)),
    }
    for name, place in _NAMES.items():
        found |= _spoken(name, pack.destinations(place))
    if pack.export is not None:
        found |= {f"export_{name}": str(value) for name, value in asdict(pack.export).items()}
    for name, value in found.items():
        plain = value.replace('"', "") if _is_list(name) else value
        if not plain.isprintable() or set(plain) & set('"\\'):
            raise MalformedPackError(f"pack {pack.jurisdiction}: {name} is not plain text")
    return found


def uncounted(pack: Pack) -> tuple[str, ...]:
    """Return home and the territories whose mechanism holds for any number of people."""
    home = pack.destinations("results")[:1]
    free = [
        place
        for place in pack.destinations("results")[1:]
        if any(not mechanism.counted for mechanism in pack.covering(place, "results"))
    ]
    return (*home, *free)


def lapses(pack: Pack) -> list[dict[str, str]]:
    """Return the facts of one rule per territory whose mechanisms all have a last day."""
    found = []
    for to in dict.fromkeys(place.value for item in pack.mechanisms for place in item.to):
        ends = {place: day for place in _HOLDS if (day := _last_day(pack, to, place)) is not None}
        if ends:
            found.append(_lapse(pack, to, ends))
    return found


def day_number(day: date) -> int:
    """Return the days since 1970-01-01."""
    return (day - EPOCH).days


def fingerprint(pack: Pack) -> str:
    """Return the SHA-256 of everything the pack says, in hexadecimal."""
    text = json.dumps(asdict(pack), sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else str(value)


def _lapse(pack: Pack, to: str, ends: dict[Place, date]) -> dict[str, str]:
    first = min(ends, key=lambda place: ends[place])
    mechanism = pack.covering(to, first)[0]
    condition = " || ".join(
        f"(context.today > {day_number(day)} && {_HOLDS[place].format(to=to)})"
        for place, day in ends.items()
    )
    return {
        "id": f"{pack.jurisdiction.value}-UNTIL-{to}",
        "law": f"{mechanism.law} {mechanism.article}",
        "to": to,
        "day": ends[first].isoformat(),
        "fix_en": pack.fix_en,
        "fix_zh": pack.fix_zh,
        "condition": condition,
    }


def _last_day(pack: Pack, to: str, place: Place) -> date | None:
    """Return the last day on which something covers `to`; None where nothing does, or for ever."""
    days = [mechanism.valid_until for mechanism in pack.covering(to, place)]
    dated = [day for day in days if day is not None]
    return max(dated) if dated and len(dated) == len(days) else None


def _spoken(name: str, places: Sequence[str]) -> dict[str, str]:
    *most, last = places or ("",)
    first = ", ".join(most)
    return {
        name: _quoted(places),
        f"{name}_en": f"{first} and {last}" if most else last,
        f"{name}_or": f"{first} or {last}" if most else last,
        f"{name}_zh": "、".join(places),
    }


def _quoted(places: Iterable[str]) -> str:
    return ", ".join(f'"{place}"' for place in places)


def _is_list(name: str) -> bool:
    return name in {"results", "aggregators", "keys", "barred", "uncounted"}
