"""What an order asks a node to do, read from the order's parameters.

A training order carries a `TrainingTask`, a query order a `QueryTask`. Both have one canonical
form and know the event that one release is; a node compares that event with the order's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, get_args

from federation.errors import MalformedOrderError
from federation.evaluation import ForecastSums, ScoreSums
from federation.groups import fewest_nodes
from federation.informed import Informed
from federation.key_rates import Key
from federation.orders import Read, WorkOrder
from federation.queries import tree
from federation.recipe_fields import decimal, require_range
from federation.recipes import Recipe
from federation.scaled import Scaled
from federation.sequences import SequenceSpec
from federation.sum_recipes import MOST_EPSILON, SumRecipe
from policies.budget.events import spell
from policies.contracts import DataContract
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import SecureComputeError

MODELS: Final = ("demand", "fraud")
_MOST_SEED: Final = 1 << 53
_ORDER_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SEALING: Final = _ORDER_ID
MOST_DEADLINE: Final = 600_000
_NOISE: Final = re.compile(r"(0|[1-9][0-9]{0,5})(\.[0-9]{1,17})?", re.ASCII)

UNITS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "demand": ("demand", ("retailer", "week")),
    "fraud": ("orders", ("customer_id",)),
}
"""By model: the contract it reads, and the columns that name the unit its clipping hides."""

KEYS_ONLY: Final[Mapping[str, frozenset[str]]] = {
    "demand": frozenset({"retailer"}),
    "fraud": frozenset({"order_id", "customer_id", "counterparty_id"}),
}
"""By model: columns of which it uses only whether two values are equal; any mask of them does."""

KEYS: Final[Mapping[str, frozenset[str]]] = {
    "demand": frozenset(),
    "fraud": frozenset(
        {"category", "counterparty_id", "ship_country", "ip_country", "card_country"}
    ),
}
"""By model: columns by whose values rates may be released; none names a unit or tells a label."""


AnyRecipe: TypeAlias = Recipe | SumRecipe
"""FedAvg, where each node adds all the noise it needs, or secure sums, where nodes share it."""


def read_recipe(value: Mapping[str, Any]) -> AnyRecipe:
    """Return the recipe that `value` describes.

    Raises:
        MalformedOrderError: it is of no known kind, version or form.
    """
    kind = SumRecipe if value.get("recipe") == "secure_sums" else Recipe
    return kind.from_json(value)


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """Train one of the known models by a recipe.

    seed:  of the initial weights, and of the questions that trees ask; it is public.
    until: rows from this moment on stay out, in microseconds since 1970; 0 lets all rows in.
    begun: rounds of the recipe that another run has made; parent: the id of that run's order.
    floor: least average precision on the units held out with which the model is accepted; 0 asks
           for none.
    """

    model: Literal["demand", "fraud"]
    seed: int
    until: int
    recipe: AnyRecipe
    begun: int = 0
    parent: str = ""
    floor: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        """Refuse to go on from nothing, or beyond the last round."""
        if type(self.seed) is not int or not 0 <= self.seed < _MOST_SEED:
            raise MalformedOrderError("A training order's seed is an integer from 0 to 2^53.")
        if self.begun and isinstance(self.recipe, SumRecipe) and self.recipe.evaluation:
            raise MalformedOrderError(
                "A run that measures its model on units held out cannot go on from another: those "
                "that the other run held out are not known any more. Train anew."
            )
        self._require_measure()
        named = _ORDER_ID.fullmatch(self.parent) is not None
        if not 0 <= self.begun < self.recipe.rounds or bool(self.begun) != named:
            raise MalformedOrderError(
                "A training order goes on from a named run that has made some of the recipe's "
                "rounds and not all of them."
            )

        self._require_floor()

    def _require_measure(self) -> None:
        measured = self.recipe.evaluation if isinstance(self.recipe, SumRecipe) else None
        if self.recipe.horizons > 1 and self.model != "demand":
            raise MalformedOrderError(
                "Horizons are of forecasts, and fraud is none: leave horizons at 1."
            )
        if self.model != "demand" and isinstance(self.recipe.model, SequenceSpec):
            raise MalformedOrderError(
                "Networks over a series read weeks, and fraud has none: choose the model demand."
            )
        if measured and isinstance(measured, ForecastSums) != (self.model == "demand"):
            raise MalformedOrderError(
                "An evaluation of forecasts is for the model demand and one of scores for fraud: "
                "measure the other, or set holdout to 0."
            )

        if measured and self.recipe.horizons > 1:
            raise MalformedOrderError(
                "With several horizons a week that is held out is the target of a training row at "
                "another distance, and the measure would flatter: set holdout to 0."
            )
        if self.until and self.model == "demand":
            raise MalformedOrderError("Rows of demand have no moment to stay out from: until is 0.")

    def _require_floor(self) -> None:
        if not self.floor:
            return
        require_range("floor", self.floor, {"floor": 1}, ())
        if not isinstance(self.recipe, SumRecipe) or not isinstance(
            self.recipe.evaluation, ScoreSums
        ):
            raise MalformedOrderError(
                "A floor is for a classifier that is measured: hold units out with model.holdout, "
                "or ask for no floor."
            )

    @property
    def rounds(self) -> int:
        """Rounds that are still to be made: these are paid for."""
        return self.recipe.rounds - self.begun

    @property
    def rows(self) -> int:
        """Most rows of a table that one unit adds to a round.

        A retailer-week is one, though the stretch that it stands in makes one of every horizon.
        """
        return self.recipe.rows_per_unit // self.recipe.horizons

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form; parent and floor stand in it where there is one."""
        value: dict[str, JSON] = {
            "model": self.model,
            "seed": self.seed,
            "until": self.until,
            "recipe": self.recipe.to_json(),
        }
        if self.floor:  # it is measured, so it goes on from nothing
            return value | {"floor": spell(self.floor)}
        return value | {"begun": self.begun, "parent": self.parent} if self.begun else value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TrainingTask":
        """Read what `to_json` wrote.

        Raises:
            MalformedOrderError: it is no training task of this version.
        """
        match value:
            case {
                "model": "demand" | "fraud" as model,
                "seed": int(seed),
                "until": int(until),
                "recipe": dict(recipe),
                **rest,
            }:
                match rest:
                    case {"begun": int(begun), "parent": str(parent)} if begun and len(rest) == 2:
                        return cls(model, seed, until, read_recipe(recipe), begun, parent)
                    case {"floor": str(floor)} if len(rest) == 1 and floor != "0":
                        least = decimal("floor", floor)
                        return cls(model, seed, until, read_recipe(recipe), floor=least)
                    case {} if not rest:
                        return cls(model, seed, until, read_recipe(recipe))
        raise MalformedOrderError(
            f"A training order names one of {', '.join(MODELS)}, a seed, an end and a recipe."
        )


def sums_of(order: WorkOrder) -> SumRecipe | None:
    """Return the recipe of an order that trains by secure sums; None for every other order."""
    if order.kind != "train":
        return None
    recipe = TrainingTask.from_json(order.parameters).recipe
    return recipe if isinstance(recipe, SumRecipe) else None


def keys_of(recipe: AnyRecipe) -> tuple[Key, ...]:
    """Return the keys by which a recipe releases rates."""
    method = recipe.method if isinstance(recipe, SumRecipe) else None
    return method.keys if isinstance(method, Informed) else ()


def scales(recipe: AnyRecipe) -> bool:
    """Return whether a recipe releases centres and scales, by which all inputs are read."""
    method = recipe.method if isinstance(recipe, SumRecipe) else None
    return isinstance(method.then if isinstance(method, Informed) else method, Scaled)


def keys_only(task: TrainingTask) -> frozenset[str]:
    """Return the columns of which a task uses only whether two values are equal."""
    return KEYS_ONLY[task.model] - {key.column for key in keys_of(task.recipe)}


def is_same(one: TrainingTask, other: TrainingTask) -> bool:
    """Return whether two tasks train the same model by the same recipe, whoever takes part."""
    return (one.model, one.seed, one.until, _for_anybody(one)) == (
        other.model,
        other.seed,
        other.until,
        _for_anybody(other),
    )


def _for_anybody(task: TrainingTask) -> AnyRecipe:
    recipe = task.recipe
    if not isinstance(recipe, SumRecipe):
        return recipe
    return replace(recipe, nodes=fewest_nodes(recipe.groups, recipe.colluding))


def require_unit(task: TrainingTask, contract: DataContract) -> None:
    """Accept a task whose clipping hides the very unit that `contract` promises to hide.

    Raises:
        MalformedOrderError: it clips other units than the contract's, or another number of rows; or
            the contract's account may grow beyond what the price of a secure sum is for.
    """
    name, columns = UNITS[task.model]
    if (contract.name, contract.unit.columns) != (name, columns):
        raise MalformedOrderError(
            f"The model {task.model} hides one {'/'.join(columns)} of a contract {name!r}; "
            f"contract {contract.name!r} hides one {'/'.join(contract.unit.columns)}: "
            "use another model."
        )
    most = 1 if task.model == "demand" else contract.unit.rows
    if task.rows > most:
        raise MalformedOrderError(
            f"The recipe's rows_per_unit may be at most {most} for the model {task.model} here."
        )
    if isinstance(task.recipe, SumRecipe) and contract.limit.epsilon > MOST_EPSILON:
        raise MalformedOrderError(
            f"Contract {contract.name} allows more than epsilon {MOST_EPSILON}, up to which secure "
            "sums are priced: lower the limit, or train by FedAvg."
        )
    require_keys(task, contract)


def require_keys(task: TrainingTask, contract: DataContract) -> None:
    """Accept a task whose statistics have places that are public by the contract.

    Raises:
        MalformedOrderError: a key is no column for it, or its domain is not the contract's.
    """
    promised = {column.name: column for column in contract.columns}
    for key in keys_of(task.recipe):
        if key.column not in KEYS[task.model] & promised.keys():
            raise MalformedOrderError(
                f"The model {task.model} releases no rates by {key.column!r} of contract "
                f"{contract.name}; it may by {', '.join(sorted(KEYS[task.model])) or 'nothing'}."
            )
        column = promised[key.column]
        if column.type not in {"string", "integer"} or not (key.buckets or column.domain):
            raise MalformedOrderError(
                f"Contract {contract.name} declares no public domain of {key.column}: name a "
                f"number of buckets, such as {key.column}/256."
            )
        if key.domain and key.domain != column.domain:
            raise MalformedOrderError(
                f"The recipe's domain of {key.column} is not that of contract {contract.name}: "
                "order by the contract's version that the order names."
            )


def read_plan(value: Mapping[str, Any]) -> tree.Plan:
    """Return the plan of a query order.

    Raises:
        MalformedOrderError: it is no plan, or one of another version of the language.
    """
    version = value.get("v")
    if type(version) is int and version != tree.VERSION:
        raise MalformedOrderError(
            f"The order's plan is of version {version} of the query language, and this program "
            f"speaks version {tree.VERSION}: ask the question anew."
        )
    try:
        return _plan(canonical.encode(value))
    except (SecureComputeError, TypeError, ValueError, RecursionError) as why:
        raise MalformedOrderError("the order's plan is not in its canonical form") from why


@lru_cache(maxsize=64)
def _plan(wire: bytes) -> tree.Plan:
    """Read a plan; a question's is looked at again at every step of it."""
    return tree.from_json(canonical.decode(wire))


def reads_of(plan: tree.Plan) -> tuple[Read, ...]:
    """Return what an order names of every contract that a plan reads, in the plan's order."""
    read = tree.reads(plan)
    return tuple(
        Read(name, version, tuple(sorted(read[name]))) for name, version in tree.contracts(plan)
    )


Source: TypeAlias = Literal["any", "fresh", "past"]
SOURCES: Final[tuple[Source, ...]] = get_args(Source)


@dataclass(frozen=True, slots=True)
class QueryTask:
    """Answer one plan with noise of `noise_multiplier` times each aggregate's sensitivity.

    source:  "fresh" for a release of its own, "past" for one that was made before and costs nothing
             or none at all, "any" for a past one where there is one.
    sealing: the proposer's X25519 key for this order alone, 64 hexadecimal digits: what opens the
             answer is sealed to it. "" where nothing is to be opened.
    deadline: milliseconds from when a node is asked until its answer leaves, ready or not; 0 for
             what follows from the plan (`federation.slots`).
    """

    sql: str
    plan: tree.Plan
    noise_multiplier: str
    source: Source = "any"
    sealing: str = ""
    deadline: int = 0

    def __post_init__(self) -> None:
        if self.sealing and _SEALING.fullmatch(self.sealing) is None:
            raise MalformedOrderError(
                "A query order's sealing key is 64 hexadecimal digits in lower case."
            )
        if _NOISE.fullmatch(self.noise_multiplier) is None or not Decimal(self.noise_multiplier):
            raise MalformedOrderError(
                "A query order's noise is a multiple above 0 and below a million, in plain digits."
            )
        if type(self.deadline) is not int or not 0 <= self.deadline <= MOST_DEADLINE:
            raise MalformedOrderError(
                f"A query order's deadline is 1 to {MOST_DEADLINE} milliseconds, or left out."
            )

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form; what says no more than the default is left out of it."""
        value: dict[str, JSON] = {
            "sql": self.sql,
            "plan": tree.to_json(self.plan),
            "noise_multiplier": self.noise_multiplier,
        }
        return value | self._further()

    def _further(self) -> dict[str, JSON]:
        said: dict[str, JSON] = {
            "source": "" if self.source == "any" else self.source,
            "sealing": self.sealing,
            "deadline": self.deadline,
        }
        return {name: one for name, one in said.items() if one}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "QueryTask":
        """Read what `to_json` wrote.

        Raises:
            MalformedOrderError: it is no query of this version.
        """
        match value:
            case {
                "sql": str(sql),
                "plan": dict(plan),
                "noise_multiplier": str(noise),
                **rest,
            } if rest.keys() <= {"source", "sealing", "deadline"}:
                match {"source": "any", "sealing": "", "deadline": 0, **rest}:
                    case {
                        "source": "any" | "fresh" | "past" as source,
                        "sealing": str(sealing),
                        "deadline": int(deadline),
                    }:
                        made = cls(sql, read_plan(plan), noise, source, sealing, deadline)
                        if made._further().keys() == rest.keys():
                            return made
        raise MalformedOrderError("A query order names its SQL, its plan and its noise.")
