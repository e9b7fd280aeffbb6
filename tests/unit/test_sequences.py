"""Networks over a series: what they predict, and every unit's gradient by itself."""

import dataclasses
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from opacus.grad_sample import GradSampleModule
from opacus.layers import DPGRU
from torch import nn

from clients.training.demand import CHANNELS, DemandBounds, demand_rows, features_of
from clients.training.gradients import Batch, blocks
from clients.training.plain import fit, gradient_sum
from clients.training.sampling import UnitRows
from clients.training.series import gradients_of, outputs_of
from experiments.ordering import Terms, training_order
from experiments.settings import compose
from federation.errors import MalformedOrderError
from federation.losses import Pinball
from federation.models import ModelSpec
from federation.sequences import SequenceSpec, network_from_json
from federation.tasks import TrainingTask
from secure_compute import canonical
from tests.simulator import Simulation, sum_recipe

SPECS = [
    SequenceSpec("gru", 5, 3, 2, 6),
    SequenceSpec("tcn", 5, 3, 2, 6),
    SequenceSpec("gru", 1, 2, 0, 3),
    SequenceSpec("tcn", 1, 2, 0, 3),
    SequenceSpec("tcn", 8, 1, 1, 2),
]
WINDOW, BOUNDS = 6, DemandBounds(2e5, 0.01, 10.0)


@pytest.fixture(params=SPECS, ids=lambda spec: f"{spec.kind}-{spec.steps}")
def spec(request):
    return request.param


def weights_of(spec, seed=1):
    return np.random.default_rng(seed).normal(size=spec.dimension) * 0.5


def batch_of(spec, units=20, rows=4, seed=2):
    draw = np.random.default_rng(seed)
    present = draw.random((units, rows)) < 0.8
    present[:, 0] = True
    features = draw.normal(size=(units, rows, spec.inputs))
    return Batch(features, draw.normal(size=(units, rows)), present)


class Torch(nn.Module):
    """The same network of torch's own layers, with Opacus's recurrence where it clips."""

    def __init__(self, spec, weights, gru=nn.GRU):
        super().__init__()
        self.spec, layers = spec, spec.split(weights)
        parts = [torch.tensor(part) for layer in layers for part in layer]
        if spec.kind == "gru":
            self.body = gru(spec.channels, spec.hidden, batch_first=True).double()
            for name, parameter in self.body.named_parameters():
                parameter.data = parts[2 * ("hh" in name) + ("bias" in name)]
        else:
            self.body = nn.ModuleList()
            for place, (matrix, bias) in enumerate(layers[:-1]):
                into = matrix.shape[1] // 2
                layer = nn.Conv1d(into, spec.hidden, 2, dilation=1 << place).double()
                now, before = torch.tensor(matrix[:, :into]), torch.tensor(matrix[:, into:])
                layer.weight.data = torch.stack([before, now], 2)
                layer.bias.data = torch.tensor(bias)
                self.body.append(layer)
        self.head = nn.Linear(spec.hidden + spec.statics, 1).double()
        self.head.weight.data, self.head.bias.data = parts[-2], parts[-1]

    def forward(self, values):
        end = self.spec.steps * self.spec.channels
        series = values[:, :end].reshape(-1, self.spec.steps, self.spec.channels)
        if self.spec.kind == "gru":
            state = self.body(series)[0][:, -1]
        else:
            taps = series.transpose(1, 2)
            for place, layer in enumerate(self.body):
                taps = torch.tanh(layer(nn.functional.pad(taps, (1 << place, 0))))
            state = taps[:, :, -1]
        return self.head(torch.cat([state, values[:, end:]], 1))[:, 0]


def test_numpy_and_lanes_predict_what_torch_predicts(spec):
    weights, batch = weights_of(spec), batch_of(spec, rows=1)
    theirs = Torch(spec, weights)(torch.from_numpy(batch.features[:, 0])).detach().numpy()
    np.testing.assert_allclose(spec.predict(weights, batch.features[:, 0]), theirs, atol=1e-12)
    (block,) = blocks(batch, spec.dimension)
    np.testing.assert_allclose(outputs_of(spec, weights, block)[0, :20], theirs, atol=1e-12)


@pytest.mark.parametrize("loss", ["huber", "mse", Pinball(Decimal("0.9"))])
def test_a_units_gradient_is_that_of_its_rows_losses(spec, loss):
    weights, batch = weights_of(spec), batch_of(spec)
    rows = UnitRows(
        batch.features.astype(np.float32),
        batch.targets.astype(np.float32),
        batch.present,
        np.zeros(20, np.int64),
    )
    batch = Batch(rows.features.astype(np.float64), rows.targets.astype(np.float64), batch.present)
    found = sum(gradients_of(spec, weights, one, loss).sum(1) for one in blocks(batch, 1))
    expected = gradient_sum(spec, weights, rows, np.arange(20), loss)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
    for unit in (0, 7):
        alone = Batch(*(part[unit : unit + 1] for part in dataclasses.astuple(batch)))
        (block,) = blocks(alone, 1)
        mine = gradients_of(spec, weights, block, loss)
        assert not mine[:, 1:].any()
        by_torch = gradient_sum(spec, weights, rows, np.array([unit]), loss)
        np.testing.assert_allclose(mine[:, 0], by_torch, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("spec", SPECS[:2], ids=lambda spec: spec.kind)
def test_gradients_of_single_rows_are_those_that_opacus_would_clip(spec):
    weights, batch = weights_of(spec), batch_of(spec, rows=1)
    module = GradSampleModule(Torch(spec, weights, DPGRU), loss_reduction="sum")
    outputs = module(torch.from_numpy(batch.features[:, 0]))
    (0.5 * (outputs - torch.from_numpy(batch.targets[:, 0])) ** 2).sum().backward()
    norms = torch.cat([p.grad_sample.flatten(1) for p in module.parameters()], dim=1).norm(dim=1)
    (block,) = blocks(batch, spec.dimension)
    ours = np.linalg.norm(gradients_of(spec, weights, block, "mse")[:, :20], axis=0)
    np.testing.assert_allclose(ours, norms.numpy(), rtol=1e-9)


def test_a_unit_is_the_same_to_the_last_bit_whoever_stands_beside_it(spec):
    weights, batch = weights_of(spec), batch_of(spec, units=30, rows=3)
    batch.present[:] = True
    (whole,) = blocks(batch, spec.dimension)
    together = gradients_of(spec, weights, whole, "mse")
    for unit in (0, 11, 29):
        alone = Batch(*(part[unit : unit + 1] for part in dataclasses.astuple(batch)))
        (block,) = blocks(alone, spec.dimension)
        mine = gradients_of(spec, weights, block, "mse")[:, 0]
        np.testing.assert_array_equal(mine, together[:, unit])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_a_unit_that_overflows_spoils_nobody_else(spec, value):
    weights, batch = weights_of(spec), batch_of(spec)
    sound = next(blocks(batch, 1))
    spoilt = dataclasses.replace(sound, features=sound.features.copy())
    spoilt.features[0, 0, 0] = value
    with np.errstate(all="ignore"):
        before = gradients_of(spec, weights, sound, "mse")
        after = gradients_of(spec, weights, spoilt, "mse")
    np.testing.assert_array_equal(after[:, 1:], before[:, 1:])


def test_a_fresh_network_predicts_nothing_and_learns(spec):
    start = spec.init(3)
    batch = batch_of(spec, units=200, rows=1)
    targets = np.tanh(batch.features[:, :, 0])
    rows = UnitRows(
        batch.features.astype(np.float32),
        targets.astype(np.float32),
        np.ones((200, 1), bool),
        np.zeros(200, np.int64),
    )
    assert not spec.predict(start, batch.features[:, 0]).any()
    learnt = fit(start, rows, spec, "mse", steps=150, learning_rate=0.03)
    left = spec.predict(learnt, batch.features[:, 0]) - targets[:, 0]
    assert (left**2).mean() < 0.5 * (targets**2).mean()


def test_a_network_travels_as_canonical_bytes(spec):
    wire = canonical.decode(canonical.encode(spec.to_json()))
    assert network_from_json(wire) == spec
    assert network_from_json(ModelSpec((3, 1)).to_json()) == ModelSpec((3, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "lstm"}, {"steps": 0}, {"steps": 513}, {"steps": True}, {"channels": 0},
        {"statics": -1}, {"hidden": 0}, {"hidden": 257}, {"hidden": "8"}, {"v": 2}, {"more": 1},
    ],
)  # fmt: skip
def test_bad_networks_are_refused(change):
    with pytest.raises(MalformedOrderError):
        network_from_json({**SPECS[0].to_json(), **change})


def test_second_moments_and_frauds_are_not_for_networks_over_a_series():
    with pytest.raises(MalformedOrderError, match="Second moments"):
        sum_recipe(model=SPECS[0], moments=1)
    with pytest.raises(MalformedOrderError, match="demand"):
        TrainingTask("fraud", 1, 0, sum_recipe(model=SPECS[0], moments=0))


# -- demand ----------------------------------------------------------------------------------------


def table(retailers=2, weeks=12, seed=5):
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "retailer": np.repeat(np.arange(retailers), weeks),
            "week": np.tile(np.arange(weeks), retailers),
            "volume": draw.uniform(100, 9000, retailers * weeks),
            "display": draw.random(retailers * weeks),
            "price": draw.uniform(1, 4, retailers * weeks),
        }
    )


@pytest.mark.parametrize("horizons", [1, 3])
def test_a_series_is_the_known_weeks_oldest_first_and_then_what_was_there(horizons):
    made = table()
    plain = demand_rows(made, WINDOW, BOUNDS, horizons)
    rows = demand_rows(made, WINDOW, BOUNDS, horizons, series=True)
    steps = (WINDOW - 1) * len(CHANNELS)
    np.testing.assert_array_equal(rows.features[:, steps:], plain.features)
    volumes = np.log1p(made["volume"].to_numpy()[: WINDOW - 1])
    found = rows.features[0, : steps : len(CHANNELS)]
    np.testing.assert_allclose(found, volumes - volumes.mean(), atol=1e-6)


@pytest.mark.parametrize("place", range((WINDOW - 1) * len(CHANNELS)))
def test_a_feature_of_a_series_reads_only_what_it_declares(place):
    feature = features_of(WINDOW, series=True)[place]
    before = demand_rows(table(), WINDOW, BOUNDS, series=True).features[0, place]
    for column in ("volume", "display", "price"):
        for age in range(WINDOW):
            changed = table()
            changed.loc[WINDOW - 1 - age, column] *= 0.5
            after = demand_rows(changed, WINDOW, BOUNDS, series=True).features[0, place]
            reads = column in feature.columns and age in feature.ages
            assert (after != before) == reads, (column, age)


@pytest.mark.parametrize("kind", ["gru", "tcn"])
def test_a_federation_trains_a_network_over_a_series(tmp_path, kind):
    limits = {name: {"epsilon": "6.5", "delta": "1e-6"} for name in ("orders", "demand")}
    simulation = Simulation(tmp_path / "federation", limits=limits)
    words = ["model.rounds=2", "model.window=4", "model.hidden=3", "privacy.epsilon=1"]
    task = compose([f"experiment=demand_{kind}", *words]).task
    order = training_order(simulation.home, task, Terms(purpose="demand_forecasting"))
    job = simulation.run(order)
    assert job.status == "done", job.result
    assert len(simulation.jobs.last_round(order.id).weights) == 4 * task.recipe.method.size
