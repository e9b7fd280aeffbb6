"""How many people's data left a territory in a year: from what the ledger says, never from rows.

A group of subjects counts once a year, with the number of people that its contracts declare as an
upper bound, however many releases of it crossed. The declared number is public in the contract; a
count of rows would tell the other side something about them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from policies.contracts import DataContract
from policies.law.packs import Export


@dataclass(frozen=True, slots=True)
class Outbound:
    """Results about `subjects` crossed the border, or were promised to, at `at` (s since 1970).

    at: None while the order is open: what is promised may leave in any year.
    """

    subjects: str
    at: int | None


@dataclass(frozen=True, slots=True)
class Count:
    """People whose data left in one calendar year.

    groups:     the groups that were counted, sorted; undeclared: those of unknown size.
    persons:    an upper bound, without the undeclared groups.
    """

    year: int
    persons: int
    groups: tuple[str, ...]
    undeclared: tuple[str, ...]

    @property
    def known(self) -> int | None:
        """The number of people, or None where a group's size is unknown."""
        return None if self.undeclared else self.persons

    def percent_of(self, export: Export) -> int:
        """Return how much of the yearly number is used up, in per cent, rounded up."""
        return -(-100 * self.persons // export.persons)

    def is_near(self, export: Export) -> bool:
        """Return whether the operator should be warned: close to the number, or of unknown size."""
        return bool(self.undeclared) or self.percent_of(export) >= export.warn_percent


def year_of(at: int, export: Export) -> int:
    """Return the calendar year of a moment, by the clock of the territory."""
    return (datetime.fromtimestamp(at, UTC) + timedelta(hours=export.utc_offset_hours)).year


def person_groups(units: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return the groups of people among (subjects, unit kind) pairs of one table or one join.

    Orders belong to their customers; where no customer is named, the orders' group stands for them.
    """
    pairs = set(units)
    customers = {subjects for subjects, kind in pairs if kind == "customer"}
    return frozenset(customers or {subjects for subjects, kind in pairs if kind == "order"})


def groups_of(*contracts: DataContract) -> frozenset[str]:
    """Return the groups of people that stand in a contract's table, or in a join of several."""
    own = [(contract.subjects, contract.unit.kind) for contract in contracts]
    further = [(unit.subjects, unit.kind) for contract in contracts for unit in contract.also]
    return person_groups([*own, *further])


def declared(contracts: Iterable[DataContract]) -> dict[str, int]:
    """Return how many people each group has at most, as its contracts say; unknown ones are out."""
    sizes: dict[str, int] = {}
    for contract in contracts:
        for group in groups_of(contract) if contract.persons is not None else ():
            sizes[group] = max(sizes.get(group, 0), contract.persons or 0)
    return sizes


def count(outbound: Iterable[Outbound], sizes: Mapping[str, int], at: int, export: Export) -> Count:
    """Return the people whose data left in the calendar year of `at`, each group once.

    at: the witnessed time, in seconds since 1970.
    """
    year = year_of(at, export)
    groups = {
        item.subjects for item in outbound if item.at is None or year_of(item.at, export) == year
    }
    return Count(
        year,
        sum(sizes.get(group, 0) for group in groups),
        tuple(sorted(groups)),
        tuple(sorted(groups - sizes.keys())),
    )
