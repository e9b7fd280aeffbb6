"""Keys in a node's rows: the place of every row's key, and what each unit has to say by place.

A row carries the place alone. What a place is worth is looked up in the released weights, round
after round, so that nobody else's rows are in a row (`federation.informed`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clients.training.gradients import Array, Block
from clients.training.reads import Feature, Reads
from federation.informed import Informed
from federation.key_rates import Key

NOWHERE: Final = -1
"""The place of a row whose key is absent or outside the domain."""


def features_of(keys: Sequence[Key]) -> tuple[Feature, ...]:
    """Return what the inputs of `keys` read: released rates, at places that the row names."""
    return tuple(Feature(f"rate by {key.column}", Reads.RELEASED) for key in keys)


def key_places(table: pd.DataFrame, keys: Sequence[Key]) -> NDArray[np.float32]:
    """Return the place of every row's keys, [n, keys] float32, which counts so far exactly."""
    places = [_places(table, key) for key in keys]
    return np.stack(places, axis=1) if places else np.zeros((len(table), 0), np.float32)


def unit_counts(method: Informed, block: Block) -> Array:
    """Return for each lane its events and its rows by place, over their clips, [2 n, L].

    An event is a row with a target above a half. Nothing is clipped here.
    """
    lanes = np.arange(block.present.shape[1])
    counts = np.zeros((2, method.places, len(lanes)))
    events = block.present & (block.targets > 0.5)
    first = 0
    for key, places in zip(method.keys, _last(method, block), strict=True):
        there = (places >= 0) & (places < key.size)
        at = first + np.where(there, places, 0).astype(np.intp)
        for row in range(len(at)):  # a lane names one place in a row: nothing is added twice
            counts[0, at[row], lanes] += (events & there)[row]
            counts[1, at[row], lanes] += (block.present & there)[row]
        first += key.size
    counts[0] /= float(method.event_clip)
    counts[1] /= float(method.row_clip)
    return counts.reshape(2 * method.places, len(lanes))


def with_rates(method: Informed, weights: Array, block: Block) -> Block:
    """Return the block with released rates where its rows name places."""
    rates = method.looked_up(weights, _last(method, block))
    own = block.features[: -len(method.keys)]
    return replace(block, features=np.concatenate([own, rates]))


def _last(method: Informed, block: Block) -> Array:
    return block.features[-len(method.keys) :]


def _places(table: pd.DataFrame, key: Key) -> NDArray[np.float32]:
    if key.column not in table.columns:
        return np.full(len(table), NOWHERE, np.float32)
    codes, values = pd.factorize(table[key.column])
    texts = [str(value) for value in values]
    known = key.places(set(texts))
    by_code = np.array([known.get(text, NOWHERE) for text in texts] + [NOWHERE], np.float32)
    places: NDArray[np.float32] = by_code[codes]
    return places
