"""What each unit says of its features' sizes, and rows as released centres and scales put them.

A unit has one vote for each feature, shared among its rows: however many rows it has, and wherever
they lie, its vector has norm 1 at most. Where a bin begins is public (`federation.feature_scales`).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clients.training.gradients import Array, Block
from clients.training.reads import Feature, Reads
from clients.training.sampling import UnitRows
from federation.informed import Informed
from federation.models import Vector
from federation.scaled import Scaled


def scales_of(names: Sequence[str]) -> tuple[Feature, ...]:
    """Return what scaled inputs read beside their own values: released centres and scales."""
    return tuple(Feature(f"centre and scale of {name}", Reads.RELEASED) for name in names)


def unit_votes(method: Scaled, block: Block) -> Array:
    """Return for each lane the part of its rows in each bin of each feature, times `vote`, [d, L].

    Its norm is at most 1, and is 1 where all rows of a unit are equal; empty lanes 0.
    """
    count, lanes = method.bins.count, np.arange(block.present.shape[1])
    places = method.bins.places(block.features[: method.inputs])
    at = places + count * np.arange(method.inputs)[:, None, None]
    shares = method.vote * block.present / np.maximum(block.present.sum(0), 1)
    votes = np.zeros((method.votes, len(lanes)))
    for row, share in enumerate(shares):  # a lane names a bin once in a row: nothing is added twice
        votes[at[:, row], lanes] += share
    return votes


def rows_as_read(method: Informed | Scaled, weights: Vector, rows: UnitRows) -> UnitRows:
    """Return the rows as the method's network reads them, by the statistics in its weights."""
    features = np.moveaxis(rows.features.astype(np.float64), -1, 0)
    read = np.where(rows.present, method.read(weights, features), 0.0)
    return replace(rows, features=np.moveaxis(read, 0, -1).astype(np.float32))
