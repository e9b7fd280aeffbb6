"""Metrics of a classifier from counts in bins, best scores first. Pure numpy, exact in the counts.

Every function takes leading axes: positives and negatives are [..., bins]. Within a bin, rows are
taken as mixed evenly, so that a bin is a straight piece of the curve and not one step.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


def average_precision(positives: Array, negatives: Array) -> Array:
    """Return the area under precision over recall, [...]; NaN where nothing is positive.

    With P positives of T rows before a bin of p of t, it adds ∫₀¹ p (P + sp) / (T + st) ds.
    """
    rows = positives + negatives
    before_positives = np.cumsum(positives, -1) - positives
    before = np.cumsum(rows, -1) - rows
    with np.errstate(all="ignore"):
        share = positives / rows
        bend = (before_positives - share * before) / rows * np.log1p(rows / before)
        pieces = positives * (share + np.where(before > 0.0, bend, 0.0))
        area: Array = np.where(rows > 0.0, pieces, 0.0).sum(-1) / positives.sum(-1)
    return area


def roc_area(positives: Array, negatives: Array) -> Array:
    """Return the chance that a positive row scores above a negative, ties counting half, [...]."""
    worse = negatives.sum(-1, keepdims=True) - np.cumsum(negatives, -1) + negatives / 2.0
    with np.errstate(all="ignore"):
        area: Array = (positives * worse).sum(-1) / (positives.sum(-1) * negatives.sum(-1))
    return area


def rising(values: Array) -> Array:
    """Return the nearest values that never fall and are never negative, along the last axis.

    The least squares fit, by its max-min formula [Barlow et al. 1972, theorem 1.3]: the value at i
    is the largest over j <= i of the smallest over k >= i of the mean from j to k.
    """
    length = values.shape[-1]
    ends = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, -1)], -1)
    first, last = np.arange(length)[:, None], np.arange(length)
    counts = np.maximum(last - first + 1, 1)
    means = (ends[..., None, 1:] - ends[..., :-1, None]) / counts
    means = np.where(last >= first, means, np.inf)
    least = np.minimum.accumulate(means[..., ::-1], -1)[..., ::-1]
    fitted: Array = np.where(last >= first, least, -np.inf).max(-2)
    return np.maximum(fitted, 0.0)
