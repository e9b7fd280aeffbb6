"""From the noised sum of an evaluation to metrics with intervals: post-processing, which is free.

The interval beside every number is the noise's alone, at 95 %: that other customers would have
given another number is not in it, nor what clipping and bounds moved. What cannot be told from
nothing says so, and is not computed.

Average precision is made of possible counts: running sums that never fall and are never negative.
That moves it, mostly down, by up to 0.7 deviations of its noise (measured), so its interval comes
from draws of a noise that is wider by half; one that reaches down by more than a third of the value
is not given, as the move may be larger there. ROC area takes the counts as they are, and draws of
the noise as it is [Efron, Tibshirani 1993, chapter 13]. The generator's seed is public: it reads
nothing but the sum. Rates and ratios have Fieller's intervals. A calibration error is a sum of
absolute values, which noise only makes larger: its value is corrected for that, and its interval,
by the triangle inequality, covers at least 95 times in 100.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from federation.binned import Array, average_precision, rising, roc_area
from federation.errors import MalformedMessageError
from federation.evaluation import (
    BINS,
    EDGES,
    Evaluation,
    ForecastSums,
    ScoreSums,
    root_of_sums,
    series,
    spans,
)
from federation.models import chances
from federation.noisy import NORMAL_95, TOO_NOISY

DRAWS: Final = 300
WIDER: Final = 1.5
_FURTHEST: Final = 1 / 3
_AT_ONCE: Final = 50
_MANY: Final = 1000
_SEED: Final = 1
_NORMAL_99: Final = 2.5758293035489004
_GROUPS: Final = tuple(int((edge <= EDGES).sum()) for edge in (0.5, -1.0, -2.0, -3.0, -4.0, -5.0))
"""Where a reliability table's groups end, in bins: chances near .62, .27, .12, .05, .02, .007."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval, or a note in their place."""

    value: float | None
    low: float | None
    high: float | None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the form that reports print, numbers as decimal strings."""
        parts = {"value": self.value, "low": self.low, "high": self.high}
        spelt = {name: None if part is None else f"{part:.6f}" for name, part in parts.items()}
        return {**spelt, "note": self.note}


NOTHING: Final = Estimate(None, None, None, TOO_NOISY)


@dataclass(frozen=True, slots=True)
class Reliability:
    """One line of a reliability table: of the rows whose chance was said to be in [low, high).

    said: the mean of what the model said; happened: the part that was positive.
    """

    low: float
    high: float
    rows: Estimate
    said: Estimate
    happened: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return the form that reports print."""
        ends = {"low": f"{self.low:.6f}", "high": f"{self.high:.6f}"}
        return ends | {name: getattr(self, name).to_json() for name in ("rows", "said", "happened")}


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """What a classifier is worth.

    calibration_error: Σ |said - happened| over the table's groups, weighted by their rows (ECE).
    """

    average_precision: Estimate
    roc_area: Estimate
    base_rate: Estimate
    calibration_error: Estimate
    reliability: tuple[Reliability, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the form that reports print."""
        names = ("average_precision", "roc_area", "base_rate", "calibration_error")
        table = [line.to_json() for line in self.reliability]
        return {name: getattr(self, name).to_json() for name in names} | {"reliability": table}


@dataclass(frozen=True, slots=True)
class ForecastReport:
    """What forecasts are worth.

    wape:  Σ |error| / Σ |actual|.
    rmsse: the root of Σ error² / Σ naive error², of one scale for all series.
    moved: how many rows were moved to a bound, and so told less than the truth.
    """

    wape: Estimate
    rmsse: Estimate
    moved: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return the form that reports print."""
        return {name: getattr(self, name).to_json() for name in ("wape", "rmsse", "moved")}


def read(spec: Evaluation, total: Array, noise: float) -> ScoreReport | ForecastReport:
    """Return the metrics of `total` [dimension], whose every number has noise of deviation `noise`.

    Raises:
        MalformedMessageError: it is no finite sum of this evaluation.
    """
    if isinstance(spec, ScoreSums):
        return read_scores(spec, total, noise)
    return read_forecasts(spec, total, noise)


# -- scores ----------------------------------------------------------------------------------------


def read_scores(spec: ScoreSums, total: Array, noise: float) -> ScoreReport:
    """Return the metrics of `total` [dimension], whose every number has noise of deviation `noise`.

    Raises:
        MalformedMessageError: it is no finite sum of this evaluation.
    """
    _require(total, spec.dimension, noise)
    counts = counting(spec)
    precision, area = _ranks(spec, counts, total, noise)
    positives, negatives = _sizes(counts, 0, BINS)
    return ScoreReport(
        average_precision=precision,
        roc_area=area,
        base_rate=_within(_ratio(positives, positives + negatives, total, noise), 0.0, 1.0),
        calibration_error=_calibration_error(counts, total, noise),
        reliability=tuple(_table(counts, total, noise)),
    )


def running(spec: ScoreSums) -> Array:
    """Return the matrix [3 · BINS, dimension] from a sum to running sums of each of its series."""
    whole = np.zeros((spec.dimension, spec.dimension))
    for here, scale in series(spec):
        column = root_of_sums(here.stop - here.start)
        lags = np.subtract.outer(np.arange(len(column)), np.arange(len(column)))
        whole[here, here] = np.where(lags >= 0, column[np.abs(lags)], 0.0) / scale
    return whole


def counting(spec: ScoreSums) -> Array:
    """Return the matrix [3 · BINS, dimension] from a sum to what is in each bin.

    In order: positive rows, negative rows, and the rows' summed places within their bin, where
    -1/2 is the lowest chance of the bin and 1/2 the highest.
    """
    whole = running(spec)
    for here, _ in series(spec):
        whole[here] = np.diff(whole[here], axis=0, prepend=0.0)
    return whole


def possible_counts(spec: ScoreSums, sums: Array) -> tuple[Array, Array]:
    """Return positives and negatives [..., BINS], never negative, nearest to running `sums`."""
    positives, alarms, others = (
        np.diff(rising(sums[..., here]), axis=-1, prepend=0.0) for here, _ in series(spec)[:3]
    )
    return positives, np.concatenate([alarms, others], axis=-1)


def _ranks(spec: ScoreSums, counts: Array, total: Array, noise: float) -> tuple[Estimate, Estimate]:
    """Return average precision, of possible counts, and ROC area, of the counts as they are."""
    if not all(_is_told(row, total, noise) for row in _sizes(counts, 0, BINS)):
        return NOTHING, NOTHING
    generator, sums = np.random.default_rng(_SEED), running(spec)
    found = possible_counts(spec, sums @ total)
    drawn = _precisions(spec, sums, found, WIDER * noise, generator)
    both = counts[: 2 * BINS, : 2 * BINS]
    plain = both @ total[: 2 * BINS]
    noises = noise * generator.standard_normal((_MANY, 2 * BINS)) @ both.T
    areas = roc_area(*np.split(plain + noises, 2, axis=-1))
    area = float(roc_area(*np.split(plain, 2)))
    precision = _about(float(average_precision(*found)), drawn)
    return precision if _is_near(precision) else NOTHING, _about(area, areas)


def _precisions(
    spec: ScoreSums,
    sums: Array,
    found: tuple[Array, Array],
    noise: float,
    generator: np.random.Generator,
) -> Array:
    """Return average precisions of the counts found, under other draws of the noise, [DRAWS]."""
    centre, flat = np.zeros(spec.dimension), np.concatenate(found)
    for here, _ in series(spec)[:3]:
        centre[here] = np.cumsum(flat[here])
    parts = []
    for _ in range(DRAWS // _AT_ONCE):
        noises = noise * generator.standard_normal((_AT_ONCE, spec.dimension))
        parts.append(average_precision(*possible_counts(spec, centre + noises @ sums.T)))
    return np.concatenate(parts)


def _is_near(found: Estimate) -> bool:
    """Return whether the interval's lower end is near enough to the value for both to be given."""
    if found.value is None or found.low is None:
        return False
    return found.value - found.low <= _FURTHEST * found.value


def _about(found: float, drawn: Array) -> Estimate:
    """Return `found` with an interval as wide to both sides as 95 of 100 draws lie away from it."""
    reach = float(np.quantile(np.abs(np.nan_to_num(drawn, nan=np.inf) - found), 0.95))
    return _within(Estimate(found, found - reach, found + reach), 0.0, 1.0)


def _table(counts: Array, total: Array, noise: float) -> Iterator[Reliability]:
    """Yield the lines of the reliability table, best scores first."""
    chance = [1.0, *chances(EDGES), 0.0]
    for first, last in _groups():
        low, high = float(chance[last]), float(chance[first])
        positives, negatives = _sizes(counts, first, last)
        rows, said = positives + negatives, _said(counts, first, last)
        yield Reliability(
            low,
            high,
            rows=_sum(rows, total, noise),
            said=_within(_ratio(said, rows, total, noise), low, high),
            happened=_within(_ratio(positives, rows, total, noise), 0.0, 1.0),
        )


def _calibration_error(counts: Array, total: Array, noise: float) -> Estimate:
    """Return Σ over groups of |rows said to be positive - positive rows|, by all rows.

    Noise e moves Σ|x| by at most Σ|e|: 96 % of that and 99 % of the rows' noise make 95 %.
    """
    gaps = np.stack([_sizes(counts, *ends)[0] - _said(counts, *ends) for ends in _groups()])
    everything = np.sum(_sizes(counts, 0, BINS), axis=0)
    if not _is_told(everything, total, noise):
        return NOTHING
    read, spread = gaps @ total, noise * np.linalg.norm(gaps, axis=1)
    draws = np.random.default_rng(_SEED).standard_normal((_MANY, len(gaps)))
    together = np.linalg.qr(gaps.T, mode="r")  # normal draws times this have the gaps' covariance
    reach = float(np.quantile(np.abs(noise * draws @ together).sum(1), 0.96))
    value = float(np.sqrt(np.maximum(read**2 - spread**2, 0.0)).sum())
    size, wobble = _sum_and_spread(everything, total, noise)
    ends = float(np.abs(read).sum()) - reach, float(np.abs(read).sum()) + reach
    fewest = max(size - _NORMAL_99 * wobble, 1.0)
    return _within(
        Estimate(value / size, ends[0] / (size + _NORMAL_99 * wobble), ends[1] / fewest), 0.0, 1.0
    )


def _groups() -> Iterator[tuple[int, int]]:
    """Yield the first bin of each of the table's groups, and the one after its last."""
    return zip((0, *_GROUPS), (*_GROUPS, BINS), strict=True)


def _sizes(counts: Array, first: int, last: int) -> tuple[Array, Array]:
    """Return what makes a sum into the positive and the negative rows of some bins, [dimension]."""
    return counts[first:last].sum(0), counts[BINS + first : BINS + last].sum(0)


def _said(counts: Array, first: int, last: int) -> Array:
    """Return what makes a sum into the summed chances that the model gave to rows of some bins."""
    low, width = (part[first:last, None] for part in spans())
    rows = counts[first:last] + counts[BINS + first : BINS + last]
    places = counts[2 * BINS + first : 2 * BINS + last]
    summed: Array = ((low + width / 2.0) * rows + width * places).sum(0)
    return summed


# -- forecasts -------------------------------------------------------------------------------------


def read_forecasts(spec: ForecastSums, total: Array, noise: float) -> ForecastReport:
    """Return the metrics of `total` [dimension], whose every number has noise of deviation `noise`.

    Raises:
        MalformedMessageError: it is no finite sum of this evaluation.
    """
    _require(total, spec.dimension, noise)
    volume, error = (float(bound) for bound in spec.bounds)
    units = np.diag([error, volume, error**2, error**2, 1.0]) / spec.weight
    squares = _ratio(units[2], units[3], total, noise)
    return ForecastReport(
        wape=_within(_ratio(units[0], units[1], total, noise), 0.0, math.inf),
        rmsse=_rooted(_within(squares, 0.0, math.inf)),
        moved=_sum(units[4], total, noise),
    )


def _rooted(square: Estimate) -> Estimate:
    if square.value is None or square.low is None or square.high is None:
        return square
    return Estimate(math.sqrt(square.value), math.sqrt(square.low), math.sqrt(square.high))


# -- sums and ratios -------------------------------------------------------------------------------


def _sum_and_spread(row: Array, total: Array, noise: float) -> tuple[float, float]:
    """Return row · total and the deviation of its noise."""
    return float(row @ total), noise * float(np.linalg.norm(row))


def _is_told(row: Array, total: Array, noise: float) -> bool:
    """Return whether row · total is above what noise alone may be."""
    value, spread = _sum_and_spread(row, total, noise)
    return value > max(NORMAL_95 * spread, 0.0)


def _sum(row: Array, total: Array, noise: float) -> Estimate:
    value, spread = _sum_and_spread(row, total, noise)
    return Estimate(value, value - NORMAL_95 * spread, value + NORMAL_95 * spread)


def _ratio(top: Array, bottom: Array, total: Array, noise: float) -> Estimate:
    """Return top · total over bottom · total, whose noises may be one, with Fieller's interval.

    The r that the data do not reject solve (t - r·b)² <= z²·(v_t - 2r·v_tb + r²·v_b); they form an
    interval exactly when b > z·√v_b [Fieller 1954, JRSS B 16(2)]. Else it is too noisy to tell.
    """
    if not _is_told(bottom, total, noise):
        return NOTHING
    over, under = float(top @ total), float(bottom @ total)
    scale = (NORMAL_95 * noise) ** 2
    lead = under**2 - scale * float(bottom @ bottom)
    middle = over * under - scale * float(top @ bottom)
    last = over**2 - scale * float(top @ top)
    root = math.sqrt(max(middle**2 - lead * last, 0.0))
    return Estimate(over / under, (middle - root) / lead, (middle + root) / lead)


def _within(found: Estimate, low: float, high: float) -> Estimate:
    """Return `found` moved to where its number can lie at all."""
    if found.value is None or found.low is None or found.high is None:
        return found
    moved = np.clip([found.value, found.low, found.high], low, high).tolist()
    return Estimate(moved[0], moved[1], moved[2])


def _require(total: Array, dimension: int, noise: float) -> None:
    if total.shape != (dimension,) or not np.isfinite(total).all():
        raise MalformedMessageError(f"the sum of an evaluation is {dimension} finite numbers")
    if not 0.0 <= noise < math.inf:
        raise MalformedMessageError("the noise of an evaluation has a finite deviation")
