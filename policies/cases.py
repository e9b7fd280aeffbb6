"""Given/expect tables: what an operator wants the law to say, checked like a test.

    [[case]]
    name = "fraud training for recipients at home passes"
    nodes = ["CN", "EU"]                 # all territories where it is left out
    given = { action = "train", purpose = "fraud_prevention" }
    expect = "permit"                    # or refused = ["CN-002"], every rule that must speak
    overrides = ["privacy.epsilon=4.0"]  # optional: every setting that the reasons suggest

`given` says what differs from a plain query at home. `home` stands for the node's territory, and
`{node}` in a rule's id for its code.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from typing import Any, Final, get_args

from policies.contracts import UnitKind
from policies.engine import Law, Reason, Request, objections
from policies.errors import MalformedCasesError
from policies.parties import Grade, Jurisdiction, Role, territory
from policies.situations import plain

NAME: Final = "cases.toml"
_KEYS: Final = {"name", "nodes", "given", "absent", "expect", "refused", "overrides"}
_SETS: Final = {"units", "grouped", "filtered", "aggregated", "masked", "joined", "recipients"}
_KNOWN: Final = {item.name for item in fields(Request)}
_PLACES: Final = {"recipients", "aggregator", "keyholder"}
_VALUES: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(("grouped", "filtered", "aggregated", "masked", "joined"), tuple(Grade)),
    **dict.fromkeys((*_PLACES, "nodes"), tuple(Jurisdiction)),
    **dict.fromkeys(("unit", "units"), get_args(UnitKind)),
    **dict.fromkeys(("role", "proposer_role"), tuple(Role)),
    "action": ("train", "query", "match"),
}
"""What may stand in a field; a purpose and a legal basis are any text, and a law may refuse it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of a table.

    refused:   ids of every rule that must refuse, sorted; empty where it must be permitted.
    overrides: the settings that the refusal must suggest, sorted; None: whichever.
    """

    name: str
    request: Request
    refused: tuple[str, ...]
    overrides: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the law said to a case."""

    case: Case
    reasons: tuple[Reason, ...]

    @property
    def found(self) -> tuple[str, ...]:
        """Ids of the rules that refused."""
        return tuple(reason.id for reason in self.reasons)

    @property
    def suggested(self) -> tuple[str, ...]:
        """The settings that the refusal suggests, sorted."""
        return tuple(sorted({reason.override for reason in self.reasons if reason.override}))

    @property
    def is_as_expected(self) -> bool:
        """Whether exactly the expected rules spoke, with the expected way out."""
        wanted = self.case.overrides
        return self.found == self.case.refused and wanted in {None, self.suggested}


def default_table() -> str:
    """Return the table that ships with the law."""
    return files("policies.law").joinpath(NAME).read_text(encoding="utf-8")


def load_cases(text: str, jurisdiction: Jurisdiction, today: int) -> tuple[Case, ...]:
    """Return the cases of a table that concern a node there.

    Raises:
        MalformedCasesError: it says something unknown, or nothing.
    """
    try:
        raw = tomllib.loads(text)["case"]
        found = [case for item in raw if (case := _case(item, jurisdiction, today)) is not None]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as why:
        raise MalformedCasesError(f"the table of cases does not hold together: {why}") from why
    if not found:
        raise MalformedCasesError(f"the table has no case for a node in {jurisdiction}")
    return tuple(found)


def run(cases: Sequence[Case], law: Law) -> tuple[Outcome, ...]:
    """Return what the law says to each case."""
    found = objections([case.request for case in cases], law)
    return tuple(Outcome(case, reasons) for case, reasons in zip(cases, found, strict=True))


def _case(raw: Mapping[str, Any], jurisdiction: Jurisdiction, today: int) -> Case | None:
    if not raw.keys() <= _KEYS or ("expect" in raw) == ("refused" in raw):
        raise ValueError(f"{raw.get('name', 'a case')}: say expect = 'permit' or refused = [...]")
    if raw.get("expect", "permit") != "permit" or raw.get("refused") == []:
        raise ValueError(f"{raw['name']}: expect is 'permit', and refused names a rule")
    places = [_known("nodes", place) for place in raw.get("nodes", [jurisdiction])]
    given = {key: _value(key, value, jurisdiction) for key, value in raw.get("given", {}).items()}
    given |= dict.fromkeys(raw.get("absent", []))
    if not given.keys() <= _KNOWN - {"jurisdiction"}:
        raise ValueError(f"{raw['name']}: given says something that no request has")
    if jurisdiction not in places:
        return None
    rules = sorted(rule.format(node=jurisdiction) for rule in raw.get("refused", []))
    wanted = raw.get("overrides")
    return Case(
        name=str(raw["name"]),
        request=replace(plain(jurisdiction, today), **given),
        refused=tuple(rules),
        overrides=None if wanted is None else tuple(sorted(wanted)),
    )


def _value(key: str, value: Any, jurisdiction: Jurisdiction) -> Any:
    if key not in _SETS:
        return _one(key, value, jurisdiction)
    if not isinstance(value, list):
        raise ValueError(f"{key} is a list, not {value!r}")
    return frozenset(_one(key, item, jurisdiction) for item in value)


def _one(key: str, item: Any, jurisdiction: Jurisdiction) -> Any:
    is_home = key in _PLACES and item == "home"
    return _known(key, territory(jurisdiction) if is_home else item)


def _known(key: str, item: Any) -> Any:
    """Return the member that `item` spells, or itself where a field takes any value."""
    if key not in _VALUES:
        return item
    known = {str(value): value for value in _VALUES[key]}
    if item not in known:
        raise ValueError(f"{key} says {item!r}; known: {', '.join(known)}")
    return known[item]
