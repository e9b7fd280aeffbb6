"""From a node's table to the rows of a task, by unit of privacy. No framework here."""

from pathlib import Path

import pandas as pd

from clients.errors import ComputeError
from clients.training.demand import DemandBounds, demand_rows, private_units
from clients.training.fraud import fraud_rows
from clients.training.sampling import UnitRows, gather_units
from federation.tasks import TrainingTask
from policies.contracts import DataContract
from secure_compute.entropy import Entropy

EVER = 2**62


def load_rows(
    task: TrainingTask, contract: DataContract, table: Path, entropy: Entropy
) -> UnitRows:
    """Return the rows of a task by unit of privacy, bounded as its recipe says.

    Raises:
        TrainingDataError: the table lacks what the model needs.
    """
    frame = pd.read_parquet(table)
    recipe = task.recipe
    if task.model == "demand":
        return private_units(demand_rows(frame, recipe.window, demand_bounds(contract)))
    rows = fraud_rows(frame, contract, task.until or EVER)
    return gather_units(rows.features, rows.targets, rows.units, recipe.rows_per_unit, entropy)


def demand_bounds(contract: DataContract) -> DemandBounds:
    """Return the public bounds that scale the demand features."""
    volume, price = contract.column("volume"), contract.column("price")
    if volume.high is None or price.low is None or price.high is None:
        raise ComputeError(f"contract {contract.name} must bound volume and price")
    return DemandBounds(float(volume.high), float(price.low), float(price.high))
