"""Networks over a series of steps, as agreed values: recurrent ones and convolutional ones.

A row of features holds `steps` times `channels` numbers, oldest step first, and then `statics` that
belong to no step. A network reads the series; one linear output reads what it came to beside the
statics.

    gru   gated recurrent units, gates in the order reset, update, new
    tcn   causal convolutions of two taps, 1, 2, 4, … steps apart, each followed by tanh

[Cho et al. 2014, arXiv 1406.1078; Bai, Kolter, Koltun 2018, arXiv 1803.01271]

The flat vector holds, part after part, the matrix [outputs, inputs] in row-major order and then the
bias [outputs]: of a `gru` what enters, what recurs, the output; of a `tcn` each layer, the output.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from federation.errors import MalformedOrderError
from federation.models import LARGEST_DIMENSION, Layer, ModelSpec, Vector, split_by

Kind: TypeAlias = Literal["gru", "tcn"]
Array: TypeAlias = NDArray[np.float64]
Product: TypeAlias = Callable[[NDArray[np.floating[Any]], Array], Array]
"""Matrix [m, n] times values [n, ...]."""

_MOST: Final = {"steps": 512, "channels": 64, "statics": 64, "hidden": 256}


@dataclass(frozen=True, slots=True)
class SequenceSpec:
    """A network over a series: how many steps, numbers of each, numbers beside, and its width."""

    kind: Kind
    steps: int
    channels: int
    statics: int
    hidden: int

    def __post_init__(self) -> None:
        """Refuse a shape that nobody can train."""
        if self.kind not in get_args(Kind):
            raise MalformedOrderError("A network over a series is a gru or a tcn.")
        for name, most in _MOST.items():
            least, value = int(name != "statics"), getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise MalformedOrderError(f"A network's {name} must be from {least} to {most}.")
        if self.dimension > LARGEST_DIMENSION:
            raise MalformedOrderError("A model may have at most a million parameters.")

    @property
    def inputs(self) -> int:
        """Features of a row."""
        return self.steps * self.channels + self.statics

    @property
    def dimension(self) -> int:
        """The length of the flat vector."""
        return sum(outputs * inputs + outputs for outputs, inputs in self.shapes())

    @property
    def depth(self) -> int:
        """Layers of a `tcn`: as many as it takes for the last step to see the first."""
        return max(1, (self.steps - 1).bit_length())

    def shapes(self) -> list[tuple[int, int]]:
        """Return (outputs, inputs) of each part."""
        wide, last = self.hidden, (1, self.hidden + self.statics)
        if self.kind == "gru":
            return [(3 * wide, self.channels), (3 * wide, wide), last]
        return [(wide, 2 * self.channels), *([(wide, 2 * wide)] * (self.depth - 1)), last]

    def init(self, seed: int) -> Vector:
        """Return starting weights, [dimension] float32; a fresh model predicts 0 everywhere.

        The seed is public: nothing here needs to be unpredictable.
        """
        generator, parts = np.random.default_rng(seed), []
        for place, (outputs, inputs) in enumerate(self.shapes(), start=1):
            deviation = 0.0 if place == len(self.shapes()) else 1.0 / np.sqrt(inputs)
            parts += [deviation * generator.standard_normal(outputs * inputs), np.zeros(outputs)]
        return np.concatenate(parts).astype(np.float32)

    def split(self, weights: NDArray[np.floating[Any]]) -> list[Layer]:
        """Return each part's (matrix [outputs, inputs], bias [outputs]) as views of `weights`.

        Raises:
            MalformedOrderError: `weights` is not of this model.
        """
        return split_by(self.shapes(), weights)

    def predict(
        self, weights: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]
    ) -> Array:
        """Return the raw output for each row of `features` [n, inputs], [n] float64."""
        values = np.asarray(features, np.float64).T
        return read(self, self.split(np.asarray(weights, np.float64)), values, np.matmul).outputs

    def to_json(self) -> dict[str, Any]:
        """Return the tagged, versioned form that orders and model files carry."""
        shape = {name: getattr(self, name) for name in _MOST}
        return {"model": "sequence", "v": 1, "kind": self.kind, **shape}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SequenceSpec":
        """Return the network that `value` describes.

        Raises:
            MalformedOrderError: another kind, another version, or not of this form.
        """
        names = {field.name for field in fields(cls)}
        if set(value) != names | {"model", "v"} or (value["model"], value["v"]) != ("sequence", 1):
            raise MalformedOrderError("The model is of a kind or version this node does not know.")
        return cls(**{name: value[name] for name in names})


Network: TypeAlias = ModelSpec | SequenceSpec


def network_from_json(value: Mapping[str, Any]) -> Network:
    """Return the network that `value` describes, of either form.

    Raises:
        MalformedOrderError: it describes none.
    """
    kind = SequenceSpec if value.get("model") == "sequence" else ModelSpec
    return kind.from_json(value)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A forward pass: what every step left behind, for whoever goes back, and the outputs [...].

    trace: of a `gru` (what entered, the state before, reset, update, new, what recurs into new) for
           each step; of a `tcn` the values that enter each layer, and leave the last, by step.
    last:  what the output reads, [hidden + statics, ...].
    """

    trace: Sequence[Sequence[Array]]
    last: Array
    outputs: Array


def read(spec: SequenceSpec, layers: Sequence[Layer], features: Array, product: Product) -> Reading:
    """Return the pass of `features` [inputs, ...] through the network."""
    series = [features[at : at + spec.channels] for at in range(0, _end(spec), spec.channels)]
    walk = _recur if spec.kind == "gru" else _convolve
    trace, state = walk(layers[:-1], series, product)
    last = np.concatenate([state, features[_end(spec) : spec.inputs]])
    return Reading(trace, last, through(layers[-1], last, product)[0])


def through(layer: Layer, values: Array, product: Product) -> Array:
    """Return matrix · `values` [n, ...] + bias, [m, ...]."""
    matrix, bias = layer
    summed: Array = product(matrix, values) + bias.reshape(-1, *[1] * (values.ndim - 1))
    return summed


def _end(spec: SequenceSpec) -> int:
    return spec.steps * spec.channels


def _recur(
    layers: Sequence[Layer], series: Sequence[Array], product: Product
) -> tuple[list[tuple[Array, ...]], Array]:
    entering, recurring = layers
    state: Array = np.zeros((len(recurring[0]) // 3, *series[0].shape[1:]))
    trace: list[tuple[Array, ...]] = []
    for values in series:
        resets, updates, news = np.split(through(entering, values, product), 3)
        back = np.split(through(recurring, state, product), 3)
        reset, update = _gate(resets + back[0]), _gate(updates + back[1])
        new = np.tanh(news + reset * back[2])
        trace.append((values, state, reset, update, new, back[2]))
        state = (1.0 - update) * new + update * state
    return trace, state


def _convolve(
    layers: Sequence[Layer], series: Sequence[Array], product: Product
) -> tuple[list[list[Array]], Array]:
    trace = [list(series)]
    for place, layer in enumerate(layers):
        taps = taps_of(trace[-1], place)
        trace.append([np.tanh(through(layer, pair, product)) for pair in taps])
    return trace, trace[-1][-1]


def taps_of(values: Sequence[Array], place: int) -> list[Array]:
    """Return what enters layer `place` at each step: its own values and those 2^place before."""
    apart, nothing = 1 << place, np.zeros_like(values[0])
    before = [*([nothing] * apart), *values]
    return [np.concatenate(pair) for pair in zip(values, before, strict=False)]


def _gate(values: Array) -> Array:
    small = np.exp(-np.abs(values))
    gate: Array = np.where(values >= 0.0, 1.0, small) / (1.0 + small)
    return gate
