"""Weekly demand: training rows that read one window of one retailer's weeks and no more.

The unit of privacy is one retailer-week.  A row is a window of w consecutive weeks: the
target is the last week's volume relative to the mean of the w - 1 before it, and every
feature is computed from these w weeks and public bounds alone.  A private step uses only
rows whose last week is of the step's phase modulo w, so the windows of one step do not
overlap and each retailer-week stands in at most one of its rows.

With H horizons the w - 1 known weeks are followed by H more, and each of these is the target
of one row, whose horizon is one of its features.  The H rows of one stretch of w - 1 + H weeks
enter a step together and are clipped together, and the phase is modulo w - 1 + H.  A stretch
is whole or is not there: without one of its weeks the rows that are left would be clipped to
another vector, and one retailer-week could move a sum by twice the clip.

Columns of the table: retailer, week (a whole number), volume, display (the share of stores
with a display, 0 to 1) and price.  Display and price of the target week are planned, and
so known in advance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clients.training.errors import TrainingDataError
from clients.training.sampling import UnitRows

Array = NDArray[np.float64]

COLUMNS: Final = ("retailer", "week", "volume", "display", "price")
CHANNELS: Final = ("volume", "price", "display")
"""What a network over a series is told of each known week."""

_LARGEST_FEATURE: Final = 12.0
_LATEST_WEEK: Final = 1 << 52


@dataclass(frozen=True, slots=True)
class DemandBounds:
    """Public bounds of the contract: what a value outside them is moved to.

    A price below a hundredth of its upper bound counts as that hundredth.
    """

    volume: float
    price_low: float
    price_high: float


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """n windows of w weeks: w - 1 consecutive ones, and the target week in the last column.

    volume, display, price: [n, w] float64 within the bounds.
    horizon: [n], how many weeks the target lies after the last known one.
    """

    volume: Array
    display: Array
    price: Array
    horizon: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model, and all that it reads: columns, at weeks before the target.

    `ages` counts places in the window, from its end: 0 is the target week, 1 the last known one.
    """

    name: str
    columns: tuple[str, ...]
    ages: tuple[int, ...]
    compute: Callable[[Windows], Array]


@dataclass(frozen=True, slots=True, eq=False)
class DemandRows:
    """Rows of the model: features [n, inputs], targets and bases [n] in logs, weeks [n].

    target = log1p(volume) - base, where base = log1p(mean volume of the w - 1 weeks before).
    naive: the volume of the last known week, [n]: the forecast that costs nothing.
    horizon: weeks from the last known one to the target, [n], from 1 to `horizons`.
    """

    features: NDArray[np.float32]
    targets: NDArray[np.float32]
    base: Array
    volume: Array
    naive: Array
    week: NDArray[np.int64]
    retailer: NDArray[np.int64]
    window: int
    horizon: NDArray[np.int64]
    horizons: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.week)

    @property
    def span(self) -> int:
        """Weeks that the rows of one stretch read together."""
        return self.window - 1 + self.horizons

    @property
    def last(self) -> NDArray[np.int64]:
        """The last week of each row's stretch, [n]."""
        return self.week + self.horizons - self.horizon

    def where(self, chosen: NDArray[np.bool_]) -> "DemandRows":
        """Return the chosen rows."""
        return DemandRows(
            self.features[chosen],
            self.targets[chosen],
            self.base[chosen],
            self.volume[chosen],
            self.naive[chosen],
            self.week[chosen],
            self.retailer[chosen],
            self.window,
            self.horizon[chosen],
            self.horizons,
        )


def features_of(window: int, horizons: int = 1, *, series: bool = False) -> tuple[Feature, ...]:
    """Return the features of windows of `window` weeks, in the model's order.

    Those that tell several horizons apart are 0 at the first. series: begin with `CHANNELS` of
    every known week, the oldest first, for networks that read them one after another.
    """
    past = tuple(range(1, window))
    nearest = (
        Feature("price", ("price",), (0, *past), _price),
        Feature("display", ("display",), (0, *past), _display),
        Feature("volume spread", ("volume",), past, _volume_spread),
        Feature("last volume", ("volume",), past, _last_volume),
    )
    further = (
        Feature("horizon", (), (), _distance),
        Feature("last volume from afar", ("volume",), past, _last_volume_from_afar),
    )
    told = nearest if horizons == 1 else nearest + further
    return _series(window) + told if series else told


def _series(window: int) -> tuple[Feature, ...]:
    """Return the known weeks' channels, each relative to the mean over these weeks."""
    past = tuple(range(1, window))
    return tuple(
        Feature(f"{column} {age} before the end", (column,), past, partial(_channel, column, age))
        for age in reversed(past)
        for column in CHANNELS
    )


def demand_rows(
    table: pd.DataFrame,
    window: int,
    bounds: DemandBounds,
    horizons: int = 1,
    *,
    series: bool = False,
) -> DemandRows:
    """Return the rows of every stretch of weeks, by retailer, by week, by horizon.

    With one horizon that is a row per retailer-week that has the w - 1 weeks before it.

    Of several table rows for one retailer-week the first counts.  Rows without a retailer, or
    with a week beyond the largest float that counts in ones, are left out.

    Raises:
        TrainingDataError: a column is missing, or the window is shorter than two weeks.
    """
    if window < 2 or horizons < 1 or not set(COLUMNS) <= set(table.columns):
        raise TrainingDataError(
            f"A demand table needs the columns {', '.join(COLUMNS)} and a window of 2 weeks."
        )
    named = table.dropna(subset=["retailer", "week"])
    named = named[named["week"].between(-_LATEST_WEEK, _LATEST_WEEK)]
    ordered = named.drop_duplicates(["retailer", "week"]).sort_values(["retailer", "week"])
    retailer = pd.factorize(ordered["retailer"])[0].astype(np.int64)
    week = ordered["week"].to_numpy(np.int64)
    span = window - 1 + horizons
    last = np.arange(span - 1, len(ordered))
    first = last - span + 1
    whole = (retailer[last] == retailer[first]) & (week[last] - week[first] == span - 1)
    stretches = first[whole, None] + np.arange(span)
    known, ahead = stretches[:, : window - 1], stretches[:, window - 1 :]
    index = np.column_stack([np.repeat(known, horizons, axis=0), ahead.ravel()])
    horizon = np.tile(np.arange(1, horizons + 1), len(stretches))
    windows = _windows(ordered, index, horizon, bounds)
    base = np.log1p(windows.volume[:, :-1].mean(1))
    features = features_of(window, horizons, series=series)
    inputs = np.stack([feature.compute(windows) for feature in features], axis=1)
    return DemandRows(
        np.clip(inputs, -_LARGEST_FEATURE, _LARGEST_FEATURE).astype(np.float32),
        (np.log1p(windows.volume[:, -1]) - base).astype(np.float32),
        base,
        windows.volume[:, -1],
        windows.volume[:, -2],
        week[index[:, -1]],
        retailer[index[:, -1]],
        window,
        horizon,
        horizons,
    )


def private_units(rows: DemandRows) -> UnitRows:
    """Return `rows` for private steps: each stretch a unit, in the phase of its last week.

    Raises:
        TrainingDataError: a stretch lacks one of its rows.
    """
    together = (-1, rows.horizons)
    if len(rows) % rows.horizons:
        raise TrainingDataError("A stretch of weeks lacks a row: choose whole ones by `last`.")
    last, horizon = rows.last.reshape(together), rows.horizon.reshape(together)
    if (last != last[:, :1]).any() or (horizon != np.arange(1, rows.horizons + 1)).any():
        raise TrainingDataError("A stretch of weeks lacks a row: choose whole ones by `last`.")
    return UnitRows(
        rows.features.reshape(*together, rows.features.shape[1]),
        rows.targets.reshape(together),
        np.ones(last.shape, np.bool_),
        last[:, 0] % rows.span,
        rows.span,
    )


def predicted_volume(rows: DemandRows, outputs: Array) -> Array:
    """Return the volumes [n] that the model's outputs [n] stand for, never negative."""
    return volumes_of(outputs + rows.base)


def volumes_of(logs: Array) -> Array:
    """Return the volumes that logarithms stand for, within public bounds; NaN where none is."""
    volumes: Array = np.maximum(np.expm1(np.clip(logs, 0.0, 30.0)), 0.0)
    return volumes


def wape(predicted: Array, actual: Array) -> float:
    """Return Σ|predicted - actual| / Σ actual: 0 is perfect, smaller is better."""
    return float(np.abs(predicted - actual).sum() / actual.sum())


def _windows(
    ordered: pd.DataFrame,
    index: NDArray[np.int64],
    horizon: NDArray[np.int64],
    bounds: DemandBounds,
) -> Windows:
    def bounded(column: str, low: float, high: float) -> Array:
        values = ordered[column].to_numpy(np.float64, na_value=np.nan)
        whole = np.clip(np.where(np.isfinite(values), values, low), low, high)
        taken: Array = whole[index]
        return taken

    return Windows(
        bounded("volume", 0.0, bounds.volume),
        bounded("display", 0.0, 1.0),
        bounded("price", max(bounds.price_low, bounds.price_high / 100.0), bounds.price_high),
        horizon,
    )


def _price(at: Windows) -> Array:
    """Return the target week's log price relative to the weeks before; 1 is 10 %."""
    prices = np.log(at.price)
    relative: Array = 10.0 * (prices[:, -1] - prices[:, :-1].mean(1))
    return relative


def _display(at: Windows) -> Array:
    """Return the target week's display relative to the weeks before; 1 is a tenth of the stores."""
    relative: Array = 10.0 * (at.display[:, -1] - at.display[:, :-1].mean(1))
    return relative


def _volume_spread(at: Windows) -> Array:
    """Return the mean log volume relative to the log of the mean: 0 if steady, else below."""
    past = at.volume[:, :-1]
    spread: Array = 10.0 * (np.log1p(past).mean(1) - np.log1p(past.mean(1)))
    return spread


def _last_volume(at: Windows) -> Array:
    """Return the log volume of the last known week, relative to the mean log volume."""
    past = np.log1p(at.volume[:, :-1])
    relative: Array = past[:, -1] - past.mean(1)
    return relative


def _channel(column: str, age: int, at: Windows) -> Array:
    """Return one known week's column beside its mean over the known weeks."""
    values: Array = getattr(at, column)[:, :-1]
    if column == "display":
        return np.asarray(10.0 * (values[:, -age] - values.mean(1)))
    logs = np.log1p(values) if column == "volume" else 10.0 * np.log(values)
    relative: Array = logs[:, -age] - logs.mean(1)
    return relative


def _distance(at: Windows) -> Array:
    """Return 0 for the next week, and ever nearer to 1 for those that lie further ahead."""
    distance: Array = 1.0 - 1.0 / at.horizon
    return distance


def _last_volume_from_afar(at: Windows) -> Array:
    """Return the last known week's volume as its distance makes it count."""
    return _distance(at) * _last_volume(at)
