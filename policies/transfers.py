"""Where something may go: the rule under which it crosses a border, or a refusal by name.

Origin is the territory whose people stand behind a figure, not where a copy happens to lie; what
is made of several origins needs a rule from each. `rule_for` answers for one border, `clear_for`
for an artefact with its own destinations, `place` for the parties that a run puts in between.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, TypeAlias

from policies.errors import MisplacedError, NoMechanismError, NotForThereError
from policies.evidence import Minted
from policies.law.packs import Pack, Place, packs
from policies.parties import Grade, Jurisdiction, territory

Packs: TypeAlias = Mapping[Jurisdiction, Pack]

ArtefactKind: TypeAlias = Literal["agreement", "model", "update", "answer", "key", "record"]
"""record: something of the ledger; agreement: an order, a roster, a word about them."""

WITHOUT_ROWS: Final[frozenset[ArtefactKind]] = frozenset({"agreement", "key", "record"})
"""Kinds of artefact that say nothing about any row."""


_HOME: Final = "-HOME"


@dataclass(frozen=True, slots=True)
class Transfer:
    """The rule under which something crosses from one territory to another.

    id:        such as `CN-T01`; `CN-HOME` inside one territory, `CN-FREE` for nobody's person.
    law:       law and article, or what says that none applies.
    mechanism: kind of the mechanism, such as `adequacy`; `domestic`; `not_personal`.
    as_of:     the day of the pack it stands in, as YYYY-MM-DD.
    """

    id: str
    law: str
    mechanism: str
    as_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """Something that could leave: whose rows stand behind it, what it is, and who may have it.

    origin:       every territory whose rows it was made from.
    grade:        the most sensitive grade that it was made from.
    destinations: the territories that the order names; nothing goes elsewhere.
    personal:     its rows are about persons.
    """

    origin: frozenset[Jurisdiction]
    kind: ArtefactKind
    grade: Grade
    destinations: frozenset[Jurisdiction]
    personal: bool

    def __post_init__(self) -> None:
        if not self.origin or not self.destinations:
            raise NotForThereError("an artefact has an origin and at least one destination")


@dataclass(frozen=True, slots=True)
class Cleared(metaclass=Minted):
    """`artefact` may go to `destination`; `rules` says why, one per origin, sorted by id."""

    artefact: Artefact
    destination: Jurisdiction
    rules: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class Placed(metaclass=Minted):
    """Aggregator and keyholders may work where they are, for every origin."""

    origins: frozenset[Jurisdiction]
    aggregator: Jurisdiction
    keyholders: frozenset[Jurisdiction]


def rule_for(
    origin: Jurisdiction,
    destination: Jurisdiction,
    personal: bool,
    *,
    place: Place = "results",
    on: date | None = None,
    known: Packs | None = None,
) -> Transfer:
    """Return the rule under which something goes from `origin` to `destination`.

    place: what is at the other end; an aggregator and a key need more than a recipient does.
    on:    the day of the transfer, so that an expired mechanism is none; None asks about no day.
    known: the packs in force; the installed ones unless others are given.

    Raises:
        NoMechanismError: nothing on record covers it.
    """
    pack = _pack(origin, known)
    home, there, as_of = territory(origin), territory(destination), pack.as_of.isoformat()
    if home == there:
        return Transfer(f"{home}{_HOME}", "inside one territory", "domestic", as_of)
    if not personal:
        return Transfer(f"{home}-FREE", "no personal information", "not_personal", as_of)
    found = pack.covering(there, place, on)
    if not found:
        raise NoMechanismError(
            f"no transfer mechanism is on record from {home} to {there} for {_WORDS[place]}; "
            f"{pack.fix_en}"
        )
    first = found[0]
    return Transfer(first.id, f"{first.law} {first.article}", first.kind, as_of)


def is_at_home(rule: str) -> bool:
    """Return whether the rule of that id lets something stay inside one territory."""
    return rule.endswith(_HOME)


def clear_for(
    artefact: Artefact,
    destination: Jurisdiction,
    on: date | None = None,
    known: Packs | None = None,
) -> Cleared:
    """Return the proof that `artefact` may go to `destination`.

    Raises:
        NotForThereError: the destination is none of the artefact's own.
        NoMechanismError: one of its origins has no mechanism on record.
    """
    if territory(destination) not in {territory(place) for place in artefact.destinations}:
        raise NotForThereError(
            f"this {artefact.kind} was never meant for {destination}; name a recipient there in "
            f"the order, so that every node can judge it"
        )
    personal = artefact.personal and artefact.kind not in WITHOUT_ROWS
    rules = {
        rule_for(origin, destination, personal, on=on, known=known) for origin in artefact.origin
    }
    ordered = tuple(sorted(rules, key=lambda rule: rule.id))
    return Cleared._mint(artefact, destination, ordered)  # noqa: SLF001  home of this evidence


def destinations_of(
    origin: Jurisdiction, personal: bool, on: date | None = None, known: Packs | None = None
) -> frozenset[Jurisdiction]:
    """Return every territory to which a result may go, home among them."""
    if not personal:
        return frozenset(Jurisdiction)
    reached = _pack(origin, known).destinations("results", on)
    return frozenset(place for place in Jurisdiction if territory(place) in reached)


def place(
    origins: Iterable[Jurisdiction],
    personal: bool,
    aggregator: Jurisdiction,
    keyholders: Iterable[Jurisdiction] = (),
    on: date | None = None,
    known: Packs | None = None,
) -> Placed:
    """Return the proof that a run's aggregator and keyholders may work where they are.

    Raises:
        MisplacedError: they may not; every party at fault is named at once.
    """
    homes, holders = frozenset(origins), frozenset(keyholders)
    posts: list[tuple[Place, Jurisdiction]] = [("aggregator", aggregator)]
    posts += [("key", holder) for holder in sorted(holders)]
    faults = []
    for origin in sorted(homes):
        for post, where in posts:
            try:
                rule_for(origin, where, personal, place=post, on=on, known=known)
            except NoMechanismError as why:
                faults.append(str(why))
    if faults:
        raise MisplacedError("; ".join(faults))
    return Placed._mint(homes, aggregator, holders)  # noqa: SLF001  the home of this evidence


def leaves(
    home: str, recipients: Iterable[str], aggregator: str, keyholder: str | None = None
) -> bool:
    """Return whether result, sums under way or opening key are outside the territory of `home`."""
    holder = () if keyholder is None else (keyholder,)
    return {territory(place) for place in (*recipients, aggregator, *holder)} != {territory(home)}


def _pack(origin: Jurisdiction, known: Packs | None) -> Pack:
    # A state's transfers follow the territory it is part of.
    return (known or packs())[Jurisdiction(territory(origin))]


_WORDS: Final = {
    "results": "results about persons",
    "aggregator": "an aggregator of results about persons",
    "key": "the key that opens results about persons",
}
