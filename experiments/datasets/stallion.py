"""Monthly volumes of a beverage maker's products at 58 agencies: features, split and parties.

A party is an agency, a row one month of one product there, forecast a month ahead from what was
known the month before; the prices, discounts and events of the month itself are planned. The last
six months are the test.

A lag of three months reads a month in three rows, last year's in two more, and the mean of a year
in twelve. So a month is no unit of privacy here: the features read one product's whole series at
one agency, and that is the unit. It is commercial confidentiality, nobody's personal data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clients.training.reads import Feature, Reads, Unit
from experiments.datasets.files import Table, party_name
from policies.parties import PartyId

Array: TypeAlias = NDArray[np.float64]

TABLE: Final = Table(
    "stallion.parquet",
    21_000,
    {
        "agency": "text",
        "sku": "text",
        "date": "moment",
        "volume": "number",
        "price_regular": "number",
        "price_actual": "number",
        "discount_in_percent": "number",
        "regional_games": "integer",
        "football_gold_cup": "integer",
    },
)
UNIT: Final = Unit(
    "whole series of one product at one agency (commercial confidentiality)",
    "whole history of an agency (commercial confidentiality)",
)
FIRST_TEST: Final = pd.Timestamp("2017-07-01")

FEATURES: Final = (
    *(Feature(f"volume {age} months before", Reads.OWN_UNIT) for age in (1, 2, 3, 6)),
    Feature("mean volume of 6 months", Reads.OWN_UNIT),
    Feature("mean volume of 12 months", Reads.OWN_UNIT),
    Feature("the same month last year", Reads.OWN_UNIT),
    Feature("growth over a year", Reads.OWN_UNIT),
    Feature("has a last year", Reads.OWN_UNIT),
    Feature("months without sales", Reads.OWN_UNIT),
    Feature("volume spread", Reads.OWN_UNIT),
    Feature("level", Reads.OWN_UNIT),
    Feature("price", Reads.OWN_UNIT),
    Feature("price since last month", Reads.OWN_UNIT),
    Feature("regular price", Reads.OWN_UNIT),
    Feature("discount", Reads.OWN_UNIT),
    Feature("discount against before", Reads.OWN_UNIT),
    *(Feature(f"month {month}", Reads.PUBLIC) for month in range(1, 13)),
    Feature("regional games", Reads.PUBLIC),
    Feature("gold cup", Reads.PUBLIC),
)
"""Every input of the model, in its order."""

_BASE: Final = 3  # months whose mean volume a forecast is relative to
_YEAR: Final = 12
_PAST: Final = _YEAR + _BASE
_PRICES: Final = (100.0, 5000.0)
_LARGEST: Final = 3.0
_VALUES: Final = (
    "volume",
    "price_regular",
    "price_actual",
    "discount_in_percent",
    "regional_games",
    "football_gold_cup",
)


@dataclass(frozen=True, slots=True, eq=False)
class AgencyRows:
    """Rows of one agency: features [n, inputs], targets and bases [n] in logs, series [n].

    target = log1p(volume) - base, where base = log1p(mean volume of the three months before).
    before: the volume of the month before, the forecast that costs nothing.
    """

    features: NDArray[np.float32]
    targets: NDArray[np.float32]
    base: Array
    volume: Array
    before: Array
    series: NDArray[np.int64]

    def predict(self, outputs: Array) -> Array:
        """Return the volumes [n] that the model's outputs [n] stand for, never negative."""
        return np.maximum(np.expm1(np.clip(outputs + self.base, 0.0, 30.0)), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class AgencySplit:
    """One agency's rows, divided at the first month of the test."""

    party: PartyId
    train: AgencyRows
    test: AgencyRows


def stallion_splits(
    table: pd.DataFrame, first_test: pd.Timestamp = FIRST_TEST
) -> tuple[AgencySplit, ...]:
    """Return every agency's rows: those to train on read no month of the test.

    Whatever the test holds later than six months after `first_test` is left out.
    """
    rows = stallion_rows(table)
    until = first_test + pd.DateOffset(months=6)
    train = rows["date"] < first_test
    test = (rows["date"] >= first_test) & (rows["date"] < until)
    return tuple(
        AgencySplit(
            party_name(str(agency)),
            _agency(part[train.loc[part.index]]),
            _agency(part[test.loc[part.index]]),
        )
        for agency, part in rows.groupby("agency", sort=True)
    )


def _agency(rows: pd.DataFrame) -> AgencyRows:
    volume, base = rows["volume"].to_numpy(np.float64), rows["base"].to_numpy(np.float64)
    relative = np.clip(np.log1p(volume) - base, -_LARGEST, _LARGEST)
    return AgencyRows(
        rows[[item.name for item in FEATURES]].to_numpy(np.float32),
        relative.astype(np.float32),
        base,
        volume,
        rows["before"].to_numpy(np.float64),
        pd.factorize(rows["sku"])[0].astype(np.int64),
    )


def stallion_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the features of every month that has the three months before it, by the table's index.

    Beside the features: agency, sku, date, volume, `base` and `before`. Of several rows for one
    month of a series the first counts.
    """
    named = table.drop_duplicates(["agency", "sku", "date"]).sort_values(["agency", "sku", "date"])
    series = named.groupby(["agency", "sku"], sort=True).ngroup().to_numpy(np.int64)
    month = named["date"].dt.year.to_numpy() * _YEAR + named["date"].dt.month.to_numpy() - 1
    column = (
        month - month.min() + _PAST
    )  # a year's room before the first, so that all can look back
    grids = {name: _grid(series, column, named[name].to_numpy(np.float64)) for name in _VALUES}
    whole = np.isfinite(grids["volume"])
    there = np.all([whole[series, column - age] for age in range(_BASE + 1)], axis=0)
    kept = named[there]
    inputs = _inputs(_Series(grids, series[there], column[there]), month[there] % _YEAR)
    rows = pd.DataFrame(
        {item.name: values for item, values in zip(FEATURES, inputs, strict=True)}, kept.index
    ).clip(-_LARGEST, _LARGEST)
    history = _Series(grids, series[there], column[there])
    return rows.assign(
        agency=kept["agency"],
        sku=kept["sku"],
        date=kept["date"],
        volume=kept["volume"],
        base=np.log1p(history.mean("volume", _BASE)),
        before=history.at("volume", 1),
    )


def _grid(series: NDArray[np.int64], column: NDArray[np.int64], values: Array) -> Array:
    """Return [series, months] with NaN where there is no row."""
    grid = np.full((series.max() + 1, column.max() + 1), np.nan)
    grid[series, column] = values
    return grid


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """The months before each of n target months, every one within the target's own series."""

    grids: Mapping[str, Array]
    series: NDArray[np.int64]
    column: NDArray[np.int64]

    def at(self, name: str, age: int) -> Array:
        """Return the values `age` months before the targets, NaN where there is none."""
        taken: Array = self.grids[name][self.series, self.column - age]
        return taken

    def past(self, name: str, months: int, age: int = 0) -> Array:
        """Return [n, months]: the months before the target, or before `age` months earlier."""
        return np.stack([self.at(name, age + back) for back in range(1, months + 1)], axis=1)

    def mean(self, name: str, months: int, age: int = 0) -> Array:
        """Return the mean of the months of `past` that are there, NaN where none is."""
        past = self.past(name, months, age)
        there = np.isfinite(past)
        count = there.sum(1)
        total = np.where(there, past, 0.0).sum(1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _inputs(at: _Series, month: NDArray[np.int64]) -> list[Array]:
    """Return the model's inputs in the order of FEATURES; 0 stands for what is not known."""
    base = np.log1p(at.mean("volume", _BASE))
    recent = at.past("volume", 6)
    last_year = np.log1p(at.mean("volume", _BASE, age=_YEAR))
    known = np.isfinite(last_year) & np.isfinite(at.at("volume", _YEAR))
    inputs = [np.log1p(at.at("volume", age)) - base for age in (1, 2, 3, 6)]
    inputs += [np.log1p(at.mean("volume", months)) - base for months in (6, _YEAR)]
    inputs += [np.log1p(at.at("volume", _YEAR)) - last_year, base - last_year]
    inputs += [known.astype(np.float64)]
    inputs += [(recent == 0).sum(1) / np.maximum(np.isfinite(recent).sum(1), 1)]
    inputs += [np.log1p(at.past("volume", _BASE)).mean(1) - base, base / 5]
    inputs += _terms(at)
    inputs += [(month == place).astype(np.float64) for place in range(_YEAR)]
    inputs += [at.at("regional_games", 0), at.at("football_gold_cup", 0)]
    return [np.nan_to_num(values) for values in inputs]


def _terms(at: _Series) -> list[Array]:
    """Return what was planned for the month: prices against before, 1 is 10 %; discounts."""
    price, regular = (
        np.log(np.clip(at.past(name, _BASE + 1, age=-1), *_PRICES))
        for name in ("price_actual", "price_regular")
    )
    discount = np.clip(at.past("discount_in_percent", _BASE + 1, age=-1), 0.0, 100.0) / 100
    return [
        10 * (price[:, 0] - price[:, 1:].mean(1)),
        10 * (price[:, 0] - price[:, 1]),
        10 * (regular[:, 0] - regular[:, 1:].mean(1)),
        5 * discount[:, 0],
        10 * (discount[:, 0] - discount[:, 1:].mean(1)),
    ]
