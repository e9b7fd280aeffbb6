"""Whether a model is good enough to go on from: what was measured of it beside its order's floor.

A gate, asked once, after the sum over the units held out (`model.holdout`). It sees that noised and
charged figure of all parties together, and nothing else: no party's update, rows or metric. What
passes may still harm one party, one scenario, or carry a wrong answer to few inputs; who poisons
holds out poisoned rows, too. What cannot be told from nothing is held back.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from policies.budget.events import spell
from secure_compute.canonical import JSON

ACCEPTED: Final = "accepted"
HELD_BACK: Final = "held back"
STANDINGS: Final = (ACCEPTED, HELD_BACK)
MEASURE: Final = "average_precision"


def judged(metrics: Mapping[str, JSON], floor: Decimal) -> dict[str, JSON]:
    """Return a model's standing and what it rests on; nothing without a floor or a measurement.

    metrics: as `readings.ScoreReport` prints them. The value itself is compared; the interval of
             its noise stands beside it.
    """
    if not floor or not metrics:
        return {}
    found = metrics.get(MEASURE)
    estimate: Mapping[str, JSON] = found if isinstance(found, Mapping) else {}
    value = estimate.get("value")
    passes = isinstance(value, str) and Decimal(value) >= floor
    return {
        "standing": ACCEPTED if passes else HELD_BACK,
        "measure": MEASURE,
        "floor": spell(floor),
        "value": value,
        "low": estimate.get("low"),
        "high": estimate.get("high"),
    }


def is_held_back(gate: Mapping[str, JSON]) -> bool:
    """Return whether a gate says that nothing should be made of its model."""
    return gate.get("standing") == HELD_BACK


def held_back(gate: Mapping[str, JSON]) -> str:
    """Return in words why a model is held back."""
    value, floor = gate.get("value"), gate.get("floor")
    if value is None:
        return f"its average precision is too noisy to tell, and its order asks for {floor}"
    between = f" ({gate.get('low')} to {gate.get('high')})"
    return f"its average precision was measured as {value}{between}, below its order's {floor}"
