"""A run with scales among real nodes in one process: released, kept, charged, then read by all."""

import dataclasses
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aggregator.stored import load
from clients.training.fraud import FEATURES
from clients.training.plain import pooled, with_own_statistics
from clients.training.tables import load_rows
from experiments.ordering import Terms, published_contracts, training_order
from federation.feature_scales import Bins
from federation.messages import Kind
from federation.models import ModelSpec
from federation.scaled import Scaled
from federation.tasks import TrainingTask, read_recipe
from secure_compute.entropy import SystemEntropy
from tests.simulator import UK, WAREHOUSES, Simulation, orders_table, sum_recipe
from tests.unit.test_statistics_run import LIMITS, ONE_LAW

INPUTS = len(FEATURES)


@pytest.fixture
def simulation(tmp_path):
    return Simulation(tmp_path / "federation", limits=LIMITS, seats=ONE_LAW)


def recipe(bins=17, **changes):
    plain = sum_recipe(model=ModelSpec((INPUTS, 1)), nodes=4, **changes)
    counted = Scaled(
        bins=Bins(count=bins, reach=Decimal(12)), releases=1, bound=Decimal(8), then=plain.method
    )
    return dataclasses.replace(plain, method=counted)


def order_of(simulation, made):
    task = TrainingTask("fraud", 1, 0, made)
    return training_order(
        simulation.home, task, Terms(purpose="fraud_prevention", cohort=WAREHOUSES)
    )


def many_customers(first):
    """Orders of 600 customers."""
    tables = [orders_table(seed) for seed in range(first, first + 15)]
    for place, table in enumerate(tables):
        table["customer_id"] += 100 * place
    return pd.concat(tables, ignore_index=True)


def test_scales_are_a_round_of_the_run_at_the_rounds_price_and_kept_with_the_model(simulation):
    for place, party in enumerate(WAREHOUSES):
        path = simulation.folder(party) / "data" / "orders.parquet"
        many_customers(20 * place).to_parquet(path)
    made = recipe(noise_multiplier=Decimal(5), rounds=2, expected_units=2400)
    order = order_of(simulation, made)
    assert order.releases == 3
    job = simulation.run(order)
    assert job.status == "done", job.result
    for party in order.cohort:
        simulation.assert_charged(party, made.event(), 3, "orders")
    stored = load(Path(job.result["model"]))
    assert read_recipe(stored.card.recipe) == made and stored.card.round == 3
    asked = {x.sequence: x.blobs["weights"] for x in simulation.mail.sent(Kind.SUM_ROUND)}
    told = [np.frombuffer(asked[number], "<f4")[-2 * INPUTS :] for number in range(3)]
    assert told[0].tolist() == [0] * INPUTS + [1] * INPUTS
    assert np.array_equal(told[1], told[2]) and np.array_equal(told[1], stored.weights[-66:])
    exact = _exact(simulation, made)
    for name in ("log_amount", "hour_sin", "weekday_cos"):
        place = [*FEATURES].index(name)
        (centre, found), (expected, scale) = (x.reshape(2, -1)[:, place] for x in (told[1], exact))
        assert scale != 1.0 and found == pytest.approx(scale, rel=0.4)
        assert abs(centre - expected) * scale < 0.4


def test_where_noise_is_louder_than_so_few_units_the_run_goes_on_unscaled(simulation):
    made = recipe(noise_multiplier=Decimal(12))
    job = simulation.run(order_of(simulation, made))
    assert job.status == "done", job.result
    simulation.assert_charged(UK, made.event(), 4, "orders")
    stored = load(Path(job.result["model"]))
    assert stored.weights[-66:].tolist() == [0] * INPUTS + [1] * INPUTS


def _exact(simulation, made):
    contract, task = published_contracts()["orders"], TrainingTask("fraud", 1, 0, made)
    parts = [
        load_rows(
            task, contract, simulation.folder(party) / "data" / "orders.parquet", SystemEntropy()
        )
        for party in WAREHOUSES
    ]
    return with_own_statistics(made, pooled(parts))[1]
