"""What a private training step costs beside a plain one: forward, backward, clip, sum, update.

All steps of a table run in turn in one process, on one thread, on the same rows and the same
weights; a ratio is the median of the ratios of neighbours in time. Each is the second of two in a
row, as training takes one after the other: after another kind of step all of them are slower.
Plain is what a user would write: torch, float32, eager. The noise draw is a row of its own: it
depends on the model's size, and not on the batch.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clients.training import ghost, private_sgd
from clients.training.gradients import Array, Batch
from federation.models import ModelSpec
from federation.recipes import Recipe
from secure_compute import fixedpoint, noise
from secure_compute.entropy import SystemEntropy

Result = dict[str, Any]
Step = Callable[[], Array]

WIDE: Final = (32, 256, 128, 1)
SMALL: Final = (30, 64, 32, 1)
BATCHES: Final = {"1k": 1024, "8k": 8192}
_REPETITIONS: Final = 15
_RATE: Final = 0.01
_LIMIT: Final = 1.3


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """A model, weights and rows to take a step with; every customer has as many rows."""

    recipe: Recipe
    weights: Array
    batch: Batch

    @classmethod
    def of(cls, layers: tuple[int, ...], customers: int, rows: int = 1) -> "Setting":
        """Return normally distributed rows, and the model's starting weights."""
        generator = np.random.default_rng(1)
        model = ModelSpec(layers)
        weights = model.init(1).astype(np.float64)
        weights[-layers[-2] - 1 :] = 0.2 * generator.standard_normal(layers[-2] + 1)
        shape = (customers, rows)
        targets = generator.integers(0, 2, shape).astype(np.float64)
        features = generator.standard_normal((*shape, layers[0]))
        return cls(
            _recipe(model, customers, rows), weights, Batch(features, targets, np.ones(shape, bool))
        )


def _recipe(model: ModelSpec, customers: int, rows: int) -> Recipe:
    return Recipe(
        model=model,
        loss="bce",
        rounds=1,
        steps=1,
        sampling_rate=Decimal(1),
        clip=Decimal(1),
        noise_multiplier=Decimal(1),
        grid=4096,
        learning_rate=Decimal(str(_RATE)),
        expected_units=customers,
        rows_per_unit=rows,
    )


def run(full: bool) -> list[Result]:
    """Return the results; `full` goes lane by lane through the wide model's long batch too."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    torch.set_num_threads(1)
    results: list[Result] = []
    with threadpool_limits(1):
        for layers, suffix in ((WIDE, ""), (SMALL, "_small")):
            for label, size in BATCHES.items():
                lanes = full or layers == SMALL or label == "1k"
                results += _table(Setting.of(layers, size), f"{label}{suffix}", lanes)
            results += _noise(layers, suffix)
        customers = Setting.of(WIDE, BATCHES["1k"], 8)
        found = _measured({"plain": plain(customers), "ours": ours(customers)}, _REPETITIONS)
        results.append(_ratio("customer_step_ratio_1k", found["ours"], found["plain"]))
    return results


def _table(setting: Setting, label: str, lanes: bool) -> list[Result]:
    steps = {"plain": plain(setting), "ours": ours(setting)}
    steps |= {"opacus_hooks": opacus_hooks(setting), "opacus_ghost": opacus_ghost(setting)}
    found: Mapping[str, list[float]] = _measured(steps, _REPETITIONS)
    if lanes:
        found = {**found, **_measured({"lanes": by_lanes(setting)}, 1)}
    ratio = _ratio(f"step_ratio_{label}", found["ours"], found["plain"])
    named = [(f"step_{name}_ms_{label}", median(times)) for name, times in found.items()]
    return [ratio, *(_result(name, 1e3 * value, "ms") for name, value in named)]


def _ratio(name: str, ours_took: list[float], plain_took: list[float]) -> Result:
    ratios = [one / other for one, other in zip(ours_took, plain_took, strict=True)]
    return _result(name, median(ratios), "×", "limit", _LIMIT)


def _result(
    name: str, value: float, unit: str, peer: str = "", peer_value: float | None = None
) -> Result:
    return {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "peer": peer,
        "peer_value": peer_value,
    }


def _measured(steps: Mapping[str, Step], repetitions: int) -> dict[str, list[float]]:
    """Return seconds of processor time of each step, all in turn, after one round unmeasured."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repetitions + (repetitions > 1)):
        for name, step in steps.items():
            if repetitions > 1:
                step()
            started = time.process_time()
            step()
            if turn or repetitions == 1:
                found[name].append(time.process_time() - started)
    return found


def _noise(layers: tuple[int, ...], suffix: str) -> list[Result]:
    """The exact discrete Gaussian noise of one step, whatever the batch."""
    recipe = _recipe(ModelSpec(layers), 1, 1)
    entropy = SystemEntropy()

    def draw() -> Array:
        drawn = noise.discrete_gaussian(recipe.noise_scale, recipe.model.dimension, entropy)
        return fixedpoint.decode(drawn, recipe.grid)

    took = median(_measured({"noise": draw}, 5)["noise"])
    return [_result(f"step_noise_ms{suffix}", 1e3 * took, "ms")]


def ours(setting: Setting) -> Step:
    """Return the private step without its noise; each call steps from the same weights."""
    return lambda: _stepped(
        setting, ghost.rounded_sum(setting.recipe, setting.weights, setting.batch)
    )


def by_lanes(setting: Setting) -> Step:
    """Return the same step without a matrix product."""
    return lambda: _stepped(
        setting, private_sgd.rounded_sum(setting.recipe, setting.weights, setting.batch)
    )


def _stepped(setting: Setting, total: NDArray[np.int64]) -> Array:
    moved = fixedpoint.decode(total, setting.recipe.grid)
    moved *= -_RATE / setting.recipe.divisor
    moved += setting.weights
    return moved


def _trained(setting: Setting, module: Any, optimizer: Any) -> Step:
    """Return one step of a module by its optimizer, as everybody writes it."""
    import torch

    criterion = torch.nn.BCEWithLogitsLoss()
    features, targets = _tensors(setting)

    def step() -> Array:
        optimizer.zero_grad()
        criterion(module(features)[:, 0], targets).backward()
        optimizer.step()
        return _flat(module)

    return step


def plain(setting: Setting) -> Step:
    """Return what a user would write without privacy: it trains on, step by step."""
    import torch

    module = _module(setting)
    optimizer = torch.optim.SGD(module.parameters(), lr=_RATE)
    return _trained(setting, module, optimizer)


def opacus_hooks(setting: Setting) -> Step:
    """Return Opacus's step with per-sample gradients, without noise."""
    import torch
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    module = GradSampleModule(_module(setting))
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=_RATE),
        noise_multiplier=0.0,
        max_grad_norm=float(setting.recipe.clip),
        expected_batch_size=len(setting.batch.features),
    )
    return _trained(setting, module, optimizer)


def opacus_ghost(setting: Setting) -> Step:
    """Return Opacus's step with ghost clipping, which goes backward twice; without noise."""
    import torch
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    clip = float(setting.recipe.clip)
    module = GradSampleModuleFastGradientClipping(_module(setting), max_grad_norm=clip)
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(module.parameters(), lr=_RATE),
        noise_multiplier=0.0,
        max_grad_norm=clip,
        expected_batch_size=len(setting.batch.features),
    )
    criterion = DPLossFastGradientClipping(module, optimizer, torch.nn.BCEWithLogitsLoss())
    features, targets = _tensors(setting)

    def step() -> Array:
        optimizer.zero_grad()
        criterion(module(features)[:, 0], targets).backward()
        optimizer.step()
        return _flat(module)

    return step


def _module(setting: Setting) -> Any:
    """Return the model in torch, float32, with the setting's weights."""
    import torch

    parts: list[torch.nn.Module] = []
    for matrix, bias in setting.recipe.model.split(setting.weights):
        linear = torch.nn.Linear(*reversed(matrix.shape))
        linear.weight.data = torch.tensor(matrix, dtype=torch.float32)
        linear.bias.data = torch.tensor(bias, dtype=torch.float32)
        parts += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])


def _tensors(setting: Setting) -> tuple[Any, Any]:
    import torch

    width = setting.batch.features.shape[2]
    features = torch.tensor(setting.batch.features.reshape(-1, width), dtype=torch.float32)
    return features, torch.tensor(setting.batch.targets.ravel(), dtype=torch.float32)


def _flat(module: Any) -> Array:
    """Return the weights as the first layer's matrix alone: a copy of all would be measured."""
    weights: Array = next(module.parameters()).detach().numpy()
    return weights
