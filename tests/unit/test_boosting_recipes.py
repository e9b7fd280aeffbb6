"""The two tasks' recipes are what a node would read, and fit the features it computes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from clients.training.fraud import FEATURES, fraud_features
from experiments.boosting_recipes import demand_boosting, fraud_boosting
from experiments.boosting_study import deviation, recipe_for
from experiments.ordering import published_contracts
from federation import ensembles
from federation.boosting import Boosting
from secure_compute import canonical


@pytest.mark.parametrize("recipe", [fraud_boosting(), demand_boosting(5)], ids=["fraud", "demand"])
def test_a_recipe_travels_as_canonical_bytes_and_stays_short(recipe):
    wire = canonical.encode(recipe.to_json())
    assert Boosting.from_json(canonical.decode(wire)) == recipe
    assert recipe.rounds <= 40
    assert max(ensembles.dimension(recipe, 1, number) for number in range(recipe.rounds)) < 300


def test_an_ordinary_order_lies_in_the_rest_of_most_effects():
    """Who says nothing unusual says little, and has room for what is unusual."""
    recipe = fraud_boosting()
    order = pd.DataFrame(
        {
            "customer_id": [1], "ts": pd.to_datetime(["2025-03-04 15:00"]), "amount": [30.0],
            "counterparty_id": [7], "first_order": [0], "ship_country": ["DE"],
            "ip_country": ["DE"], "card_country": ["DE"],
        }
    )  # fmt: skip
    features = fraud_features(order, published_contracts()["orders"]).T
    told = [effect.place(features)[0] != effect.rest for effect in recipe.effects]
    assert sum(told) <= 6
    assert len(recipe.effects) == len(FEATURES) - 3


def test_edges_stand_between_counts_of_orders():
    """Each of 0, 1, 2, 3 and 4 earlier orders lies in a cell of its own."""
    recipe, place = fraud_boosting(), list(FEATURES).index("count_7d")
    effect = next(effect for effect in recipe.effects if effect.feature == place)
    scaled = FEATURES["count_7d"]
    counts = np.log1p(np.arange(5)) / np.log1p(20)
    features = np.zeros((len(FEATURES), 5))
    features[place] = scaled.scale * (counts - scaled.centre)
    assert effect.place(features).tolist() == [0, 1, 2, 3, 4]


def test_the_study_reads_the_noise_of_the_recipe_that_a_run_would_have():
    """σ² n/(n - c) in steps of the grid, with the recipe's own σ and c."""
    recipe = recipe_for(8)
    variance = recipe.noise_scale**2 * 8 / (8 - recipe.colluding)
    assert deviation(recipe) == pytest.approx(float(variance) ** 0.5 / recipe.grid)
    more = replace(recipe, colluding=3)
    assert deviation(more) == pytest.approx(deviation(recipe) * (7 / 5) ** 0.5)
