"""Fraud, when one side knows the card and the other the terminal: trained jointly, told apart.

The payment partner holds what a card did and the payment itself; the merchant's side what became of
payments at its terminals. Both know which payments turned out to be fraud. On the book's simulated
payments (`datasets.handbook`) four rows stand beside each other: either side alone, both jointly,
and jointly with differential privacy. The model is additive, so that either side's half stays at
home: score = a·merchant + b·issuer. How it is made, and what crosses:

1. The customers of both are aligned by join tokens (`secure_compute.psi.tokens`): a disclosure of
   who is in both sets, approved by a person at each end, outside ε. A payment is known to both by
   its customer's token and its second. **What is claimed below holds given that alignment.**
2. Either side fits a logistic model of its own columns at home, and keeps it. With privacy that
   model has the noise of its own price: gradients clipped per unit, summed, noised (`_private`).
3. Without privacy, either side cuts its scores into bins and both learn how many payments, and how
   many frauds, stand in each pair of bins: inner products of sealed columns
   (`secure_compute.psi.inner`), so that nobody sees the other's bins. This table of exact counts is
   all that crosses, and it has no ε. From it both find a and b.
4. With privacy the table would drown: one customer's twenty payments may stand in one cell, and the
   noise of that is larger than most cells. So a = b = 1 there, and **nothing crosses in training**.

To score a payment the merchant's half of the score, one number, goes with it to the issuer; with
privacy both halves come from models that are released at the price shown.

Whose privacy. The issuer's unit is a customer, whose columns read that customer's payments alone.
The merchant's unit is a terminal, whose columns read that terminal's payments alone: **commercial
confidentiality, and no promise to the people who paid there**. A unit beyond its rows is cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.aligning import exchange_tokens
from experiments.datasets import handbook
from experiments.datasets.files import read
from experiments.errors import UsageError
from experiments.fraud_data import average_precision
from policies.budget import accountant
from policies.budget.events import DiscreteGaussian, Event, Repeated
from secure_compute.entropy import SystemEntropy
from secure_compute.noise import discrete_gaussian
from secure_compute.psi.inner import Key, choose

Vector: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]

DELTA: Final = 1e-6
BINS: Final = 8
_DAYS: Final = (1, 7, 30)
_LARGEST: Final = 8.0
_GRID: Final = 1 << 16
_NEWTON: Final = 15
_EDGES: Final = np.arange(BINS - 1) - 6.0
_CENTRES: Final = np.arange(BINS) - 6.5
_ENTROPY: Final = SystemEntropy()


@dataclass(frozen=True, slots=True)
class Privacy:
    """What one side adds, and to whom: its price follows (`event`).

    rows: most payments of one unit; units: how many there are, about; steps: of the gradient.
    multiplier: the noise of one step, over what one unit moves it by.
    """

    unit: str
    rows: int
    units: int
    steps: int = 100
    clip: float = 2.0
    multiplier: int = 25

    @property
    def sensitivity(self) -> int:
        """Return what one unit moves a rounded sum of gradients by, in grid steps, in L2.

        Rounding moves each of at most 16 coordinates by one step more.
        """
        return int(self.clip * _GRID) + 4

    def event(self) -> Event:
        """Return everything that is released about this side's units."""
        step = DiscreteGaussian(self.sensitivity, self.multiplier * self.sensitivity)
        return Repeated(step, self.steps)

    @property
    def epsilon(self) -> float:
        """Return the price at `DELTA`."""
        return accountant.epsilon([self.event()], DELTA)


ISSUER: Final = Privacy("customer at the issuer", 20, 5_000)
MERCHANT: Final = Privacy("terminal, commercial confidentiality", 16, 10_000)


@dataclass(frozen=True, slots=True)
class Side:
    """One side's columns of the payments both know, in the order of the alignment.

    unit: whom a row belongs to; test: the same columns of the week that is scored.
    """

    train: Vector = field(repr=False)
    test: Vector = field(repr=False)
    unit: Counts = field(repr=False)


@dataclass(frozen=True, slots=True)
class Payments:
    """What both sides bring, and what became of it."""

    issuer: Side
    merchant: Side
    fraud: Vector = field(repr=False)
    truth: Vector = field(repr=False)


def vertical_ap(folder: str = "") -> float | None:
    """Return the average precision of the joint model without noise; None without the data."""
    found = compared(folder)
    return None if found is None else float(found["joint"])


def vertical_ap_dp(folder: str = "") -> float | None:
    """Return the average precision of the joint model with privacy; None without the data."""
    found = compared(folder)
    return None if found is None else float(found["joint_dp"])


@cache
def compared(folder: str = "", draws: int = 3) -> dict[str, Any] | None:
    """Return the four rows and the price; None where the data set is not there.

    draws: how often the row with privacy is made; its mean is the number, its spread beside it.
    """
    try:
        payments = load(folder)
    except UsageError:
        return None
    private = [joint(payments, private=True) for _ in range(draws)]
    truth = payments.truth.astype(np.int64)
    alone = np.c_[payments.merchant.train, payments.issuer.train[:, _SHARED]]
    tested = np.c_[payments.merchant.test, payments.issuer.test[:, _SHARED]]
    return {
        "issuer": average_precision(truth, scored_alone(payments.issuer, payments.fraud)),
        "merchant": average_precision(
            truth, scored_alone(Side(alone, tested, payments.merchant.unit), payments.fraud)
        ),
        "joint": average_precision(truth, joint(payments)),
        "joint_dp": float(np.mean([average_precision(truth, scores) for scores in private])),
        "joint_dp_spread": float(np.ptp([average_precision(truth, s) for s in private])),
        "epsilon": {"issuer": ISSUER.epsilon, "merchant": MERCHANT.epsilon},
        "delta": DELTA,
        "units": {"issuer": ISSUER.unit, "merchant": MERCHANT.unit},
        "given": "the alignment by join tokens, which people approved",
    }


def joint(payments: Payments, *, private: bool = False) -> Vector:
    """Return the joint score of every payment of the test week."""
    sides = (payments.issuer, payments.merchant)
    if private:
        costs = (ISSUER, MERCHANT)
        pairs = zip(sides, costs, strict=True)
        weights = [_private(side, payments.fraud, cost) for side, cost in pairs]
        shares = (1.0, 1.0)
    else:
        weights = [_fitted(side.train, payments.fraud) for side in sides]
        scores = [_scored(side.train, own) for side, own in zip(sides, weights, strict=True)]
        shares = combined(table(scores[0], scores[1], payments.fraud))
    tests = [_scored(side.test, own) for side, own in zip(sides, weights, strict=True)]
    total: Vector = shares[0] * tests[0] + shares[1] * tests[1]
    return total


def load(folder: str = "") -> Payments:
    """Return the book's week of training and its week of test, as the two sides hold them.

    Raises:
        UsageError: the data set is not there.
    """
    raw = read(handbook.RAW, folder)
    (split,) = handbook.handbook_splits(raw, issuers=1)
    parts = {"train": split.train, "test": split.test}
    second = {name: raw.loc[part.index, "TX_TIME_SECONDS"] for name, part in parts.items()}
    places = {name: _places(part, second[name]) for name, part in parts.items()}
    mine, theirs = ({n: parts[n].iloc[at[side]] for n, at in places.items()} for side in (0, 1))
    fraud, truth = (mine[name]["fraud"].to_numpy(np.float64) for name in parts)
    customers = mine["train"]["customer"].to_numpy(np.int64)
    terminals = theirs["train"][handbook.TERMINAL].to_numpy(np.int64)
    return Payments(
        Side(issuer_columns(mine["train"]), issuer_columns(mine["test"]), customers),
        Side(merchant_columns(theirs["train"]), merchant_columns(theirs["test"]), terminals),
        fraud,
        truth,
    )


def _places(rows: pd.DataFrame, second: pd.Series) -> tuple[Counts, Counts]:
    """Return where the payments that both know stand in the issuer's rows and in the merchant's.

    The merchant's stand in an order of its own; a payment is found by token and second.
    """
    order = np.argsort(rows[handbook.TERMINAL].to_numpy(), kind="stable")
    customers = rows["customer"].to_numpy()
    issuer, merchant = aligned(customers, customers[order])
    here = pd.DataFrame({"token": [issuer[c] for c in customers], "second": second.to_numpy()})
    there = pd.DataFrame(
        {"token": [merchant[c] for c in customers[order]], "second": second.to_numpy()[order]}
    )
    here["here"], there["there"] = np.arange(len(here)), order
    both = here.drop_duplicates(["token", "second"], keep=False).merge(
        there.drop_duplicates(["token", "second"], keep=False), validate="one_to_one"
    )
    return both["here"].to_numpy(np.int64), both["there"].to_numpy(np.int64)


def aligned(
    issuer: Sequence[int] | Counts, merchant: Sequence[int] | Counts
) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Return the join token of each customer, at either side: the protocol as it runs."""
    sets = [sorted({card(int(one)) for one in side}) for side in (issuer, merchant)]
    names = {card(int(one)): int(one) for side in (issuer, merchant) for one in side}
    found = exchange_tokens(sets[0], sets[1])
    first, second = ({names[text]: token for text, token in side.own} for side in found)
    return first, second


def card(number: int) -> str:
    """Return a made-up payment token of a customer, 16 digits with a right check digit."""
    digits = f"4{number:014d}"
    odd = sum(sum(divmod(2 * int(d), 10)) for d in digits[-1::-2])
    return digits + str(-(odd + sum(map(int, digits[-2::-2]))) % 10)


def issuer_columns(rows: pd.DataFrame) -> Vector:
    """Return what the issuer sees, [n, 10], in public units: the payment, and the card's past."""
    mean = {days: _of(rows, "CUSTOMER_ID_AVG_AMOUNT", days) / 50 for days in _DAYS}
    paid = {days: _of(rows, "CUSTOMER_ID_NB_TX", days) / (3.5 * days) for days in _DAYS}
    columns = [
        rows["TX_AMOUNT"].to_numpy(np.float64) / 50 - mean[30],
        *(2 * (mean[days] - mean[30]) for days in _DAYS[:2]),
        mean[30] - 1,
        *(2 * (paid[days] - paid[30]) for days in _DAYS[:2]),
        paid[30] - 1,
        rows["TX_DURING_WEEKEND"].to_numpy(np.float64),
        rows["TX_DURING_NIGHT"].to_numpy(np.float64),
        rows["TX_AMOUNT"].to_numpy(np.float64) / 50 - 1,
    ]
    return _clipped(columns)


_SHARED: Final = [7, 8, 9]
"""Columns of the issuer's that the merchant sees too, when it works alone: the payment itself."""


def merchant_columns(rows: pd.DataFrame) -> Vector:
    """Return what the merchant's side sees, [n, 6], in public units: the terminal's past."""
    risk = {days: 8 * _of(rows, "TERMINAL_ID_RISK", days) for days in _DAYS}
    visits = [_of(rows, "TERMINAL_ID_NB_TX", days) / days - 1 for days in _DAYS]
    columns = [*visits, risk[1] - risk[7], risk[7], risk[30] - risk[7]]
    return _clipped(columns)


def _clipped(columns: Sequence[Vector]) -> Vector:
    stacked: Vector = np.clip(np.stack(columns, axis=1), -_LARGEST, _LARGEST)
    return stacked


def _of(rows: pd.DataFrame, what: str, days: int) -> Vector:
    values: Vector = rows[f"{what}_{days}DAY_WINDOW"].to_numpy(np.float64)
    return values


def scored_alone(side: Side, fraud: Vector) -> Vector:
    """Return the score of every payment of the test by one side's own model."""
    return _scored(side.test, _fitted(side.train, fraud))


def _scored(columns: Vector, weights: Vector) -> Vector:
    scores: Vector = _with_one(columns) @ weights
    return scores


def _with_one(columns: Vector) -> Vector:
    rows: Vector = np.c_[columns, np.ones(len(columns))]
    return rows


def _fitted(columns: Vector, fraud: Vector, weight: Vector | None = None) -> Vector:
    """Return the logistic model of these columns: Newton's steps, halved until they help.

    A slight ridge keeps it finite where a column tells all frauds apart.
    """
    rows, heavy = _with_one(columns), np.ones(len(fraud)) if weight is None else weight
    weights = np.zeros(rows.shape[1])
    for _ in range(_NEWTON):
        p = _sigmoid(rows @ weights)
        gradient = rows.T @ (heavy * (p - fraud)) + weights
        bend = (rows * (heavy * p * (1 - p))[:, None]).T @ rows + np.eye(len(weights))
        step = np.linalg.solve(bend, gradient)
        before = _loss(rows, fraud, heavy, weights)
        while _loss(rows, fraud, heavy, weights - step) > before and np.abs(step).max() > 1e-9:
            step = step / 2
        weights = weights - step
    return weights


def _loss(rows: Vector, fraud: Vector, heavy: Vector, weights: Vector) -> float:
    logits = rows @ weights
    return float(heavy @ (np.logaddexp(0.0, logits) - fraud * logits) + weights @ weights / 2)


def _private(side: Side, fraud: Vector, cost: Privacy) -> Vector:
    """Return a logistic model of which every step is a noised sum of clipped units' gradients."""
    kept = _bounded(side.unit, cost.rows)
    order = np.flatnonzero(kept)[np.argsort(side.unit[kept], kind="stable")]
    rows, label = _with_one(side.train[order]), fraud[order]
    starts = np.flatnonzero(np.r_[True, np.diff(side.unit[order]) != 0])
    weights, velocity = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    weights[-1] = -4.5  # about the public rate of fraud
    for _ in range(cost.steps):
        residual = _sigmoid(rows @ weights) - label
        gradients = np.add.reduceat(rows * residual[:, None], starts, axis=0)
        length = np.maximum(np.linalg.norm(gradients, axis=1), 1e-12)
        clipped = (gradients * np.minimum(1.0, cost.clip / length)[:, None]).sum(axis=0)
        noise = discrete_gaussian(cost.multiplier * cost.sensitivity, len(weights), _ENTROPY)
        total = (np.rint(clipped * _GRID).astype(np.int64) + noise) / _GRID
        velocity = 0.8 * velocity + total / cost.units
        weights = weights - 2.0 * velocity
    return weights


def _bounded(unit: Counts, most: int) -> NDArray[np.bool_]:
    """Return which rows stay when every unit keeps at most so many, drawn anew."""
    order = np.random.default_rng(int.from_bytes(_ENTROPY.bytes(8), "big")).permutation(len(unit))
    kept = np.zeros(len(unit), np.bool_)
    kept[order] = pd.Series(unit[order]).groupby(unit[order]).cumcount().to_numpy() < most
    return kept


def table(issuer: Vector, merchant: Vector, fraud: Vector) -> Counts:
    """Return payments and frauds by pair of bins, [2, issuer, merchant], exactly.

    The issuer seals a column for every bin of its own, the merchant chooses its bins' rows; what is
    opened is a count, and nothing of a row.
    """
    here, there = binned(issuer), binned(merchant)
    key = Key.generate(_ENTROPY)
    choices = [(there == place).astype(np.int64) for place in range(BINS)]
    found = np.zeros((2, BINS, BINS), np.int64)
    for what, label in enumerate((np.ones(len(fraud)), fraud)):
        for place in range(BINS):
            column = ((here == place) & (label > 0)).astype(np.int64)
            sealed = key.seal(column, _ENTROPY)
            answers = choose(key.public, sealed, choices, [0] * BINS, _ENTROPY)
            found[what, place] = [key.open(answer) for answer in answers]
    return found


def binned(score: Vector) -> Counts:
    """Return the bin of each score: public edges, one logit apart."""
    places: Counts = np.searchsorted(_EDGES, score).astype(np.int64)
    return places


def combined(found: Counts) -> tuple[float, float]:
    """Return the weights of issuer and merchant that a table of bins speaks for."""
    issuer, merchant = np.meshgrid(_CENTRES, _CENTRES, indexing="ij")
    cells = np.stack([issuer.ravel(), merchant.ravel()], axis=1).repeat(2, axis=0)
    frauds = found[1].ravel()
    weight = np.stack([frauds, found[0].ravel() - frauds], axis=1).ravel().astype(np.float64)
    label = np.tile([1.0, 0.0], frauds.size)
    issuer_, merchant_, _ = _fitted(cells, label, weight)
    return float(issuer_), float(merchant_)


def _sigmoid(logits: Vector) -> Vector:
    found: Vector = 1.0 / (1.0 + np.exp(-np.clip(logits, -40, 40)))
    return found
