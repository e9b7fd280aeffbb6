"""Which units a run over a contract pays in, given all contracts of the node.

Contracts over the same subjects share one account, whatever unit each declares. It is kept in the
coarsest of those units, a person's before an order's before a firm's, and a contract with a finer
unit pays for as many of its own units as one of the account's can touch. Contracts over the same
table read the same rows, so that they share the accounts as well.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from policies.contracts import DataContract, Limit, UnitKind
from policies.errors import MalformedContractError, UnitMismatchError


@dataclass(frozen=True, slots=True)
class PaidUnit:
    """A unit that runs pay in; it is hidden as well as `group` main units together are."""

    subjects: str
    kind: UnitKind
    limit: Limit
    group: int


_COARSENESS: Final[Mapping[UnitKind, int]] = {"commercial": 0, "order": 1, "customer": 2}
"""A person's account is never taken over by an order's or a firm's."""


def units_of(contracts: Iterable[DataContract]) -> list[PaidUnit]:
    """Return every unit that the contracts state themselves."""
    return [unit for contract in contracts for unit in _units(contract)]


def paid(wanted: DataContract, known: Sequence[DataContract]) -> tuple[PaidUnit, ...]:
    """Return the one unit per subjects that a run over `wanted` pays in, its own subjects first.

    Raises:
        UnitMismatchError: `wanted` reads rows of subjects whose unit it does not relate to its own.
    """
    siblings = [contract for contract in known if contract.table == wanted.table]
    alike = [contract for contract in siblings if contract.unit.columns == wanted.unit.columns]
    related = [*_units(wanted), *units_of(alike)]
    subjects = dict.fromkeys(unit.subjects for unit in [*related, *units_of(siblings)])
    return tuple(_coarsest(wanted, name, related, units_of(known)) for name in subjects)


def reached(read: Sequence[DataContract], known: Sequence[DataContract]) -> dict[str, int]:
    """Return how many main units one unit of every account reaches, by subjects.

    read: contracts whose rows are joined by their main unit, or the one that is read. Who has rows
    in several of them under one name is one main unit. A further unit reaches main units through
    each table, and they need not be the same ones: these numbers add up.

    Raises:
        UnitMismatchError: see `paid`.
    """
    own = {(contract.subjects, contract.unit.kind) for contract in read}
    found: dict[str, int] = {}
    for unit in (unit for contract in read for unit in paid(contract, known)):
        before = found.get(unit.subjects, 0)
        is_main = own == {(unit.subjects, unit.kind)}
        found[unit.subjects] = max(before, unit.group) if is_main else before + unit.group
    return found


def require_own_files(
    contracts: Iterable[DataContract], files: Mapping[str, Collection[Hashable]]
) -> None:
    """Return if no file stands under two names of tables: its rows would be paid for once each.

    files: table → what identifies the file behind it, such as its true path and its number on the
        device; two tables that share one of these are one file.

    Raises:
        MalformedContractError: two tables are one file.
    """
    seen: dict[Hashable, DataContract] = {}
    for contract in contracts:
        for mark in files.get(contract.table, ()):
            first = seen.setdefault(mark, contract)
            if first.table != contract.table:
                raise MalformedContractError(
                    f"contracts {first.name} and {contract.name} read one file under the names "
                    f"{first.table} and {contract.table}, so that not all who stand in it would be "
                    f"charged; let the operator name the same table in both"
                )


def _units(contract: DataContract) -> tuple[PaidUnit, ...]:
    own = PaidUnit(contract.subjects, contract.unit.kind, contract.limit, 1)
    return (own, *(PaidUnit(u.subjects, u.kind, u.limit, u.group) for u in contract.also))


def _coarsest(
    wanted: DataContract, subjects: str, related: Sequence[PaidUnit], units: Sequence[PaidUnit]
) -> PaidUnit:
    kinds = {unit.kind for unit in units if unit.subjects == subjects}
    kind = max(kinds, key=_COARSENESS.__getitem__)
    fitting = [unit for unit in related if (unit.subjects, unit.kind) == (subjects, kind)]
    if not fitting:
        raise UnitMismatchError(
            f"contract {wanted.name} reads rows of {subjects}, whose account protects the unit "
            f"{kind}, and does not say how many of its own units one of those touches; add an "
            f"[[also]] of kind {kind} over {subjects} to it"
        )
    return max(fitting, key=lambda unit: unit.group)
