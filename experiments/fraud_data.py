"""The fraud task as the one who wrote the folders sees it: training rows, test rows, the truth.

No node permits this.  The demo holds the folders because it generated them, and measures with
them what a federation would not otherwise know: how good a model is, and against what.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from clients.training.fraud import FraudRows, fraud_features, fraud_rows
from federation.key_rates import Key
from policies.contracts import DataContract

Scores = NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class FraudSplit:
    """One party's rows, divided by time at the cut.

    train:         what the party's own node trains on, labels as known at the cut.
    test_features: [n, features] of the orders at the cut and later.
    test_truth:    [n] 0 or 1, what was fraud in truth, reported or not.
    test_scenario: [n] the hidden cause, for tables only; empty where there is no fraud.
    """

    party: str
    train: FraudRows
    test_features: NDArray[np.float32]
    test_truth: NDArray[np.int64]
    test_scenario: NDArray[np.str_]

    @property
    def base_rate(self) -> float:
        """The part of fraud in the test: the average precision of a model that knows nothing."""
        return float(self.test_truth.mean())


def fraud_split(
    party: str,
    orders: Path,
    truth: Path,
    contract: DataContract,
    cut_us: int,
    keys: Sequence[Key] = (),
) -> FraudSplit:
    """Read one party's `orders.parquet` and the file `truth/orders/PARTY.parquet`."""
    table = pd.read_parquet(orders)
    known = pd.read_parquet(truth).set_index("order_id").loc[table["order_id"]]
    later = table["ts"].to_numpy("datetime64[us]").astype(np.int64) >= cut_us
    return FraudSplit(
        party=party,
        train=fraud_rows(table, contract, cut_us, keys),
        test_features=fraud_features(table, contract, keys)[later],
        test_truth=known["fraud"].to_numpy(np.int64)[later],
        test_scenario=known["scenario"].to_numpy(np.str_)[later],
    )


def pooled_train(splits: Sequence[FraudSplit]) -> FraudRows:
    """All training rows in one place; a customer of two parties stays two units."""
    units = [split.train.units * len(splits) + place for place, split in enumerate(splits)]
    return FraudRows(
        np.concatenate([split.train.features for split in splits]),
        np.concatenate([split.train.targets for split in splits]),
        np.concatenate(units),
    )


def average_precision(truth: NDArray[np.int64], scores: Scores) -> float:
    """The area under precision over recall, as scikit-learn computes it."""
    return float(average_precision_score(truth, scores))


def mean_precision(splits: Sequence[FraudSplit], scores: Mapping[str, Scores]) -> float:
    """The average precision of every party on its own test, averaged by its number of frauds.

    Parties are not ranked against each other: each looks into its own queue.
    """
    frauds = np.array([split.test_truth.sum() for split in splits], dtype=np.float64)
    each = [average_precision(split.test_truth, scores[split.party]) for split in splits]
    return float(np.average(each, weights=frauds))


def mean_base_rate(splits: Sequence[FraudSplit]) -> float:
    """`mean_precision` of a model that knows nothing."""
    frauds = np.array([split.test_truth.sum() for split in splits], dtype=np.float64)
    return float(np.average([split.base_rate for split in splits], weights=frauds))
