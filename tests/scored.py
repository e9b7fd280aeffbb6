"""Made-up scores, and the sum that an evaluation of them comes to, for tests."""

import numpy as np

from clients.training.evaluating import unit_vectors
from clients.training.gradients import Batch, blocks
from clients.training.series import outputs_of
from federation.evaluation import ALARMS, BINS, EDGES, Evaluation, ScoreSums, spans
from federation.models import ModelSpec, chances
from federation.readings import running

IDENTITY = ModelSpec((1, 1))
"""A model whose output is its one input."""

ITSELF = np.array([1.0, 0.0])


def simulated(rows: int, apart: float, seed: int, *, slope: float = 1.0, rate: float = 0.01):
    """Return truth and logits of a classifier that is right on the whole: [rows] each.

    slope: of its logits, 1 if it is calibrated.
    """
    generator = np.random.default_rng(seed)
    truth = generator.random(rows) < rate
    far = apart * generator.choice([0.4, 1.0, 1.6], rows)
    seen = generator.normal(size=rows) + truth * far
    middle = np.log(rate / (1 - rate))
    return truth, centred(slope * (apart * seen - apart * apart / 2), rate, middle)


def centred(logits, rate: float, start: float):
    """Return `logits` moved so that their mean chance is `rate`."""
    low, high = start - 20.0, start + 20.0
    for _ in range(50):
        middle = (low + high) / 2
        over = chances(logits + middle).mean() > rate
        low, high = (low, middle) if over else (middle, high)
    return logits + middle


def batch_of(truth, logits, units) -> Batch:
    """Return rows of one feature, the score, by unit."""
    names, place = np.unique(units, return_inverse=True)
    most = int(np.bincount(place).max())
    features, targets = np.zeros((len(names), most, 1)), np.zeros((len(names), most))
    present, at = np.zeros((len(names), most), bool), np.zeros(len(names), int)
    for row, unit in enumerate(place):
        features[unit, at[unit], 0], targets[unit, at[unit]] = logits[row], truth[row]
        present[unit, at[unit]] = True
        at[unit] += 1
    return Batch(features, targets, present)


def vectors(spec: Evaluation, batch: Batch, model=IDENTITY, weights=ITSELF) -> np.ndarray:
    """Return the vectors of all units that have rows, [U, dimension], in the order of blocks."""
    parts = []
    for block in blocks(batch, model.dimension, max(model.layers)):
        outputs = outputs_of(model, weights, block)
        here = unit_vectors(spec, outputs, block, model.inputs)
        assert not here[:, ~block.present.any(0)].any()
        parts.append(here[:, block.present.any(0)].T)
    return np.concatenate(parts) if parts else np.zeros((0, spec.dimension))


def bins_of(logits) -> np.ndarray:
    """Return the bin of every logit by another way than the product's."""
    return BINS - 1 - np.searchsorted(EDGES[::-1], np.nan_to_num(logits, nan=-np.inf), "right")


def counted(truth, logits):
    """Return positives and negatives by bin, [BINS] each."""
    place = bins_of(logits)
    counts = [np.bincount(place[kind], minlength=BINS).astype(float) for kind in (truth, ~truth)]
    return counts[0], counts[1]


def exact_sum(spec: ScoreSums, truth, logits) -> np.ndarray:
    """Return the noise-free sum over units without clipping, made of counts, [dimension]."""
    positives, negatives = counted(truth, logits)
    place, (low, width) = bins_of(logits), spans()
    inside = (chances(logits) - low[place]) / width[place] - 0.5
    offsets = np.bincount(place, weights=inside, minlength=BINS)
    halves = (positives, negatives[:ALARMS], negatives[ALARMS:], offsets[:ALARMS], offsets[ALARMS:])
    return np.linalg.solve(running(spec), np.concatenate([np.cumsum(half) for half in halves]))
