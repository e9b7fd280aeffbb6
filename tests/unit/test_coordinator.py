"""The coordinator: who is counted, who is lost, and where it goes on after a kill."""

import dataclasses
import sqlite3
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from aggregator.letters import Answer, Desk, Silence
from aggregator.registry import load_model
from experiments.founding import AGGREGATOR
from experiments.ordering import sign
from federation.envelopes import Envelope, parse, seal
from federation.ledger.entries import EntryKind
from federation.ledger.notes import origin_of
from federation.ledger.seen import quorum
from federation.messages import Kind
from federation.riding import pack_cosigned, unpack_cosigned
from policies.parties import DATA_ROLES, Role
from tests.simulator import CN, EU, KEYHOLDER, SHOP, UK, US, WAREHOUSES, killed, recipe

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


def test_no_file_is_held_open_while_a_model_is_trained(simulation):
    """What is deleted between two rounds is gone from the logs beside the files, too."""
    logs = []

    def deliver(party, wire):
        logs.append((simulation.home.aggregator / "jobs.sqlite-wal").exists())
        return simulation.deliver(party, wire)

    simulation.mail.deliver = deliver
    assert simulation.run(simulation.training()).status == "done"
    assert logs and not any(logs)


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
    (kept,) = (simulation.home.aggregator / "models").rglob("*.safetensors")
    assert kept.name == "round-0001.safetensors"  # what was committed before, and no more


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


def test_a_question_that_all_refuse_ends_with_their_reasons_and_reads_nothing(simulation):
    job = simulation.run(simulation.query("70", cohort=WAREHOUSES))
    assert job.status == "refused"
    assert [refusal["node"] for refusal in job.result["refusals"]] == list(WAREHOUSES)
    assert not simulation.mail.sent(Kind.QUERY_ENDORSE)
    assert not simulation.mail.replies(Kind.QUERY_COMMITTED)


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


GOOD = {"id": "NODE-001", "law": "l", "en": "e", "zh": "z"}
BAD_REFUSALS = {
    "a reason without an id": {"kind": "policy", "reasons": [{}]},
    "an id that is no token": {"kind": "policy", "reasons": [{**GOOD, "id": "not a token!"}]},
    "a reason without a text": {"kind": "policy", "reasons": [{"id": "NODE-001"}]},
    "no reasons": {"kind": "policy", "reasons": []},
    "reasons that are none": {"kind": "policy", "reasons": "NODE-001"},
    "a kind that is no token": {"kind": "x y", "reasons": [GOOD]},
    "a way out that is none": {"kind": "policy", "reasons": [GOOD], "fixes": [{}]},
    "more than anybody reads": {"kind": "policy", "reasons": [GOOD] * 1000},
    "nothing": {"fixes": 7, "nearest": None},
}


@pytest.mark.parametrize("refusal", BAD_REFUSALS.values(), ids=BAD_REFUSALS.keys())
def test_a_refusal_that_cannot_be_read_is_as_good_as_silence(simulation, refusal):
    body = {"fixes": [], "nearest": [], **refusal}
    desk = Desk(AGGREGATOR, simulation.key(AGGREGATOR), simulation.roster)

    def read(body):
        letter = Envelope(Kind.REFUSED, US, AGGREGATOR, "o", 0, body, {})
        return desk.read(Kind.OFFER, "o", 0, US, seal(letter, simulation.key(US)))

    assert isinstance(read(body), Silence)
    good = {"kind": "policy", "reasons": [GOOD], "fixes": [], "nearest": []}
    assert isinstance(read(good), Answer)


def test_a_run_goes_on_beside_a_refusal_that_cannot_be_read(simulation):
    order = simulation.training()
    change = resealed(simulation, US, kind=Kind.REFUSED, blobs={}, body=BAD_REFUSALS["nothing"])
    simulation.mail.tamper(Kind.OFFER, US, change)
    job = simulation.run(order)
    assert job.status == "done" and job.result["parties"] == [CN, EU, UK]


# -- witnesses ------------------------------------------------------------------------------------


def asked(simulation, since=0):
    """What each exchange consisted of: how many were asked what."""
    letters = iter(simulation.mail.letters)
    some = simulation.mail.exchanges
    return [Counter(parse(next(letters)).kind for _ in exchange) for exchange in some][since:]


def test_all_are_confirmed_in_the_exchanges_of_the_first_offer(simulation):
    others = len(simulation.roster.members) - 2 - len(WAREHOUSES)
    first, second = simulation.training(), simulation.training(seed=2)
    simulation.run(first)
    coordinator, so_far = simulation.coordinator(), len(asked(simulation))
    offer = {Kind.OFFER: 4, Kind.LEDGER_WITNESS: others}
    witness, round_ = {Kind.LEDGER_WITNESS: 4 + others}, {Kind.TRAIN_ROUND: 4}
    assert asked(simulation) == [
        offer,
        {Kind.LEDGER_SEEN: 4 + others},
        offer,
        witness,
        *[round_] * 3,
    ]
    simulation.put(second)
    coordinator.work(simulation.jobs.next())  # a new coordinator, and nodes that are sure
    assert asked(simulation, so_far) == [offer, witness, *[round_] * 3]
    for party in WAREHOUSES:
        assert len(vouching(simulation, party, first)) >= quorum(simulation.roster, party)


def vouching(simulation, party, order):
    """The witnesses that cosigned a head over the reservation of an order."""
    books = simulation.books(party)
    entries = books.entries()
    number = next(
        n for n, e in enumerate(entries) if e.kind is EntryKind.RESERVED and e.order == order.id
    )
    with sqlite3.connect(simulation.folder(party) / "books.sqlite") as db:
        rows = db.execute("SELECT DISTINCT witness FROM cosignatures WHERE size > ?", (number,))
        return {row[0] for row in rows}


def test_a_query_with_a_key_takes_four_exchanges(simulation):
    coordinator = simulation.coordinator()
    coordinator._making.refill()
    for order in (simulation.training(), simulation.query(cohort=(CN, EU, UK))):
        so_far = len(asked(simulation))
        simulation.put(order)
        coordinator.work(simulation.jobs.next())
    assert asked(simulation, so_far) == [
        {Kind.QUERY_COMMIT: 3},
        {Kind.QUERY_ENDORSE: 3, Kind.QUERY_BIND: 2, Kind.LEDGER_WITNESS: 6},
        {Kind.QUERY_REVEAL: 3, Kind.LEDGER_WITNESS: 8},
        {Kind.QUERY_OPEN: 2},
        {Kind.CLOSE: 6},
    ]
    assert simulation.job(order).result["exchanges"] == 4
    for letter in simulation.mail.sent(Kind.QUERY_OPEN):  # it says nothing of heads, so they wait
        assert "heads" not in letter.blobs


def test_a_silent_witness_is_waited_for_once_and_not_long(simulation):
    order = simulation.training()
    for kind in (Kind.LEDGER_WITNESS, Kind.LEDGER_SEEN):
        simulation.mail.drop(kind, SHOP)
    assert simulation.run(order).status == "done"
    simulation.coordinator().have_witnessed()
    waited = [exchange[SHOP] for exchange in simulation.mail.exchanges if SHOP in exchange]
    assert waited == [10, 10]  # once for the order, once when the table was empty
    assert simulation.notes(order, "silence") == []


def test_silent_witnesses_are_asked_again_while_they_are_needed(simulation):
    """Without them no quorum is there."""
    needed = quorum(simulation.roster, CN)
    others = [m.party for m in simulation.roster.with_role(*DATA_ROLES, Role.KEYHOLDER)]
    quiet = [party for party in others if party not in WAREHOUSES][-(len(others) - needed) :]
    for party in quiet:
        simulation.mail.drop(Kind.LEDGER_WITNESS, party)
        simulation.mail.drop(Kind.LEDGER_SEEN, party)
    assert simulation.run(simulation.training()).status == "abandoned"
    for party in quiet:
        assert sum(party in exchange for exchange in simulation.mail.exchanges) > 1
        assert all(exchange.get(party, 10) <= 10 for exchange in simulation.mail.exchanges)


def test_a_lying_witness_keeps_nobody_from_being_witnessed(simulation):
    order, roster = simulation.training(), simulation.roster
    names = [origin_of(roster.federation, member.party) for member in roster.members]

    def lie(wire):
        reply = parse(wire)
        said = unpack_cosigned(reply.blobs.get("cosigned", pack_cosigned({})))
        poison = pack_cosigned({note: dict.fromkeys(names, "x\n") for note in said})
        forged = dataclasses.replace(reply, blobs={**reply.blobs, "cosigned": poison})
        return seal(forged, simulation.key(KEYHOLDER))

    simulation.mail.tamper(Kind.LEDGER_WITNESS, KEYHOLDER, lie)
    assert simulation.run(order).status == "done"
    for party in WAREHOUSES:
        assert len(vouching(simulation, party, order)) >= quorum(roster, party)


def test_nobody_is_asked_when_nothing_has_ended(simulation):
    simulation.coordinator().have_witnessed()
    assert simulation.mail.letters == []
    simulation.run(simulation.training())
    coordinator, so_far = simulation.coordinator(), len(asked(simulation))
    coordinator.have_witnessed()
    assert len(asked(simulation, so_far)) == 3
    coordinator.have_witnessed()
    assert len(asked(simulation, so_far)) == 3
    letters = simulation.mail.sent(Kind.LEDGER_WITNESS)[-33:]
    collect, deliver = letters[:11], letters[22:]
    assert not any("heads" in letter.blobs for letter in [*collect, *deliver])


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


def test_a_job_that_ends_the_aggregator_time_and_again_blocks_nobody(simulation):
    bad, good = simulation.training(), simulation.training(seed=2)
    simulation.put(bad)
    simulation.put(good)
    for _ in range(3):
        simulation.mail.kill(Kind.OFFER, "before")
        assert killed(simulation.work)
    simulation.work()
    assert simulation.job(bad).status == "failed"
    assert "3 times" in simulation.job(bad).result["error"]
    assert simulation.job(good).status == "done"


def test_kills_with_a_step_between_them_end_no_job(simulation):
    order = simulation.training()
    simulation.put(order)
    for round_ in range(3):
        for moment in ("before", "after"):
            simulation.mail.kill(Kind.TRAIN_ROUND, moment, round_)
            assert killed(simulation.work)
    simulation.work()
    assert simulation.job(order).status == "done"


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


@pytest.mark.parametrize(
    "kind",
    [Kind.QUERY_COMMIT, Kind.QUERY_ENDORSE, Kind.QUERY_BIND, Kind.QUERY_REVEAL, Kind.QUERY_OPEN],
)
def test_a_query_survives_a_kill_after_any_exchange(simulation, kind):
    order = simulation.query(cohort=(CN, EU, UK))
    simulation.put(order)
    simulation.mail.kill(kind, "after")
    assert killed(simulation.work)
    so_far = len(simulation.mail.sent(Kind.QUERY_COMMIT))
    simulation.work()
    assert simulation.job(order).status == "done", simulation.job(order).result
    if kind is not Kind.QUERY_COMMIT:  # a step that is over is not asked for again
        assert len(simulation.mail.sent(Kind.QUERY_COMMIT)) == so_far
    said = simulation.mail.replies(Kind.QUERY_COMMITTED)
    assert len({frame.envelope.blobs["commitment"] for frame in said}) == 3
    for party in (CN, EU, UK):
        account = simulation.account(party, "orders")
        assert (account.releases, account.epsilon_pending) == (1, 0)
    replies = simulation.mail.replies(Kind.QUERY_OPENED)
    opened = {(frame.sender, frame.envelope.blobs["sealed"]) for frame in replies}
    assert len(opened) == len({sender for sender, _ in opened}) == 2  # each helped with one string


@pytest.mark.parametrize(
    ("part", "step", "answered"),
    [("_compute", "update", 0), ("_outbox", "keep", 0), ("_books", "settle", 1)],
)
def test_a_node_that_dies_in_mid_round_is_out_of_the_run(simulation, part, step, answered):
    """It cannot know what left since; so all of it counts as spent, and the others go on."""
    order = simulation.training()
    simulation.crash(CN, part[1:], step, "after")
    job = simulation.run(order)
    assert job.status == "done" and job.result["parties"] == [EU, UK, US]
    lost = [note["lost"] for note in simulation.notes(order, "round")]
    assert lost == [[CN] if round_ == answered else [] for round_ in range(3)]
    simulation.assert_charged(CN, EVENT, 3 + order.abandoned)
    for party in (EU, UK, US):
        simulation.assert_charged(party, EVENT, 3)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_node_that_was_restarted_in_mid_order_is_out_of_it(simulation, moment):
    order = simulation.training()
    simulation.put(order)
    simulation.mail.kill(Kind.TRAIN_ROUND, moment, 1)
    assert killed(simulation.work)
    simulation.restart(CN)
    simulation.work()
    job = simulation.job(order)
    assert job.status == "done"
    assert job.result["parties"] == [EU, UK, US]
    simulation.assert_charged(CN, EVENT, 3 + order.abandoned)
    for party in (EU, UK, US):
        simulation.assert_charged(party, EVENT, 3)


def test_a_query_goes_on_without_who_was_restarted_while_enough_are_left(simulation):
    order = simulation.query(cohort=WAREHOUSES)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    simulation.restart(CN)
    job = simulation.run(order)
    assert job.status == "done" and job.result["parties"] == [EU, UK, US]
    for party in WAREHOUSES:
        account = simulation.account(party, "orders")
        assert (account.releases, account.epsilon_pending) == (1, 0)


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
    assert path.parent.parent == simulation.home.aggregator / "models"
    return load_model(path)[0]
