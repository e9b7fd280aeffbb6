"""A federation does its main jobs from order to answer: real nodes, real coordinator, real rows."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aggregator.registry import load_model
from clients.training.demand import DemandBounds, demand_rows, features_of
from clients.training.fraud import FEATURES
from experiments.ordering import Terms, sign, training_order
from federation.messages import Kind
from federation.models import forward
from federation.queries import tree
from federation.tasks import QueryTask, TrainingTask
from policies.parties import PartyId
from tests.simulator import (
    KEYHOLDERS,
    WAREHOUSES,
    Simulation,
    fraud_recipe,
    recipe,
)

SHOPS = tuple(
    PartyId(name) for name in ("payments-eu", "payments-cn", "merchant-uk", "merchant-br")
)


def test_training_makes_a_model_and_charges_its_price(simulation):
    order = simulation.training()
    job = simulation.run(order)
    assert job.status == "done"
    weights, card = load_model(Path(job.result["model"]))
    assert weights.shape == (recipe().model.dimension,) and np.isfinite(weights).all()
    assert (weights != recipe().model.init(1)).any()
    assert (card["epsilon"], card["unit"]) == (order.epsilon, "commercial")
    assert card["cohort"] == list(WAREHOUSES) and card["run"] == order.id
    for party in WAREHOUSES:
        simulation.assert_charged(party, recipe().event(), 3)
        assert simulation.account(party).epsilon_spent == float(order.epsilon)
        assert simulation.account(party, "orders") is None
    rounds = [note["round"] for note in simulation.notes(order, "round")]
    assert rounds == [1, 2, 3]


def test_a_model_learns_what_every_warehouse_knows(tmp_path):
    """With hardly any noise the weights move towards the plain least squares of all rows."""
    assert len(features_of(3)) == recipe().model.layers[0]
    limits = {name: {"epsilon": "1000000", "delta": "1e-6"} for name in ("orders", "demand")}
    simulation = Simulation(tmp_path / "federation", limits=limits)
    for party in WAREHOUSES:
        path = simulation.folder(party) / "policy" / "node.cedar"
        text = path.read_text(encoding="utf-8").replace('decimal("8.0")', 'decimal("999999.0")')
        path.write_text(text, encoding="utf-8")
    order = simulation.training(
        noise_multiplier=Decimal("0.05"), grid=1 << 20, rounds=3, steps=9, expected_units=56
    )
    job = simulation.run(order)
    assert job.status == "done", job.result
    learned, _ = load_model(Path(job.result["model"]))
    assert loss(simulation, learned) < loss(simulation, np.zeros_like(learned))


def loss(simulation, weights):
    """The mean absolute error over the rows of all warehouses."""
    errors = []
    for party in WAREHOUSES:
        table = pd.read_parquet(simulation.folder(party) / "data" / "demand.parquet")
        rows = demand_rows(table, 3, DemandBounds(2e5, 0.01, 10.0))
        errors.append(np.abs(forward(recipe().model, weights, rows.features) - rows.targets))
    return np.concatenate(errors).mean()


def test_fraud_is_trained_where_payments_and_orders_are(simulation):
    task = TrainingTask("fraud", 3, 0, fraud_recipe())
    order = training_order(simulation.home, task, Terms(purpose="fraud_prevention"))
    assert order.cohort == SHOPS
    job = simulation.run(order)
    assert job.status == "done" and job.result["parties"] == list(SHOPS)
    weights, _ = load_model(Path(job.result["model"]))
    assert weights.shape == (len(FEATURES) + 1,)
    for party in SHOPS:
        simulation.assert_charged(party, task.recipe.event(), 2, "orders")


def test_a_cohort_that_holds_no_demand_hides_nobody(simulation):
    order = simulation.training(cohort=(*WAREHOUSES, *SHOPS))
    assert simulation.run(order).status == "refused"
    (offered,) = simulation.notes(order, "offered")
    assert {refusal["node"] for refusal in offered["refusals"]} == {*WAREHOUSES, *SHOPS}


@pytest.fixture
def exact(monkeypatch):
    """What each node summed up, before and after its noise; no node ever shows this."""
    from clients import querying
    from clients.queries import partial

    seen = {"bounded": [], "noised": []}
    evaluate, noisy = partial.evaluate_joined, querying.noisy_partial

    def spy_evaluate(*args, **kwargs):
        seen["bounded"].append(evaluate(*args, **kwargs))
        return seen["bounded"][-1]

    def spy_noisy(*args, **kwargs):
        seen["noised"].append(noisy(*args, **kwargs))
        return seen["noised"][-1]

    monkeypatch.setattr(partial, "evaluate_joined", spy_evaluate)
    monkeypatch.setattr(querying, "noisy_partial", spy_noisy)
    return {name: lambda name=name: total(seen[name]) for name in seen}


def total(partials):
    return [sum(numbers) for numbers in zip(*(part.values for part in partials), strict=True)]


def test_a_question_is_answered_within_its_error_and_opened_by_who_asked_alone(simulation, exact):
    order = simulation.query(cohort=WAREHOUSES)
    simulation.put(order)
    simulation.work()
    kept = simulation.job(order)
    assert (kept.status, kept.result["answer"], kept.result["sealed"]) == ("done", None, True)
    simulation.open(order)
    job = simulation.job(order)
    assert job.result["parties"] == sorted(WAREHOUSES)
    assert job.result["opened_by"] == [*KEYHOLDERS[:2]]
    assert exact["noised"]() != exact["bounded"]()
    offers = simulation.mail.sent(Kind.QUERY_COMMIT)
    assert {letter.blobs["order"] for letter in offers} == {sign(simulation.home, order)}
    assert {letter.recipient for letter in offers} == {*WAREHOUSES}

    plan = QueryTask.from_json(order.parameters).plan
    steps, noised, size = exact["bounded"](), exact["noised"](), tree.cells(plan)
    step = Decimal(plan.child.aggregates[0].values[0].step)
    answer = job.result["answer"]
    assert answer["labels"] == ["sum_amount", "count"] and len(answer["rows"]) == size
    for place, row in enumerate(answer["rows"]):
        money, count = row["cells"]
        said = (noised[place] * step, Decimal(noised[size + place]))
        assert (Decimal(money["value"]), Decimal(count["value"])) == said  # to the last digit
        right = (steps[place] * step, steps[size + place])
        for cell, value in zip((money, count), right, strict=True):
            # 3 times the 95 % interval: wrong once in a hundred million draws
            assert abs(Decimal(cell["value"]) - value) <= 3 * Decimal(cell["error"])
    for party in WAREHOUSES:
        account = simulation.account(party, "orders")
        assert (account.releases, account.epsilon_pending) == (1, 0)
        assert account.epsilon_spent == float(order.epsilon)
