"""Training on released rates: the first sums count by key, the others train on what that says.

    counts    a unit's events and rows by key; of the mean of such sums each key's rate is made
    then      another method, whose rows carry that rate in the place of their key; if it releases
              scales, they are of all its inputs, the rates among them

A row carries the PLACE of its key, which its own unit's rows say, and looks the rate up in the
model's public weights. So it reads its own unit and a released statistic, and nothing else; the
statistic travels, is kept and is charged with the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federation.counting import CountsFirst
from federation.errors import MalformedOrderError
from federation.key_rates import MOST_PLACES, Key, log_rates
from federation.recipe_fields import decimal, integer, require_range
from federation.recipes import Number
from federation.scaled import Scaled
from federation.second_order import SecondOrder
from federation.sum_states import Array
from policies.budget.events import spell

_KIND: Final = "informed"
_AT_MOST: Final[Mapping[str, int]] = {"releases": 100, "event_clip": 10**6, "row_clip": 10**6}
_CLIPS: Final = ("event_clip", "row_clip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Informed(CountsFirst):
    """How rates by key are released, and what is trained on them.

    keys:     each has one input, the last ones of a row, in this order.
    releases: sums, the first ones, that count.
    event_clip, row_clip: what a unit's counts of events and of rows are divided by before both
              together are clipped to norm 1.
    then:     what is trained, of which the rates are inputs.
    """

    keys: tuple[Key, ...]
    releases: int
    event_clip: Number
    row_clip: Number
    then: SecondOrder | Scaled

    def __post_init__(self) -> None:
        """Refuse statistics that have no meaning or no end."""
        for name in _AT_MOST:
            require_range(name, getattr(self, name), _AT_MOST, ())
        if self.then.loss != "bce":
            raise MalformedOrderError("Rates by key are of events: they are for `bce` alone.")
        if len({key.column for key in self.keys}) < len(self.keys):
            raise MalformedOrderError("A column is a key of statistics twice: name it once.")
        if not self.keys or self.places > MOST_PLACES or len(self.keys) >= self.inputs:
            raise MalformedOrderError(
                f"Statistics need keys of at most {MOST_PLACES} places together, and a model with "
                "an input for each beside its own features."
            )

    @property
    def places(self) -> int:
        """Places of all keys together."""
        return sum(key.size for key in self.keys)

    @property
    def statistics(self) -> int:
        """How many sums, the first ones, release statistics: rates by key, then any scales."""
        return self.releases + (self.then.statistics if isinstance(self.then, Scaled) else 0)

    @property
    def trained(self) -> SecondOrder | Scaled:
        """What trains on the rates."""
        return self.then

    @property
    def counted(self) -> int:
        """Events of every place, then rows of every place."""
        return 2 * self.places

    @property
    def unsaid(self) -> Array:
        """A rate of 0 for each place."""
        return np.zeros(self.places, np.float32)

    def looked_up(self, weights: NDArray[np.floating[Any]], places: Array) -> Array:
        """Return the rates at `places` [keys, ...]; 0 where there is no such place."""
        found, first = np.zeros(places.shape), self.then.size
        for index, key in enumerate(self.keys):
            there = (places[index] >= 0) & (places[index] < key.size)
            at = np.where(there, places[index], 0).astype(np.intp)
            found[index] = np.where(there, weights[first : first + key.size][at], 0.0)
            first += key.size
        return found

    def read(self, weights: NDArray[np.floating[Any]], features: Array) -> Array:
        """Return what the network reads of `features` [inputs, ...], of which keys come last."""
        own, places = np.split(features, [-len(self.keys)])
        whole = np.concatenate([own, self.looked_up(weights, places)])
        then = self.then
        return then.read(weights[: then.size], whole) if isinstance(then, Scaled) else whole

    def predict(
        self, weights: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Return the raw output for each row of `features` [n, inputs], keys last, [n]."""
        read = self.read(weights, features.astype(np.float64).T).T
        return self.model.predict(weights[: self.model.dimension], read)

    def to_json(self) -> dict[str, Any]:
        """Return the tagged, versioned form; numbers that are not integers are strings."""
        value: dict[str, Any] = {"method": _KIND, "v": 1, "releases": self.releases}
        value |= {name: spell(getattr(self, name)) for name in _CLIPS}
        return value | {
            "keys": [key.to_json() for key in self.keys],
            "then": self.then.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Informed":
        """Return the method that `value` describes.

        Raises:
            MalformedOrderError: another kind, another version, or not of this form.
        """
        expected = {"method", "v"} | {field.name for field in fields(cls)}
        if set(value) != expected or value["method"] != _KIND or value["v"] != 1:
            raise MalformedOrderError("The method is of a kind or version this node does not know.")
        if not isinstance(value["then"], Mapping) or not isinstance(value["keys"], list):
            raise MalformedOrderError("The recipe's statistics name no keys or train nothing.")
        clips: dict[str, Decimal] = {name: decimal(name, value[name]) for name in _CLIPS}
        return cls(
            keys=tuple(Key.from_json(item) for item in value["keys"]),
            releases=integer("releases", value["releases"]),
            then=_then(value["then"]),
            **clips,
        )

    def said(self, told: Array, variance: float, releases: int) -> Array:
        """Return what the mean of sums says of every place, each key by itself, [places]."""
        told = told / releases
        sums = (
            float(self.event_clip) * told[: self.places],
            float(self.row_clip) * told[self.places :],
        )
        noise = float(np.sqrt(variance)) / releases
        ends = np.cumsum([key.size for key in self.keys])[:-1]
        parts = zip(*(np.split(one, ends) for one in sums), strict=True)
        clips = float(self.event_clip) * noise, float(self.row_clip) * noise
        return np.concatenate([log_rates(events, rows, *clips) for events, rows in parts])


def _then(value: Mapping[str, Any]) -> SecondOrder | Scaled:
    scaled = value.get("method") == "scaled"
    return Scaled.from_json(value) if scaled else SecondOrder.from_json(value)
