"""A membership attack finds a model that remembers, and no more than luck in a private one."""

from decimal import Decimal

import numpy as np
import pytest

from clients.training.sampling import UnitRows
from experiments.membership import attack, judged, unit_losses
from federation.losses import Pinball
from federation.models import ModelSpec
from federation.tasks import TrainingTask
from secure_compute.entropy import SystemEntropy
from tests.simulator import sum_recipe

INPUTS = 100


def rows(units: int, seed: int) -> UnitRows:
    """Labels that no feature says anything of: whatever a model knows of them it remembers."""
    draw = np.random.default_rng(seed)
    return UnitRows(
        draw.normal(size=(units, 2, INPUTS)).astype(np.float32),
        draw.integers(0, 2, size=(units, 2)).astype(np.float32),
        np.ones((units, 2), np.bool_),
        np.zeros(units, np.int64),
    )


def task(**changes) -> TrainingTask:
    recipe = sum_recipe(
        model=ModelSpec((INPUTS, 1)),
        rounds=4,
        moments=2,
        ridge=Decimal(1),
        learning_rate=Decimal(4),
        start_norm=Decimal(8),
        base_rate=Decimal("0.5"),
        moment_clip=Decimal(220),
        target_clip=Decimal(20),
        nodes=4,
        **changes,
    )
    return TrainingTask("fraud", 1, 0, recipe)


PARTIES = {name: rows(60, seed) for seed, name in enumerate("abcd")}


def test_a_model_that_remembers_is_found() -> None:
    found = attack(task(), PARTIES, SystemEntropy(), private=False)
    assert found.roc_area > 0.5 + 4 * found.roc_error and found.claimed_of_100 == 100.0


def test_a_private_model_gives_no_more_away_than_its_price_claims() -> None:
    """With so many units that the one in a hundred is some twelve of the others, and not one."""
    many = {name: rows(600, seed) for seed, name in enumerate("abcd")}
    found = attack(task(noise_multiplier=Decimal(5)), many, SystemEntropy(), private=True)
    assert found.roc_area < 0.5 + 5 * found.roc_error
    rate = 0.01 * 0.99
    luck = 100.0 * np.sqrt(rate / found.members + rate / found.others)
    assert found.caught_of_100 <= found.claimed_of_100 + 5 * luck
    assert 1.0 <= found.claimed_of_100 < 30.0


def test_losses_that_say_nothing_are_luck_and_those_that_say_all_are_all() -> None:
    draw = np.random.default_rng(0)
    alike = judged(draw.normal(size=4000), draw.normal(size=4000), 1.0)
    assert alike.roc_area == pytest.approx(0.5, abs=4 * alike.roc_error)
    assert alike.caught_of_100 == pytest.approx(1.0, abs=1.0)
    apart = judged(np.zeros(50), np.ones(50), 1.0)
    assert (apart.roc_area, apart.caught_of_100) == (1.0, 100.0)
    assert judged(np.ones(50), np.ones(50), 1.0).roc_area == 0.5


@pytest.mark.parametrize("loss", ["bce", "huber", "mse", Pinball(Decimal("0.9"))])
def test_the_loss_of_a_unit_is_that_of_its_rows(loss) -> None:
    import torch

    from clients.training.losses import row_losses

    model = ModelSpec((INPUTS, 1))
    weights = np.random.default_rng(1).normal(size=model.dimension).astype(np.float32)
    part = rows(5, 9)
    part.present[2, 1] = False
    found = unit_losses(model, loss, weights, part)
    for unit in range(5):
        here = part.present[unit]
        outputs = torch.from_numpy(model.predict(weights, part.features[unit][here]))
        targets = torch.from_numpy(part.targets[unit][here].astype(np.float64))
        assert found[unit] == pytest.approx(float(row_losses(outputs, targets, loss).mean()))
