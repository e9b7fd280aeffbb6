"""The clipped sum against Opacus and against a loop that forms every unit's gradient."""

from decimal import Decimal

import numpy as np
import pytest
import torch
from opacus.grad_sample import GradSampleModule

from clients.training.gradients import Batch, blocks, unit_outputs
from clients.training.losses import row_losses
from clients.training.plain import gradient_sum
from clients.training.sampling import UnitRows
from federation.losses import Pinball
from federation.models import ModelSpec, forward
from tests.steps import batch as made_batch
from tests.steps import chosen, clipped_sum


def random_batch(units: int, rows: int, inputs: int, seed: int, scale: float = 1.0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn((units, rows, inputs), generator=generator, dtype=torch.float64) * scale
    targets = torch.randint(0, 2, (units, rows), generator=generator).double()
    present = torch.rand((units, rows), generator=generator) < 0.8
    return made_batch(features, targets, present)


def random_weights(model: ModelSpec, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=model.dimension) * 0.5


def torch_module(model: ModelSpec, weights: np.ndarray) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for matrix, bias in model.split(weights):
        linear = torch.nn.Linear(*reversed(matrix.shape)).double()
        linear.weight.data, linear.bias.data = torch.tensor(matrix), torch.tensor(bias)
        layers += [linear, torch.nn.ReLU() if model.activation == "relu" else torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def unit_gradient(model, weights, batch, loss, unit) -> np.ndarray:
    module = torch_module(model, weights)
    here = batch.present[unit]
    if not here.any():
        return np.zeros(model.dimension)
    outputs = module(torch.from_numpy(batch.features[unit][here]))[:, 0]
    row_losses(outputs, torch.from_numpy(batch.targets[unit][here]), loss).sum().backward()
    return torch.cat([p.grad.flatten() for p in module.parameters()]).numpy()


def looped_sum(model, weights, batch, loss, clip) -> np.ndarray:
    total = np.zeros(model.dimension)
    for unit in range(len(batch.features)):
        gradient = unit_gradient(model, weights, batch, loss, unit)
        total += gradient * min(1.0, clip / max(np.linalg.norm(gradient), 1e-300))
    return total


@pytest.mark.parametrize("loss", ["bce", "huber", "mse", Pinball(Decimal("0.9"))])
@pytest.mark.parametrize("layers", [(7, 1), (7, 12, 1), (7, 9, 5, 1)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_clipped_sum_equals_a_loop_over_units(loss, layers, activation):
    model = ModelSpec(layers, activation)
    weights, batch = random_weights(model, 1), random_batch(40, 5, 7, 2)
    ours = clipped_sum(model, weights, batch, loss, 0.7)
    assert np.allclose(ours, looped_sum(model, weights, batch, loss, 0.7), rtol=1e-7, atol=1e-9)


def test_a_unit_of_equal_rows_is_clipped_once():
    model = ModelSpec((4, 6, 1))
    weights = random_weights(model, 3)
    one = random_batch(1, 1, 4, 4, scale=5.0)
    many = Batch(
        *(part.repeat(8, axis=1) for part in (one.features, one.targets)), np.ones((1, 8), bool)
    )
    one = Batch(one.features, one.targets, np.ones((1, 1), bool))
    single = clipped_sum(model, weights, one, "mse", 0.01)
    eight = clipped_sum(model, weights, many, "mse", 0.01)
    assert np.linalg.norm(eight) <= 0.01 * (1 + 1e-9)
    assert np.allclose(eight, single, rtol=1e-6)


def test_one_step_agrees_with_opacus_for_single_rows():
    model, clip = ModelSpec((6, 10, 1)), 0.3
    weights, batch = random_weights(model, 5), random_batch(64, 1, 6, 6)
    batch = Batch(batch.features, batch.targets, np.ones((64, 1), bool))
    module = GradSampleModule(torch_module(model, weights), loss_reduction="sum")
    outputs = module(torch.from_numpy(batch.features[:, 0]))[:, 0]
    row_losses(outputs, torch.from_numpy(batch.targets[:, 0]), "bce").sum().backward()
    samples = torch.cat([p.grad_sample.flatten(1) for p in module.parameters()], dim=1)
    # Opacus (optimizers/optimizer.py, clip_and_accumulate) divides by norm + 1e-6.
    factors = (clip / (samples.norm(dim=1) + 1e-6)).clamp(max=1.0)
    expected = (samples * factors[:, None]).sum(0).numpy()
    ours = clipped_sum(model, weights, batch, "bce", clip)
    assert np.allclose(ours, expected, rtol=1e-5, atol=1e-7)


def test_an_empty_batch_sums_to_zero():
    model = ModelSpec((4, 3, 1))
    empty = made_batch(np.zeros((0, 2, 4)), np.zeros((0, 2)), np.zeros((0, 2)))
    assert not clipped_sum(model, random_weights(model, 1), empty, "mse", 1.0).any()


def test_a_unit_that_is_not_finite_contributes_nothing():
    model, batch = ModelSpec((4, 3, 1)), random_batch(3, 2, 4, 1)
    weights = random_weights(model, 2)
    batch.present[:] = True
    rest = chosen(batch, [1, 2])
    for poison in (float("nan"), float("inf"), 1e250):
        batch.features[0, 0, 0] = poison
        ours = clipped_sum(model, weights, batch, "mse", 1.0)
        assert np.allclose(ours, clipped_sum(model, weights, rest, "mse", 1.0))


def test_numpy_predicts_what_torch_predicts():
    model = ModelSpec((5, 8, 4, 1), "tanh")
    weights, batch = random_weights(model, 8), random_batch(20, 1, 5, 9)
    theirs = torch_module(model, weights)(torch.from_numpy(batch.features[:, 0]))
    ours = forward(model, weights, batch.features[:, 0])
    assert np.allclose(ours, theirs[:, 0].detach().numpy())


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_lanes_predict_what_numpy_predicts_and_read_no_further_feature(activation):
    model, batch = ModelSpec((5, 8, 4, 1), activation), random_batch(30, 3, 7, 9)
    weights = random_weights(model, 8)
    batch.present[:] = True
    (block,) = blocks(batch, model.dimension, max(model.layers))
    ours = unit_outputs(model, weights, block)[:, :30].T
    theirs = forward(model, weights, batch.features[..., :5].reshape(-1, 5)).reshape(30, 3)
    assert np.allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", ["bce", "huber", "mse"])
@pytest.mark.parametrize("model", [ModelSpec((7, 1)), ModelSpec((7, 9, 5, 1), "tanh")])
def test_private_and_plain_gradients_are_the_same_without_a_clip(loss, model):
    """Two programs: lanes of units here, automatic differentiation there."""
    weights, batch = random_weights(model, 1), random_batch(50, 6, 7, 2)
    features = np.where(batch.present[..., None], batch.features, 0.0).astype(np.float32)
    targets = batch.targets.astype(np.float32)
    rows = UnitRows(features, targets, batch.present, np.zeros(50, np.int64))
    theirs = gradient_sum(model, weights, rows, np.arange(50), loss)
    ours = clipped_sum(model, weights, made_batch(features, targets, batch.present), loss, 1e9)
    assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-9)
