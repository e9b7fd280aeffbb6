"""The loss of a quantile: its slope, what it comes to, and who refuses it."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
import torch

from clients.training.gradients import Batch, loss_slopes
from clients.training.losses import row_losses
from clients.training.plain import plain_sum
from clients.training.private_sgd import clipped
from clients.training.sampling import UnitRows
from experiments.errors import UsageError
from experiments.federating import federate
from experiments.settings import compose
from experiments.studies import load_study
from federation.errors import MalformedOrderError
from federation.evaluation import ForecastSums
from federation.losses import Pinball
from federation.models import ModelSpec
from federation.recipes import Recipe
from federation.second_order import SecondOrder
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask, read_recipe
from secure_compute import canonical
from tests.simulator import recipe, sum_recipe
from tests.steps import clipped_units

LEVELS = [Decimal("0.05"), Decimal("0.5"), Decimal("0.9")]


def quantile_recipe(level: Decimal, **changes) -> SumRecipe:
    values = {
        "model": ModelSpec((1, 1)),
        "loss": Pinball(level),
        "moments": 0,
        "rows_per_unit": 1,
        "window": 2,
    }
    return sum_recipe(**{**values, **changes})


# -- the slope -------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_the_slope_is_that_of_torch(level):
    generator = np.random.default_rng(3)
    outputs, targets = generator.normal(size=(2, 50, 4))
    targets[0] = outputs[0]  # where the loss has a corner both say 0
    wanted = torch.tensor(outputs, requires_grad=True)
    losses = row_losses(wanted, torch.tensor(targets), Pinball(level))
    losses.sum().backward()
    slopes = loss_slopes(outputs, targets, Pinball(level))
    assert np.allclose(slopes, wanted.grad.numpy(), atol=1e-15)
    assert set(np.unique(slopes)) == {-float(level), 0.0, 1.0 - float(level)}
    above = targets - outputs
    by_hand = np.maximum(float(level) * above, (float(level) - 1.0) * above)
    assert np.allclose(losses.detach().numpy(), by_hand)


@pytest.mark.parametrize("level", LEVELS)
def test_a_rows_gradient_is_bounded_by_its_features_whatever_was_sold(level):
    batch = Batch(np.full((1, 1, 2), 0.3), np.full((1, 1), 1e30), np.ones((1, 1), bool))
    with np.errstate(divide="ignore"):
        (gradient,) = clipped_units(ModelSpec((2, 1)), np.zeros(3), batch, Pinball(level), 1e9)
    most = float(max(level, 1 - level)) * np.sqrt(1 + 2 * 0.3**2)
    assert 0.0 < np.linalg.norm(gradient) <= most * (1 + 1e-9)


# -- what it comes to ------------------------------------------------------------------------------


def spread(seed: int, units: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets whose spread grows with the input; its noise is lopsided."""
    generator = np.random.default_rng(seed)
    inputs = generator.uniform(0, 2, (units, 1))
    return inputs, 0.5 * inputs[:, 0] + (0.3 + inputs[:, 0]) * generator.exponential(1.0, units)


def laid(inputs: np.ndarray, targets: np.ndarray) -> UnitRows:
    present, phase = np.ones((len(inputs), 1), bool), np.zeros(len(inputs), np.int64)
    features = inputs[:, None].astype(np.float32)
    return UnitRows(features, targets[:, None].astype(np.float32), present, phase)


@pytest.mark.parametrize("level", [Decimal("0.1"), Decimal("0.5"), Decimal("0.9")])
def test_without_noise_a_model_covers_its_quantile_of_rows_it_never_saw(level):
    """Of 20,000 rows, and where the spread is small and where it is large.

    The level's line is exact here: 0.5 x + (0.3 + x) · -log(1 - q). Of 6,000 training rows the
    covered share varies by less than .0065, of 10,000 test rows by less than .005.
    """
    agreed = quantile_recipe(
        level,
        rounds=800,
        learning_rate=Decimal("0.2"),
        momentum=Decimal("0.5"),
        expected_units=6000,
    )
    task = TrainingTask("demand", 1, 0, agreed)
    parties = {"a": laid(*spread(1, 3000)), "b": laid(*spread(2, 3000))}
    weights = federate(task, parties, private=False)
    inputs, targets = spread(3, 20_000)
    covered = targets <= agreed.predict(weights, inputs)
    assert covered.mean() == pytest.approx(float(level), abs=0.03)
    for half in (inputs[:, 0] < 1.0, inputs[:, 0] >= 1.0):
        assert covered[half].mean() == pytest.approx(float(level), abs=0.04)
    tail = -np.log1p(-float(level))
    assert weights == pytest.approx([0.5 + tail, 0.3 * tail], abs=0.15)


def test_a_mean_is_not_a_quantile():
    """So that the test above can fail: least squares covers another share of lopsided targets."""
    agreed = quantile_recipe(Decimal("0.5"), rounds=100, expected_units=6000)
    agreed = replace(agreed, method=replace(agreed.method, loss="mse"))
    weights = federate(TrainingTask("demand", 1, 0, agreed), {"a": laid(*spread(1))}, private=False)
    inputs, targets = spread(3, 20_000)
    assert abs((targets <= agreed.predict(weights, inputs)).mean() - 0.5) > 0.08


def test_a_round_of_a_quantile_is_clipped_like_any_other():
    agreed = quantile_recipe(Decimal("0.9"), clip=Decimal("0.01"))
    rows = laid(np.full((1, 1), 50.0), np.full(1, 9.0))
    vector = plain_sum(np.zeros(2, np.float32), rows, agreed, 0)
    assert np.linalg.norm(vector) > 1.0
    assert np.linalg.norm(clipped(vector[:, None], 1.0)) <= 1.0 + 1e-12


# -- the agreed form -------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_a_recipe_with_a_quantile_reads_back_what_it_prints(level):
    for one in (quantile_recipe(level), recipe(loss=Pinball(level))):
        wire = canonical.encode(one.to_json())
        again = read_recipe(canonical.decode(wire))
        assert again == one and isinstance(again, SumRecipe | Recipe)
        assert canonical.encode(again.to_json()) == wire
    assert recipe(loss=Pinball(level)).event() == recipe().event()


@pytest.mark.parametrize(
    "loss",
    [
        "pinball",
        {"pinball": "1"},
        {"pinball": "0"},
        {"pinball": "-0.1"},
        {"pinball": "0.90"},
        {"pinball": 0.9},
        {"pinball": "0.1234567891"},
        {"pinball": "0.9", "more": 1},
        {"quantile": "0.9"},
        {},
        [],
        None,
        1,
    ],
)
def test_a_level_has_one_spelling_and_lies_between_0_and_1(loss):
    averaged, summed = recipe().to_json(), quantile_recipe(Decimal("0.9")).to_json()
    with pytest.raises(MalformedOrderError):
        Recipe.from_json({**averaged, "loss": loss})
    with pytest.raises(MalformedOrderError):
        SumRecipe.from_json({**summed, "method": {**summed["method"], "loss": loss}})


def test_no_error_of_means_is_told_of_a_quantile():
    spec = ForecastSums(1, Decimal(10), Decimal(10))
    with pytest.raises(MalformedOrderError, match="nothing of a quantile"):
        quantile_recipe(Decimal("0.9"), evaluation=spec, holdout=Decimal("0.5"))
    with pytest.raises(UsageError, match="no quantile"):
        load_study(compose(["experiment=demand_quantile"]))


def test_second_moments_refuse_a_quantile():
    with pytest.raises(MalformedOrderError, match="set moments to 0"):
        quantile_recipe(Decimal("0.9"), moments=1)
    with pytest.raises(MalformedOrderError, match="set moments to 0"):
        quantile = quantile_recipe(Decimal("0.9")).method.to_json()
        SecondOrder.from_json({**quantile, "moments": 1})


def test_a_quantile_is_configured_for_forecasts_alone():
    found = compose(["experiment=demand_quantile", "model.quantile=0.75"]).task.recipe
    assert found.loss == Pinball(Decimal("0.75"))
    averaged = compose(["experiment=demand_fedavg", "model.quantile=0.75"]).task.recipe
    assert averaged.loss == Pinball(Decimal("0.75"))
    assert compose(["experiment=demand"]).task.recipe.loss == "mse"
    with pytest.raises(UsageError, match="set moments"):
        compose(["experiment=demand", "model.quantile=0.75"])
    for other, said in (("fraud", "makes none"), ("fraud_fedavg", "makes none")):
        with pytest.raises(UsageError, match=said):
            compose([f"experiment={other}", "+model.quantile=0.75"])
    with pytest.raises(UsageError, match="no quantiles"):
        compose(["experiment=demand_boosted", "model.quantile=0.75"])
    with pytest.raises(UsageError, match="quantile"):
        compose(["experiment=demand_quantile", "model.quantile=1.5"])
