"""Training recipes: every number of a private training run, agreed before it starts.

A recipe is a value with one canonical spelling.  It rides in a work order, and from it a
node derives what its work will cost and how much noise that takes.  Nothing in it is a
count of anybody's data: divisors are constants of the order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from federation.errors import MalformedOrderError
from federation.losses import Loss, loss_from_json, loss_to_json, require_loss
from federation.models import ModelSpec, Predictor, Vector
from federation.recipe_fields import decimal, integer, require_range, require_weeks
from policies.budget.certificate import STEPS
from policies.budget.events import Event, Repeated, SampledGaussian, spell
from secure_compute import fixedpoint

Number: TypeAlias = Decimal

_DECIMALS = (
    "sampling_rate",
    "clip",
    "noise_multiplier",
    "learning_rate",
    "server_rate",
    "server_momentum",
)
_OPTIONS = ("proximal", "server_memory", "server_floor")
"""Decimals that stand in the canonical form only where they differ from their defaults."""

_INTEGERS = ("rounds", "steps", "grid", "expected_units", "rows_per_unit", "window")
_HORIZONS = "horizons"
"""An integer that stands there only where it differs from its default, 1."""

_MOST_STEPS = 10_000
_ZERO_ALLOWED = {"server_momentum", "window", "proximal", "server_memory"}
_AT_MOST: Mapping[str, int] = {
    "rounds": _MOST_STEPS,
    "steps": _MOST_STEPS,
    "sampling_rate": 1,
    "clip": 10**6,
    "noise_multiplier": 10**6,
    "grid": 1 << 32,
    "learning_rate": 10**6,
    "expected_units": 10**9,
    "rows_per_unit": 1000,
    "server_rate": 10**6,
    "server_momentum": 1,
    "proximal": 10**6,
    "server_memory": 1,
    "server_floor": 10**6,
    "window": 1000,
    "horizons": 100,
}
"""The largest value of each number; all are above 0 but those of `_ZERO_ALLOWED`."""

_ROOM = 1 << 61
_UNITS = 1 << 16  # a sum has room for as many units at their clip before it leaves 62 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a node trains in each round: FedAvg with local DP-SGD, and at which price.

    rounds, steps:     federated rounds, and private steps a node takes in each.
    sampling_rate:     probability q with which each unit enters a step, on its own.
    clip:              most L2 norm C of one unit's summed gradient.
    noise_multiplier:  z, the noise scale over the integer sensitivity.
    grid:              integer steps per 1.0; sums are rounded to it once.
    learning_rate:     of the local steps; `server_rate` and `server_momentum` of the rounds.
    expected_units:    units a typical node holds for one step; a public constant, never a count.
    rows_per_unit:     contribution bound K; further rows are left out at random.
    window:            consecutive weeks of one demand row; 0 where rows have no window.
    proximal:          μ, pull of local steps back to the round's start; 0 for none [Li et al. 2020,
                       arXiv 1812.06127, FedProx].
    server_memory, server_floor: β₂ and τ of FedAdam, with β₁ the momentum [Reddi et al. 2021, arXiv
                       2003.00295]; a memory of 0 is plain momentum.
    horizons:          weeks ahead that a stretch of demand has a row for, from 1 on.
    """

    model: ModelSpec
    loss: Loss
    rounds: int
    steps: int
    sampling_rate: Number
    clip: Number
    noise_multiplier: Number
    grid: int
    learning_rate: Number
    expected_units: int
    rows_per_unit: int
    server_rate: Number = Decimal(1)
    server_momentum: Number = Decimal(0)
    window: int = 0
    proximal: Number = Decimal(0)
    server_memory: Number = Decimal(0)
    server_floor: Number = Decimal("0.001")
    horizons: int = 1

    def __post_init__(self) -> None:
        """Refuse a recipe that has no price or cannot be followed."""
        require_loss(self.loss)
        for name in (*_DECIMALS, *_OPTIONS, *_INTEGERS, _HORIZONS):
            require_range(name, getattr(self, name), _AT_MOST, _ZERO_ALLOWED)
        require_weeks(self.window, self.horizons, self.rows_per_unit)
        if self.server_momentum == 1 or self.server_memory == 1:
            raise MalformedOrderError(
                "The recipe's server_momentum and server_memory must be below 1."
            )
        if self.rounds * self.steps > _MOST_STEPS:
            raise MalformedOrderError(
                f"The recipe's rounds times steps may be at most {_MOST_STEPS}."
            )
        # Both follow from the recipe alone, so no row can make a sum too large for its integers.
        if self.sensitivity * _UNITS > _ROOM or self.noise_scale * 64 > _ROOM:
            raise MalformedOrderError(
                "The recipe's grid is too fine for its clip and noise_multiplier: choose a coarser."
            )

    @property
    def sensitivity(self) -> int:
        """Most L2 distance, in grid steps, by which one unit moves a step's rounded sum."""
        return fixedpoint.l2_sensitivity(self.grid, Fraction(self.clip), self.model.dimension)

    @property
    def noise_scale(self) -> int:
        """The integer σ of the discrete Gaussian that each step adds."""
        return fixedpoint.noise_scale(self.sensitivity, Fraction(self.noise_multiplier))

    @property
    def divisor(self) -> float:
        """The constant a step's noised sum is divided by: the expected sampled units."""
        return float(self.sampling_rate) * self.expected_units

    def event(self) -> Event:
        """Return what ONE round does to one node's data.

        Raises:
            MalformedOrderError: the grid is too coarse for the price's certificate to hold.
        """
        if self.noise_scale < STEPS:
            raise MalformedOrderError(
                "The recipe's grid is too coarse for its clip and noise_multiplier: choose a finer."
            )
        return Repeated(SampledGaussian(self.sampling_rate, self.noise_multiplier), self.steps)

    @property
    def baseline(self) -> Predictor:
        """What predicts with weights that baselines come to on the same rows."""
        return self.model

    def predict(
        self, weights: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Return the model's raw output for each row of `features` [n, inputs], [n] float64."""
        return self.model.predict(weights, features)

    def to_json(self) -> dict[str, Any]:
        """Return the tagged, versioned form; numbers that are not integers are strings."""
        value: dict[str, Any] = {"recipe": "fedavg_dp_sgd", "v": 1, "loss": loss_to_json(self.loss)}
        value |= {name: spell(getattr(self, name)) for name in _DECIMALS}
        value |= {name: getattr(self, name) for name in _INTEGERS}
        value |= {n: spell(getattr(self, n)) for n in _OPTIONS if getattr(self, n) != _default(n)}
        value |= {_HORIZONS: self.horizons} if self.horizons != 1 else {}
        return value | {"model": self.model.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Recipe":
        """Return the recipe that `value` describes.

        Raises:
            MalformedOrderError: another kind, another version, or not of this form.
        """
        left = {*_OPTIONS, _HORIZONS}
        options = {name for name in left if name in value}
        expected = {"recipe", "v"} | {f.name for f in fields(cls) if f.name not in left}
        known = (value.get("recipe"), value.get("v")) == ("fedavg_dp_sgd", 1)
        if set(value) != expected | options or not known:
            raise MalformedOrderError("The recipe is of a kind or version this node does not know.")
        named = (*_DECIMALS, *sorted(options - {_HORIZONS}))
        numbers: dict[str, Any] = {name: decimal(name, value[name]) for name in named}
        numbers |= {name: integer(name, value[name]) for name in options & {_HORIZONS}}
        if any(numbers[name] == _default(name) for name in options):
            raise MalformedOrderError("The recipe spells out an option that it leaves alone.")
        numbers |= {name: integer(name, value[name]) for name in _INTEGERS}
        if not isinstance(value["model"], Mapping):
            raise MalformedOrderError("The recipe's model is not an object.")
        loss = loss_from_json(value["loss"])
        return cls(model=ModelSpec.from_json(value["model"]), loss=loss, **numbers)


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """Where a run stands: the weights every node starts the next round from, [d] float32."""

    weights: Vector
    velocity: NDArray[np.float64]

    @classmethod
    def start(cls, recipe: Recipe, seed: int) -> "Progress":
        """Return the state before the first round; with a server's memory, velocity is [2, d]."""
        size = recipe.model.dimension * (2 if recipe.server_memory else 1)
        return cls(recipe.model.init(seed), np.zeros(size))

    def advance(self, recipe: Recipe, updates: list[Vector]) -> "Progress":
        """Return the state after a round: momentum, or Adam, over the plain mean of `updates`.

        Every node counts the same, because a weight by size would tell the size.
        """
        mean = np.mean([update.astype(np.float64) for update in updates], axis=0)
        if recipe.server_memory:
            return self._adapted(recipe, mean)
        velocity = float(recipe.server_momentum) * self.velocity + mean
        weights = self.weights + float(recipe.server_rate) * velocity
        return Progress(weights.astype(np.float32), velocity)

    def _adapted(self, recipe: Recipe, mean: NDArray[np.float64]) -> "Progress":
        first, second = np.split(self.velocity, 2)
        keep, memory = float(recipe.server_momentum), float(recipe.server_memory)
        first = keep * first + (1.0 - keep) * mean
        second = memory * second + (1.0 - memory) * mean**2
        step = first / (np.sqrt(second) + float(recipe.server_floor))
        weights = self.weights + float(recipe.server_rate) * step
        return Progress(weights.astype(np.float32), np.concatenate([first, second]))


def _default(name: str) -> Decimal:
    value = next(field.default for field in fields(Recipe) if field.name == name)
    return Decimal(str(value))
