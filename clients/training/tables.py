"""From a node's table to the rows of a task, by unit of privacy. No framework here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from clients.errors import ComputeError
from clients.training.columns import read_columns
from clients.training.demand import DemandBounds, DemandRows, demand_rows, private_units
from clients.training.evaluating import forecast_units
from clients.training.fraud import fraud_rows
from clients.training.sampling import UnitRows, gather_units
from federation.evaluation import ForecastSums
from federation.sequences import SequenceSpec
from federation.sum_recipes import SumRecipe
from federation.tasks import AnyRecipe, TrainingTask, keys_of, require_unit
from policies.contracts import DataContract
from secure_compute.entropy import Entropy

EVER = 2**62

_NUMBER: Final = ("float", "integer")
_TYPES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "demand": {
        "retailer": ("string", "integer"),
        "week": ("integer",),
        "volume": _NUMBER,
        "display": _NUMBER,
        "price": _NUMBER,
    },
    "fraud": {
        "customer_id": ("integer", "string"),
        "counterparty_id": ("integer", "string"),
        "ts": ("timestamp",),
        "amount": _NUMBER,
        "first_order": _NUMBER,
        "label_fraud": _NUMBER,
        "label_ts": ("timestamp",),
    },
}
_COUNTRIES: Final = ("card_country", "ip_country", "ship_country")  # any may be absent


def load_rows(
    task: TrainingTask,
    contract: DataContract,
    table: Path,
    entropy: Entropy,
    positions: NDArray[np.int64] | None = None,
) -> UnitRows:
    """Return the rows of a task by unit of privacy, bounded as its recipe says.

    positions: the places in the file of the rows that count; None for all rows.

    Whatever values the table holds, a table of the contract's columns has rows or has none.

    Raises:
        MalformedOrderError: the contract's unit of privacy is not the model's.
        ComputeError: the contract lacks a column or a bound that the model needs.
    """
    require_unit(task, contract)
    _require_columns(task, contract)
    recipe = task.recipe
    bounds = demand_bounds(contract) if task.model == "demand" else None
    frame = read_columns(table, [column.name for column in contract.columns])
    if positions is not None:
        frame = frame.iloc[positions].reset_index(drop=True)
    if bounds is not None:
        series = isinstance(recipe.model, SequenceSpec)
        made = demand_rows(frame, recipe.window, bounds, recipe.horizons, series=series)
        return _demand_units(made, recipe)
    rows = fraud_rows(frame, contract, task.until or EVER, keys_of(recipe))
    return gather_units(rows.features, rows.targets, rows.units, recipe.rows_per_unit, entropy)


def _demand_units(rows: DemandRows, recipe: AnyRecipe) -> UnitRows:
    """Return the rows by unit, with what a run reads that measures its forecasts."""
    units = private_units(rows)
    if not isinstance(recipe, SumRecipe) or not isinstance(recipe.evaluation, ForecastSums):
        return units
    shape = units.targets.shape
    return forecast_units(units, rows.base.reshape(shape), rows.naive.reshape(shape))


def _require_columns(task: TrainingTask, contract: DataContract) -> None:
    """Refuse a contract that does not promise what the features read: no row is needed for it."""
    promised = {c.name: c for c in contract.columns}
    for name, types in _TYPES[task.model].items():
        if name not in promised or promised[name].optional or promised[name].type not in types:
            raise ComputeError(
                f"contract {contract.name} must promise a column {name} of type {types[0]}"
            )
    for name in _COUNTRIES:
        if name in promised and promised[name].type != "string":
            raise ComputeError(f"contract {contract.name} must promise {name} as a string")


def demand_bounds(contract: DataContract) -> DemandBounds:
    """Return the public bounds that scale the demand features."""
    volume, price = contract.column("volume"), contract.column("price")
    if volume.high is None or price.low is None or price.high is None:
        raise ComputeError(f"contract {contract.name} must bound volume and price")
    return DemandBounds(float(volume.high), float(price.low), float(price.high))
