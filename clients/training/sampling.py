"""Who takes part in a step: units in or out on their own, at most K rows of each.

Adding or removing one unit changes nothing for the others: every unit has its own coin
and its own rows, and rows enter or stay out together with their unit.
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.training.errors import TrainingDataError
from secure_compute import noise
from secure_compute.entropy import Entropy


@dataclass(frozen=True, slots=True, eq=False)
class UnitRows:
    """Training rows laid out by unit of privacy: U units of at most K rows.

    features: [U, K, inputs] float32, 0 where there is no row.
    targets:  [U, K] float32.
    present:  [U, K] bool, whether a row is there.
    phase:    [U] int64 in [0, phases): a unit can be drawn only in steps of its phase.
    phases:   step s is of phase s mod `phases`; one original unit has rows in at most
              one unit of each phase.
    """

    features: NDArray[np.float32]
    targets: NDArray[np.float32]
    present: NDArray[np.bool_]
    phase: NDArray[np.int64]
    phases: int = 1

    def __post_init__(self) -> None:
        """Refuse arrays of shapes that do not belong together."""
        units, rows, _ = self.features.shape
        if self.targets.shape != (units, rows) or self.present.shape != (units, rows):
            raise TrainingDataError("Targets and presence must have one value per unit and row.")
        if self.phase.shape != (units,) or self.phases < 1:
            raise TrainingDataError("Every unit needs a phase below the number of phases.")

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.features)


def require_rows(rows: UnitRows, inputs: int, most: int) -> None:
    """Accept rows of as many features as a model has inputs, at most `most` of one unit.

    Raises:
        TrainingDataError: they are others.
    """
    if rows.features.shape[2] != inputs:
        raise TrainingDataError(
            "The rows have another number of features than the order's model: "
            "install the version of this node's software that the order names."
        )
    if rows.features.shape[1] > most:
        raise TrainingDataError("The rows exceed the recipe's contribution bound: gather again.")


def gather_units(
    features: NDArray[np.floating[Any]],
    targets: NDArray[np.floating[Any]],
    units: NDArray[Any],
    rows_per_unit: int,
    entropy: Entropy,
) -> UnitRows:
    """Return rows grouped by unit, of each unit at most `rows_per_unit` chosen uniformly.

    `features` [n, inputs] and `targets` [n] hold one row each; equal values of `units` [n]
    name the same unit.  A value that is not finite counts as 0: no row can stop a run.
    """
    _, code = np.unique(units, return_inverse=True)
    draw = np.frombuffer(entropy.bytes(8 * len(code)), "<u8")
    order = np.lexsort((draw, code))
    grouped = code[order]
    starts = np.flatnonzero(np.diff(grouped, prepend=-1))
    place = np.arange(len(grouped)) - np.repeat(starts, np.diff(starts, append=len(grouped)))
    kept = place < rows_per_unit
    unit, place, row = grouped[kept], place[kept], order[kept]
    shape = (len(starts), rows_per_unit)
    laid = np.zeros((*shape, features.shape[1]), np.float32)
    wanted, present = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    laid[unit, place] = _finite(features[row])
    wanted[unit, place] = _finite(targets[row])
    present[unit, place] = True
    return UnitRows(laid, wanted, present, np.zeros(len(starts), np.int64))


def poisson_sample(rows: UnitRows, rate: Decimal, step: int, entropy: Entropy) -> NDArray[np.intp]:
    """Return the indices of the units drawn for `step`: each of its phase with probability `rate`.

    Independent coins, so the number drawn is itself random and may be 0.
    """
    eligible = np.flatnonzero(rows.phase == step % rows.phases)
    bias = Fraction(rate)
    return eligible[noise.bernoulli(bias.numerator, bias.denominator, len(eligible), entropy)]


def hold_out(
    rows: UnitRows, rate: Decimal, entropy: Entropy, step: int | None = None
) -> tuple[UnitRows, UnitRows]:
    """Return the units that train and those held out, each by a coin of its own.

    With `step`, units that no draw for that step could take train, whatever their coin says.
    """
    bias = Fraction(rate)
    held = noise.bernoulli(bias.numerator, bias.denominator, len(rows), entropy)
    if step is not None:
        held &= rows.phase == step % rows.phases
    return _chosen(rows, ~held), _chosen(rows, held)


def _chosen(rows: UnitRows, units: NDArray[np.bool_]) -> UnitRows:
    return UnitRows(
        rows.features[units],
        rows.targets[units],
        rows.present[units],
        rows.phase[units],
        rows.phases,
    )


def _finite(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    return np.nan_to_num(single, nan=0.0, posinf=0.0, neginf=0.0)
