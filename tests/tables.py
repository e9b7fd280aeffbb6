"""Small made-up tables in the columns of the real sets; and a mark for tests of the real ones."""

import numpy as np
import pandas as pd
import pytest

from experiments.datasets import files

DAY = 86_400


def real(table: files.Table) -> pytest.MarkDecorator:
    """Skip where the file of `table` is not: no test needs it."""
    folder = files.folder_of()
    there = folder is not None and (folder / table.file).is_file()
    how = f"name its folder in {files.VARIABLE}"
    return pytest.mark.skipif(not there, reason=f"{table.file} is not on this machine: {how}")


def payments(seed: int = 1, customers: int = 80, first_day: int = 77, last_day: int = 135):
    """Payments as in the handbook's raw table: dear frauds, and terminals bad for two weeks."""
    chance = np.random.default_rng(seed)
    size = customers * 2 * (last_day - first_day + 1)
    second = np.sort(chance.integers(first_day * DAY, (last_day + 1) * DAY, size))
    second[1::7] = second[0::7][: len(second[1::7])]  # two payments in one second
    second = np.sort(second)
    customer, terminal = chance.integers(0, customers, size), chance.integers(0, 25, size)
    amount = np.round(np.exp(chance.normal(3.5, 0.8, size)), 2)
    day = second // DAY
    bad = (terminal + day // 14) % 9 == 0
    fraud = (amount > 200) | (bad & (chance.random(size) < 0.3))
    return pd.DataFrame(
        {
            "TRANSACTION_ID": np.arange(size),
            "CUSTOMER_ID": customer,
            "TERMINAL_ID": terminal,
            "TX_AMOUNT": amount,
            "TX_TIME_SECONDS": second,
            "TX_TIME_DAYS": day,
            "TX_FRAUD": fraud.astype(np.int64),
        }
    )


def orders(seed: int = 1, customers: int = 300):
    """Orders as in the cdnow table: who ordered often and lately orders again."""
    chance = np.random.default_rng(seed)
    parts = []
    for number in range(1, customers + 1):
        pace = chance.gamma(0.8, 4)
        days = np.sort(chance.choice(546, 1 + chance.poisson(pace), replace=False))
        days[0] = chance.integers(0, 80)
        parts.append(
            pd.DataFrame(
                {
                    "customer_id": f"{number:05}",
                    "date": pd.Timestamp("1997-01-01") + pd.to_timedelta(days, "D"),
                    "n_cds": chance.integers(1, 5, len(days)),
                    "dollar_value": np.round(chance.gamma(2, 15, len(days)), 2),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def volumes(seed: int = 1, agencies: int = 4, products: int = 3, months: int = 36):
    """Monthly volumes with a season, a trend and prices; the last month is December 2017."""
    chance = np.random.default_rng(seed)
    dates = pd.date_range(end="2017-12-01", periods=months, freq="MS")
    parts = []
    for place in range(agencies * products):
        season = 1 + 0.4 * np.sin(2 * np.pi * (dates.month.to_numpy() - 3) / 12)
        regular = chance.uniform(900, 1500) * np.ones(months)
        percent = chance.uniform(0, 20, months)
        scale = np.exp(chance.normal(4, 1)) * np.exp(0.01 * np.arange(months))
        volume = scale * season * (1 + 0.02 * percent) * np.exp(chance.normal(0, 0.05, months))
        parts.append(
            pd.DataFrame(
                {
                    "agency": f"Agency_{place // products:02}",
                    "sku": f"SKU_{place % products:02}",
                    "date": dates,
                    "volume": volume,
                    "price_regular": regular,
                    "price_actual": regular * (1 - percent / 100),
                    "discount_in_percent": percent,
                    "regional_games": (dates.month == 7).astype(np.int64),
                    "football_gold_cup": np.zeros(months, np.int64),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
