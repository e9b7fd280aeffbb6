"""Boosting as a method of secure sums: `boosting` says how, `ensembles` and its steps do it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federation import ensembles
from federation.boosting import Boosting
from federation.boosting_steps import advance
from federation.errors import MalformedOrderError
from federation.losses import Loss
from federation.models import ModelSpec
from federation.sum_states import Array, State

_KIND: Final = "dp_boosting"
_MOST_SEED: Final = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosted:
    """Main effects, then trees whose questions follow from `seed`, which is public."""

    boosting: Boosting
    seed: int

    def __post_init__(self) -> None:
        """Refuse a seed that canonical JSON cannot carry."""
        if type(self.seed) is not int or not 0 <= self.seed < _MOST_SEED:
            raise MalformedOrderError("A boosting's seed must be an integer from 0 to 2^53.")

    @property
    def rounds(self) -> int:
        """Sums of a run."""
        return self.boosting.rounds

    @property
    def inputs(self) -> int:
        """Features of a row."""
        return self.boosting.inputs

    @property
    def size(self) -> int:
        """Length of the weights."""
        return ensembles.size(self.boosting)

    @property
    def model(self) -> ModelSpec:
        """The linear model that baselines train in its place."""
        return ModelSpec((self.inputs, 1))

    @property
    def loss(self) -> Loss:
        """What the method makes small."""
        return self.boosting.loss

    def dimension(self, number: int) -> int:
        """Return how many numbers the sum of round `number`, from 0, holds."""
        return ensembles.dimension(self.boosting, self.seed, number)

    def start(self, seed: int) -> State:  # noqa: ARG002  it starts from a constant
        """Return the state before the first round; nothing but the weights is remembered."""
        return State(ensembles.start(self.boosting), np.zeros(0))

    def advance(self, state: State, number: int, total: Array, noise: float) -> State:
        """Return the state after round `number`, from 0, whose sum over all nodes was `total`."""
        weights = advance(self.boosting, self.seed, number, state.weights, total, noise)
        return State(weights, state.memory)

    def predict(
        self, weights: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Return the model's raw output for each row of `features` [n, inputs], [n]."""
        flat = weights.astype(np.float32)
        return ensembles.predict(self.boosting, self.seed, flat, features)

    def to_json(self) -> dict[str, Any]:
        """Return the tagged, versioned form."""
        return {
            "method": _KIND,
            "v": 1,
            "seed": self.seed,
            "boosting": self.boosting.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Boosted":
        """Return the method that `value` describes.

        Raises:
            MalformedOrderError: another kind, another version, or not of this form.
        """
        match value:
            case {"method": "dp_boosting", "v": 1, "seed": int(seed), "boosting": dict(boosting)}:
                if len(value) == 4:
                    return cls(boosting=Boosting.from_json(boosting), seed=seed)
        raise MalformedOrderError("The method is of a kind or version this node does not know.")
