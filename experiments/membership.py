"""A membership attack on a trained model, beside what its price claims about every attack.

Half of each party's units, by coins, train the model; the other half does not. The attacker holds
the model and every unit's rows, and says "in" of the units whose loss is least: the classical test
[Yeom et al. 2018, arXiv 1709.01604]. It is one attack and a weak one; the claim bounds all of them.
What it is for: to find a mechanism that is broken badly.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clients.training.sampling import UnitRows, hold_out
from experiments.federating import federate
from experiments.ordering import for_nodes
from federation.losses import Loss
from federation.models import Predictor, Vector
from federation.tasks import TrainingTask
from policies.budget.attack import FALSE_ALARMS, curve
from policies.budget.events import Repeated
from secure_compute.entropy import Entropy

HALF: Final = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Attacked:
    """What the attack found.

    roc_area:       chance that a member's loss is below another's; 0.5 is luck. Its standard error
                    under luck is `roc_error`.
    caught_of_100:  members caught at one false alarm in a hundred; 1 is luck.
    claimed_of_100: most that any attacker catches, by the price of the run; 100 without privacy.
    """

    members: int
    others: int
    roc_area: float
    roc_error: float
    caught_of_100: float
    claimed_of_100: float

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        return asdict(self)


def attack(
    task: TrainingTask, rows: Mapping[Any, UnitRows], entropy: Entropy, *, private: bool
) -> Attacked:
    """Train on half of the units and attack the model with both halves."""
    halves = {party: hold_out(part, HALF, entropy) for party, part in rows.items()}
    inside = {party: train for party, (train, _) in halves.items()}
    weights = federate(task, inside, private=private)
    members = _losses(task, weights, inside.values())
    others = _losses(task, weights, [held for _, held in halves.values()])
    claimed = 100.0
    if private:
        recipe = for_nodes(task, len(rows)).recipe
        run = Repeated(recipe.event(), recipe.rounds)
        claimed = float(curve((run,), fixed=True).caught_of_100())
    return judged(members, others, claimed)


def judged(members: NDArray[np.float64], others: NDArray[np.float64], claimed: float) -> Attacked:
    """Return how well losses tell members from others."""
    ranks = np.searchsorted(np.sort(others), members, side="left")
    ties = np.searchsorted(np.sort(others), members, side="right") - ranks
    below = 1.0 - (ranks + 0.5 * ties).mean() / len(others)
    error = np.sqrt((len(members) + len(others) + 1) / (12.0 * len(members) * len(others)))
    threshold = np.quantile(others, FALSE_ALARMS)
    caught = 100.0 * float((members < threshold).mean())
    return Attacked(
        members=len(members),
        others=len(others),
        roc_area=round(float(below), 4),
        roc_error=round(float(error), 4),
        caught_of_100=round(caught, 2),
        claimed_of_100=claimed,
    )


def _losses(task: TrainingTask, weights: Vector, parts: Any) -> NDArray[np.float64]:
    return np.concatenate([unit_losses(task.recipe, task.recipe.loss, weights, p) for p in parts])


def unit_losses(
    model: Predictor, loss: Loss, weights: Vector, rows: UnitRows
) -> NDArray[np.float64]:
    """Return the mean loss of each unit's rows, [U]."""
    import torch

    from clients.training.losses import row_losses

    units, most, inputs = rows.features.shape
    flat = rows.features.reshape(units * most, inputs).astype(np.float64)
    outputs = model.predict(weights, flat).reshape(units, most)
    each = row_losses(
        torch.from_numpy(outputs), torch.from_numpy(rows.targets.astype(np.float64)), loss
    ).numpy()
    counts = np.maximum(rows.present.sum(1), 1)
    means: NDArray[np.float64] = np.where(rows.present, each, 0.0).sum(1) / counts
    return means
