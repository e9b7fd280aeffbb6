"""A secure sum from its order to its model."""

import dataclasses
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from aggregator.stored import load
from experiments.errors import UsageError
from experiments.ordering import Terms, continuation, training_order
from experiments.settings import compose
from federation.envelopes import parse
from federation.errors import MalformedOrderError
from federation.evaluation import ScoreSums
from federation.ledger.entries import EntryKind
from federation.messages import Kind
from federation.tasks import TrainingTask, sums_of
from tests.secure_sums import EVENT, holders
from tests.simulator import CN, EU, SHOP, UK, sum_recipe

EIGHT = sum_recipe(nodes=8).event()


def _workshops(simulation, order):
    return [simulation.workshops[party] for party in order.cohort]


def asked(simulation, kind):
    return Counter(letter.recipient for letter in simulation.mail.sent(kind))


def test_the_model_is_made_of_sums_and_every_node_is_charged_for_each(simulation):
    order = simulation.summing()
    job = simulation.run(order)
    assert job.status == "done", job.result
    assert job.result["rounds"] == 3 and len(job.result["parties"]) == 4
    for party in order.cohort:
        simulation.assert_charged(party, EVENT, 3, "orders")
    settled = [
        entry
        for entry in simulation.books(CN).entries()
        if entry.kind is EntryKind.SETTLED and entry.order == order.id
    ]
    assert [entry.body["masked"] for entry in settled] == [1, 1, 1]
    released = [
        entry.order for entry in simulation.books(CN).entries() if entry.kind is EntryKind.RELEASED
    ]
    assert released == [order.id] * 3


def test_a_sum_is_that_of_the_clipped_parts_and_their_noise_to_the_last_bit(
    simulation, drawn, monkeypatch
):
    from aggregator import coordinator

    sums = []
    real = coordinator.absorb_sum

    def watched(state, total, noise, survivors):
        sums.append(total)
        return real(state, total, noise, survivors)

    monkeypatch.setattr(coordinator, "absorb_sum", watched)
    order = simulation.summing()
    assert simulation.run(order).status == "done"
    recipe_ = sum_recipe(nodes=4)
    base, *layers = recipe_.shares(recipe_.parameters(4)).parts
    assert len(layers) == 1
    for number in range(3):
        size = recipe_.dimension(number)
        exact = sum(workshop.sums[number] for workshop in _workshops(simulation, order))
        noises = [draw for variance, draw in drawn if variance == base and len(draw) == size]
        mine = noises[:4] if number < 2 else noises[4:8]
        np.testing.assert_array_equal(
            np.rint(sums[number] * recipe_.grid), exact + np.sum(mine, axis=0)
        )


def test_one_lost_before_and_one_after_its_upload_in_the_same_round(simulation, drawn, monkeypatch):
    """n = 8, c = 1, t = 5; the sum, its noise and the price are those of six survivors."""
    from aggregator import coordinator

    found = []
    real = coordinator.absorb_sum

    def watched(state, total, noise, survivors):
        found.append((total, noise, survivors))
        return real(state, total, noise, survivors)

    monkeypatch.setattr(coordinator, "absorb_sum", watched)
    simulation.mail.drop(Kind.SUM_ROUND, UK, 1)
    simulation.mail.drop(Kind.SUM_ASK, SHOP, 1)
    order = simulation.summing(holders(simulation))
    job = simulation.run(order)
    assert job.status == "done", job.result
    total, said, survivors = found[1]
    assert set(survivors) == set(order.cohort) - {UK, SHOP}
    recipe_ = sum_recipe()
    shares = recipe_.shares(recipe_.parameters(8))
    exact = sum(simulation.workshops[party].sums[1] for party in survivors)
    noise = np.rint(total * recipe_.grid) - exact
    # Two were lost, so that base and two layers of each survivor stay: σ²·6/5 in all.
    kept = np.zeros_like(noise)
    rounds = [draw for variance, draw in drawn if len(draw) == recipe_.dimension(1)]
    order_of_upload = sorted(p for p in order.cohort if p != UK)
    in_second = rounds[: 4 * len(order_of_upload)]
    for place, party in enumerate(order_of_upload):
        base, *layers = in_second[4 * place : 4 * place + 4]
        if party in survivors:
            kept += base + layers[0] + layers[1]
    np.testing.assert_array_equal(noise, kept)
    assert shares.left(2) == shares.variance * 6 / 5
    assert said == pytest.approx(float(shares.left(2)) ** 0.5 / recipe_.grid)
    rest = simulation.notes(order, "round")
    assert [sorted(note["lost"]) for note in rest] == [[], sorted([UK, SHOP]), []]
    for party in survivors:
        simulation.assert_charged(party, EIGHT, 3, "orders")
    simulation.assert_charged(SHOP, EIGHT, 2, "orders")  # its upload left: paid, though not counted
    simulation.assert_charged(UK, EIGHT, 1, "orders")


def test_below_the_threshold_no_sum_is_opened(simulation):
    order = simulation.summing()
    for party in (CN, EU):
        simulation.mail.drop(Kind.SUM_ROUND, party, 1)
    job = simulation.run(order)
    assert job.status == "abandoned" and "2 parties answered" in job.result["error"]
    assert simulation.jobs.last_round(order.id).round == 1


def test_survivors_are_never_fewer_than_the_orders_minimum(simulation):
    order = simulation.summing(minimum=4)
    simulation.mail.drop(Kind.SUM_ROUND, UK, 1)
    assert simulation.run(order).status == "abandoned"
    assert asked(simulation, Kind.SUM_ASK)[CN] == 2  # certify and open, of the first round


def test_the_next_round_is_one_of_the_survivors(simulation):
    simulation.mail.drop(Kind.SUM_ROUND, UK, 0)
    order = simulation.summing()
    assert simulation.run(order).status == "done"
    cohorts = [tuple(letter.body["cohort"]) for letter in simulation.mail.sent(Kind.SUM_ROUND)]
    assert UK in cohorts[0] and UK not in cohorts[-1] and len(cohorts[-1]) == 3


def test_a_node_that_starts_again_is_out_for_the_order_and_nothing_of_it_can_be_opened(simulation):
    simulation.mail.drop(Kind.SUM_ASK, UK, 0)  # its process ends after its upload
    order = simulation.summing()
    assert simulation.run(order).status == "done"
    node = simulation.restart(UK)
    letter = simulation.mail.sent(Kind.SUM_ASK)[0]
    again = simulation.letter(Kind.SUM_ASK, UK, order.id, 0, request=letter.blobs["request"])
    assert simulation.read(node.answer(again)).kind is Kind.FAILED


@pytest.mark.parametrize("trees", [False, True])
def test_a_model_is_measured_on_units_that_no_round_trained_on(simulation, monkeypatch, trees):
    from clients.training import service

    seen = []
    real = service.round_sum

    def watched(weights, rows, recipe, number, entropy):
        seen.append((number, id(rows), len(rows)))
        return real(weights, rows, recipe, number, entropy)

    monkeypatch.setattr(service, "round_sum", watched)
    measured = {"holdout": Decimal("0.5"), "evaluation": ScoreSums(8, 2)}
    if trees:
        task = compose(["experiment=fraud_boosted", "model.rounds=3"]).task
        measured["method"] = task.recipe.method
    order = simulation.summing(noise_multiplier=Decimal(12), **measured)
    assert order.releases == 4
    job = simulation.run(order)
    assert job.status == "done", job.result
    assert set(job.result["metrics"]) >= {"average_precision", "roc_area", "reliability"}
    trained = {rows for number, rows, _ in seen if number < 3}
    held = {rows for number, rows, _ in seen if number == 3}
    assert len(trained) == len(held) == 4 and not trained & held
    assert all(0 < size < 40 for _, _, size in seen)
    weights = [simulation.jobs.last_round(order.id).weights]
    asked = [x.blobs["weights"] for x in simulation.mail.sent(Kind.SUM_ROUND) if x.sequence == 3]
    assert set(asked) == set(weights)  # measuring moves nothing
    stored = load(Path(job.result["model"]))
    assert stored.card.metrics == job.result["metrics"] and stored.card.round == 4
    for party in order.cohort:
        assert simulation.account(party, "orders").releases == 4


def cut_short(simulation, make):
    """A run that lost too many after its first round, and the task that goes on from it."""
    order = make()
    kind = Kind.SUM_ROUND if sums_of(order) else Kind.TRAIN_ROUND
    for party in (CN, EU):
        simulation.mail.drop(kind, party, 1)
    assert simulation.run(order).status == "abandoned"
    simulation.mail.repair()
    model = TrainingTask.from_json(order.parameters).model
    return order, continuation(simulation.home, simulation.jobs, order.id[:10], model, ())


@pytest.mark.parametrize("make", ["summing", "training"])
def test_a_run_that_was_cut_short_goes_on_and_pays_for_the_rest_alone(simulation, make):
    first, task = cut_short(simulation, getattr(simulation, make))
    assert (task.begun, task.parent, task.rounds) == (1, first.id, 2)
    assert TrainingTask.from_json(task.to_json()) == task
    purpose = Terms(purpose=first.purpose, cohort=first.cohort)
    order = training_order(simulation.home, task, purpose)
    assert order.releases == 2
    before = simulation.jobs.last_round(first.id)
    job = simulation.run(order)
    assert job.status == "done" and job.result["rounds"] == 3
    began = [letter for letter in simulation.mail.letters if parse(letter).order == order.id]
    weights = [parse(x).blobs["weights"] for x in began if "weights" in parse(x).blobs]
    assert weights[0] == before.weights
    assert simulation.jobs.last_round(order.id).round == 3
    dataset = "orders" if make == "summing" else "demand"
    stored = load(Path(job.result["model"]))
    assert float(stored.card.epsilon) == float(first.epsilon) > float(order.epsilon)
    assert stored.card.round == 2 and "composed" in str(stored.card.event).lower()
    for party, releases in ((UK, 4), (CN, 3)):  # two rounds of the first run left here, one there
        account = simulation.account(party, dataset)
        assert account.releases == releases


@pytest.mark.parametrize(
    ("begun", "parent"), [(0, "a" * 64), (3, "a" * 64), (-1, "a" * 64), (1, "")]
)
def test_bad_continuations_are_refused(begun, parent):
    with pytest.raises(MalformedOrderError):
        TrainingTask("fraud", 1, 0, sum_recipe(), begun, parent)
    wire = TrainingTask("fraud", 1, 0, sum_recipe()).to_json()
    with pytest.raises(MalformedOrderError):
        TrainingTask.from_json({**wire, "begun": begun, "parent": parent})


def test_bad_seeds_and_measured_continuations_are_refused():
    for seed in (-1, 1 << 53, True):
        with pytest.raises(MalformedOrderError, match="seed"):
            TrainingTask("fraud", seed, 0, sum_recipe())
    with pytest.raises(MalformedOrderError, match="until is 0"):
        TrainingTask("demand", 1, 5, sum_recipe())
    measured = sum_recipe(holdout=Decimal("0.5"), evaluation=ScoreSums(8, 2))
    with pytest.raises(MalformedOrderError, match="held out"):
        TrainingTask("fraud", 1, 0, measured, 1, "a" * 64)


def test_whoever_names_a_run_that_left_nothing_trains_anew(simulation):
    order, task = cut_short(simulation, simulation.summing)
    with pytest.raises(UsageError, match="no training run begins"):
        continuation(simulation.home, simulation.jobs, "f" * 64, "fraud", ())
    with pytest.raises(UsageError, match="override nothing"):
        continuation(simulation.home, simulation.jobs, order.id, "fraud", ("model.rounds=2",))
    assert not simulation.mail.sent(Kind.OFFER)[8:]
    elsewhere = dataclasses.replace(task, parent="e" * 64)
    terms = Terms(purpose=order.purpose, cohort=order.cohort)
    job = simulation.run(training_order(simulation.home, elsewhere, terms))
    assert job.status == "abandoned" and "train anew" in job.result["error"]
    done = simulation.run(training_order(simulation.home, task, terms))
    with pytest.raises(UsageError, match="done with 3 of 3 rounds"):
        continuation(simulation.home, simulation.jobs, done.id, "fraud", ())


def test_bad_beginnings_of_a_run_name_none(simulation):
    cut_short(simulation, simulation.summing)
    for run in ("", "4", "%", "ABCDEF0123", "4711-4711", "0" * 65):
        with pytest.raises(UsageError, match="no training run begins"):
            continuation(simulation.home, simulation.jobs, run, "fraud", ())


def test_a_beginning_that_fits_two_runs_names_none(simulation):
    order, _ = cut_short(simulation, simulation.summing)
    simulation.jobs.add(order.id[:8] + "f" * 56, simulation.jobs.find(order.id).wire, 2.0)
    with pytest.raises(UsageError, match="several runs begin"):
        continuation(simulation.home, simulation.jobs, order.id[:8], "fraud", ())


def test_a_run_under_way_is_not_gone_on_from(simulation):
    order, _ = cut_short(simulation, simulation.summing)
    simulation.jobs.start(order.id)
    with pytest.raises(UsageError, match="is running with 1 of 3 rounds"):
        continuation(simulation.home, simulation.jobs, order.id, "fraud", ())


def test_a_run_that_made_no_round_of_its_own_is_gone_on_from_its_parents(simulation):
    """Two nodes are away from the first round of the second run on; the third run goes on."""
    first, task = cut_short(simulation, simulation.summing)
    terms = Terms(purpose=first.purpose, cohort=first.cohort)
    second = training_order(simulation.home, task, terms)
    for party in (CN, EU):
        simulation.mail.drop(Kind.SUM_ROUND, party, 0)
    assert simulation.run(second).status == "abandoned"
    simulation.mail.repair()
    again = continuation(simulation.home, simulation.jobs, second.id[:8], "fraud", ())
    assert again == task
    job = simulation.run(training_order(simulation.home, again, terms))
    assert job.status == "done" and job.result["rounds"] == 3


def test_a_model_that_was_changed_on_disk_is_not_gone_on_from(simulation):
    order, task = cut_short(simulation, simulation.summing)
    (stored,) = (simulation.home.folder / "aggregator").rglob(f"{order.id}/*.safetensors")
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.write_bytes(data)
    terms = Terms(purpose=order.purpose, cohort=order.cohort)
    offers = len(simulation.mail.sent(Kind.OFFER))
    job = simulation.run(training_order(simulation.home, task, terms))
    assert job.status != "done" and len(simulation.mail.sent(Kind.OFFER)) == offers
