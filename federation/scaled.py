"""Training on released scales: the first sums count values by bin, the others read scaled rows.

    votes     a unit's rows by feature and public bin; of all such sums together the centre and the
              scale of each feature are made
    then      another method, which reads scale · (value - centre) in the place of the value, within
              a public bound

Centres and scales travel in the model's public weights. So a row reads its own unit and a released
statistic, and nothing else; whoever holds the model has what its predictions need.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federation.counting import CountsFirst
from federation.errors import MalformedOrderError
from federation.feature_scales import Bins, robust_scales
from federation.recipe_fields import decimal, integer, require_range
from federation.recipes import Number
from federation.second_order import SecondOrder
from federation.sequences import SequenceSpec
from federation.sum_states import Array
from policies.budget.events import spell

MOST_RELEASES: Final = 100
MOST_VOTES: Final = 1 << 15
_KIND: Final = "scaled"
_AT_MOST: Final[Mapping[str, int]] = {"releases": MOST_RELEASES, "bound": 10**6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled(CountsFirst):
    """How scales are released, and what is trained on rows that they bring to like size.

    bins:     what values are counted in.
    releases: sums, the first ones, that count.
    bound:    no scaled value's absolute value is larger.
    then:     what is trained; all its inputs are scaled.
    """

    bins: Bins
    releases: int
    bound: Number
    then: SecondOrder

    def __post_init__(self) -> None:
        """Refuse scales that have no meaning or no end."""
        for name in _AT_MOST:
            require_range(name, getattr(self, name), _AT_MOST, ())
        if isinstance(self.model, SequenceSpec):
            raise MalformedOrderError(
                "A network over a series reads weeks relative to their own mean: it has no scales."
            )
        if self.votes > MOST_VOTES:
            raise MalformedOrderError(
                f"Scales of {self.inputs} features by {self.bins.count} bins are more than "
                f"{MOST_VOTES} counts: choose fewer bins."
            )

    @property
    def votes(self) -> int:
        """Bins of all features together."""
        return self.inputs * self.bins.count

    @property
    def vote(self) -> float:
        """What a unit adds to all bins of one feature together: over all features, norm 1."""
        return float(1.0 / np.sqrt(self.inputs))

    @property
    def statistics(self) -> int:
        """How many sums, the first ones, release statistics."""
        return self.releases

    @property
    def trained(self) -> SecondOrder:
        """What trains on scaled rows."""
        return self.then

    @property
    def counted(self) -> int:
        """Bins of all features together."""
        return self.votes

    @property
    def unsaid(self) -> Array:
        """All centres 0, then all scales 1."""
        return np.repeat(np.array([0, 1], np.float32), self.inputs)

    def read(self, weights: NDArray[np.floating[Any]], features: Array) -> Array:
        """Return what the network reads of `features` [inputs, ...], by the scales in `weights`.

        What rows carry beyond the inputs stays as it is.
        """
        shape = (2, self.inputs, *(1,) * (features.ndim - 1))
        centres, scales = weights[self.then.size :].astype(np.float64).reshape(shape)
        values, beyond = np.split(features, [self.inputs])
        bound = float(self.bound)
        return np.concatenate([np.clip(scales * (values - centres), -bound, bound), beyond])

    def predict(
        self, weights: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Return the raw output for each row of `features` [n, inputs], [n]."""
        read = self.read(weights, features.astype(np.float64).T).T
        return self.then.predict(weights[: self.then.size], read)

    def to_json(self) -> dict[str, Any]:
        """Return the tagged, versioned form; numbers that are not integers are strings."""
        value: dict[str, Any] = {"method": _KIND, "v": 1, "releases": self.releases}
        return value | {
            "bound": spell(self.bound),
            "bins": self.bins.to_json(),
            "then": self.then.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Scaled":
        """Return the method that `value` describes.

        Raises:
            MalformedOrderError: another kind, another version, or not of this form.
        """
        expected = {"method", "v"} | {field.name for field in fields(cls)}
        if set(value) != expected or value["method"] != _KIND or value["v"] != 1:
            raise MalformedOrderError("The method is of a kind or version this node does not know.")
        if not isinstance(value["then"], Mapping):
            raise MalformedOrderError("The recipe's scales train nothing.")
        return cls(
            bins=Bins.from_json(value["bins"]),
            releases=integer("releases", value["releases"]),
            bound=decimal("bound", value["bound"]),
            then=SecondOrder.from_json(value["then"]),
        )

    def said(self, told: Array, variance: float, releases: int) -> Array:  # noqa: ARG002
        """Return what all sums together say of every feature: centres, then scales."""
        votes, noise = told.reshape(self.inputs, -1), float(np.sqrt(variance))
        return np.concatenate(robust_scales(votes / self.vote, noise / self.vote, self.bins))
