"""Whose rows a feature reads: what decides whose presence a private run can hide.

A private step clips what one unit's rows add. If a row of one unit reads the rows of another, then
removing a unit changes rows that are not its own, and clipping hides nobody. So every feature
declares what it reads, and the unit that a run may name follows from the declarations:

    public values, released statistics, the unit's own rows      the unit itself
    the rows of its whole party                                  the party, by name
    rows of other parties                                        nobody: refused

A declaration is a promise; `changed_elsewhere` holds it to a table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from clients.training.errors import ForeignRowsError, TrainingDataError


class Reads(StrEnum):
    """Which rows, beside public values, one row's feature is computed from.

    RELEASED: a statistic that was noised and paid for before, and is public since.
    """

    PUBLIC = "public"
    RELEASED = "released statistic"
    OWN_UNIT = "own unit"
    OWN_PARTY = "own party"
    OTHERS = "other parties"


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of a model, and what it reads."""

    name: str
    reads: Reads


@dataclass(frozen=True, slots=True)
class Unit:
    """Whose presence a run means to hide, and who that is if a feature reads the whole party."""

    name: str
    party: str


def unit_of(features: Sequence[Feature], unit: Unit) -> str:
    """Return the name of what clipping hides: the unit, or its whole party if a feature reads that.

    Raises:
        ForeignRowsError: a feature reads rows of other parties, so no unit would be hidden.
    """
    if foreign := reading(features, Reads.OTHERS):
        raise ForeignRowsError(foreign)
    return unit.party if reading(features, Reads.OWN_PARTY) else unit.name


def reading(features: Sequence[Feature], reads: Reads) -> tuple[str, ...]:
    """Return the names of the features that declare `reads`."""
    return tuple(feature.name for feature in features if feature.reads is reads)


def changed_elsewhere(
    build: Callable[[pd.DataFrame], pd.DataFrame],
    raw: pd.DataFrame,
    units: "pd.Series[int]",
    removed: object,
) -> Mapping[str, int]:
    """Return, by feature, how many rows of other units change when the unit `removed` is not there.

    build: from raw rows to features, one row for each raw row that it keeps, by the same index.
    units: the unit of every raw row, by the same index.

    Rows that come or go count as changed. The unit leaves the raw rows, before any feature is
    computed: later, every sum over it would have been taken already.

    Raises:
        TrainingDataError: rows cannot be told apart by their index.
    """
    if not (raw.index.is_unique and raw.index.equals(units.index)):
        raise TrainingDataError("Rows and units must share one index that tells rows apart.")
    stays = units != removed
    before, after = build(raw), build(raw[stays])
    others = before.index[stays[before.index]].union(after.index)
    before, after = before.reindex(others), after.reindex(others)
    same = (before == after) | (before.isna() & after.isna())
    return {str(name): int(np.count_nonzero(~same[name])) for name in before.columns}
