"""A model that a party was handed as a file: which run's it is, and whether this node can use it.

Nodes keep no models. The aggregator or a data team hands one over, alone or in the folder of its
run, and `entrepot train` printed the digest that it must have: a file cannot vouch for itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aggregator.cards import Card
from aggregator.lineage import ancestry
from aggregator.stored import Stored, decode, read_bytes
from clients.settings import NodeSettings
from experiments.errors import IntegrityError, UsageError
from federation.sequences import SequenceSpec
from federation.sum_recipes import SumRecipe
from federation.tasks import MODELS, AnyRecipe, TrainingTask, keys_of, read_recipe, require_unit
from policies.contracts import DataContract
from secure_compute import canonical

_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """A model whose file has the digest that was named.

    chain: how many models, itself among them, were verified to lead to it; 0 where its run's folder
           was not handed over with it.
    """

    stored: Stored
    chain: int


def receive(path: Path, digest: str) -> Received:
    """Return the model in a file, and verify the models that it was made from where they are.

    Raises:
        UsageError: the digest is none.
        IntegrityError: the file has another.
        MalformedModelError: the file is no model.
        BrokenLineageError: its run's folder is there, and does not lead to it.
    """
    if not _DIGEST.fullmatch(digest):
        raise UsageError(f"{digest!r} is no digest: give the 64 digits that `entrepot train` said")
    path = path.resolve()
    data = read_bytes(path)
    if canonical.digest_bytes(data) != digest:
        raise IntegrityError(
            f"{path} is not the model that was named: its SHA-256 is {canonical.digest_bytes(data)}"
            "; ask for the file and the digest again"
        )
    stored = decode(path, data)
    in_its_run = path.parent.name == stored.card.run and path.with_suffix(".json").is_file()
    return Received(stored, len(ancestry(path.parent.parent, stored)) if in_its_run else 0)


def require_usable(settings: NodeSettings, stored: Stored) -> tuple[DataContract, TrainingTask]:
    """Return this node's contract that a model reads, and the task that trained it.

    Raises:
        UsageError: the node offers no such contract, or its software computes other features.
        MalformedOrderError: the recipe is unknown, or hides another unit than the contract's.
    """
    card = stored.card
    contract = _offered(settings.contracts(), card, str(settings.party))
    if card.model not in MODELS:
        raise UsageError(f"{stored.path} is a model of {card.model!r}; nodes know {MODELS}")
    recipe = read_recipe(card.recipe)
    task = TrainingTask(card.model, card.seed, card.until, recipe)  # type: ignore[arg-type]
    require_unit(task, contract)
    if keys_of(recipe):
        raise UsageError(
            f"{stored.path} reads released rates by key, of which a party alone has none to train "
            "by: name a model without model.statistics"
        )
    if recipe.model.inputs != _inputs(task) or stored.weights.size != _size(recipe):
        raise UsageError(
            f"{stored.path} reads {recipe.model.inputs} features, and the software here "
            f"computes {_inputs(task)}: install the version whose code is {card.code[:12]}"
        )
    return contract, task


def _offered(contracts: Mapping[str, DataContract], card: Card, party: str) -> DataContract:
    contract = contracts.get(card.contract)
    if contract is None:
        offered = ", ".join(contracts) or "nothing"
        raise UsageError(
            f"the model reads a contract {card.contract!r}, and {party} offers {offered}: name a "
            "node whose rows it can read"
        )
    if contract.version != card.contract_version:
        raise UsageError(
            f"the model reads version {card.contract_version} of the contract {contract.name}, and "
            f"{party} offers version {contract.version}: ask for a model of that version"
        )
    return contract


def _inputs(task: TrainingTask) -> int:
    """Return how many features the installed software computes."""
    if task.model == "demand":
        from clients.training.demand import features_of

        recipe, series = task.recipe, isinstance(task.recipe.model, SequenceSpec)
        return len(features_of(recipe.window, recipe.horizons, series=series))
    from clients.training.fraud import FEATURES

    return len(FEATURES)


def _size(recipe: AnyRecipe) -> int:
    return recipe.method.size if isinstance(recipe, SumRecipe) else recipe.model.dimension
