"""A run with statistics among real nodes in one process: released, kept, charged, or refused."""

import dataclasses
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from aggregator.stored import load
from clients.training.fraud import FEATURES
from experiments.founding import DEMO_SEATS
from experiments.ordering import Terms, published_contracts, training_order
from federation.informed import Informed
from federation.key_rates import Key
from federation.messages import Kind
from federation.models import ModelSpec
from federation.tasks import TrainingTask, read_recipe
from policies.parties import Jurisdiction
from tests.simulator import UK, WAREHOUSES, Simulation, orders_table, sum_recipe

LIMITS = {name: {"epsilon": "6.5", "delta": "1e-6"} for name in ("orders", "demand")}
ONE_LAW = tuple(dataclasses.replace(seat, jurisdiction=Jurisdiction.EU) for seat in DEMO_SEATS)
CATEGORY = Key(
    column="category", domain=published_contracts()["orders"].column("category").domain or ()
)


@pytest.fixture
def simulation(tmp_path):
    return Simulation(tmp_path / "federation", limits=LIMITS, seats=ONE_LAW)


def recipe(key=CATEGORY, **changes):
    plain = sum_recipe(model=ModelSpec((len(FEATURES) + 1, 1)), nodes=4, **changes)
    method = Informed(
        keys=(key,),
        releases=1,
        event_clip=Decimal("1.2"),
        row_clip=Decimal(8),
        then=plain.method,
    )
    return dataclasses.replace(plain, method=method)


def order_of(simulation, made):
    task = TrainingTask("fraud", 1, 0, made)
    return training_order(
        simulation.home, task, Terms(purpose="fraud_prevention", cohort=WAREHOUSES)
    )


def test_statistics_are_a_round_of_the_run_at_the_rounds_price_and_kept_with_the_model(simulation):
    made = recipe(noise_multiplier=Decimal(12))
    order = order_of(simulation, made)
    assert order.releases == 4
    job = simulation.run(order)
    assert job.status == "done", job.result
    for party in order.cohort:
        simulation.assert_charged(party, made.event(), 4, "orders")
    card = load(Path(job.result["model"])).card
    assert read_recipe(card.recipe) == made and card.round == 4
    asked = {x.sequence: x.blobs["weights"] for x in simulation.mail.sent(Kind.SUM_ROUND)}
    rates = [np.frombuffer(asked[number], "<f4")[-8:] for number in range(4)]
    assert not rates[0].any() and rates[1].any()
    assert all(np.array_equal(rates[1], later) for later in rates[2:])
    assert np.array_equal(load(Path(job.result["model"])).weights[-8:], rates[1])


def test_every_nodes_rows_move_what_is_released(simulation):
    for party in WAREHOUSES:
        table = orders_table(1)
        table["label_fraud"] = (table["category"] == "toys").astype(int)
        table["label_ts"] = table["ts"]
        table.to_parquet(simulation.folder(party) / "data" / "orders.parquet")
    made = recipe(noise_multiplier=Decimal(12), rounds=1, moments=0)
    job = simulation.run(order_of(simulation, made))
    assert job.status == "done", job.result
    rates = load(Path(job.result["model"])).weights[-8:]
    assert rates.argmax() == CATEGORY.places(["toys"])["toys"]


@pytest.mark.parametrize(
    "key",
    [
        Key(column="category", domain=("toys", "books")),
        Key(column="customer_id", buckets=8),
        Key(column="counterparty_id", buckets=8),  # S3: masked or not read at all
    ],
    ids=["domain", "unit", "grade"],
)
def test_a_node_refuses_statistics_that_are_not_public_by_its_contract_or_its_law(simulation, key):
    order = order_of(simulation, recipe(key, noise_multiplier=Decimal(12)))
    with simulation.nothing_happens(UK), simulation.without_rows(UK):
        reply = simulation.offer(UK, order)
    assert reply.kind in {Kind.REFUSED, Kind.FAILED}
