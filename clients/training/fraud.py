"""Rows of the fraud task: every feature of an order reads that customer's own rows alone.

Adding or removing one customer changes no other customer's row, so a customer is the unit of
privacy of a training run.  For that reason the count of orders with the counterparty is this
customer's own: the counterparty's count over everybody would carry other customers into the row.
Bounds and domains come from the contract, so that scaling releases no statistic.  A column that
a role lacks gives 0 and a mask of 0.  Where a recipe releases rates by key, a row ends with the
places of its keys: what they are worth is looked up in the released model (`keys.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clients.training.keys import key_places
from federation.key_rates import Key
from policies.contracts import DataContract

DAY_US: Final = 86_400_000_000
EARLIEST: Final = 946_684_800_000_000  # 2000 and 2100, in microseconds since 1970
LATEST: Final = 4_102_444_800_000_000
COUNT_BOUND: Final = 20.0
RATIO_BOUND: Final = 3.0  # of the logarithm of an amount against the customer's month

_TIME: Final = ("ts",)
_HISTORY: Final = ("customer_id", "ts")
_SPENT: Final = ("customer_id", "ts", "amount")

_COUNTRIES: Final = ("card_country", "ip_country", "ship_country")


@dataclass(frozen=True, slots=True)
class Feature:
    """What a feature reads, and the public numbers that bring it near zero and to like size.

    The model sees scale · (value − centre). Both numbers are part of this software, chosen on
    generated commerce: no party's rows were looked at. What seldom speaks, but speaks of fraud,
    is scaled up, so that clipping and noise leave something of it; the clock is scaled down.
    """

    reads: tuple[str, ...]
    centre: float
    scale: float


FEATURES: Final[Mapping[str, Feature]] = {
    "log_amount": Feature(("amount",), 0.56, 4.0),
    "hour_sin": Feature(_TIME, -0.46, 0.5),
    "hour_cos": Feature(_TIME, -0.08, 0.4),
    "weekday_sin": Feature(_TIME, 0.0, 0.4),
    "weekday_cos": Feature(_TIME, 0.0, 0.4),
    "card_is_not_ship": Feature(("card_country", "ship_country"), 0.02, 4.0),
    "card_is_not_ip": Feature(("card_country", "ip_country"), 0.02, 4.0),
    "ip_is_not_ship": Feature(("ip_country", "ship_country"), 0.05, 4.0),
    "knows_card": Feature(("card_country",), 0.75, 0.7),
    "knows_ip": Feature(("ip_country",), 1.0, 0.7),
    "new_here": Feature(_HISTORY, 0.2, 0.7),
    "first_order": Feature(("first_order",), 0.05, 4.0),
    "count_1d": Feature(_HISTORY, 0.02, 4.0),
    "count_7d": Feature(_HISTORY, 0.12, 1.2),
    "count_30d": Feature(_HISTORY, 0.3, 1.0),
    "sum_1d": Feature(_SPENT, 0.04, 4.0),
    "sum_7d": Feature(_SPENT, 0.16, 1.2),
    "sum_30d": Feature(_SPENT, 0.33, 1.2),
    "pair_count_7d": Feature((*_HISTORY, "counterparty_id"), 0.03, 4.0),
    "amount_against_month": Feature(_SPENT, 0.0, 4.0),
    "tiny": Feature(("amount",), 0.0, 4.0),
    "dear": Feature(("amount",), 0.0, 4.0),
    "night": Feature(_TIME, 0.05, 4.0),
    "burst": Feature(_HISTORY, 0.0, 4.0),
    "tiny_in_burst": Feature(_SPENT, 0.0, 4.0),
    "dear_at_night": Feature(("amount", "ts"), 0.0, 4.0),
    "dear_first_order": Feature(("amount", "first_order"), 0.0, 4.0),
    "dear_abroad": Feature(("amount", *_COUNTRIES), 0.0, 4.0),
    "dear_for_customer": Feature(_SPENT, 0.1, 4.0),
    "dear_for_customer_at_night": Feature(_SPENT, 0.0, 4.0),
    "card_is_neither": Feature(_COUNTRIES, 0.0, 4.0),
    "abroad": Feature(_COUNTRIES, 0.05, 4.0),
    "abroad_at_night": Feature(("ts", *_COUNTRIES), 0.0, 4.0),
}
"""Every feature, in the order of the model's inputs; all read rows of the same customer only."""

BOUND: Final = 8.0
"""No feature's absolute value is larger."""


@dataclass(frozen=True, slots=True, eq=False)
class FraudRows:
    """Rows for training, in the order of the table.

    features: [n, features] float32, each within [-BOUND, BOUND].
    targets:  [n] float32, 1 where a fraud was reported before the cut.
    units:    [n] int64, the same number for rows of the same customer.
    """

    features: NDArray[np.float32]
    targets: NDArray[np.float32]
    units: NDArray[np.int64]


def fraud_rows(
    table: pd.DataFrame, contract: DataContract, cut_us: int, keys: Sequence[Key] = ()
) -> FraudRows:
    """Return the rows placed before `cut_us` with the labels that had arrived by then.

    A fraud whose report arrives at the cut or later counts as 0: nobody knew.
    `cut_us` is in microseconds since 1970, in the clock of the table; moments before 2000 or
    after 2100 are moved there.  A row without a customer or a moment is nobody's and stays out.
    """
    whole = _somebodys(table)
    past = whole[_moments(whole["ts"]) < cut_us]
    arrived = past["label_ts"].notna().to_numpy(np.bool_) & (_moments(past["label_ts"]) < cut_us)
    reported = arrived & _is_one(past["label_fraud"])
    return FraudRows(
        fraud_features(past, contract, keys),
        reported.astype(np.float32),
        _codes_of(past["customer_id"]),
    )


def later_rows(table: pd.DataFrame, contract: DataContract, cut_us: int) -> FraudRows:
    """Return the rows at `cut_us` and later with the labels that have arrived by now, for tests.

    Their features read the customer's rows before the cut, too.
    """
    whole = _somebodys(table)
    later = _moments(whole["ts"]) >= cut_us
    reported = whole["label_ts"].notna().to_numpy(np.bool_) & _is_one(whole["label_fraud"])
    return FraudRows(
        fraud_features(whole, contract)[later],
        reported[later].astype(np.float32),
        _codes_of(whole["customer_id"])[later],
    )


def _somebodys(table: pd.DataFrame) -> pd.DataFrame:
    known: pd.DataFrame = table[table["customer_id"].notna() & table["ts"].notna()]
    return known


def fraud_features(
    table: pd.DataFrame, contract: DataContract, keys: Sequence[Key] = ()
) -> NDArray[np.float32]:
    """Return [n, features + keys] float32 in the order of the table.

    Features lie within [-BOUND, BOUND]; the last columns are places of keys.
    """
    high = float(contract.column("amount").high or 1)
    given = table["amount"].to_numpy(np.float64, na_value=np.nan)
    amount = np.clip(np.nan_to_num(given), 0.0, high)
    columns = {"log_amount": np.log1p(amount) / np.log1p(high)}
    columns |= _clock(_moments(table["ts"]))
    columns |= _countries(table, contract)
    columns |= _history(table, amount, high)
    columns["first_order"] = _is_one(table["first_order"]).astype(np.float64)
    columns |= _crossed(columns)
    scaled = [item.scale * (columns[name] - item.centre) for name, item in FEATURES.items()]
    own = np.stack(scaled, axis=1).astype(np.float32)
    return np.concatenate([own, key_places(table, keys)], axis=1)


def _crossed(columns: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return bends and products of other features, so that a linear model sees what people see.

    Bends begin at public places: amounts of a tenth and of a third of the bound's logarithm.
    """
    amount, month = columns["log_amount"], columns["amount_against_month"]
    tiny, dear = np.clip(2.5 * (0.4 - amount), 0, 1), np.clip(4 * (amount - 0.7), 0, 1)
    night = np.maximum(0.0, (columns["hour_cos"] + columns["hour_sin"]) / np.sqrt(2)) ** 2
    unusual = np.clip(2.0 * month, 0, 1)
    burst = np.clip(4.0 * (columns["count_1d"] - 0.2), 0, 1)
    abroad = np.maximum.reduce(
        [columns[name] for name in ("card_is_not_ship", "card_is_not_ip", "ip_is_not_ship")]
    )
    return {
        "tiny": tiny,
        "dear": dear,
        "night": night,
        "burst": burst,
        "tiny_in_burst": tiny * burst,
        "dear_at_night": dear * night,
        "dear_first_order": dear * columns["first_order"],
        "dear_abroad": dear * abroad,
        "dear_for_customer": unusual,
        "dear_for_customer_at_night": unusual * night,
        "card_is_neither": columns["card_is_not_ship"] * columns["card_is_not_ip"],
        "abroad": abroad,
        "abroad_at_night": abroad * night,
    }


def _clock(ts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    day = 2 * np.pi * (ts % DAY_US) / DAY_US
    week = 2 * np.pi * (ts // DAY_US % 7) / 7
    return {
        "hour_sin": np.sin(day),
        "hour_cos": np.cos(day),
        "weekday_sin": np.sin(week),
        "weekday_cos": np.cos(week),
    }


def _countries(table: pd.DataFrame, contract: DataContract) -> dict[str, NDArray[np.float64]]:
    card, ship, ip = (
        _codes(table, contract, name) for name in ("card_country", "ship_country", "ip_country")
    )
    return {
        "card_is_not_ship": _differ(card, ship),
        "card_is_not_ip": _differ(card, ip),
        "ip_is_not_ship": _differ(ip, ship),
        "knows_card": (card >= 0).astype(np.float64),
        "knows_ip": (ip >= 0).astype(np.float64),
    }


def _codes(table: pd.DataFrame, contract: DataContract, name: str) -> NDArray[np.int64]:
    """Return the place of every value in the public domain, -1 for what is absent or unknown."""
    if name not in table.columns:
        return np.full(len(table), -1)
    domain = list(contract.column(name).domain or ())
    codes: NDArray[np.int64] = pd.Index(domain, dtype=object).get_indexer(
        table[name].astype(object)
    )
    return codes


def _differ(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 1 where both are known and differ."""
    result: NDArray[np.float64] = ((one >= 0) & (other >= 0) & (one != other)).astype(np.float64)
    return result


def _history(
    table: pd.DataFrame, amount: NDArray[np.float64], high: float
) -> dict[str, NDArray[np.float64]]:
    """Return what the customer did at this party strictly before each row."""
    ts, customer = _moments(table["ts"]), _codes_of(table["customer_id"])
    past = _Past(customer, ts)
    # Whole cents: sums of integers do not depend on the rows of others, sums of floats do.
    cents = np.rint(np.minimum(100 * amount, 2.0**53)).astype(np.int64)
    columns = {"new_here": (past.count(None) == 0).astype(np.float64)}
    for days in (1, 7, 30):
        count, total = past.count(days * DAY_US), past.total(cents, days * DAY_US) / 100
        columns[f"count_{days}d"] = _scaled(count, COUNT_BOUND)
        columns[f"sum_{days}d"] = _scaled(total, COUNT_BOUND * high)
        columns["amount_against_month"] = _against(amount, total, count)
    other = _codes_of(table["counterparty_id"])
    pairs = _Past(customer * (len(table) + 1) + other, ts).count(7 * DAY_US)
    columns["pair_count_7d"] = _scaled(np.where(other < 0, 0, pairs), COUNT_BOUND)
    return columns


def _against(
    amount: NDArray[np.float64], total: NDArray[np.float64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the log of the amount over the mean of the window, scaled; 0 without history."""
    mean = total / np.maximum(count, 1)
    ratio = np.log1p(amount) - np.log1p(mean)
    result: NDArray[np.float64] = np.where(count > 0, np.clip(ratio / RATIO_BOUND, -1.0, 1.0), 0.0)
    return result


def _scaled(values: NDArray[np.int64] | NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """Return log(1 + value) as a part of log(1 + bound), at most 1."""
    result: NDArray[np.float64] = np.minimum(np.log1p(values) / np.log1p(bound), 1.0)
    return result


class _Past:
    """Windows of the rows of one group that end strictly before each row."""

    def __init__(self, group: NDArray[np.int64], ts: NDArray[np.int64]) -> None:
        # Dense numbers by group, then by time: no product of them overflows, whatever the
        # moments are, and windows become binary searches.
        self._known = np.unique(ts)
        self._group = np.unique(group, return_inverse=True)[1] * (len(self._known) + 1)
        self._ts = ts
        place = self._group + np.searchsorted(self._known, ts)
        self._order = np.argsort(place, kind="stable")
        self._line = place[self._order]
        self._end = np.searchsorted(self._line, place)

    def count(self, window: int | None) -> NDArray[np.int64]:
        """Return how many rows of the group lie in the last `window` microseconds; None: all."""
        result: NDArray[np.int64] = self._end - self._begin(window)
        return result

    def total(self, values: NDArray[np.int64], window: int) -> NDArray[np.int64]:
        """Return the sum of the integers `values` of those rows."""
        running = np.concatenate([[0], np.cumsum(values[self._order])])
        result: NDArray[np.int64] = running[self._end] - running[self._begin(window)]
        return result

    def _begin(self, window: int | None) -> NDArray[np.int64]:
        since = 0 if window is None else np.searchsorted(self._known, self._ts - window)
        first = self._group + since
        begin: NDArray[np.int64] = np.searchsorted(self._line, first)
        return begin


def _moments(moments: "pd.Series[pd.Timestamp]") -> NDArray[np.int64]:
    """Return microseconds since 1970 within 2000 to 2100; absent moments become the first."""
    count = moments.to_numpy("datetime64[us]").astype(np.int64)
    moved: NDArray[np.int64] = np.clip(count, EARLIEST, LATEST)
    return moved


def _is_one(numbers: "pd.Series[int]") -> NDArray[np.bool_]:
    """Return where the number is there and is 1."""
    found: NDArray[np.bool_] = numbers.eq(1).fillna(False).to_numpy(np.bool_)
    return found


def _codes_of(names: "pd.Series[int]") -> NDArray[np.int64]:
    """Return [n] int64 in [-1, n), equal where the values are; -1 where there is none."""
    codes: NDArray[np.int64] = pd.factorize(names)[0].astype(np.int64)
    return codes
