"""Second-order training of additive sums: moments give start and metric, gradients the steps.

    moments   Σ x xᵀ and Σ x y of a unit's rows, scaled by their clips; of the mean over such rounds
              the start is made, by ridge, and the metric of the steps that follow
    gradient  the gradient of a unit's loss over its clip; v ← βv + g, w ← w - η (M + λI)⁻¹ v

Steps in the metric of noised second moments: [Ganesh, Haghifam, Steinke, Thakurta 2023, arXiv
2305.13209]; regression from them: [Wang 2018, arXiv 1803.02596]. Without moments M is the expected
number of units, and the same steps are plain DP-FedSGD, for a network of any depth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from federation import moments
from federation.errors import MalformedOrderError
from federation.losses import Loss, Pinball, loss_from_json, loss_to_json, require_loss
from federation.models import LARGEST_WEIGHT, ModelSpec, Vector
from federation.recipe_fields import decimal, integer, require_range
from federation.recipes import Number
from federation.sequences import Network, network_from_json
from federation.sum_states import Array, State
from policies.budget.events import spell

Stage: TypeAlias = Literal["moments", "gradient"]

_KIND: Final = "second_order"
_DECIMALS: Final = (
    *("clip", "moment_clip", "target_clip", "learning_rate", "momentum", "ridge"),
    *("start_norm", "base_rate"),
)
_INTEGERS: Final = ("rounds", "moments", "expected_units")
_ZERO_ALLOWED: Final = {"moments", "momentum", "start_norm"}
_AT_MOST: Final[Mapping[str, int]] = {
    "rounds": 1000,
    "moments": 1000,
    "clip": 10**6,
    "moment_clip": 10**6,
    "target_clip": 10**6,
    "learning_rate": 10**6,
    "momentum": 1,
    "ridge": 10**9,
    "start_norm": 10**6,
    "base_rate": 1,
    "expected_units": 10**9,
}
_MOST_INPUTS: Final = 512
"""Beyond it second moments are more numbers than one sum should hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondOrder:
    """How a model is trained by sums of moments and gradients.

    rounds, moments:  sums in all, and how many of them, the first ones, are of second moments.
    clip:             most L2 norm of a unit's gradient.
    moment_clip, target_clip: what a unit's Σ x xᵀ (Frobenius norm) and Σ x y are divided by before
                      both together are clipped to norm 1.
    learning_rate, momentum: of the steps; ridge: λ, added to the metric's eigenvalues.
    start_norm:       what the start's weights are scaled to, 0 for as they come; base_rate: the
                      chance that the start's bias stands for. Both are for `bce` alone.
    expected_units:   units that a round is expected to hold over all nodes; a public constant.
    """

    model: Network
    loss: Loss
    rounds: int
    moments: int
    clip: Number
    moment_clip: Number
    target_clip: Number
    learning_rate: Number
    momentum: Number
    ridge: Number
    start_norm: Number
    base_rate: Number
    expected_units: int

    def __post_init__(self) -> None:
        """Refuse a method that cannot be followed."""
        require_loss(self.loss)
        for name in (*_DECIMALS, *_INTEGERS):
            require_range(name, getattr(self, name), _AT_MOST, _ZERO_ALLOWED)
        if self.momentum == 1 or self.base_rate == 1:
            raise MalformedOrderError("The recipe's momentum and base_rate must be below 1.")
        if self.moments > self.rounds:
            raise MalformedOrderError("The recipe has more rounds of moments than rounds.")
        if self.moments and not self._is_small_and_linear:
            raise MalformedOrderError(
                f"Second moments serve linear models of at most {_MOST_INPUTS} inputs: "
                "set moments to 0 for this one."
            )
        if self.moments and isinstance(self.loss, Pinball):
            raise MalformedOrderError(
                "Second moments are those of least squares, and a quantile has none: set moments "
                "to 0, so that all rounds are of gradients."
            )

    @property
    def _is_small_and_linear(self) -> bool:
        model = self.model
        linear = isinstance(model, ModelSpec) and len(model.layers) == 2
        return linear and self.inputs <= _MOST_INPUTS

    @property
    def inputs(self) -> int:
        """Features of a row."""
        return self.model.inputs

    @property
    def size(self) -> int:
        """Length of the weights."""
        return self.model.dimension

    def stage(self, number: int) -> Stage:
        """Return what round `number`, from 0, adds up."""
        return "moments" if number < self.moments else "gradient"

    def dimension(self, number: int) -> int:
        """Return how many numbers the sum of round `number` holds."""
        moments_of = self.stage(number) == "moments"
        return moments.size(self.inputs + 1) if moments_of else self.model.dimension

    def start(self, seed: int) -> State:
        """Return the state before the first round: memory holds velocity, then moments."""
        memory = self.model.dimension + (self.dimension(0) if self.moments else 0)
        return State(self.model.init(seed), np.zeros(memory))

    def advance(self, state: State, number: int, total: Array, noise: float) -> State:  # noqa: ARG002  other methods weigh by it
        """Return the state after round `number`, from 0, whose sum over all nodes was `total`."""
        velocity, added = np.split(state.memory, [self.model.dimension])
        if self.stage(number) == "moments":
            added = added + total
            begins = number + 1 == self.moments
            weights = start_from(self, added) if begins else state.weights
            return State(weights, np.concatenate([velocity, added]))
        velocity = float(self.momentum) * velocity + float(self.clip) * total
        step = float(self.learning_rate) * _inverse(self, added, velocity)
        return State(_bounded(state.weights - step), np.concatenate([velocity, added]))

    def predict(
        self, weights: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Return the model's raw output for each row of `features` [n, inputs], [n]."""
        return self.model.predict(weights, features)

    def to_json(self) -> dict[str, Any]:
        """Return the tagged, versioned form; numbers that are not integers are strings."""
        value: dict[str, Any] = {"method": _KIND, "v": 1, "loss": loss_to_json(self.loss)}
        value |= {name: spell(getattr(self, name)) for name in _DECIMALS}
        value |= {name: getattr(self, name) for name in _INTEGERS}
        return value | {"model": self.model.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SecondOrder":
        """Return the method that `value` describes.

        Raises:
            MalformedOrderError: another kind, another version, or not of this form.
        """
        expected = {"method", "v"} | {field.name for field in fields(cls)}
        if set(value) != expected or value["method"] != _KIND or value["v"] != 1:
            raise MalformedOrderError("The method is of a kind or version this node does not know.")
        numbers: dict[str, Any] = {name: decimal(name, value[name]) for name in _DECIMALS}
        numbers |= {name: integer(name, value[name]) for name in _INTEGERS}
        if not isinstance(value["model"], Mapping):
            raise MalformedOrderError("The recipe's model is not an object.")
        loss = loss_from_json(value["loss"])
        return cls(model=network_from_json(value["model"]), loss=loss, **numbers)


def start_from(method: SecondOrder, added: Array) -> Vector:
    """Return the weights that ridge makes of moments that were added up, [d] float32.

    Under `bce` a regression's weights have the wrong scale and the wrong bias for a logit: they are
    brought to the method's `start_norm`, and the bias to its `base_rate`.
    """
    _, targets = _means(method, added)
    weights = _inverse(method, added, targets)
    if method.loss == "bce":
        norm, chance = float(np.linalg.norm(weights[:-1])), float(method.base_rate)
        if method.start_norm:
            weights = weights * (float(method.start_norm) / max(norm, 1e-12))
        weights[-1] = np.log(chance / (1.0 - chance))
    return _bounded(weights)


def _inverse(method: SecondOrder, added: Array, vector: Array) -> Array:
    """Return (M + λI)⁻¹ · `vector`; without moments M is the expected number of units.

    M is noised, so its eigenvalues may be below 0, where they count as 0.
    """
    if not len(added):
        return vector / (float(method.expected_units) + float(method.ridge))
    matrix, _ = _means(method, added)
    values, vectors = np.linalg.eigh(matrix)
    metric = np.maximum(values, 0.0) + float(method.ridge)
    inverse: Array = vectors @ ((vectors.T @ vector) / metric)
    return inverse


def _means(method: SecondOrder, added: Array) -> tuple[Array, Array]:
    """Return the mean round's Σ x xᵀ [p, p] and Σ x y [p], p with the bias, from their sum."""
    matrix, targets = moments.unpack(added / method.moments, method.inputs + 1)
    return matrix * float(method.moment_clip), targets * float(method.target_clip)


def _bounded(weights: Array) -> Vector:
    return np.clip(weights, -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.float32)
