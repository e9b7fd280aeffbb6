"""Boosting in which every round is one sum: its recipe, and how features fall into cells.

A round asks of each unit one vector: for every cell of some partitions of the rows, how much loss
falls per step of the score there, and how bent it is. Vectors are clipped as a whole, summed and
noised elsewhere; `boosting_steps.advance` turns the noised sum into the next public model
(`ensembles`). The first rounds partition by one feature at a time, whose values become readable
shape functions [Nori et al. 2021, arXiv 2106.09680, DP-EBM]; all features share a round, so that
few rounds are paid. Then come trees whose questions are drawn, not learned, so that nothing is
paid for them [Maddock et al. 2022, arXiv 2210.02910, totally random trees].
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias, get_args

from federation.errors import MalformedOrderError
from federation.partitions import Effect, decimal_of
from policies.budget.events import spell

BoostingLoss: TypeAlias = Literal["bce", "mse"]

_MOST: Final[Mapping[str, int]] = {
    "inputs": 1000,
    "effect_rounds": 1000,
    "tree_rounds": 1000,
    "trees": 64,
    "depth": 6,
}
_ABOVE_ZERO: Final = (
    "clip", "tree_clip", "bend", "rate", "tree_rate", "spread", "tree_spread", "reach", "limit",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosting:
    """How a model is boosted: `effect_rounds` rounds of all effects, then `tree_rounds` of trees.

    inputs:      features of a row; `effects` says which of them are used, and in which cells.
    start:       the score of every row before the first round; a constant, never a rate of fraud.
    clip:        raw norm of a unit's vector that is scaled to 1; `tree_clip` in rounds of trees.
    bend:        how much larger than slopes second derivatives are told; they are small.
    rate:        part of a step that is taken; `momentum` of the steps before comes on top.
    spread:      standard deviation of an effect's cells that is expected before any data is seen.
    reach:       distance at which two cells of an effect have little to do with each other, as a
                 part of all its cells.
    limit:       most a round moves any cell.
    trees:       trees of a round, of `depth` questions each; rate and spread of their own.
    """

    inputs: int
    effects: tuple[Effect, ...]
    loss: BoostingLoss
    start: Decimal
    effect_rounds: int
    clip: Decimal
    bend: Decimal
    rate: Decimal
    momentum: Decimal
    spread: Decimal
    reach: Decimal
    limit: Decimal
    tree_rounds: int = 0
    trees: int = 1
    depth: int = 2
    tree_clip: Decimal = Decimal(1)
    tree_rate: Decimal = Decimal(1)
    tree_spread: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        """Refuse a recipe that nobody can follow."""
        if self.loss not in get_args(BoostingLoss):
            raise MalformedOrderError("A boosting recipe's loss must be bce or mse.")
        for name, most in _MOST.items():
            least = 0 if name == "tree_rounds" else 1
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool):
                raise MalformedOrderError(f"A boosting recipe's {name} must be an integer.")
            if not least <= number <= most:
                raise MalformedOrderError(
                    f"A boosting recipe's {name} must be from {least} to {most}."
                )
        for name in _ABOVE_ZERO:
            if not getattr(self, name) > 0:
                raise MalformedOrderError(f"A boosting recipe's {name} must be above 0.")
        if not 0 <= self.momentum < 1:
            raise MalformedOrderError("A boosting recipe's momentum must be in [0, 1).")
        if not self.effects or any(effect.feature >= self.inputs for effect in self.effects):
            raise MalformedOrderError("A boosting recipe needs effects, each of one of its inputs.")
        if self.tree_rounds and self.depth > len(self.effects):
            raise MalformedOrderError("A tree asks of each effect at most once: too deep.")

    @property
    def rounds(self) -> int:
        """Sums that a run takes, each of one price."""
        return self.effect_rounds + self.tree_rounds

    def to_json(self) -> dict[str, Any]:
        """Return the tagged, versioned form; numbers that are not integers are strings."""
        value: dict[str, Any] = {"recipe": "dp_boosting", "v": 1}
        for field in fields(self):
            item = getattr(self, field.name)
            value[field.name] = spell(item) if isinstance(item, Decimal) else item
        return value | {"effects": [effect.to_json() for effect in self.effects]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Boosting":
        """Return the recipe that `value` describes.

        Raises:
            MalformedOrderError: another kind, another version, or not of this form.
        """
        names = {field.name: field.type for field in fields(cls)}
        tagged = value.get("recipe") == "dp_boosting" and value.get("v") == 1
        if set(value) != {"recipe", "v", *names} or not tagged or value["v"] is True:
            raise MalformedOrderError("The recipe is of a kind or version this node does not know.")
        if not isinstance(value["effects"], list):
            raise MalformedOrderError("A boosting recipe's effects must be a list.")
        given: dict[str, Any] = {
            name: decimal_of(name, value[name]) if kind is Decimal else value[name]
            for name, kind in names.items()
        }
        given["effects"] = tuple(Effect.from_json(effect) for effect in value["effects"])
        return cls(**given)
