"""Twenty real nodes in four groups: who sums with whom, what a louder party does, who is lost."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import trim_mean

from aggregator import coordinator, summing
from aggregator.jobs import Jobs
from aggregator.training import absorb_sum, begin, resume
from experiments.circle import Circle
from experiments.errors import UsageError
from experiments.founding import ANALYST, DEMO_SEATS, Seat
from federation.errors import MalformedOrderError
from federation.messages import Kind
from federation.secure_sums import all_terms, epoch_of, own_terms, unpack_keys
from federation.tasks import sums_of
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.entropy import SystemEntropy
from secure_compute.errors import FaultyPartyError
from secure_compute.secagg.aggregator import Gathering, Phase
from secure_compute.secagg.terms import Terms
from tests.simulator import Simulation, killed, sum_recipe

SHOPS = tuple(PartyId(f"shop-{number:02}") for number in range(20))
LOUD = SHOPS[7]
SEATS = (
    *(Seat(p, f"House {p}", Role.MERCHANT, Jurisdiction.EU) for p in SHOPS),
    *(seat for seat in DEMO_SEATS if seat.role in {Role.KEYHOLDER, Role.AGGREGATOR}),
    *(seat for seat in DEMO_SEATS if seat.party == ANALYST),
)
LIMITS = {name: {"epsilon": "6.5", "delta": "1e-6"} for name in ("orders", "demand")}
RECIPE = {
    "nodes": 20, "groups": 4, "trimmed": 1, "rounds": 2, "moments": 1, "expected_units": 800,
    "noise_multiplier": Decimal(3),
}  # fmt: skip


def simulated(folder) -> Simulation:
    return Simulation(folder / "federation", limits=LIMITS, seats=SEATS)


def grouped(simulation, minimum=3, **changes):
    return simulation.summing(SHOPS, minimum, **{**RECIPE, **changes})


class Watch:
    """What the coordinator asked, opened and made of it, round by round."""

    def __init__(self, monkeypatch, on_round=lambda number, terms: None):
        self.terms, self.totals, self.made = [], [[]], []
        real_terms, real_total = coordinator.all_terms, coordinator.total_of
        real_made = coordinator.made_of

        def terms(epoch, order, recipe, number, cohort):
            found = real_terms(epoch, order, recipe, number, cohort)
            if len(self.terms) <= number:
                self.terms.append(found)
                on_round(number, found)
            return found

        def total(recipe, one, found):
            self.totals[-1].append((one, found, real_total(recipe, one, found)))
            return self.totals[-1][-1][2]

        def made(recipe, number, totals):
            self.made.append(real_made(recipe, number, totals))
            self.totals.append([])
            return self.made[-1]

        monkeypatch.setattr(coordinator, "all_terms", terms)
        monkeypatch.setattr(coordinator, "total_of", total)
        monkeypatch.setattr(coordinator, "made_of", made)


def shout(simulation, party, times=1000):
    """The party's own software multiplies what it clipped; no other sees that."""
    simulation.started(party)
    workshop = simulation.workshops[party]
    real = workshop.clipped_sum
    workshop.clipped_sum = lambda job, round_, weights: times * real(job, round_, weights)


def clipped(simulation, party, number, times=1):
    return times * simulation.workshops[party].sums[number]


# -- one round -------------------------------------------------------------------------------------


def test_all_groups_are_asked_at_once_and_every_node_finds_its_own(tmp_path, monkeypatch):
    simulation, exchanges = simulated(tmp_path), []
    real = summing.Summing._exchange

    def counted(self, *arguments):
        exchanges.append(arguments)
        return real(self, *arguments)

    monkeypatch.setattr(summing.Summing, "_exchange", counted)
    order = grouped(simulation, rounds=1)
    assert simulation.run(order).status == "done"
    assert len(exchanges) == 3  # upload, certify, open: as many as one sum over all takes
    letters = simulation.mail.sent(Kind.SUM_ROUND)
    assert [letter.body["cohort"] for letter in letters] == [sorted(SHOPS)] * 20
    kept = simulation.jobs.gathering(order.id, 0)
    assert [len(state.uploads) for state in summing._unpacked(kept, 4)] == [5] * 4

    # What a node would sum, had it been asked otherwise.
    epoch = epoch_of(simulation.roster, order.id, unpack_keys(simulation.jobs.keys(order.id)))
    recipe = sums_of(order)
    every = all_terms(epoch, order, recipe, 0, SHOPS)
    for party in SHOPS:
        (mine,) = [terms for terms in every if party in terms.cohort]
        assert own_terms(epoch, order, recipe, 0, SHOPS, party) == mine
    with pytest.raises(MalformedOrderError, match="does not name it"):
        own_terms(epoch, order, recipe, 0, SHOPS[1:], SHOPS[0])
    with pytest.raises(MalformedOrderError, match=r"A sum of [12] parties .* minimum is 3"):
        all_terms(epoch, order, recipe, 0, SHOPS[:7])
    with pytest.raises(MalformedOrderError, match="twice"):
        own_terms(epoch, order, recipe, 0, (*SHOPS, SHOPS[0]), SHOPS[0])


def test_a_minimum_that_no_group_can_have_is_refused_by_who_orders_and_by_every_node(tmp_path):
    simulation = simulated(tmp_path)
    with pytest.raises(UsageError, match="each of 4 groups needs the order's minimum of 6"):
        grouped(simulation, minimum=6)
    order = replace(grouped(simulation, minimum=5), minimum=6)
    reply = simulation.offer(SHOPS[0], order)
    assert reply.kind is Kind.REFUSED
    assert "each of its 4 groups needs its minimum of 6" in str(reply.body)


def test_so_few_who_accept_that_no_division_fills_its_groups_are_no_run(tmp_path):
    simulation = simulated(tmp_path)
    for party in SHOPS[11:]:
        simulation.mail.drop(Kind.OFFER, party)
    job = simulation.run(grouped(simulation))
    assert job.status == "abandoned"
    assert "11 of at least 12 parties answered the offer" in job.result["error"]


def five():
    """A recipe of groups, and the terms of one group of five."""
    recipe = sum_recipe(nodes=20, groups=4, trimmed=1)
    terms = Terms.of(
        Circle(SHOPS, SystemEntropy())._epoch,
        session="order",
        round=0,
        cohort=SHOPS[:5],
        parameters=recipe.parameters(5),
        dimension=3,
    )
    return recipe, terms


def test_whoever_is_named_for_a_lost_group_does_not_wait_for_the_next_round(monkeypatch):
    recipe, terms = five()
    state = Gathering(terms=terms, phase=Phase.OPENED, survivors=SHOPS[:4])

    def faulty(state, expand):
        raise FaultyPartyError(SHOPS[1], SHOPS[2], why="gave a share that opens nothing")

    monkeypatch.setattr(summing.aggregator, "combine", faulty)
    lost = summing._result(recipe, state)
    assert lost.waiting == (SHOPS[0], SHOPS[3]) and "cannot be opened" in lost.reason


def test_who_was_silent_when_a_group_was_lost_does_not_wait_for_the_next_round():
    recipe, terms = five()
    said = [SimpleNamespace(party=party) for party in SHOPS[:5]]
    state = Gathering(
        terms=terms,
        phase=Phase.ABANDONED,
        survivors=SHOPS[:5],
        uploads=tuple(said),
        certificates=tuple(said),
        openings=tuple(said[:4]),
        reason="4 answered",
    )
    assert summing._result(recipe, state).waiting == SHOPS[:4]
    earlier = replace(state, certificates=tuple(said[1:]), openings=())
    assert summing._result(recipe, earlier).waiting == SHOPS[1:5]
    uploads = replace(state, survivors=(), uploads=tuple(said[2:]), certificates=(), openings=())
    assert summing._result(recipe, uploads).waiting == SHOPS[2:5]


def test_who_waits_is_on_disk_and_apart_from_those_in_the_sum(tmp_path):
    jobs = Jobs(tmp_path / "jobs.sqlite")
    jobs.add("order", b"", 0.0)
    recipe = sum_recipe(nodes=20, groups=4, trimmed=1)
    state = replace(begin(recipe, 1, 3, SHOPS[:15]), waiting=SHOPS[15:18])
    jobs.commit_round("order", state.checkpoint())
    last = jobs.last_round("order")
    assert (last.parties, last.waiting) == (SHOPS[:15], SHOPS[15:18])
    again = resume(recipe, 3, last)
    assert again.parties == SHOPS[:15] and again.present == SHOPS[:18]
    after = absorb_sum(again, np.zeros(recipe.dimension(0)), 1.0, set(SHOPS[10:18]))
    assert after.parties == SHOPS[10:18] and not after.waiting


# -- whole runs ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_party_a_thousand_times_as_loud_moves_nothing_and_without_trimming_all(
    tmp_path, monkeypatch
):
    reach = {1: [], 0: []}
    for trimmed, rounds in ((1, 2), (0, 1)):
        with monkeypatch.context() as patch:
            watch = Watch(patch)
            simulation = simulated(tmp_path / str(trimmed))
            shout(simulation, LOUD)
            order = grouped(simulation, trimmed=trimmed, rounds=rounds)
            job = simulation.run(order)
        assert job.status == "done", job.result
        for number, opened in enumerate(watch.totals[:rounds]):
            honest = [
                np.sum([clipped(simulation, p, number) for p in terms.cohort], axis=0)
                for terms, _, _ in opened
            ]
            found = watch.made[number]
            means = np.stack(honest) / sums_of(order).grid / 5
            excess = np.maximum(found.values / 20 - means.max(0), means.min(0) - found.values / 20)
            reach[trimmed].append(excess.max() * 20 / found.noise)
    assert max(reach[1]) < 5.0 and min(reach[0]) > 50.0


def test_a_group_that_loses_too_many_is_lost_and_its_others_take_part_in_the_next_round(
    tmp_path, monkeypatch
):
    simulation, gone = simulated(tmp_path), []

    def lose(number, terms):
        if number == 0:  # one of a group of five can be spared, with c = 1, and two cannot
            gone.extend([terms[0].cohort[1], *terms[2].cohort[2:4]])
            for party in gone:
                simulation.mail.drop(Kind.SUM_ROUND, party, 0)

    watch = Watch(monkeypatch, lose)
    order = grouped(simulation)
    job = simulation.run(order)
    assert job.status == "done", job.result
    first, second = watch.terms
    assert [len(terms.cohort) for terms in first] == [5, 5, 5, 5]
    assert sorted(len(terms.cohort) for terms in second) == [4, 4, 4, 5]
    asked = {party for terms in second for party in terms.cohort}
    assert asked == set(SHOPS) - set(gone)
    (note,) = simulation.notes(order, "group_lost")
    assert note["round"] == 1 and tuple(note["parties"]) == first[2].cohort
    assert "3 parties answered" in note["reason"]
    assert [sorted(note["lost"]) for note in simulation.notes(order, "round")] == [sorted(gone), []]
    waiting = set(first[2].cohort) - set(gone)
    assert not waiting & set(simulation.notes(order, "round")[0]["parties"])
    assert waiting <= set(job.result["parties"])
    # What is made of the groups is the trimmed mean of those that were opened, and of no zeros.
    recipe, opened = sums_of(order), watch.totals[0]
    assert [len(found.survivors) for _, found, _ in opened] == [4, 5, 5]
    for terms, found, total in opened:
        exact = np.sum([clipped(simulation, p, 0) for p in found.survivors], axis=0) / recipe.grid
        assert np.abs(total.values - exact).max() < 6 * total.noise
        assert terms.parameters.threshold == 4
    means = [total.values / total.nodes for _, _, total in opened]
    np.testing.assert_allclose(watch.made[0].values, trim_mean(means, 0.34) * 14)
    # Everybody pays for what it sent, whether its group came to something or not.
    event = recipe.event()
    for party in SHOPS:
        simulation.assert_charged(party, event, 0 if party in gone else 2, "orders")


@pytest.mark.slow
def test_too_few_groups_are_no_round(tmp_path, monkeypatch):
    simulation = simulated(tmp_path)

    def lose(number, terms):
        if number == 1:
            for party in (*terms[1].cohort[:2], *terms[3].cohort[:2]):
                simulation.mail.drop(Kind.SUM_ROUND, party, 1)

    Watch(monkeypatch, lose)
    order = grouped(simulation)
    job = simulation.run(order)
    assert job.status == "abandoned"
    assert "2 of 4 groups came to a sum and 3 must" in job.result["error"]
    assert simulation.jobs.last_round(order.id).round == 1


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "moment"), [(Kind.SUM_ROUND, "after"), (Kind.SUM_ASK, "before")])
def test_a_new_coordinator_opens_every_group_that_the_last_one_gathered(tmp_path, kind, moment):
    simulation = simulated(tmp_path)
    order = grouped(simulation, rounds=1)
    simulation.put(order)
    simulation.mail.kill(kind, moment, 0)
    assert killed(simulation.work)
    simulation.work()
    assert simulation.job(order).status == "done"
    uploads = Counter(frame.wire for frame in simulation.mail.replies(Kind.SUM_UPLOAD))
    assert len(uploads) == 20  # the same bytes again, never other ones
    for party in SHOPS[:3]:
        simulation.assert_charged(party, sums_of(order).event(), 1, "orders")
