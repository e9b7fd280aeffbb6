"""Training by secure sums: what is opened, who is lost, and what nobody ever gets."""

import dataclasses
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from aggregator.jobs import Jobs
from aggregator.stored import load
from clients.errors import NodeSettingsError
from clients.settings import load_settings
from experiments.circle import Circle
from experiments.errors import UsageError
from experiments.founding import DEMO_SEATS
from experiments.ordering import Terms, continuation, training_order
from experiments.settings import compose
from federation.envelopes import parse, seal
from federation.errors import MalformedOrderError
from federation.evaluation import ScoreSums
from federation.ledger.entries import EntryKind
from federation.messages import Kind
from federation.secure_sums import (
    epoch_number,
    epoch_of,
    pack_keys,
    signers,
    terms_of,
    unpack_keys,
)
from federation.tasks import TrainingTask, sums_of
from policies.budget.events import to_json
from policies.parties import Jurisdiction, PartyId
from secure_compute import skellam
from secure_compute.entropy import SystemEntropy
from secure_compute.errors import RoundUsedError
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.secagg import epoch as epochs
from secure_compute.secagg.epoch import EpochKey
from secure_compute.secagg.messages import Kind as Asked
from secure_compute.secagg.messages import Request
from secure_compute.secagg.ring import Ring
from tests.simulator import CN, EU, SHOP, UK, US, Simulation, killed, sum_recipe

EVENT = sum_recipe(nodes=4).event()
EIGHT = sum_recipe(nodes=8).event()
LIMITS = {
    "orders": {"epsilon": "6.5", "delta": "1e-6"},
    "demand": {"epsilon": "6.5", "delta": "1e-6"},
}

ONE_LAW = tuple(dataclasses.replace(seat, jurisdiction=Jurisdiction.EU) for seat in DEMO_SEATS)
"""Eight nodes under one law, so that all of them may take part in one sum."""


@pytest.fixture
def simulation(tmp_path):
    return Simulation(tmp_path / "federation", limits=LIMITS, seats=ONE_LAW)


@pytest.fixture
def drawn(monkeypatch):
    """Every draw of noise, by its variance, in order."""
    draws = []
    real = skellam.draw

    def watched(variance, size, seed):
        draws.append((variance, real(variance, size, seed)))
        return draws[-1][1].copy()

    monkeypatch.setattr(skellam, "draw", watched)
    return draws


def holders(simulation):
    return tuple(member.party for member in simulation.home.holders())


def _workshops(simulation, order):
    return [simulation.workshops[party] for party in order.cohort]


def asked(simulation, kind):
    return Counter(letter.recipient for letter in simulation.mail.sent(kind))


# -- a whole run -----------------------------------------------------------------------------------


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


# -- crashes of the aggregator ---------------------------------------------------------------------


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


# -- what a node refuses ---------------------------------------------------------------------------


def begun(simulation, **changes):
    """An order that all accepted, its keys, and the letter of the first round."""
    order = simulation.summing(**changes)
    replies = {party: simulation.offer(party, order) for party in order.cohort}
    keys = pack_keys([reply.blobs["epoch_key"] for reply in replies.values()])
    return order, keys


def upload(simulation, party, order, keys, cohort=(), sequence=0, weights=None):
    blob = weights or bytes(4 * sum_recipe().model.dimension)
    letter = simulation._question(
        Kind.SUM_ROUND,
        party,
        {"cohort": list(cohort or order.cohort)},
        order.id,
        sequence,
        {"weights": blob, "keys": keys},
    )
    return simulation.read(simulation.node(party).answer(letter))


def test_an_order_of_sums_gives_no_update_and_an_order_of_updates_no_sum(simulation):
    order, keys = begun(simulation)
    with simulation.nothing_happens(CN):
        weights = bytes(4 * sum_recipe().model.dimension)
        reply = simulation.ask(Kind.TRAIN_ROUND, CN, order.id, 0, weights=weights)
        assert reply.kind is Kind.FAILED
    other = simulation.training()
    simulation.offer(CN, other)
    assert upload(simulation, CN, other, keys).kind is Kind.FAILED


def test_the_same_round_gives_the_same_bytes_and_another_start_gives_none(simulation):
    order, keys = begun(simulation)
    first = upload(simulation, CN, order, keys)
    assert first.kind is Kind.SUM_UPLOAD
    assert upload(simulation, CN, order, keys).blobs["upload"] == first.blobs["upload"]
    other = np.ones(sum_recipe().model.dimension, "<f4").tobytes()
    assert upload(simulation, CN, order, keys, weights=other).kind is Kind.FAILED


NO_COHORTS = {
    "two": (CN, EU),
    "a stranger": (CN, EU, UK, SHOP),
    "without this node": (EU, UK, US),
    "one twice": (CN, CN, EU, UK),
    "the keyholder": (CN, EU, UK, PartyId("keyholder-ch")),
}


def test_a_cohort_that_is_none_gets_nothing(simulation):
    order, keys = begun(simulation)
    for why, cohort in NO_COHORTS.items():
        with simulation.nothing_happens(CN):
            reply = upload(simulation, CN, order, keys, cohort)
            assert reply.kind is Kind.FAILED, why
    assert upload(simulation, CN, order, keys).kind is Kind.SUM_UPLOAD


def test_no_rows_are_read_for_a_round_that_was_begun(simulation):
    order, keys = begun(simulation)
    assert upload(simulation, CN, order, keys).kind is Kind.SUM_UPLOAD
    recipe, read = TrainingTask.from_json(order.parameters).recipe, []
    for cohort in (order.cohort, order.cohort[:3]):
        with pytest.raises(RoundUsedError):
            simulation.node(CN)._summing.submit(
                order, recipe, 0, cohort, keys, lambda: read.append("rows")
            )
    assert not read


def test_keys_of_another_order_or_signed_by_somebody_else_get_nothing(simulation):
    order, keys = begun(simulation)
    _, others = begun(simulation, noise_multiplier=Decimal(30))
    assert upload(simulation, CN, order, others).kind is Kind.FAILED
    first, second, *rest = unpack_keys(keys)
    forged = pack_keys([first[:64] + second[64:], second, *rest])
    assert upload(simulation, CN, order, forged).kind is Kind.FAILED
    assert upload(simulation, CN, order, pack_keys([first])).kind is Kind.FAILED
    assert upload(simulation, CN, order, b"[").kind is Kind.FAILED
    assert upload(simulation, CN, order, keys).kind is Kind.SUM_UPLOAD


def test_keys_of_two_orders_make_no_epoch(simulation):
    order, keys = begun(simulation)
    _, others = begun(simulation, noise_multiplier=Decimal(30))
    own, *_ = unpack_keys(keys)
    _, *rest = unpack_keys(others)
    assert upload(simulation, CN, order, pack_keys([own, *rest])).kind is Kind.FAILED


def test_a_cohort_below_the_orders_minimum_gets_nothing(simulation):
    order, keys = begun(simulation, minimum=4)
    with simulation.nothing_happens(CN):
        assert upload(simulation, CN, order, keys, (CN, EU, UK)).kind is Kind.FAILED
    epoch = epoch_of(simulation.roster, order.id, unpack_keys(keys))
    with pytest.raises(MalformedOrderError, match="the order's minimum is 4"):
        terms_of(epoch, order, sum_recipe(nodes=4), 0, (CN, EU, UK))
    assert upload(simulation, CN, order, keys).kind is Kind.SUM_UPLOAD


def test_a_party_that_the_order_does_not_name_cannot_join_with_a_key(simulation):
    order, keys = begun(simulation)
    stranger = epochs.advertise(
        signers(simulation.roster), epoch_number(order.id), SHOP, AgreementKey(bytes(32))
    )
    signature = simulation.key(SHOP).sign(stranger.statement())
    signed = dataclasses.replace(stranger, signature=signature)
    more = pack_keys([*unpack_keys(keys), signed.to_bytes()])
    with simulation.nothing_happens(CN):
        assert upload(simulation, CN, order, more, (*order.cohort, SHOP)).kind is Kind.FAILED
        assert upload(simulation, CN, order, more, (CN, EU, UK, SHOP)).kind is Kind.FAILED


def test_an_aggregator_that_opens_one_node_alone_is_refused(simulation):
    """Phase A for everybody else, then phase B: with both, one node's part would be naked."""
    order, keys = begun(simulation)
    assert upload(simulation, CN, order, keys).kind is Kind.SUM_UPLOAD
    terms = terms_of(
        epoch_of(simulation.roster, order.id, unpack_keys(keys)),
        order,
        sum_recipe(nodes=4),
        0,
        order.cohort,
    )
    replies = []
    for lost in [p for p in terms.cohort if p != CN]:
        rest = tuple(p for p in terms.cohort if p != lost)
        request = Request(kind=Asked.REVEAL, terms=terms.digest, survivors=rest, dropped=(lost,))
        replies.append(
            simulation.ask(Kind.SUM_ASK, CN, order.id, 0, request=request.to_bytes()).kind
        )
    assert Counter(replies)[Kind.SUM_ANSWER] <= terms.parameters.dropouts
    request = Request(kind=Asked.OPEN, terms=terms.digest, survivors=terms.cohort, dropped=())
    reply = simulation.ask(Kind.SUM_ASK, CN, order.id, 0, request=request.to_bytes())
    assert reply.kind is Kind.FAILED


def test_a_key_is_of_one_order_and_stays_the_same_when_the_offer_is_repeated(simulation):
    order = simulation.summing()
    first = simulation.offer(CN, order).blobs["epoch_key"]
    assert simulation.offer(CN, order).blobs["epoch_key"] == first
    other = simulation.offer(CN, simulation.summing(noise_multiplier=Decimal(30)))
    assert other.blobs["epoch_key"] != first


def test_a_node_says_how_many_may_collude(simulation):
    path = simulation.folder(CN) / "node.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"colluding = 2\n{text}", encoding="utf-8")
    reply = simulation.offer(CN, simulation.summing())
    assert reply.kind is Kind.REFUSED and "privacy.colluding=2" in reply.body["reasons"][0]["en"]
    wide = simulation.summing(holders(simulation), colluding=2, noise_multiplier=Decimal(12))
    assert simulation.offer(CN, wide).kind is Kind.ACCEPTED


def test_bad_numbers_of_colluders_are_no_settings(simulation):
    path = simulation.folder(CN) / "node.toml"
    text = path.read_text(encoding="utf-8")
    for bad in ("0", "true", '"2"', "1.5"):
        path.write_text(f"colluding = {bad}\n{text}", encoding="utf-8")
        with pytest.raises(NodeSettingsError, match="colluding"):
            load_settings(simulation.folder(CN))


def test_sums_for_another_number_of_nodes_than_are_asked_are_refused(simulation):
    order = simulation.summing()
    task = TrainingTask.from_json(order.parameters)
    recipe = dataclasses.replace(task.recipe, nodes=5)
    other = dataclasses.replace(
        order,
        parameters=dataclasses.replace(task, recipe=recipe).to_json(),
        event=to_json(recipe.event()),
    )
    assert simulation.offer(CN, other).kind is Kind.REFUSED


def test_two_nodes_of_one_organisation_are_not_asked_for_a_sum(tmp_path):
    seats = tuple(
        dataclasses.replace(seat, organisation="Rotterdam Fulfilment") if seat.party == UK else seat
        for seat in ONE_LAW
    )
    simulation = Simulation(tmp_path / "federation", limits=LIMITS, seats=seats)
    with pytest.raises(UsageError, match="one organisation"):
        simulation.summing()
    order = dataclasses.replace(simulation.summing((CN, EU, US)), cohort=(CN, EU, UK))
    assert simulation.offer(CN, order).kind is Kind.REFUSED


def test_a_key_that_agrees_on_nothing_leaves_its_party_out_by_name(simulation):
    def useless(wire):
        letter = parse(wire)
        if "epoch_key" not in letter.blobs:
            return wire
        said = EpochKey.read(letter.blobs["epoch_key"])
        bad = dataclasses.replace(said, key="0" * 64)
        signed = dataclasses.replace(bad, signature=simulation.key(UK).sign(bad.statement()))
        blobs = {**letter.blobs, "epoch_key": signed.to_bytes()}
        return seal(dataclasses.replace(letter, blobs=blobs), simulation.key(UK))

    simulation.mail.tamper(Kind.OFFER, UK, useless)
    order = simulation.summing()
    job = simulation.run(order)
    assert job.status == "done" and UK not in job.result["parties"]
    told = [note for note in simulation.notes(order, "silence") if note["party"] == UK]
    assert any("agrees on nothing" in note["reason"] for note in told)


def test_with_the_answer_that_opens_the_last_sum_a_nodes_secrets_are_gone(simulation):
    order = simulation.summing()
    assert simulation.run(order).status == "done"
    part = simulation.node(CN)._summing._parts[order.id]
    assert part.node is None and part.key is None
    last = simulation.mail.sent(Kind.SUM_ASK)[-1]
    again = simulation.letter(
        Kind.SUM_ASK, last.recipient, order.id, last.sequence, request=last.blobs["request"]
    )
    answers = [f.envelope for f in simulation.mail.replies(Kind.SUM_ANSWER)]
    (said,) = {e.blobs["answer"] for e in answers[-4:] if e.sender == last.recipient}
    repeated = simulation.read(simulation.node(last.recipient).answer(again))
    assert repeated.blobs["answer"] == said


def test_no_round_that_may_come_to_nothing_is_set_aside(simulation):
    assert simulation.summing().abandoned == 0 and simulation.training().abandoned == 3


def test_a_closed_order_is_forgotten(simulation):
    order, keys = begun(simulation)
    upload(simulation, CN, order, keys)
    simulation.ask(Kind.CLOSE, CN, order.id)
    assert order.id not in simulation.node(CN)._summing._parts


def test_expired_orders_are_forgotten_when_another_comes(simulation):
    order, _ = begun(simulation)
    simulation.later = 7200.0
    simulation.node(CN)._summing.advertise(simulation.summing())
    assert order.id not in simulation.node(CN)._summing._parts


def test_a_node_holds_no_key_of_a_sum_on_disk(simulation):
    order, keys = begun(simulation)
    part = simulation.node(CN)._summing._parts[order.id]
    upload(simulation, CN, order, keys)
    state = simulation.node(CN)._summing._parts[order.id].node
    secrets = [part.key.seed, state.round.share, state.round.link, *dict(state.chains).values()]
    for path in simulation.folder(CN).rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(s in data or s.hex().encode() in data for s in secrets), path


def test_who_gives_no_key_takes_no_part(simulation):
    def keyless(wire):
        letter = parse(wire)
        return seal(
            dataclasses.replace(
                letter, blobs={n: b for n, b in letter.blobs.items() if n != "epoch_key"}
            ),
            simulation.key(UK),
        )

    simulation.mail.tamper(Kind.OFFER, UK, keyless)
    order = simulation.summing()
    job = simulation.run(order)
    assert job.status == "done" and UK not in job.result["parties"]


def test_who_gives_the_key_of_another_takes_no_part(simulation):
    others = {}

    def borrowed(wire):
        letter = parse(wire)
        if "epoch_key" not in letter.blobs:
            return wire
        others.setdefault(letter.sender, letter.blobs["epoch_key"])
        blobs = {**letter.blobs, "epoch_key": others.get(CN, letter.blobs["epoch_key"])}
        return seal(dataclasses.replace(letter, blobs=blobs), simulation.key(letter.sender))

    for party in (CN, UK):
        simulation.mail.tamper(Kind.OFFER, party, borrowed)
    job = simulation.run(simulation.summing())
    assert job.status == "done" and UK not in job.result["parties"]


def test_a_sum_near_the_edge_of_its_ring_is_told(simulation, monkeypatch):
    monkeypatch.setattr(Ring, "is_near_the_edge", lambda ring, values: ring.bits == 32)
    order = simulation.summing()
    assert simulation.run(order).status == "done"
    assert [note["round"] for note in simulation.notes(order, "headroom")] == [1, 2, 3]


def test_a_damaged_upload_is_as_good_as_none(simulation):
    def flipped(wire):
        letter = parse(wire)
        damaged = bytes(letter.blobs["upload"][:-1]) + bytes([letter.blobs["upload"][-1] ^ 1])
        return seal(
            dataclasses.replace(letter, blobs={**letter.blobs, "upload": damaged}),
            simulation.key(UK),
        )

    simulation.mail.tamper(Kind.SUM_ROUND, UK, flipped, 1)
    order = simulation.summing()
    job = simulation.run(order)
    assert job.status == "done" and UK not in job.result["parties"]


# -- going on --------------------------------------------------------------------------------------


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
