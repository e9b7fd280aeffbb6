"""Training by secure sums: every number of a run in which nobody holds one node's contribution.

Each round is ONE sum over all nodes' units, or one for each of several groups of nodes
(`federation.groups`). A unit's part of it is a vector of its own rows and of public values, clipped
to norm 1, so that every round costs the same, whatever the method adds up. The noise is shared out
over the nodes of a sum (`federation.shares`): it carries σ² even if c of them know one another's,
and no node adds all of it. How many nodes take part in a sum is known when it begins; the price is
that of any number up to `nodes`, so that of all nodes together and of every group.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from federation import evaluation
from federation.boosted import Boosted
from federation.errors import MalformedOrderError
from federation.evaluation import Evaluation, ScoreSums
from federation.groups import fewest_in_a_group, require_groups
from federation.informed import Informed
from federation.losses import Loss, Pinball
from federation.models import Predictor
from federation.recipe_fields import decimal, integer, require_range, require_weeks
from federation.recipes import Number
from federation.scaled import Scaled
from federation.second_order import SecondOrder
from federation.sequences import Network
from federation.shares import Released, Shares
from federation.shares import event as sum_event
from policies.budget.certificate import STEPS
from policies.budget.events import Event, own_delta, spell
from secure_compute import fixedpoint, skellam
from secure_compute.errors import LocalProtocolError
from secure_compute.headroom import RARELY, Load, wrap_chance
from secure_compute.secagg.params import Parameters, least_threshold

Method: TypeAlias = SecondOrder | Boosted | Scaled | Informed

MOST_EPSILON: Final = Decimal(10)
"""The ε up to which the tables' own error is charged; no account that pays may come to more."""

FEWEST_NODES: Final = 3
LARGEST_COHORT: Final = 128

_KIND: Final = "secure_sums"
_DECIMALS: Final = ("sampling_rate", "noise_multiplier", "holdout")
_INTEGERS: Final = (
    *("grid", "expected_units", "rows_per_unit", "window", "nodes", "colluding", "ring_bits"),
)
_OPTIONS: Final[Mapping[str, int]] = {"horizons": 1, "groups": 1, "trimmed": 0}
"""Integers that stand in the canonical form only where they differ from their defaults."""

_ZERO_ALLOWED: Final = {"window", "holdout", "trimmed"}
_AT_MOST: Final[Mapping[str, int]] = {
    "sampling_rate": 1,
    "noise_multiplier": 10**6,
    "holdout": 1,
    "grid": 1 << 24,
    "expected_units": 10**9,
    "rows_per_unit": 1000,
    "window": 1000,
    "horizons": 100,
    "groups": 42,
    "trimmed": 20,
    "nodes": LARGEST_COHORT,
    "colluding": LARGEST_COHORT,
    "ring_bits": 32,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SumRecipe:
    """How a model is trained by secure sums, and at which price.

    method:           what each round adds up, and what is made of the sums.
    sampling_rate:    probability q with which each unit enters a round, on its own.
    noise_multiplier: z; the sum carries σ = z · Δ2 that no c nodes know.
    grid:             integer steps per 1.0 of a clipped part.
    expected_units:   units that a round is expected to hold over all nodes; a public constant.
    rows_per_unit:    contribution bound K; window: weeks of one demand row, or 0; horizons: weeks
                      ahead that a stretch of demand has a row for, from 1 on.
    nodes, colluding: most nodes n of a round, and how many of them, c, may tell one another all.
    ring_bits:        sums are modulo 2^ring_bits.
    evaluation:       what one more round at the end adds up of units that were held out, each by a
                      coin of probability `holdout` before the first round; None and 0 for none.
                      Scores of a classifier, or forecasts.
    groups, trimmed:  sums of a round of training, one of each group of nodes, and how many of them
                      are dropped at either end of each coordinate. A unit pays for one of them. An
                      evaluation is one sum over all, and never trimmed. Groups that are not trimmed
                      bound nothing and cost noise: they are there to be measured against.
    """

    method: Method
    sampling_rate: Number
    noise_multiplier: Number
    grid: int
    expected_units: int
    rows_per_unit: int
    nodes: int
    colluding: int
    ring_bits: int = 32
    window: int = 0
    holdout: Number = Decimal(0)
    evaluation: Evaluation | None = None
    horizons: int = 1
    groups: int = 1
    trimmed: int = 0

    def __post_init__(self) -> None:
        """Refuse a recipe that has no price."""
        for name in (*_DECIMALS, *_INTEGERS, *_OPTIONS):
            require_range(name, getattr(self, name), _AT_MOST, _ZERO_ALLOWED)
        require_weeks(self.window, self.horizons, self.rows_per_unit)
        self._require_evaluation()
        self._require_shares()
        require_groups(self.nodes, self.colluding, self.groups, self.trimmed)
        self._require_noise()
        self._require_room()

    @property
    def model(self) -> Network:
        """The network that the method trains, or that baselines train in its place."""
        return self.method.model

    @property
    def loss(self) -> Loss:
        """What the method makes small."""
        return self.method.loss

    @property
    def baseline(self) -> Predictor:
        """What predicts with weights that baselines come to on the same rows."""
        return self.method if isinstance(self.method, Informed | Scaled) else self.model

    @property
    def rounds(self) -> int:
        """Sums of a run, the evaluation's among them."""
        return self.method.rounds + (self.evaluation is not None)

    @property
    def sensitivity(self) -> int:
        """Δ2: most L2 distance, in grid steps, by which one unit moves any round's sum."""
        return fixedpoint.l2_sensitivity(self.grid, Fraction(1), self.widest)

    @property
    def noise_scale(self) -> int:
        """σ, in grid steps: what the sum carries that no c nodes know."""
        return fixedpoint.noise_scale(self.sensitivity, Fraction(self.noise_multiplier))

    @property
    def widest(self) -> int:
        """Numbers of the longest round's sum; the price of every round refers to it."""
        return max(self.dimension(number) for number in range(self.rounds))

    def dimension(self, number: int) -> int:
        """Return how many numbers the sum of round `number`, from 0, holds."""
        if self.evaluation is not None and self.evaluates(number):
            return self.evaluation.dimension
        return self.method.dimension(number)

    def evaluates(self, number: int) -> bool:
        """Return whether round `number`, from 0, measures the model and moves nothing."""
        return self.evaluation is not None and number == self.method.rounds

    def sums(self, number: int) -> int:
        """Return how many sums round `number`, from 0, is made of: an evaluation is always one."""
        return 1 if self.evaluates(number) else self.groups

    def least_of_a_sum(self, minimum: int) -> int:
        """Return the fewest nodes of one sum of an order with such a `minimum`."""
        return max(minimum, self.fewest())

    def least(self, minimum: int) -> int:
        """Return the fewest nodes of a round of training, by an order with such a `minimum`."""
        return self.groups * self.least_of_a_sum(minimum)

    def parameters(self, nodes: int, minimum: int = 0) -> Parameters:
        """Return the numbers of secure aggregation among `nodes`, of which `minimum` must survive.

        Raises:
            MalformedOrderError: there are too few of them, or more than the price is for.
        """
        if not FEWEST_NODES <= nodes <= self.nodes:
            raise MalformedOrderError(
                f"A round of {nodes} nodes is asked; this recipe is for {FEWEST_NODES} to "
                f"{self.nodes}."
            )
        try:
            return Parameters(
                organisations=nodes,
                colluding=self.colluding,
                threshold=max(minimum, least_threshold(nodes, self.colluding)),
                ring_bits=self.ring_bits,
            )
        except LocalProtocolError as why:
            raise MalformedOrderError(f"A secure sum of {nodes} nodes: {why}.") from why

    def shares(self, parameters: Parameters) -> Shares:
        """Return the noise of a round."""
        return Shares(
            nodes=parameters.organisations,
            colluders=parameters.colluding,
            threshold=parameters.threshold,
            variance=self.noise_scale**2,
        )

    def event(self) -> Event:
        """Return what ONE round does to one node's data, whoever takes part and is lost.

        A higher minimum means fewer layers of noise, so fewer tables that can err: no higher price.

        Raises:
            MalformedOrderError: the grid is too coarse for the price's certificate to hold.
        """
        if self.noise_scale < STEPS:
            raise MalformedOrderError(
                "The recipe's grid is too coarse for its noise_multiplier: choose a finer."
            )
        return _event(self)

    def predict(
        self, weights: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Return the model's raw output for each row of `features` [n, inputs], [n] float64."""
        return self.method.predict(weights, features)

    def to_json(self) -> dict[str, Any]:
        """Return the tagged, versioned form; numbers that are not integers are strings."""
        value: dict[str, Any] = {"recipe": _KIND, "v": 1, "method": self.method.to_json()}
        value |= {name: spell(getattr(self, name)) for name in _DECIMALS}
        value |= {name: getattr(self, name) for name in _INTEGERS}
        options = {name: getattr(self, name) for name in _OPTIONS}
        value |= {name: one for name, one in options.items() if one != _OPTIONS[name]}
        return value | {"evaluation": self.evaluation and self.evaluation.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SumRecipe":
        """Return the recipe that `value` describes.

        Raises:
            MalformedOrderError: another kind, another version, or not of this form.
        """
        options = _OPTIONS.keys() & set(value)
        expected = {"recipe", "v"} | ({field.name for field in fields(cls)} - _OPTIONS.keys())
        if set(value) != expected | options or value["recipe"] != _KIND or value["v"] != 1:
            raise MalformedOrderError("The recipe is of a kind or version this node does not know.")
        numbers: dict[str, Any] = {name: decimal(name, value[name]) for name in _DECIMALS}
        numbers |= {name: integer(name, value[name]) for name in (*_INTEGERS, *options)}
        if any(numbers[name] == _OPTIONS[name] for name in options):
            raise MalformedOrderError("The recipe spells out an option that it leaves alone.")
        measured = _evaluation(value["evaluation"])
        return cls(method=_method(value["method"]), evaluation=measured, **numbers)

    def fewest(self) -> int:
        """Return the fewest nodes that c may be among: fewer would leave one input alone."""
        return fewest_in_a_group(self.colluding)

    def _require_evaluation(self) -> None:
        if self.holdout == 1 or (self.evaluation is None) != (self.holdout == 0):
            raise MalformedOrderError(
                "An evaluation needs units held out, some and not all, and is all they are for."
            )
        if self.evaluation:
            self._require_measure(self.evaluation)

    def _require_measure(self, found: Evaluation) -> None:
        scores = isinstance(found, ScoreSums)
        if scores != (self.loss == "bce") or found.rows != self.rows_per_unit:
            raise MalformedOrderError(
                "An evaluation of scores is for `bce` and one of forecasts for other losses, and "
                "either of as many rows of a unit as the recipe."
            )
        if isinstance(self.loss, Pinball):
            raise MalformedOrderError(
                "An evaluation of forecasts is of means; it says nothing of a quantile: set "
                "holdout to 0."
            )
        if not scores and not self.window:
            raise MalformedOrderError(
                "An evaluation of forecasts needs rows of weeks: give the recipe a window."
            )

    def _require_shares(self) -> None:
        try:
            Parameters.least(self.nodes, self.colluding, self.ring_bits)
        except LocalProtocolError as why:
            raise MalformedOrderError(
                f"The recipe's nodes and colluding do not fit: {why}."
            ) from why

    def _require_noise(self) -> None:
        """Refuse noise that no table draws; a share is at most σ², and rarely below σ²/n²."""
        least = Fraction(self.noise_scale**2, self.nodes**2)
        if (
            not skellam.SMALLEST_VARIANCE
            <= least
            <= self.noise_scale**2
            <= skellam.LARGEST_VARIANCE
        ):
            raise MalformedOrderError(
                "The recipe's grid does not fit its noise_multiplier: so much noise takes a "
                "coarser grid, so little a finer one."
            )

    def _require_room(self) -> None:
        """Refuse a grid at which sums would leave their ring, by public numbers alone."""
        chance = wrap_chance(
            Load(
                ring_bits=self.ring_bits,
                nodes=self.nodes,
                units=self.expected_units,
                clip=Fraction(1),
                dimension=self.widest,
                noise_multiplier=Fraction(self.noise_multiplier),
                surplus=Fraction(self.nodes),
            ),
            self.grid,
        )
        if chance > RARELY:
            raise MalformedOrderError(
                f"The recipe's grid is too fine for {self.ring_bits} bits: a sum would wrap with "
                f"chance {chance:.1e}. Choose a coarser one."
            )


@lru_cache(maxsize=64)
def _event(recipe: SumRecipe) -> Event:
    """Return the dearest of all rounds that the recipe allows."""
    released = Released(
        sampling_rate=recipe.sampling_rate,
        l1=fixedpoint.l1_sensitivity(recipe.sensitivity, recipe.widest),
        l2=recipe.sensitivity,
        dimension=recipe.widest,
        epsilon=MOST_EPSILON,
    )
    able = range(recipe.fewest(), recipe.nodes + 1)
    events = [sum_event(recipe.shares(recipe.parameters(nodes)), released) for nodes in able]
    return max(events, key=lambda one: own_delta([one]))


def _evaluation(value: object) -> Evaluation | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise MalformedOrderError("The recipe's evaluation is of a kind this node does not know.")
    return evaluation.from_json(value)


def _method(value: object) -> Method:
    if not isinstance(value, Mapping):
        raise MalformedOrderError("The recipe's method is not an object.")
    match value.get("method"):
        case "dp_boosting":
            return Boosted.from_json(value)
        case "informed":
            return Informed.from_json(value)
        case "scaled":
            return Scaled.from_json(value)
    return SecondOrder.from_json(value)
