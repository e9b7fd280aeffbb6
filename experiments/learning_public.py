"""Federated learning on public sets, WITHOUT privacy, with what privacy would ask of the recipe.

The scores are those of `entrepot simulate stallion` and `handbook`. Both sets are folders of the
caller's; one that is not there is reported as skipped. Small parties and hundreds of releases are
the setting in which noise hurts most: the noise multiplier says how far the recipe is from a price.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

from experiments.errors import UsageError
from experiments.settings import Settings, compose
from experiments.simulating import simulate
from federation.recipes import Recipe
from policies.budget import accountant

Result = dict[str, Any]
Tell = Callable[[str], None]

EPSILON: Final = 2.0
DELTA: Final = 1e-6
REACH: Final = {"stallion": ("wape", "WAPE"), "handbook": ("ap", "AP")}


def federated(name: Literal["stallion", "handbook"], tell: Tell = lambda _: None) -> Result:
    """Return what federated training is worth on a public set, or why it was skipped."""
    measure, unit = REACH[name]
    result = {"name": f"{name}_{measure}_federated", "unit": unit, "peer": "each party alone"}
    settings = compose([f"experiment={name}"])
    try:
        value = simulate(settings, lambda way, done, of: tell(f"{name}: {way} {done}/{of}"))
    except UsageError as why:
        return result | {"value": None, "peer_value": None, "skipped": str(why)}
    return result | {
        "value": value["federated"],
        "peer_value": value["local"],
        "pooled": value["pooled"],
        "naive": value["naive"],
        "parties": value["parties"],
        "privacy": value["privacy"],
        "dp_price": price(settings, value["unit"], value["claim"]),
    }


def price(settings: Settings, unit: str | None, claim: str) -> Result:
    """Return what the same recipe would need for ε = 2 at δ = 1e-6: σ over a unit's clip, z.

    Without a unit there is no price, and `claim` says why. The accuracy at z was not measured.
    """
    recipe = settings.task.recipe
    releases = recipe.rounds * (recipe.steps if isinstance(recipe, Recipe) else 1)
    if unit is None:
        return {"noise_multiplier": None, "releases": releases, "why_not": claim}
    multiplier = accountant.calibrate(float(recipe.sampling_rate), releases, EPSILON, DELTA)
    return {
        "unit": unit,
        "epsilon": EPSILON,
        "delta": DELTA,
        "releases": releases,
        "noise_multiplier": multiplier,
    }
