"""The generator's own check: card and terminal together find fraud that neither finds alone.

Generated commerce (`experiments.commerce`) in which most frauds strike at a few counterparties
(`Habits.struck`): half of what gives a fraud away lies in the card's past, half in the terminal's.
Each payment partner is taken apart: the issuer's side sees a payment and its customer's past
(`clients.training.fraud`), the merchant's side what was paid and reported at its counterparty
before. Both are trained and joined as on the book's payments (`experiments.vertical`), and tested
on the weeks after the cut by what was fraud in truth. A partner's two sides hold the same rows
here: nothing is aligned, which `vertical.aligned` does and its tests show.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clients.training.fraud import BOUND, DAY_US, FEATURES
from experiments.commerce.parties import DEMO_PARTIES
from experiments.commerce.write import Manifest, generate
from experiments.fraud_data import FraudSplit, fraud_split, mean_precision
from experiments.ordering import published_contracts
from experiments.vertical import Payments, Side, Vector, joint, scored_alone
from policies.contracts import DataContract
from policies.parties import Role

Moments: TypeAlias = NDArray[np.int64]

STRUCK: Final = 0.9
LEAST: Final = 0.05
"""By how much each row is above the one before, in average precision."""

_PARTIES: Final = tuple(s.party for s in DEMO_PARTIES if s.role is Role.PAYMENT_PARTNER)
_DAYS: Final = (7, 30, 120)
_USUAL: Final = 5
"""Honest payments that every counterparty is taken to have had besides, in its rate of frauds."""

_PAYMENT: Final = ("log_amount", "hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
_SHARED: Final = (*_PAYMENT, "tiny", "dear", "night")
"""Columns of the issuer's that the merchant sees too, when it works alone: the payment itself."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """One partner's payments, as its two sides see them."""

    split: FraudSplit = field(repr=False)
    payments: Payments = field(repr=False)


def self_check(folder: Path, seed: int = 1) -> Mapping[str, float]:
    """Return the average precision of issuer, merchant and both, over the payment partners.

    Each partner looks into its own queue; partners weigh as their numbers of frauds. The commerce
    of `seed` is written into `folder`: the same arguments give the same numbers.
    """
    made = generate("small", seed, folder, struck=STRUCK)
    contract = published_contracts()["orders"]
    taken = {party: _taken(made, party, contract) for party in _PARTIES}
    splits = [one.split for one in taken.values()]
    found: dict[str, dict[str, Vector]] = {"issuer": {}, "merchant": {}, "joint": {}}
    for party, one in taken.items():
        sides = one.payments
        found["issuer"][party] = scored_alone(sides.issuer, sides.fraud)
        found["merchant"][party] = scored_alone(_with_the_payment(sides), sides.fraud)
        found["joint"][party] = joint(sides)
    return {row: mean_precision(splits, scores) for row, scores in found.items()}


def holds(found: Mapping[str, float]) -> bool:
    """Return whether issuer < merchant < joint, each by at least `LEAST`."""
    rows = [found[row] for row in ("issuer", "merchant", "joint")]
    return all(more - less >= LEAST for less, more in pairwise(rows))


def counterparty_columns(table: pd.DataFrame) -> Vector:
    """Return what was paid and reported at each row's counterparty before it, [n, 8].

    A fraud counts from the moment of its report on.
    """
    at, told = _moments(table["ts"]), _moments(table["label_ts"])
    shop = table["counterparty_id"].to_numpy(np.int64)
    known = (table["label_fraud"].to_numpy() == 1) & table["label_ts"].notna().to_numpy()
    paid = {days: _within(shop, at, shop, at, days) for days in (1, *_DAYS)}
    columns = [paid[1] / 5 - 1, paid[7] / 30 - 1]
    for days in _DAYS:
        frauds = _within(shop[known], told[known], shop, at, days)
        columns += [np.log1p(frauds), BOUND * frauds / (paid[days] + _USUAL)]
    stacked: Vector = np.clip(np.stack(columns, axis=1), -BOUND, BOUND)
    return stacked


def _taken(made: Manifest, party: str, contract: DataContract) -> _Taken:
    truth = made.truth / "orders" / f"{party}.parquet"
    split = fraud_split(party, made.orders(party), truth, contract, made.cut_us)
    table = pd.read_parquet(made.orders(party))
    later = _moments(table["ts"]) >= made.cut_us
    columns, shop = counterparty_columns(table), table["counterparty_id"].to_numpy(np.int64)
    here = np.asarray(split.train.features, np.float64)
    issuer = Side(here, np.asarray(split.test_features, np.float64), split.train.units)
    merchant = Side(columns[~later], columns[later], shop[~later])
    fraud, known = split.train.targets.astype(np.float64), split.test_truth.astype(np.float64)
    return _Taken(split, Payments(issuer, merchant, fraud, known))


def _with_the_payment(sides: Payments) -> Side:
    shared = [list(FEATURES).index(name) for name in _SHARED]
    mine, theirs = sides.merchant, sides.issuer
    train, test = (
        np.c_[mine.train, theirs.train[:, shared]],
        np.c_[mine.test, theirs.test[:, shared]],
    )
    return Side(train, test, mine.unit)


def _within(shops: Moments, moments: Moments, shop: Moments, at: Moments, days: int) -> Vector:
    """Return how many of `moments` lie at each shop in so many days before each `at`."""
    found = np.zeros(len(at))
    for one in np.unique(shop):
        rows = shop == one
        events = np.sort(moments[shops == one])
        first = np.searchsorted(events, at[rows] - days * DAY_US)
        found[rows] = np.searchsorted(events, at[rows]) - first
    return found


def _moments(column: pd.Series) -> Moments:
    moments: Moments = column.to_numpy("datetime64[us]").astype(np.int64)
    return moments
