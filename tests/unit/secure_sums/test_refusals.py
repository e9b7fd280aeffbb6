"""What a node refuses within a sum."""

import dataclasses
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest

from clients.errors import NodeSettingsError
from clients.settings import load_settings
from experiments.errors import UsageError
from federation.envelopes import parse, seal
from federation.errors import MalformedOrderError
from federation.messages import Kind
from federation.secure_sums import (
    epoch_number,
    epoch_of,
    pack_keys,
    signers,
    terms_of,
    unpack_keys,
)
from federation.tasks import TrainingTask
from policies.budget.events import to_json
from policies.parties import PartyId
from secure_compute.errors import RoundUsedError
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.secagg import epoch as epochs
from secure_compute.secagg.epoch import EpochKey
from secure_compute.secagg.messages import Kind as Asked
from secure_compute.secagg.messages import Request
from secure_compute.secagg.ring import Ring
from tests.secure_sums import LIMITS, ONE_LAW, begun, holders
from tests.simulator import CN, EU, SHOP, UK, US, Simulation, sum_recipe


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
