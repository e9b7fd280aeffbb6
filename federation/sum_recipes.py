"""Training by secure sums: every number of a run in which nobody holds one node's contribution.

Each round is ONE sum over all nodes' units. A unit's part of it is a vector of its own rows and of
public values, clipped to norm 1, so that every round costs the same, whatever it adds up:

    moments   Σ x xᵀ and Σ x y of a unit's rows, scaled by their clips; of the mean over such rounds
              the start is made, by ridge, and the metric of the steps that follow
    gradient  the gradient of a unit's loss over its clip; the step is w - η (M + λI)⁻¹ v

Steps in the metric of noised second moments: [Ganesh, Haghifam, Steinke, Thakurta 2023, arXiv
2305.13209]; regression from them: [Wang 2018, arXiv 1803.02596]. The noise is shared out over the
nodes (`federation.shares`): the sum carries σ² even if c of them know one another's, and no node
adds all of it. How many nodes take part in a round is known when it begins; the price is that of
any number up to `nodes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, Literal, TypeAlias, get_args

from federation import moments
from federation.errors import MalformedOrderError
from federation.models import ModelSpec
from federation.recipe_fields import decimal, integer, require_range
from federation.recipes import Loss, Number
from federation.shares import Released, Shares
from federation.shares import event as sum_event
from policies.budget.certificate import STEPS
from policies.budget.events import Event, own_delta, spell
from secure_compute import fixedpoint
from secure_compute.errors import LocalProtocolError
from secure_compute.headroom import RARELY, Load, wrap_chance
from secure_compute.secagg.params import Parameters, least_threshold

Stage: TypeAlias = Literal["moments", "gradient"]

MOST_EPSILON: Final = Decimal(10)
"""The ε up to which the tables' own error is charged; no account that pays may come to more."""

FEWEST_NODES: Final = 3

_KIND: Final = "secure_sums"
_DECIMALS: Final = (
    *("sampling_rate", "clip", "moment_clip", "target_clip", "noise_multiplier"),
    *("learning_rate", "momentum", "ridge", "start_norm", "base_rate"),
)
_INTEGERS: Final = (
    *("rounds", "moments", "grid", "expected_units", "rows_per_unit", "window"),
    *("nodes", "colluding", "ring_bits"),
)
_ZERO_ALLOWED: Final = {"moments", "momentum", "start_norm", "window"}
_AT_MOST: Final[Mapping[str, int]] = {
    "rounds": 1000,
    "moments": 1000,
    "sampling_rate": 1,
    "clip": 10**6,
    "moment_clip": 10**6,
    "target_clip": 10**6,
    "noise_multiplier": 10**6,
    "grid": 1 << 24,
    "learning_rate": 10**6,
    "momentum": 1,
    "ridge": 10**9,
    "start_norm": 10**6,
    "base_rate": 1,
    "expected_units": 10**9,
    "rows_per_unit": 1000,
    "window": 1000,
    "nodes": 1000,
    "colluding": 1000,
    "ring_bits": 32,
}
_MOST_INPUTS: Final = 512
"""Beyond it second moments are more numbers than one sum should hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SumRecipe:
    """How a model is trained by secure sums, and at which price.

    rounds, moments:  sums in all, and how many of them, the first ones, are of second moments.
    sampling_rate:    probability q with which each unit enters a round, on its own.
    clip:             most L2 norm of a unit's gradient.
    moment_clip, target_clip: what a unit's Σ x xᵀ (Frobenius norm) and Σ x y are divided by before
                      both together are clipped to norm 1.
    noise_multiplier: z; the sum carries σ = z · Δ2 that no c nodes know.
    grid:             integer steps per 1.0 of a clipped part.
    learning_rate, momentum: of the steps; ridge: λ, added to the metric's eigenvalues.
    start_norm:       what the start's weights are scaled to, 0 for as they come; base_rate: the
                      chance that the start's bias stands for. Both are for `bce` alone.
    expected_units:   units that a round is expected to hold over all nodes; a public constant.
    rows_per_unit:    contribution bound K; window: weeks of one demand row, or 0.
    nodes, colluding: most nodes n of a round, and how many of them, c, may tell one another all.
    ring_bits:        sums are modulo 2^ring_bits.
    """

    model: ModelSpec
    loss: Loss
    rounds: int
    moments: int
    sampling_rate: Number
    clip: Number
    moment_clip: Number
    target_clip: Number
    noise_multiplier: Number
    grid: int
    learning_rate: Number
    momentum: Number
    ridge: Number
    start_norm: Number
    base_rate: Number
    expected_units: int
    rows_per_unit: int
    nodes: int
    colluding: int
    ring_bits: int = 32
    window: int = 0

    def __post_init__(self) -> None:
        """Refuse a recipe that has no price or cannot be followed."""
        if self.loss not in get_args(Loss):
            raise MalformedOrderError("A recipe's loss must be bce, huber or mse.")
        for name in (*_DECIMALS, *_INTEGERS):
            require_range(name, getattr(self, name), _AT_MOST, _ZERO_ALLOWED)
        if self.window == 1:
            raise MalformedOrderError("The recipe's window must be 0, or at least 2 weeks.")
        if self.momentum == 1 or self.base_rate == 1:
            raise MalformedOrderError("The recipe's momentum and base_rate must be below 1.")
        if self.moments > self.rounds:
            raise MalformedOrderError("The recipe has more rounds of moments than rounds.")
        if self.moments and (len(self.model.layers) > 2 or self.inputs > _MOST_INPUTS):
            raise MalformedOrderError(
                f"Second moments serve linear models of at most {_MOST_INPUTS} inputs: "
                "set moments to 0 for this one."
            )
        self._require_shares()
        self._require_room()

    @property
    def inputs(self) -> int:
        """Features of a row."""
        return self.model.layers[0]

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
        return max(self.dimension(number) for number in {0, self.rounds - 1})

    def stage(self, number: int) -> Stage:
        """Return what round `number`, from 0, adds up."""
        return "moments" if number < self.moments else "gradient"

    def dimension(self, number: int) -> int:
        """Return how many numbers the sum of round `number` holds."""
        moments_of = self.stage(number) == "moments"
        return moments.size(self.inputs + 1) if moments_of else self.model.dimension

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
        released = Released(
            sampling_rate=self.sampling_rate,
            l1=fixedpoint.l1_sensitivity(self.sensitivity, self.widest),
            l2=self.sensitivity,
            dimension=self.widest,
            epsilon=MOST_EPSILON,
        )
        able = range(self._fewest(), self.nodes + 1)
        events = [sum_event(self.shares(self.parameters(nodes)), released) for nodes in able]
        return max(events, key=lambda one: own_delta([one]))

    def to_json(self) -> dict[str, Any]:
        """Return the tagged, versioned form; numbers that are not integers are strings."""
        value: dict[str, Any] = {"recipe": _KIND, "v": 1, "loss": self.loss}
        value |= {name: spell(getattr(self, name)) for name in _DECIMALS}
        value |= {name: getattr(self, name) for name in _INTEGERS}
        return value | {"model": self.model.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SumRecipe":
        """Return the recipe that `value` describes.

        Raises:
            MalformedOrderError: another kind, another version, or not of this form.
        """
        expected = {"recipe", "v"} | {field.name for field in fields(cls)}
        if set(value) != expected or value["recipe"] != _KIND or value["v"] != 1:
            raise MalformedOrderError("The recipe is of a kind or version this node does not know.")
        numbers: dict[str, Any] = {name: decimal(name, value[name]) for name in _DECIMALS}
        numbers |= {name: integer(name, value[name]) for name in _INTEGERS}
        if not isinstance(value["model"], Mapping):
            raise MalformedOrderError("The recipe's model is not an object.")
        return cls(model=ModelSpec.from_json(value["model"]), loss=value["loss"], **numbers)

    def _fewest(self) -> int:
        """Return the fewest nodes that c may be among: fewer would leave one input alone."""
        able = range(max(FEWEST_NODES, self.colluding + 1), self.nodes + 1)
        return next(n for n in able if least_threshold(n, self.colluding) - self.colluding >= 2)

    def _require_shares(self) -> None:
        try:
            Parameters.least(self.nodes, self.colluding, self.ring_bits)
        except LocalProtocolError as why:
            raise MalformedOrderError(
                f"The recipe's nodes and colluding do not fit: {why}."
            ) from why

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
