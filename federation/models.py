"""Models as agreed values: a shape in canonical JSON, weights as one flat vector.

numpy alone, so that whoever holds released weights can predict with them: the
aggregator and the report need no training framework.

The flat vector holds, layer after layer, the matrix [outputs, inputs] in row-major
order and then the bias [outputs].
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from federation.errors import MalformedOrderError

Activation: TypeAlias = Literal["relu", "tanh"]
Vector: TypeAlias = NDArray[np.float32]
LARGEST_WEIGHT = 2.0**20
"""Nodes compute nothing from weights beyond it."""

LARGEST_DIMENSION = 1_000_000

Layer: TypeAlias = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]
"""A matrix [outputs, inputs] and a bias [outputs]."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A fully connected network with one output; two widths make it a linear model.

    `layers` are the widths from input to output: (9, 16, 1) has one hidden layer of 16.
    """

    layers: tuple[int, ...]
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        """Refuse a shape that nobody can train."""
        if len(self.layers) < 2 or min(self.layers) < 1 or self.layers[-1] != 1:
            raise MalformedOrderError("A model needs positive layer widths and one output.")
        if self.activation not in get_args(Activation):
            raise MalformedOrderError("A model's activation must be relu or tanh.")
        if self.dimension > LARGEST_DIMENSION:
            raise MalformedOrderError("A model may have at most a million parameters.")

    @property
    def inputs(self) -> int:
        """Features of a row."""
        return self.layers[0]

    @property
    def dimension(self) -> int:
        """The length of the flat vector."""
        return sum(outputs * inputs + outputs for outputs, inputs in self.shapes())

    def shapes(self) -> Iterator[tuple[int, int]]:
        """Yield (outputs, inputs) of each layer."""
        return zip(self.layers[1:], self.layers[:-1], strict=True)

    def init(self, seed: int) -> Vector:
        """Return starting weights, [dimension] float32; a fresh model predicts 0 everywhere.

        He-normal hidden matrices, zero biases, a zero last layer.  The seed is public:
        nothing here needs to be unpredictable.
        """
        generator = np.random.default_rng(seed)
        parts = []
        for depth, (outputs, inputs) in enumerate(self.shapes(), start=2):
            deviation = 0.0 if depth == len(self.layers) else np.sqrt(2.0 / inputs)
            parts += [deviation * generator.standard_normal(outputs * inputs), np.zeros(outputs)]
        return np.concatenate(parts).astype(np.float32)

    def split(self, weights: NDArray[np.floating[Any]]) -> list[Layer]:
        """Return each layer's (matrix [outputs, inputs], bias [outputs]) as views of `weights`.

        Raises:
            MalformedOrderError: `weights` is not of this model.
        """
        return split_by([*self.shapes()], weights)

    def predict(
        self, weights: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Return the raw output for each row of `features` [n, inputs], [n] float64."""
        return forward(self, weights, features)

    def to_json(self) -> dict[str, Any]:
        """Return the tagged, versioned form that orders and model files carry."""
        layers = list(self.layers)
        return {"model": "mlp", "v": 1, "layers": layers, "activation": self.activation}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ModelSpec":
        """Return the model that `value` describes.

        Raises:
            MalformedOrderError: another kind, another version, or not of this form.
        """
        keys = {"model", "v", "layers", "activation"}
        if set(value) != keys or value["model"] != "mlp" or value["v"] != 1:
            raise MalformedOrderError("The model is of a kind or version this node does not know.")
        layers = value["layers"]
        if not isinstance(layers, list) or not all(type(width) is int for width in layers):
            raise MalformedOrderError("A model's layers must be a list of integers.")
        return cls(tuple(layers), value["activation"])


class Predictor(Protocol):
    """What makes predictions of weights: a model, or a recipe that trains one."""

    def predict(
        self, weights: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Return the raw output for each row of `features` [n, inputs], [n] float64."""
        ...


def split_by(shapes: Sequence[tuple[int, int]], weights: NDArray[np.floating[Any]]) -> list[Layer]:
    """Return the layers of `shapes`, (outputs, inputs) each, as views of `weights` [d].

    Raises:
        MalformedOrderError: they are of another dimension.
    """
    dimension = sum(outputs * inputs + outputs for outputs, inputs in shapes)
    if weights.shape != (dimension,):
        raise MalformedOrderError(
            f"The weights have shape {weights.shape}, this model needs ({dimension},): "
            "use the model file of this order's version."
        )
    layers, start = [], 0
    for outputs, inputs in shapes:
        end = start + outputs * inputs
        matrix = weights[start:end].reshape(outputs, inputs)
        layers.append((matrix, weights[end : end + outputs]))
        start = end + outputs
    return layers


def chances(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities that logits stand for, without overflow."""
    small = np.exp(-np.abs(logits))
    both: NDArray[np.float64] = np.where(logits >= 0.0, 1.0, small) / (1.0 + small)
    return both


def forward(
    spec: ModelSpec, weights: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the model's raw output for each row of `features` [n, inputs], [n] float64.

    For a classifier this is the logit.
    """
    values = np.asarray(features, np.float64)
    layers = spec.split(weights)
    for matrix, bias in layers[:-1]:
        values = values @ matrix.T.astype(np.float64) + bias
        values = np.maximum(values, 0.0) if spec.activation == "relu" else np.tanh(values)
    matrix, bias = layers[-1]
    output: NDArray[np.float64] = (values @ matrix.T.astype(np.float64) + bias)[:, 0]
    return output
