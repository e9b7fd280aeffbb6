"""The public facts of the synthetic commerce: countries, categories, calendars, hours.

Everything here is known to everybody: contracts publish these domains, and no number was taken
from a real customer.
"""

import numpy as np
from numpy.typing import NDArray

COUNTRIES = ("DE", "FR", "IT", "ES", "NL", "PL", "GB", "US", "CN", "BR", "JP", "MX")
"""The public domain of every country column."""

CATEGORIES = ("beauty", "books", "electronics", "fashion", "grocery", "home", "sports", "toys")
"""The public domain of the category column."""

CATEGORY_LEVEL = np.array([-0.2, -0.5, 0.7, 0.2, -0.4, 0.2, 0.1, -0.1])
"""What a category adds to the logarithm of an order's amount."""

CATEGORY_SHARE = np.array([0.12, 0.10, 0.14, 0.20, 0.12, 0.14, 0.09, 0.09])

HOLIDAY_WEEKS = {"CN": (3, 21), "BR": (7, 22), "GB": (15,), "US": (20,), "JP": (17,)}
"""Weeks of the period in which a country buys half as much again; other countries share week 15."""

CURRENCY = ("EUR",) * 6 + ("GBP", "USD", "CNY", "BRL", "JPY", "MXN")
"""The currency of each country; amounts are written in euro at the day's rate."""

WEEKDAY = np.array([0.95, 0.92, 0.95, 1.0, 1.08, 1.1, 1.0])
"""Orders of a weekday, Monday first, against an ordinary day."""

DAY_SECONDS = 86_400


def country(code: str) -> int:
    """The index of `code` in `COUNTRIES`."""
    return COUNTRIES.index(code)


def season(days: int) -> NDArray[np.float64]:
    """Demand of every country on every day against an ordinary day [countries, days]."""
    day = np.arange(days)
    swing = WEEKDAY[day % 7] * (1 + 0.1 * np.sin(2 * np.pi * day / 364))
    holiday = np.ones((len(COUNTRIES), days))
    for index, code in enumerate(COUNTRIES):
        for week in HOLIDAY_WEEKS.get(code, (15,)):
            holiday[index, 7 * week : 7 * week + 7] = 1.5
    result: NDArray[np.float64] = holiday * swing
    return result


def exchange(rng: np.random.Generator, days: int) -> NDArray[np.float64]:
    """Euro per unit of a country's money on each day against the first day [countries, days]."""
    names = sorted(set(CURRENCY))
    steps = rng.normal(0.0, 0.004, (len(names), days))
    steps[names.index("EUR")] = 0.0
    paths = np.exp(np.cumsum(steps, axis=1))
    result: NDArray[np.float64] = paths[[names.index(money) for money in CURRENCY]]
    return result


def shop_seconds(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Seconds of the local day at which ordinary orders are placed: noon, evening, any [count]."""
    kind = rng.random(count)
    hour = np.where(kind < 0.52, rng.normal(20.0, 2.2, count), rng.normal(13.0, 3.0, count))
    hour = np.where(kind < 0.94, hour, rng.uniform(0.0, 24.0, count)) % 24
    result: NDArray[np.int64] = (hour * 3600).astype(np.int64) % DAY_SECONDS
    return result


def night_seconds(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Seconds of the local day at which people sleep, with a broad shoulder [count]."""
    hour = rng.normal(3.0, 2.5, count) % 24
    result: NDArray[np.int64] = (hour * 3600).astype(np.int64) % DAY_SECONDS
    return result
