"""How often an event happens by key: whose rows count where, and what a noised sum of them says.

A key is a column's value: a merchant, a terminal, a category. Its place is public: the place in the
domain that the contract declares, or a bucket of a hash that everybody can compute. Noise and few
rows make single rates wild. How wild is known, so most keys are drawn to the rate of all, and the
few that stand out of the noise are not.

Empirical Bayes with a prior of any shape: [Kiefer & Wolfowitz 1956, Ann. Math. Stat. 27; Koenker &
Mizera 2014, JASA 109].
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from federation.errors import MalformedOrderError
from federation.sum_states import Array

MOST_PLACES: Final = 1 << 14
_LOGS: Final = np.linspace(-2.0, 4.0, 25)
"""Logarithms of the ratios that are told apart: from a seventh to 55 times the common rate."""
_PASSES: Final = 200
_DOMAIN: Final = b"entrepot/key-rates/1\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A column whose values are keys, with the public places they fall into.

    domain:  the values, each a place of its own; empty where places are buckets.
    buckets: how many buckets values are hashed into; 0 where the domain is listed.
    """

    column: str
    domain: tuple[str, ...] = ()
    buckets: int = 0

    def __post_init__(self) -> None:
        """Refuse a key without places, or with places of both kinds."""
        if not self.column or not self.column.isprintable():
            raise MalformedOrderError("A key of statistics names its column in printable text.")
        if not 1 <= self.size <= MOST_PLACES or bool(self.domain) == bool(self.buckets):
            raise MalformedOrderError(
                f"The key {self.column} needs a public domain or a number of buckets, not both, "
                f"of at most {MOST_PLACES} places."
            )
        if len(set(self.domain)) < len(self.domain):
            raise MalformedOrderError(f"The domain of the key {self.column} names a value twice.")

    @property
    def size(self) -> int:
        """How many places there are."""
        return len(self.domain) or self.buckets

    def places(self, values: Iterable[str]) -> dict[str, int]:
        """Return the place of each value; one that is not in the domain has none."""
        if self.domain:
            known = {value: place for place, value in enumerate(self.domain)}
            return {value: known[value] for value in values if value in known}
        return {value: self._bucket(value) for value in values}

    def to_json(self) -> dict[str, Any]:
        """Return the canonical form."""
        return {"column": self.column, "domain": list(self.domain), "buckets": self.buckets}

    @classmethod
    def from_json(cls, value: object) -> "Key":
        """Return the key that `value` describes.

        Raises:
            MalformedOrderError: it describes none.
        """
        match value:
            case {"column": str(column), "domain": list(domain), "buckets": int(buckets), **rest}:
                texts = all(isinstance(item, str) for item in domain)
                if texts and not rest and type(buckets) is int and buckets >= 0:
                    return cls(column=column, domain=tuple(domain), buckets=buckets)
        raise MalformedOrderError("A key of statistics names a column, a domain and buckets.")

    def _bucket(self, value: str) -> int:
        said = _DOMAIN + self.column.encode() + b"\0" + value.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.sha256(said).digest()[:8], "big") % self.buckets


def log_rates(events: Array, rows: Array, event_noise: float, row_noise: float) -> Array:
    """Return by place the logarithm of its rate over the rate of all places, [n].

    events, rows: noised counts [n]; the others are the standard deviations of their noise.

    It is the mean of what the ratio can be, seen the events: chances before are those under which
    all events are likeliest. Where noise explains all that differs, it comes to about 0 everywhere.
    """
    spread = np.sqrt(len(events))
    whole = max(float(rows.sum()), row_noise * spread, 1.0)
    common = min(max(float(events.sum()), event_noise * spread, 0.5) / whole, 0.5)
    expected = common * _drawn_in(rows, row_noise)[:, None] * np.exp(_LOGS)
    variance = event_noise**2 + expected + 1.0  # a place that nobody names tells nothing
    seen = -0.5 * ((events[:, None] - expected) ** 2 / variance + np.log(variance))
    likely = np.exp(seen - seen.max(1, keepdims=True))
    return np.asarray(_posterior(likely) @ _LOGS)


def _drawn_in(rows: Array, noise: float) -> Array:
    """Return counts drawn towards their mean by what noise has of their variance, none below 0."""
    mean = float(rows.mean())
    between = max(0.0, float(rows.var()) - noise**2)
    kept = between / (between + noise**2) if between else 0.0
    return np.maximum(mean + kept * (rows - mean), 0.0)


def _posterior(likely: Array) -> Array:
    """Return the chance of every ratio at every place, [n, ratios], by expectation-maximisation."""
    prior = np.full(likely.shape[1], 1.0 / likely.shape[1])
    for _ in range(_PASSES):
        prior = _given(prior, likely).mean(0)
    return _given(prior, likely)


def _given(prior: Array, likely: Array) -> Array:
    joint: Array = likely * prior
    return np.asarray(joint / joint.sum(1, keepdims=True))
