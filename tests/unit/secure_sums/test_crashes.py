"""The aggregator dies within a sum."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from aggregator.jobs import Jobs
from aggregator.stored import load
from experiments.circle import Circle
from federation.envelopes import parse
from federation.evaluation import ScoreSums
from federation.messages import Kind
from secure_compute.entropy import SystemEntropy
from secure_compute.secagg.messages import Request
from tests.secure_sums import EVENT
from tests.simulator import UK, killed, sum_recipe


def test_a_kill_after_a_model_was_measured_and_before_it_was_committed(simulation, monkeypatch):
    """The model of the round before stays as it was kept: without what was measured later."""
    measured = {"holdout": Decimal("0.5"), "evaluation": ScoreSums(8, 2)}
    order = simulation.summing(noise_multiplier=Decimal(12), **measured)
    simulation.put(order)
    table = simulation.jobs

    def dying(job, checkpoint):
        if checkpoint.round == 4:
            raise KeyboardInterrupt
        type(table).commit_round(table, job, checkpoint)

    table.commit_round = dying
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(type(simulation), "jobs", table)
        simulation.work()
    assert simulation.notes(order, "evaluated")
    simulation.work()
    job = simulation.job(order)
    assert job.status == "done", job.result
    stored = load(Path(job.result["model"]))
    assert stored.card.metrics == job.result["metrics"] != {}
    assert load(stored.path.with_name("round-0003.safetensors")).card.metrics == {}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("kind", [Kind.OFFER, Kind.SUM_ROUND, Kind.SUM_ASK])
def test_a_new_coordinator_opens_what_the_last_one_gathered(simulation, kind, moment):
    order = simulation.summing()
    simulation.put(order)
    simulation.mail.kill(kind, moment, 0)
    assert killed(simulation.work)
    simulation.work()
    assert simulation.job(order).status == "done"
    uploads = {frame.wire for frame in simulation.mail.replies(Kind.SUM_UPLOAD)}
    assert len(uploads) == 3 * 4  # the same bytes again, never other ones
    for party in order.cohort:
        simulation.assert_charged(party, EVENT, 3, "orders")


def test_a_coordinator_killed_between_two_exchanges_names_the_same_survivors(simulation):
    order = simulation.summing()
    simulation.put(order)
    simulation.mail.drop(Kind.SUM_ROUND, UK, 0)
    simulation.mail.kill(Kind.SUM_ASK, "before", 0)
    assert killed(simulation.work)
    simulation.mail.repair()  # the lost one could answer now, and is not asked
    simulation.work()
    assert simulation.job(order).status == "done"
    sets = {
        Request.read(letter.blobs["request"]).survivors
        for letter in simulation.mail.sent(Kind.SUM_ASK)
        if letter.sequence == 0
    }
    assert len(sets) == 1 and UK not in next(iter(sets))


def test_what_was_gathered_is_on_disk_before_more_is_asked(simulation, monkeypatch):
    order = simulation.summing()
    seen = []
    real = Jobs.keep_gathering

    def watched(self, job, round_, state):
        seen.append(len(simulation.mail.letters))
        real(self, job, round_, state)

    monkeypatch.setattr(Jobs, "keep_gathering", watched)
    assert simulation.run(order).status == "done"
    exchanges = [parse(letter) for letter in simulation.mail.letters]
    first_asks = [place for place, letter in enumerate(exchanges) if letter.kind is Kind.SUM_ASK]
    assert min(seen) <= first_asks[0]


def correlated(draws):
    """The largest correlation between two draws of noise of one length."""
    scaled = np.stack([draw / np.sqrt(float(variance)) for variance, draw in draws])
    products = np.abs(scaled @ scaled.T) / scaled.shape[1]
    np.fill_diagonal(products, 0.0)
    return products.max()


def test_no_two_draws_of_noise_are_alike_whatever_is_run_again(simulation, drawn):
    """The same task twice, a node that starts again in mid-run, and the same task simulated."""
    size = sum_recipe().dimension(0)
    assert simulation.run(simulation.summing(rounds=1)).status == "done"
    simulation.mail.drop(Kind.SUM_ASK, UK, 0)
    assert simulation.run(simulation.summing(rounds=1)).status == "done"
    simulation.mail.repair()
    simulation.restart(UK)
    assert simulation.run(simulation.summing(rounds=1)).status == "done"
    recipe = sum_recipe(nodes=4, rounds=1)
    circle = Circle(("a", "b", "c", "d"), SystemEntropy())
    circle.sum(recipe, 0, dict.fromkeys("abcd", np.zeros(size, np.int64)))
    made = [(variance, draw) for variance, draw in drawn if len(draw) == size]
    seen = {draw.tobytes(): (variance, draw) for variance, draw in made}
    # What the aggregator draws again to take it off is the very draw that a node added.
    assert len(seen) == 4 * 2 * 4
    assert correlated(list(seen.values())) < 6.0 / np.sqrt(size)
