"""The coordinator: who is counted, who is lost, and where it goes on after a kill."""

import dataclasses
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from aggregator.letters import Answer, Desk, Silence
from aggregator.registry import load_model
from experiments.founding import AGGREGATOR
from experiments.ordering import sign
from federation.envelopes import Envelope, parse, seal
from federation.messages import Kind
from tests.simulator import CN, EU, UK, US, WAREHOUSES, killed, recipe

EVENT = recipe().event()


def resealed(simulation, signer, **changes):
    """A change of a reply: other fields, sealed by `signer`."""

    def change(wire):
        return seal(dataclasses.replace(parse(wire), **changes), simulation.key(signer))

    return change


def flipped(wire):
    return wire[:-1] + bytes([wire[-1] ^ 1])


# -- dropouts -------------------------------------------------------------------------------------


def test_a_run_goes_on_with_the_survivors_and_says_who_was_lost(simulation):
    order = simulation.training()
    simulation.mail.drop(Kind.TRAIN_ROUND, UK, 1)
    job = simulation.run(order)
    assert job.status == "done"
    assert job.result["parties"] == [CN, EU, US]
    rounds = simulation.notes(order, "round")
    assert [note["lost"] for note in rounds] == [[], [UK], []]
    assert {note["party"] for note in simulation.notes(order, "silence")} == {UK}
    for party in (CN, EU, US):
        simulation.assert_charged(party, EVENT, 3)
    # Who was lost is not asked again, is told so, and gets back what never left.
    asked = [letter.recipient for letter in simulation.mail.sent(Kind.TRAIN_ROUND)]
    assert asked.count(UK) == 2
    simulation.assert_charged(UK, EVENT, 1)


def test_a_reply_that_comes_too_late_is_charged_all_the_same(simulation):
    simulation.mail.delay(Kind.TRAIN_ROUND, UK, 1)
    assert simulation.run(simulation.training()).status == "done"
    simulation.assert_charged(UK, EVENT, 2)


def test_below_the_minimum_a_run_is_abandoned_and_closed(simulation):
    order = simulation.training()
    for party in (UK, US):
        simulation.mail.drop(Kind.TRAIN_ROUND, party, 1)
    job = simulation.run(order)
    assert job.status == "abandoned"
    assert UK in job.result["error"] and US in job.result["error"]
    assert {note["party"] for note in simulation.notes(order, "silence")} == {UK, US}
    assert {letter.recipient for letter in simulation.mail.sent(Kind.CLOSE)} == set(WAREHOUSES)
    for party, releases in ((CN, 2), (EU, 2), (UK, 1), (US, 1)):
        simulation.assert_charged(party, EVENT, releases)
    assert not (simulation.home.aggregator / "models").exists()


def test_too_few_answers_to_an_offer_abandon_the_run(simulation):
    for party in WAREHOUSES:
        simulation.node(party)  # its witnesses have spoken, so that it answers the first letter
    for party in (CN, EU):
        simulation.mail.delay(Kind.OFFER, party)
    job = simulation.run(simulation.training())
    assert job.status == "abandoned"
    for party in WAREHOUSES:
        simulation.assert_charged(party, EVENT, 0)


def test_refusals_below_the_minimum_end_the_run_with_their_reasons(simulation):
    order = simulation.training(noise_multiplier=Decimal("1.5"))
    job = simulation.run(order)
    assert job.status == "refused"
    assert [refusal["node"] for refusal in job.result["refusals"]] == list(WAREHOUSES)
    assert {refusal["kind"] for refusal in job.result["refusals"]} == {"policy"}
    assert all(refusal["reasons"][0]["id"] == "NODE-001" for refusal in job.result["refusals"])


def test_one_refusal_above_the_minimum_ends_nothing(simulation):
    costly = {"noise_multiplier": Decimal("2.7"), "abandoned": 0}
    assert simulation.offer(UK, simulation.training(**costly)).kind is Kind.ACCEPTED
    job = simulation.run(simulation.training(**costly))
    assert job.status == "done" and job.result["parties"] == [CN, EU, US]


def test_an_order_that_is_none_fails_alone(simulation):
    simulation.jobs.add("nonsense", b"x" * 100, 0.0)
    job = simulation.run(simulation.training())
    assert job.status == "done"
    assert simulation.jobs.find("nonsense").status == "failed"


# -- replies that are none ------------------------------------------------------------------------

BAD_UPDATES = {
    "too short": b"\0" * 16,
    "too long": b"\0" * 24,
    "not finite": np.array([0, 0, np.inf, 0, 0], "<f4").tobytes(),
    "not a number": np.array([0, 0, np.nan, 0, 0], "<f4").tobytes(),
}


@pytest.mark.parametrize("update", BAD_UPDATES.values(), ids=BAD_UPDATES.keys())
def test_an_update_that_cannot_be_used_is_not_used(simulation, update):
    order = simulation.training()
    change = resealed(simulation, UK, blobs={"update": update})
    simulation.mail.tamper(Kind.TRAIN_ROUND, UK, change, 1)
    job = simulation.run(order)
    assert job.status == "done" and job.result["parties"] == [CN, EU, US]
    (note,) = simulation.notes(order, "silence")
    assert note["party"] == UK and "update" in note["reason"]
    assert np.isfinite(model(simulation, job)).all()


def test_replies_that_answer_something_else_are_as_good_as_silence(simulation):
    order, other = simulation.training(), simulation.training()
    assert simulation.offer(UK, order).kind is Kind.ACCEPTED
    reply = simulation.node(UK).answer(simulation.round(UK, order))
    desk = Desk(AGGREGATOR, simulation.key(AGGREGATOR), simulation.roster)

    def read(wire):
        return desk.read(Kind.TRAIN_ROUND, order.id, 0, UK, wire)

    assert isinstance(read(reply), Answer)
    changes = {
        "another party": resealed(simulation, EU, sender=EU),
        "another party's key": resealed(simulation, EU),
        "another round": resealed(simulation, UK, sequence=1),
        "another order": resealed(simulation, UK, order=other.id),
        "another kind": resealed(simulation, UK, kind=Kind.PONG),
        "a request": resealed(simulation, UK, kind=Kind.TRAIN_ROUND),
        "a failure": resealed(simulation, UK, kind=Kind.FAILED),
        "a letter to another": resealed(simulation, UK, recipient=CN),
        "an altered part": flipped,
        "an altered beginning": lambda wire: b"X" + wire[1:],
        "half a letter": lambda wire: wire[: len(wire) // 2],
        "nothing": lambda _: b"",
    }
    for name, change in changes.items():
        found = read(change(reply))
        assert isinstance(found, Silence) and UK in found.reason, name


def test_a_reply_of_another_round_is_not_absorbed(simulation):
    order = simulation.training()
    simulation.mail.tamper(Kind.TRAIN_ROUND, UK, resealed(simulation, UK, sequence=0), 1)
    job = simulation.run(order)
    assert job.status == "done" and job.result["parties"] == [CN, EU, US]
    assert {note["party"] for note in simulation.notes(order, "silence")} == {UK}


def test_nobody_accepts_for_another(simulation):
    for party in (CN, EU):
        simulation.mail.tamper(Kind.OFFER, party, resealed(simulation, US, sender=US))
    assert simulation.run(simulation.training()).status == "abandoned"


def test_a_refused_round_is_as_good_as_silence(simulation):
    change = resealed(simulation, UK, kind=Kind.REFUSED, blobs={}, body={"reasons": []})
    simulation.mail.tamper(Kind.TRAIN_ROUND, UK, change, 0)
    job = simulation.run(simulation.training())
    assert job.result["parties"] == [CN, EU, US]


# -- kills ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "moment", "sequence"),
    [
        (Kind.OFFER, "before", 0),
        (Kind.OFFER, "after", 0),
        (Kind.TRAIN_ROUND, "before", 0),
        (Kind.TRAIN_ROUND, "after", 0),
        (Kind.TRAIN_ROUND, "before", 1),
        (Kind.TRAIN_ROUND, "after", 1),
        (Kind.TRAIN_ROUND, "after", 2),
    ],
)
def test_a_new_coordinator_goes_on_at_the_last_committed_round(simulation, kind, moment, sequence):
    order = simulation.training()
    simulation.put(order)
    simulation.mail.kill(kind, moment, sequence)
    assert killed(simulation.work)
    assert simulation.job(order).status == "running"
    before = {frame.wire for frame in simulation.mail.replies(Kind.TRAIN_UPDATE)}
    for party in WAREHOUSES:  # the nodes need not have survived either
        simulation.restart(party)
    simulation.work()
    assert simulation.job(order).status == "done"
    updates = [frame.wire for frame in simulation.mail.replies(Kind.TRAIN_UPDATE)]
    assert before <= set(updates)
    assert len(set(updates)) == 3 * len(WAREHOUSES)  # the same bytes again, never other ones
    for party in WAREHOUSES:
        simulation.assert_charged(party, EVENT, 3)


def test_a_kill_between_two_steps_of_the_table_repeats_no_round(simulation, monkeypatch):
    """Killed right before and right after a round is committed."""
    order = simulation.training()
    simulation.put(order)
    for moment in ("before", "after"):
        table = simulation.jobs

        def dying(job, checkpoint, table=table, moment=moment):
            if checkpoint.round == (1 if moment == "before" else 2):
                if moment == "after":
                    type(table).commit_round(table, job, checkpoint)
                raise KeyboardInterrupt
            type(table).commit_round(table, job, checkpoint)

        table.commit_round = dying
        with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
            patch.setattr(type(simulation), "jobs", table)
            simulation.work()
    assert simulation.jobs.last_round(order.id).round == 2
    simulation.work()
    assert simulation.job(order).status == "done"
    asked = [letter.sequence for letter in simulation.mail.sent(Kind.TRAIN_ROUND)]
    assert asked == [0] * 8 + [1] * 4 + [2] * 4
    for party in WAREHOUSES:
        simulation.assert_charged(party, EVENT, 3)


def test_a_resumed_run_does_not_ask_who_was_lost(simulation):
    order = simulation.training()
    simulation.put(order)
    simulation.mail.drop(Kind.TRAIN_ROUND, UK, 0)
    simulation.mail.kill(Kind.TRAIN_ROUND, "before", 1)
    assert killed(simulation.work)
    simulation.mail.repair()
    simulation.work()
    assert simulation.job(order).result["parties"] == [CN, EU, US]
    simulation.assert_charged(UK, EVENT, 0)


@pytest.mark.parametrize("kind", [Kind.QUERY_KEYS, Kind.QUERY_PARTIAL, Kind.QUERY_OPEN])
def test_a_query_survives_a_kill_after_any_exchange(simulation, kind):
    order = simulation.query(cohort=(CN, EU, UK))
    simulation.put(order)
    simulation.mail.kill(kind, "after")
    assert killed(simulation.work)
    for party in list(simulation.workshops):
        simulation.restart(party)
    simulation.work()
    assert simulation.job(order).status == "done", simulation.job(order).result
    parts = {frame.wire for frame in simulation.mail.replies(Kind.QUERY_CIPHERTEXT)}
    assert len(parts) == 3
    for party in (CN, EU, UK):
        account = simulation.account(party, "orders")
        assert (account.releases, account.epsilon_pending) == (1, 0)
    opened = {frame.wire for frame in simulation.mail.replies(Kind.QUERY_OPENED)}
    assert len(opened) == 1


def test_a_node_that_dies_in_mid_round_answers_when_it_is_back(simulation):
    order = simulation.training()
    for party, part, step, moment in (
        (CN, "compute", "update", "after"),
        (EU, "outbox", "keep", "after"),
        (UK, "books", "settle", "after"),
    ):
        simulation.crash(party, part, step, moment)
    job = simulation.run(order)
    assert job.status == "done" and job.result["parties"] == list(WAREHOUSES)
    for party in WAREHOUSES:
        simulation.assert_charged(party, EVENT, 3)


def test_the_letters_name_their_order_and_round(simulation):
    order = simulation.training()
    simulation.run(order)
    for letter in simulation.mail.sent(Kind.TRAIN_ROUND):
        assert (letter.sender, letter.order) == (AGGREGATOR, order.id)
        assert {"weights"} <= set(letter.blobs) <= {"weights", "heads", "cosigned"}
        assert letter.body == {}
    (offer, *_) = simulation.mail.sent(Kind.OFFER)
    assert offer.blobs == {"order": sign(simulation.home, order)}
    for reply in simulation.mail.replies(Kind.TRAIN_UPDATE):
        assert set(reply.envelope.blobs) <= {"update", "head", "cosigned"}
    assert isinstance(offer, Envelope)


def model(simulation, job):
    path = Path(job.result["model"])
    assert path.parent == simulation.home.aggregator / "models"
    return load_model(path)[0]
