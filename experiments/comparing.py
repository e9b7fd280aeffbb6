"""A party tries the federation's model on its own rows: exact, for itself, and nobody is told.

Only the operator's command asks for this. Rows are read where they lie and without the books:
nothing is charged, because nothing leaves; no file is written and no connection made. Whoever is
shown the figures learns them, at no price that anybody counts: that is for the party to decide.

Rows from a moment on are the test; the party trains on those before it. A model is never tested on
rows that its run read: what its card says of that is held to.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from pyarrow import ArrowException

from aggregator.cards import Card
from clients.release import code_digest
from clients.settings import load_settings
from clients.tables import conform_table
from clients.training.columns import read_columns
from clients.training.demand import demand_rows, private_units
from clients.training.fraud import later_rows
from clients.training.own import (
    Comparison,
    HeldOut,
    Tuning,
    does_it_help,
    held_out_orders,
    held_out_weeks,
)
from clients.training.sampling import UnitRows
from clients.training.scales import rows_as_read
from clients.training.tables import demand_bounds, load_rows
from experiments.errors import UsageError
from experiments.handed_over import receive, require_usable
from experiments.measuring import OPTIMISERS, UNITS_A_STEP
from federation.boosted import Boosted
from federation.losses import Pinball
from federation.models import Vector
from federation.scaled import Scaled
from federation.sequences import SequenceSpec
from federation.sum_recipes import SumRecipe
from federation.tasks import AnyRecipe, TrainingTask
from policies.contracts import DataContract
from policies.parties import PartyId
from secure_compute.entropy import SystemEntropy

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  the clock of the table


@dataclass(frozen=True, slots=True)
class Rows:
    """What is compared on: rows to train on, rows to test on, and the first moment of the latter.

    positives: frauds known among the test rows; None where nothing is classified.
    """

    train: UnitRows
    test: HeldOut
    since: str
    positives: int | None = None

    @property
    def trained(self) -> int:
        """How many rows the party trains on."""
        return int(self.train.present.sum())


@dataclass(frozen=True, slots=True)
class Compared:
    """What an operator is shown.

    chain: models that were verified to lead to this one, itself among them; 0 if it came alone.
    same_code: whether the software here is that of the run.
    """

    party: PartyId
    card: Card
    chain: int
    same_code: bool
    rows: Rows
    found: Comparison


def compare(folder: Path, model: Path, digest: str, since: str | None) -> Compared:
    """Return how the model in a file does on the rows of the node in `folder`.

    since: the first moment of the test, a date or a week; None for where the run's rows ended.

    Raises:
        NodeSettingsError: the folder is no node, or its table is missing or damaged.
        NonConformantError: the table is not what its contract promises.
        UsageError, IntegrityError, AggregatorError, MalformedOrderError: see `handed_over`; or
            there are no rows to train or to test on.
        TrainingDataError: the test rows have no metric, such as orders without a fraud.
    """
    settings = load_settings(folder)
    received = receive(model, digest)
    contract, task = require_usable(settings, received.stored)
    table = settings.table(contract)
    conform_table(contract, table)
    made = _weeks if task.model == "demand" else _orders
    try:
        rows = made(task, contract, table, since)
    except (ArrowException, OSError) as why:
        raise UsageError(f"{table} is damaged: export the rows of {contract.name} again") from why
    if not rows.trained or not len(rows.test.units):
        raise UsageError(
            f"{table.name} has {rows.trained} rows to train on before {rows.since} and "
            f"{len(rows.test.units)} to test on since then: name another moment with --since"
        )
    found = _found(task, received.stored.weights, rows)
    card = received.stored.card
    return Compared(settings.party, card, received.chain, card.code == code_digest(), rows, found)


def _found(task: TrainingTask, weights: Vector, given: Rows) -> Comparison:
    recipe, adam = task.recipe, OPTIMISERS[task.model]
    weights, rows = _as_read(recipe, weights, given)
    trees = isinstance(recipe, SumRecipe) and isinstance(recipe.method, Boosted)
    return does_it_help(
        (recipe.model, recipe.loss),
        recipe.model.init(task.seed),
        weights,
        rows.train,
        rows.test,
        Tuning(
            adam.steps,
            adam.learning_rate,
            adam.decay,
            parts=max(1, len(rows.train) // UNITS_A_STEP),
        ),
        SystemEntropy(),
        made_by=recipe if trees else None,
    )


def _as_read(recipe: AnyRecipe, weights: Vector, rows: Rows) -> tuple[Vector, Rows]:
    """Return weights and rows of the network alone, where a model scales rows by what was released.

    The party's own model reads them so, too: the scales are public, and training is compared.
    """
    method = recipe.method if isinstance(recipe, SumRecipe) else None
    if not isinstance(method, Scaled):
        return weights, rows
    test = method.read(weights, rows.test.features.T.astype(np.float64)).T.astype(np.float32)
    return weights[: method.model.dimension], replace(
        rows,
        train=rows_as_read(method, weights, rows.train),
        test=replace(rows.test, features=test),
    )


# -- rows ------------------------------------------------------------------------------------------


def _orders(task: TrainingTask, contract: DataContract, table: Path, since: str | None) -> Rows:
    cut = task.until if since is None else _moment(since)
    if not cut:
        raise _unknown("a date, such as --since 2025-05-01")
    if cut < task.until:
        raise UsageError(
            f"the run read rows up to {_said(task.until)}, which are no test of its model: name "
            "that moment or a later one with --since"
        )
    before = TrainingTask(task.model, task.seed, cut, task.recipe)
    train = load_rows(before, contract, table, SystemEntropy())
    frame = read_columns(table, [column.name for column in contract.columns])
    test = later_rows(frame, contract, cut)
    truth = test.targets > 0.5
    held = held_out_orders(test.features, truth, test.units)
    return Rows(train, held, _said(cut), int(truth.sum()))


def _weeks(task: TrainingTask, contract: DataContract, table: Path, since: str | None) -> Rows:
    if since is None:
        raise _unknown("a week, such as --since 61")
    if not since.isascii() or not since.isdigit():
        raise UsageError(f"--since {since} is no week: give its number, as the table has it")
    frame = read_columns(table, [column.name for column in contract.columns])
    recipe, week = task.recipe, int(since)
    if isinstance(recipe.loss, Pinball):
        raise UsageError(
            f"the model forecasts the {recipe.loss.quantile} quantile, and what is compared is the "
            "error of forecasts of the mean: name a model without model.quantile"
        )
    series = isinstance(recipe.model, SequenceSpec)
    bounds = demand_bounds(contract)
    rows = demand_rows(frame, recipe.window, bounds, recipe.horizons, series=series)
    train, test = rows.where(rows.last < week), rows.where(rows.week >= week)
    return Rows(private_units(train), held_out_weeks(test), f"week {week}")


def _unknown(example: str) -> UsageError:
    return UsageError(
        "the model's card does not say where the rows that its run read ended: name the first "
        f"moment that came later as {example}"
    )


def _moment(text: str) -> int:
    """Return the microseconds since 1970 of a date or moment, in the clock of the table."""
    try:
        moment = datetime.fromisoformat(text)
        return int((moment.replace(tzinfo=None) - _EPOCH).total_seconds()) * 1_000_000
    except (ValueError, OverflowError) as why:
        raise UsageError(f"--since {text} is no date: write it as 2025-05-01") from why


def _said(moment_us: int) -> str:
    return str(np.datetime64(moment_us, "us").astype("datetime64[s]"))
