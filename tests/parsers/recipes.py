"""Recipes and tasks."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from aggregator.training import read_update
from federation import (
    ensembles,
    evaluation,
    tasks,
)
from federation.boosted import Boosted
from federation.boosting import Boosting
from federation.evaluation import ForecastSums, ScoreSums
from federation.feature_scales import Bins
from federation.informed import Informed
from federation.key_rates import Key
from federation.losses import Pinball, loss_from_json, loss_to_json
from federation.models import ModelSpec
from federation.partitions import Effect
from federation.recipes import Recipe
from federation.scaled import Scaled
from federation.second_order import SecondOrder
from federation.sequences import SequenceSpec, network_from_json
from federation.sum_recipes import SumRecipe
from tests.boosts import RECIPE as BOOSTING
from tests.parsers.making import Parser, objects, of_mapping, of_value, values
from tests.simulator import recipe, sum_recipe


def parsers() -> Iterator[Parser]:
    of = "federation"
    series = SequenceSpec("gru", 2, 2, 1, 3)
    scaled = Scaled(
        bins=Bins(count=33, reach=Decimal(12)),
        releases=1,
        bound=Decimal(8),
        then=sum_recipe(model=ModelSpec((3, 1))).method,
    )
    key = Key(column="category", domain=("a", "b"))
    informed = Informed(
        keys=(key,),
        releases=1,
        then=sum_recipe(model=ModelSpec((4, 1))).method,
        event_clip=Decimal("1.2"),
        row_clip=Decimal(8),
    )
    measured = sum_recipe(holdout=Decimal("0.2"), evaluation=ScoreSums(8, 2))
    whole = [recipe(), sum_recipe(), measured]
    trained = tasks.TrainingTask("demand", 1, 0, recipe())
    forecasts = ForecastSums(4, Decimal(2), Decimal("0.5"))
    boosted = Boosted(boosting=BOOSTING, seed=3)
    rows: tuple[tuple[str, Callable[[Any], object], Callable[[], list[bytes]]], ...] = (
        ("models.ModelSpec.from_json", ModelSpec.from_json, objects(ModelSpec((4, 3, 1)))),
        ("sequences.SequenceSpec.from_json", SequenceSpec.from_json, objects(series)),
        ("sequences.network_from_json", network_from_json, objects(series, ModelSpec((4, 1)))),
        ("recipes.Recipe.from_json", Recipe.from_json, objects(recipe())),
        ("sum_recipes.SumRecipe.from_json", SumRecipe.from_json, objects(*whole[1:])),
        ("second_order.SecondOrder.from_json", SecondOrder.from_json, objects(sum_recipe().method)),
        ("scaled.Scaled.from_json", Scaled.from_json, objects(scaled)),
        ("informed.Informed.from_json", Informed.from_json, objects(informed)),
        ("boosting.Boosting.from_json", Boosting.from_json, objects(BOOSTING)),
        ("boosted.Boosted.from_json", Boosted.from_json, objects(boosted)),
        ("evaluation.from_json", evaluation.from_json, objects(ScoreSums(8, 2), forecasts)),
        ("tasks.read_recipe", tasks.read_recipe, objects(*whole)),
        ("tasks.TrainingTask.from_json", tasks.TrainingTask.from_json, objects(trained)),
    )
    for name, read, valid in rows:
        yield Parser((f"{of}.{name}",), of_mapping(read), valid)
    yield Parser(
        (f"{of}.feature_scales.Bins.from_json",), of_value(Bins.from_json), objects(scaled.bins)
    )
    yield Parser((f"{of}.key_rates.Key.from_json",), of_value(Key.from_json), objects(key))
    yield Parser(
        (f"{of}.partitions.Effect.from_json",),
        of_value(Effect.from_json),
        objects(*BOOSTING.effects),
    )
    yield Parser(
        (f"{of}.losses.loss_from_json",),
        of_value(loss_from_json),
        values(loss_to_json(Pinball(Decimal("0.9"))), "bce"),
    )
    start = ensembles.to_bytes(ensembles.start(BOOSTING))
    yield Parser(
        (f"{of}.ensembles.from_bytes",),
        lambda data: ensembles.from_bytes(BOOSTING, data),
        lambda: [start],
    )
    yield Parser(
        ("aggregator.training.read_update",), lambda data: read_update(data, 3), lambda: [bytes(12)]
    )
