"""Simulated card payments of the Fraud Detection Handbook: the book's features, split and parties.

Le Borgne, Siblini, Lebichot & Bontempi, Reproducible Machine Learning for Credit Card Fraud
Detection, chapter 3. A party is an issuer: CUSTOMER_ID modulo 50, so all rows of a customer lie at
one issuer. The issuers are identically distributed, which is easier than life.

What was paid at a terminal and found to be fraud (TERMINAL_ID_*) is counted over the customers of
all issuers. Such a feature reads other customers' rows at other parties: a run with it protects
nobody's personal data, whatever noise it adds, and says so. TX_FRAUD_SCENARIO is the cause of the
label and never a feature. A run by secure sums may release rates by TERMINAL_ID in their place.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clients.training.reads import Feature, Reads, Unit
from experiments.datasets.files import Table
from experiments.errors import UsageError
from policies.parties import PartyId

RAW: Final = Table(
    "handbook_raw.parquet",
    1_754_155,
    {
        "TRANSACTION_ID": "integer",
        "CUSTOMER_ID": "integer",
        "TERMINAL_ID": "integer",
        "TX_AMOUNT": "number",
        "TX_TIME_SECONDS": "integer",
        "TX_TIME_DAYS": "integer",
        "TX_FRAUD": "integer",
    },
)
ISSUERS: Final = 50
TERMINAL: Final = "TERMINAL_ID"
UNIT: Final = Unit("customer at one issuer", "whole portfolio of an issuer")

FIRST_DAY: Final = 115
"""25 July 2018, where the book's training week begins; days count from 1 April."""

WEEK: Final = 7
DELAY: Final = 7
"""Days until a fraud is found."""

_DAY: Final = 86_400
_WINDOWS: Final = (1, 7, 30)
_LARGEST: Final = 8.0
_LOOK_BACK: Final = max(_WINDOWS) + DELAY + 1

FEATURES: Final = (
    Feature("TX_AMOUNT", Reads.OWN_UNIT),
    Feature("TX_DURING_WEEKEND", Reads.OWN_UNIT),
    Feature("TX_DURING_NIGHT", Reads.OWN_UNIT),
    *(
        Feature(f"CUSTOMER_ID_{what}_{days}DAY_WINDOW", Reads.OWN_UNIT)
        for days in _WINDOWS
        for what in ("NB_TX", "AVG_AMOUNT")
    ),
    *(
        Feature(f"TERMINAL_ID_{what}_{days}DAY_WINDOW", Reads.OTHERS)
        for days in _WINDOWS
        for what in ("NB_TX", "RISK")
    ),
)
"""The book's fifteen, in its order."""

OWN_FEATURES: Final = tuple(item for item in FEATURES if item.reads is not Reads.OTHERS)


def features_of(choice: str) -> tuple[Feature, ...]:
    """Return all features, or those that read their own unit's rows alone.

    Raises:
        UsageError: `choice` is neither `all` nor `own`.
    """
    choices = {"all": FEATURES, "own": OWN_FEATURES}
    if choice not in choices:
        raise UsageError(f"data.features is {' or '.join(choices)}, not {choice!r}")
    return choices[choice]


@dataclass(frozen=True, slots=True, eq=False)
class IssuerSplit:
    """One issuer's rows of the training week and of the test week.

    train, test: the book's columns, `customer`, `fraud` as 0 or 1, and the terminal that paid, by
                 which a run may release rates; one row for a payment.
    """

    party: PartyId
    train: pd.DataFrame
    test: pd.DataFrame


def handbook_features(raw: pd.DataFrame) -> pd.DataFrame:
    """Return the book's fifteen features of every payment, [n, 15] float64, by the index of `raw`.

    A customer's windows end with the payment itself; a terminal's end a week before it, because
    nobody knows its frauds any sooner. Without payments in the window the risk is 0.
    """
    second, day = raw["TX_TIME_SECONDS"].to_numpy(), raw["TX_TIME_DAYS"].to_numpy()
    # Whole cents: sums of integers do not depend on the rows of others, sums of floats do.
    cents = np.rint(100 * raw["TX_AMOUNT"].to_numpy(np.float64)).astype(np.int64)
    customer = _Windows(raw["CUSTOMER_ID"].to_numpy(), second, cents)
    terminal = _Windows(raw["TERMINAL_ID"].to_numpy(), second, raw["TX_FRAUD"].to_numpy())
    columns = {
        "TX_AMOUNT": raw["TX_AMOUNT"].to_numpy(np.float64),
        "TX_DURING_WEEKEND": ((day + 6) % 7 >= 5).astype(np.float64),  # day 0 was a Sunday
        "TX_DURING_NIGHT": (second // 3600 % 24 <= 6).astype(np.float64),
    }
    for days in _WINDOWS:
        count, total = customer.upto(days * _DAY)
        columns[f"CUSTOMER_ID_NB_TX_{days}DAY_WINDOW"] = count
        columns[f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW"] = total / count / 100
        count, frauds = terminal.before(days * _DAY, DELAY * _DAY)
        columns[f"TERMINAL_ID_NB_TX_{days}DAY_WINDOW"] = count
        columns[f"TERMINAL_ID_RISK_{days}DAY_WINDOW"] = frauds / np.maximum(count, 1)
    return pd.DataFrame(columns, raw.index)[[item.name for item in FEATURES]]


class _Windows:
    """Counts and sums over the payments of one key in the time before each payment."""

    def __init__(
        self, key: NDArray[np.int64], second: NDArray[np.int64], value: NDArray[np.int64]
    ) -> None:
        # A key's payments in time, all keys in one line: windows become binary searches.
        self._order = np.lexsort((second, key))
        self._span = int(second.max(initial=0)) + 1
        self._first = key[self._order] * self._span
        self._second = second[self._order]
        self._line = self._first + self._second
        self._running = np.concatenate([[0], np.cumsum(value[self._order])])

    def upto(self, length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return count and sum over `length` seconds, the payment itself included, as its last."""
        return self._between(self._since(length), np.arange(1, len(self._order) + 1))

    def before(self, length: int, delay: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return count and sum over the `length` seconds that end `delay` seconds earlier."""
        return self._between(self._since(length + delay), self._since(delay))

    def _since(self, ago: int) -> NDArray[np.int64]:
        moment = self._first + np.maximum(self._second - ago, -1)
        place: NDArray[np.int64] = np.searchsorted(self._line, moment, side="right")
        return place

    def _between(
        self, start: NDArray[np.int64], end: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        count, total = np.empty(len(self._order)), np.empty(len(self._order))
        count[self._order] = end - start
        total[self._order] = self._running[end] - self._running[start]
        return count, total


def model_inputs(features: pd.DataFrame, chosen: tuple[Feature, ...]) -> NDArray[np.float32]:
    """Return what the linear model sees, [n, len(chosen)]: the book's columns in public units.

    Amounts in 50, counts against one terminal visit or 3.5 payments a day, risks in eighths. Of
    columns that say nearly the same, the model sees one and the others' difference to it: the
    same linear models, reached in fewer steps. Nothing is measured on anybody's rows.
    """
    columns = {name: features[name].to_numpy(np.float64) for name in features.columns}
    mean = {days: columns[f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW"] / 50 for days in _WINDOWS}
    paid = {
        days: columns[f"CUSTOMER_ID_NB_TX_{days}DAY_WINDOW"] / (3.5 * days) for days in (_WINDOWS)
    }
    risk = {days: 8 * columns[f"TERMINAL_ID_RISK_{days}DAY_WINDOW"] for days in _WINDOWS}
    columns["TX_AMOUNT"] = columns["TX_AMOUNT"] / 50 - mean[30]
    for days, weight in ((1, 1.0), (7, 2.0)):
        columns[f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW"] = weight * (mean[days] - mean[30])
        columns[f"CUSTOMER_ID_NB_TX_{days}DAY_WINDOW"] = weight * (paid[days] - paid[30])
    columns["CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW"] = mean[30] - 1
    columns["CUSTOMER_ID_NB_TX_30DAY_WINDOW"] = paid[30] - 1
    for days in _WINDOWS:
        visits = columns[f"TERMINAL_ID_NB_TX_{days}DAY_WINDOW"] / days
        columns[f"TERMINAL_ID_NB_TX_{days}DAY_WINDOW"] = visits - 1
        columns[f"TERMINAL_ID_RISK_{days}DAY_WINDOW"] = risk[days] - (days != 7) * risk[7]
    stacked = np.stack([columns[item.name] for item in chosen], axis=1)
    inputs: NDArray[np.float32] = np.clip(stacked, -_LARGEST, _LARGEST).astype(np.float32)
    return inputs


def handbook_splits(
    raw: pd.DataFrame, first_day: int = FIRST_DAY, issuers: int = ISSUERS
) -> tuple[IssuerSplit, ...]:
    """Return the book's split at each issuer: a week to train on, a week's delay, a week of test.

    From the test, customers are dropped whose card is known to be stolen: with a fraud in the
    training week, or in the delay up to a week before the day.
    """
    end = first_day + 2 * WEEK + DELAY
    days = raw["TX_TIME_DAYS"]
    rows = raw[(days >= first_day - _LOOK_BACK) & (days < end)]
    table = handbook_features(rows)
    table["customer"], table["fraud"] = rows["CUSTOMER_ID"], rows["TX_FRAUD"]
    table[TERMINAL] = rows[TERMINAL]
    day = rows["TX_TIME_DAYS"].to_numpy()
    train = (day >= first_day) & (day < first_day + WEEK)
    test = _unknown(rows, first_day)
    issuer = rows["CUSTOMER_ID"].to_numpy() % issuers
    return tuple(
        IssuerSplit(
            PartyId(f"issuer-{place:02}"),
            table[train & (issuer == place)],
            table[test & (issuer == place)],
        )
        for place in range(issuers)
    )


def flipped(split: IssuerSplit, seed: int) -> IssuerSplit:
    """Return an issuer that calls its frauds honest and as many honest payments fraud.

    Its test rows stay true: nobody is judged by it.
    """
    train = split.train.copy()
    fraud = train["fraud"].to_numpy(np.int64)
    honest = np.flatnonzero(fraud == 0)
    said = np.zeros(len(fraud), np.int64)
    said[np.random.default_rng(seed).choice(honest, int(fraud.sum()), replace=False)] = 1
    train["fraud"] = said
    return replace(split, train=train)


def _unknown(rows: pd.DataFrame, first_day: int) -> NDArray[np.bool_]:
    """Return which rows are of a test day and of a customer whose frauds are not known by then."""
    day, customer = rows["TX_TIME_DAYS"].to_numpy(), rows["CUSTOMER_ID"].to_numpy()
    fraud = rows["TX_FRAUD"].to_numpy() == 1
    chosen = np.zeros(len(rows), np.bool_)
    for today in range(first_day + WEEK + DELAY, first_day + 2 * WEEK + DELAY):
        found = fraud & (day >= first_day) & (day <= today - DELAY - 1)
        chosen |= (day == today) & ~np.isin(customer, customer[found])
    return chosen
