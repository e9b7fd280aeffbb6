"""The generated commerce as the benchmark of learning sees it: eight parties, two units of privacy.

The seeds are none of those on which recipes were chosen (7, 8 and 20), and nothing here or in the
benchmark looks at a test row to choose anything.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np

from clients.training.sampling import UnitRows, gather_units
from experiments.commerce.world import Size
from experiments.commerce.write import generate
from experiments.fraud_data import FraudSplit, fraud_split
from experiments.ordering import published_contracts

Level: TypeAlias = Literal["customer", "record"]

SEEDS: Final = (101, 102, 103, 104, 105)
ROWS: Final[Mapping[Level, int]] = {"customer": 8, "record": 1}
"""Contribution bound K: a customer's orders at one party together, or one order by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class LearningSet:
    """One generated commerce.

    splits: of each party its orders before and after the cut.
    rows:   at each level the parties' training rows, in the order of `splits`.
    """

    seed: int
    splits: tuple[FraudSplit, ...]
    rows: Mapping[Level, tuple[UnitRows, ...]]

    @property
    def frauds(self) -> int:
        """Frauds among the test rows of all parties."""
        return int(sum(split.test_truth.sum() for split in self.splits))


def make_set(size: Size, seed: int) -> LearningSet:
    """Return the commerce of `seed`: the same arguments give the same rows."""
    contract = published_contracts()["orders"]
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as folder:
        made = generate(size, seed, Path(folder), heterogeneity=0.0)
        splits = tuple(
            fraud_split(
                party,
                made.orders(party),
                made.truth / "orders" / f"{party}.parquet",
                contract,
                made.cut_us,
            )
            for party in made.parties
        )
    return LearningSet(seed, splits, {level: _rows(splits, level, seed) for level in ROWS})


def _rows(splits: tuple[FraudSplit, ...], level: Level, seed: int) -> tuple[UnitRows, ...]:
    chance = _Repeatable(seed)
    return tuple(
        gather_units(
            split.train.features,
            split.train.targets,
            split.train.units if level == "customer" else np.arange(len(split.train.units)),
            ROWS[level],
            chance,
        )
        for split in splits
    )


class _Repeatable:
    """Chance that a seed makes: which K rows of a customer are kept, in a benchmark alone."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng([seed, 1])

    def bytes(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        return self._generator.bytes(count)
