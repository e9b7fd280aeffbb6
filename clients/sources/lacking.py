"""Which columns are read of a source that it does not have. Pure.

`Wanted.among` refuses a source that lacks what a contract promises. A column that the contract
calls optional it lets go, also where `[sources]` says which one of the source it is: the operator
hears of that here, before somebody asks for the column.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from clients.sources.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Lack:
    """A column of the contract, and the one that is read for it and is not there.

    declared: whether `[sources]` says where it comes from, or its own name alone does.
    """

    column: str
    source: str
    declared: bool


def lacking(wanted: Wanted, there: Collection[str]) -> tuple[Lack, ...]:
    """Return what a source whose columns are `there` lacks, in the contract's order."""
    return tuple(_lacking(wanted, there))


def _lacking(wanted: Wanted, there: Collection[str]) -> Iterator[Lack]:
    for name in wanted.columns:
        declared = name in wanted.ways
        if declared or name not in wanted.optional or name in wanted.rows:
            missing = (source for source in wanted.way(name).sources if source not in there)
            yield from (Lack(name, source, declared) for source in missing)
