"""What a model is worth on this party's own rows, exactly: for its operator, and for nobody else.

Nothing here is noised or charged, so nothing of it may leave: no message, entry or report holds it.
The values neither pickle nor have a form for the wire, and no module that sends anything imports
this one; a test looks.

A party that trained with others wants to know whether that helps it. `does_it_help` fits a model on
the party's own training rows alone, fits the federation's model further on the same rows, and puts
both beside the federation's model as it came, on test rows that none of them trained on.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Final, Literal, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from clients.training.demand import DemandRows, volumes_of, wape
from clients.training.errors import TrainingDataError
from clients.training.sampling import UnitRows
from federation.losses import Loss
from federation.models import Predictor, Vector
from federation.sequences import Network
from secure_compute.entropy import Entropy

Array: TypeAlias = NDArray[np.float64]
Truth: TypeAlias = NDArray[np.bool_]
Metric: TypeAlias = Literal["average_precision", "wape"]
Way: TypeAlias = Literal["alone", "federated", "fine-tuned"]
Answer: TypeAlias = Literal["it helps", "it does not help", "too close to tell"]

RESAMPLES: Final = 400


def average_precision(truth: Truth, scores: Array) -> float:
    """Return Σ (recall gained at a score) · (precision down to that score), ties taken together.

    NaN where nothing is positive. A score that is no number counts as the lowest.
    """
    if not truth.any():
        return float("nan")
    _, places = np.unique(np.where(np.isnan(scores), -np.inf, scores), return_inverse=True)
    return float(average_precision_score(truth, places))


@dataclass(frozen=True, slots=True)
class Tuning:
    """How the party fits on its own: `plain.fit`, by Adam.

    parts: a step reads one of so many equal parts of the units, in turn.
    """

    steps: int
    learning_rate: float
    decay: float = 1e-3
    parts: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Rows that no model trained on: features [n, inputs], and the unit of each, [n].

    score: from the model's outputs [m] for some rows, and their places [m], to their metric.
    """

    metric: Metric
    features: NDArray[np.float32]
    units: NDArray[np.int64]
    score: Callable[[Array, NDArray[np.intp]], float] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better a model is than the party's own; above 0 it is better, whatever the metric.

    low, high: the interval over which of the party's units it might have been tested on; 97.5 % for
               each of the two models, so that both hold 95 times in 100.
    """

    value: float = field(repr=False)
    low: float = field(repr=False)
    high: float = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an exact result never leaves the process that computed it")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Exact values on the party's own test rows. They neither print nor travel by themselves.

    fine_tuned: None for a model that cannot be fitted further.
    """

    metric: Metric
    values: Mapping[Way, float] = field(repr=False)
    federated: Gain
    fine_tuned: Gain | None

    @property
    def answer(self) -> Answer:
        """Whether the federation's model, as it came or fitted further, helps this party."""
        gains = [gain for gain in (self.federated, self.fine_tuned) if gain is not None]
        if any(gain.low > 0.0 for gain in gains):
            return "it helps"
        if all(gain.high < 0.0 for gain in gains):
            return "it does not help"
        return "too close to tell"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an exact result never leaves the process that computed it")


def held_out_orders(
    features: NDArray[np.float32], truth: Truth, units: NDArray[np.int64]
) -> HeldOut:
    """Return a classifier's test rows, scored by average precision."""
    return HeldOut(
        "average_precision",
        features,
        units,
        lambda outputs, rows: average_precision(truth[rows], outputs),
    )


def held_out_weeks(rows: DemandRows) -> HeldOut:
    """Return a forecast's test rows, scored by WAPE; a retailer is tested with all its weeks."""
    return HeldOut(
        "wape",
        rows.features,
        rows.retailer,
        lambda outputs, here: wape(volumes_of(outputs + rows.base[here]), rows.volume[here]),
    )


def does_it_help(
    task: tuple[Network, Loss],
    start: Vector,
    federated: Vector,
    train: UnitRows,
    test: HeldOut,
    tuning: Tuning,
    entropy: Entropy,
    made_by: Predictor | None = None,
) -> Comparison:
    """Return the federation's model, as it came and fitted further, beside one of the party's own.

    start:   the weights from which the party would have trained alone, such as `model.init(seed)`.
    made_by: what makes predictions of the federation's weights where that is not `model`, such as
             trees: they are not fitted further, and `model` is what the party trains alone.

    Raises:
        TrainingDataError: rows or weights are not the model's, or the test rows have no metric.
    """
    model = task[0]
    if {train.features.shape[2], test.features.shape[1]} != {model.inputs}:
        raise TrainingDataError(
            "The rows have another number of features than the model: name rows of its task."
        )
    outputs = _outputs(task, start, federated, made_by, train, test.features, tuning)
    everything = np.arange(len(test.units))
    values = {way: test.score(found, everything) for way, found in outputs.items()}
    if not np.isfinite(list(values.values())).all():
        raise TrainingDataError(
            f"The {test.metric} has no value on these test rows: name rows of both kinds."
        )
    drawn = _resampled(test, outputs, entropy)
    return Comparison(
        test.metric,
        values,
        _gain(test.metric, "federated", values, drawn),
        _gain(test.metric, "fine-tuned", values, drawn) if made_by is None else None,
    )


def _outputs(
    task: tuple[Network, Loss],
    start: Vector,
    federated: Vector,
    made_by: Predictor | None,
    train: UnitRows,
    test: NDArray[np.float32],
    by: Tuning,
) -> dict[Way, Array]:
    """Return what each way says of the test rows, [n]; fitted without privacy: it stays here."""
    from clients.training.plain import fit

    model, loss = task

    def fitted(weights: Vector) -> Array:
        return model.predict(fit(weights, train, model, loss, **asdict(by)), test)

    outputs: dict[Way, Array] = {"alone": fitted(start)}
    outputs["federated"] = (made_by or model).predict(federated, test)
    if made_by is None:
        outputs["fine-tuned"] = fitted(federated)
    return outputs


def _resampled(test: HeldOut, outputs: Mapping[Way, Array], entropy: Entropy) -> dict[Way, Array]:
    """Return each way's metric on units drawn again and again with replacement, [RESAMPLES]."""
    order = np.argsort(test.units, kind="stable")
    _, starts, counts = np.unique(test.units[order], return_index=True, return_counts=True)
    drawn: dict[Way, list[float]] = {way: [] for way in outputs}
    for _ in range(RESAMPLES):
        raw = np.frombuffer(entropy.bytes(8 * len(starts)), "<u8")
        chosen = (raw % np.uint64(len(starts))).astype(np.intp)
        many = counts[chosen]
        within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        rows = order[np.repeat(starts[chosen], many) + within]
        for way, found in outputs.items():
            drawn[way].append(test.score(found[rows], rows))
    return {way: np.array(found) for way, found in drawn.items()}


def _gain(
    metric: Metric, way: Way, values: Mapping[Way, float], drawn: Mapping[Way, Array]
) -> Gain:
    sign = -1.0 if metric == "wape" else 1.0
    gains = sign * (drawn[way] - drawn["alone"])
    low, high = np.quantile(gains[np.isfinite(gains)], [0.0125, 0.9875]).tolist()
    return Gain(sign * (values[way] - values["alone"]), low, high)
