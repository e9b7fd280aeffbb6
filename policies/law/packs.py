"""What the law of a territory says about transfers, as dated data, read once from `packs/*.toml`.

A pack is the one home of its facts: the Cedar texts take their lists from it, and so do the rule of
a message at the border and the policy card. It is input for counsel; who reviewed it stands in it.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, TypeAlias, get_args

from policies.errors import MalformedPackError
from policies.parties import Jurisdiction, territory

Place: TypeAlias = Literal["results", "aggregator", "key"]
"""What is at the other end: whoever knows the result, the aggregator, or the opening key."""

MechanismKind: TypeAlias = Literal[
    "adequacy",
    "scc",
    "idta",
    "standard_contract",
    "certification",
    "security_assessment",
    "unrestricted",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One way to transfer personal data lawfully to each territory in `to`.

    covers:      what may be at the other end.
    needs_*:     what must be at hand besides; watch_*: what may change soon.
    valid_until: the last day on which it counts; None where no end is fixed.
    counted:     its record covers no more people a year than the pack's `[export] persons`.
    """

    id: str
    to: tuple[Jurisdiction, ...]
    covers: frozenset[Place]
    kind: MechanismKind
    law: str
    article: str
    en: str
    zh: str
    needs_en: tuple[str, ...] = ()
    needs_zh: tuple[str, ...] = ()
    watch_en: str = ""
    watch_zh: str = ""
    valid_until: date | None = None
    counted: bool = False

    def holds(self, on: date | None) -> bool:
        """Return whether it counts on that day; None asks about no day."""
        return on is None or self.valid_until is None or on <= self.valid_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """How many people's data may leave in a calendar year before a stronger mechanism is needed.

    utc_offset_hours: of the clock by which the year begins.
    """

    persons: int
    utc_offset_hours: int
    warn_percent: int
    law: str
    fix_en: str
    fix_zh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """The facts of one territory or state.

    as_of:       the day on which the facts were gathered.
    reviewed_by: who of the legal profession answers for them; empty while nobody does.
    barred:      territories that no mechanism may cover.
    records:     references of documents that must exist before processing; empty text for none.
    """

    jurisdiction: Jurisdiction
    name_en: str
    name_zh: str
    as_of: date
    reviewed_by: str
    law: str
    fix_en: str
    fix_zh: str
    notes_en: tuple[str, ...] = ()
    notes_zh: tuple[str, ...] = ()
    barred: tuple[Jurisdiction, ...] = ()
    mechanisms: tuple[Mechanism, ...] = ()
    export: Export | None = None
    records: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = [mechanism.id for mechanism in self.mechanisms]
        if len(set(ids)) < len(ids):
            raise MalformedPackError(f"pack {self.jurisdiction}: a mechanism's id stands twice")
        for mechanism in self.mechanisms:
            home = {self.jurisdiction, territory(self.jurisdiction), *self.barred}
            if not mechanism.to or home & set(mechanism.to) or not mechanism.covers:
                raise MalformedPackError(
                    f"mechanism {mechanism.id} covers nothing, home, or a barred territory"
                )

    @property
    def reviewed_en(self) -> str:
        """Who reviewed it, in words."""
        return self.reviewed_by or "nobody yet: for review by counsel"

    @property
    def reviewed_zh(self) -> str:
        """Who reviewed it, in Chinese."""
        return self.reviewed_by or "尚无人审阅:待法律顾问审阅"

    def covering(self, to: str, place: Place, on: date | None = None) -> tuple[Mechanism, ...]:
        """Return the mechanisms that let `place` be in `to`, the longest-lived first."""
        found = [
            mechanism
            for mechanism in self.mechanisms
            if to in mechanism.to and place in mechanism.covers and mechanism.holds(on)
        ]
        return tuple(sorted(found, key=lambda item: -_last_day(item)))

    def destinations(self, place: Place, on: date | None = None) -> tuple[str, ...]:
        """Return home and every territory where `place` may be, home first, then as in the pack."""
        covered = [to.value for item in self.mechanisms for to in item.to]
        reached = [to for to in covered if self.covering(to, place, on)]
        return tuple(dict.fromkeys([territory(self.jurisdiction), *reached]))


def _last_day(mechanism: Mechanism) -> int:
    return (mechanism.valid_until or date.max).toordinal()


@cache
def packs() -> Mapping[Jurisdiction, Pack]:
    """Return the packs that are installed, by territory or state."""
    found = {}
    for item in sorted(files("policies.law").joinpath("packs").iterdir(), key=lambda f: f.name):
        if item.name.endswith(".toml"):
            pack = load_pack(item.read_text(encoding="utf-8"))
            found[pack.jurisdiction] = pack
    return found


def load_pack(text: str) -> Pack:
    """Read a pack's TOML; every key must be known.

    Raises:
        MalformedPackError: it says too little, too much, or something impossible.
    """
    try:
        raw = tomllib.loads(text)
        mechanisms = tuple(_mechanism(item) for item in raw.pop("mechanism", []))
        export = raw.pop("export", None)
        return Pack(
            **_known(Pack, raw)
            | {
                "jurisdiction": Jurisdiction(raw["jurisdiction"]),
                "barred": tuple(map(Jurisdiction, raw.get("barred", ()))),
                "records": {str(key): str(value) for key, value in raw.get("records", {}).items()},
                "mechanisms": mechanisms,
                "export": None if export is None else Export(**_known(Export, export)),
            }
        )
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as why:
        raise MalformedPackError(f"the policy pack does not hold together: {why}") from why


def _mechanism(raw: Mapping[str, Any]) -> Mechanism:
    known = _known(Mechanism, raw)
    if known["kind"] not in get_args(MechanismKind):
        raise ValueError(f"no kind of mechanism is called {known['kind']!r}")
    if not set(raw["covers"]) <= set(get_args(Place)):
        raise ValueError(f"mechanism {raw['id']} covers something unknown")
    return Mechanism(
        **known | {"to": tuple(map(Jurisdiction, raw["to"])), "covers": frozenset(raw["covers"])}
    )


_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "as_of": date,
    "valid_until": date,
    "counted": bool,
    "persons": int,
    "utc_offset_hours": int,
    "warn_percent": int,
    "records": dict,
    **dict.fromkeys(
        ("to", "covers", "barred", "needs_en", "needs_zh", "notes_en", "notes_zh"), list
    ),
}


def _known(kind: type, raw: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    for key, value in raw.items():
        if key not in names or type(value) is not _TYPES.get(key, str):
            raise ValueError(f"{key} is unknown or of the wrong type")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
