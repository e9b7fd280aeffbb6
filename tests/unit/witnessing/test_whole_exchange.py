"""Witnesses in whole runs and questions."""

import pytest

from federation.envelopes import parse
from federation.ledger.notes import origin_of
from federation.ledger.store import reading
from federation.ledger.witness import WitnessRequest
from federation.messages import Kind
from federation.riding import unpack, unpack_cosigned
from policies.parties import DATA_ROLES, Role
from tests.simulator import (
    CN,
    EU,
    SHOP,
    UK,
    US,
    WAREHOUSES,
    killed,
    recipe,
)

EVENT = recipe().event()


def test_every_release_of_a_run_is_witnessed_and_booked_in_the_end(simulation, order):
    assert simulation.run(order).status == "done"
    for party in WAREHOUSES:
        assert simulation.books(party).is_witnessed(order.id)
    simulation.coordinator().have_witnessed()
    for party in WAREHOUSES:
        assert simulation.books(party).booked(order.id)
    assert simulation.notes(order, "witnessed")


def test_a_run_and_a_query_cost_few_exchanges_more(simulation):
    for member in simulation.roster.with_role(*DATA_ROLES, Role.KEYHOLDER):
        simulation.node(member.party)
    simulation.coordinator()._making.refill()
    exchanges = []
    carry = type(simulation.mail).__call__

    def counted(mail, requests, timeout, sooner):
        exchanges.append({parse(wire).kind for wire in requests.values()})
        return carry(mail, requests, timeout, sooner)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(simulation.mail), "__call__", counted)
        assert simulation.run(simulation.training()).status == "done"
        assert exchanges == [
            {Kind.OFFER, Kind.LEDGER_WITNESS},
            {Kind.LEDGER_WITNESS},
            *[{Kind.TRAIN_ROUND}] * 3,
        ]
        exchanges.clear()
        assert simulation.run(simulation.query(cohort=WAREHOUSES)).status == "done"
        assert exchanges == [
            {Kind.QUERY_COMMIT, Kind.LEDGER_WITNESS},
            {Kind.QUERY_ENDORSE, Kind.QUERY_BIND, Kind.LEDGER_WITNESS},
            {Kind.QUERY_REVEAL, Kind.LEDGER_WITNESS},
            {Kind.QUERY_OPEN},
            {Kind.CLOSE},
        ]


def test_a_run_goes_on_without_a_node_that_restarted_in_the_middle(simulation):
    """Its order is over there, and paid whole: it cannot know what left before."""
    order = simulation.training()
    simulation.put(order)
    simulation.mail.kill(Kind.TRAIN_ROUND, "before", 1)
    assert killed(simulation.work)
    simulation.kill(CN)
    simulation.work()
    assert simulation.job(order).result["parties"] == [EU, UK, US]
    simulation.assert_charged(CN, EVENT, order.releases + order.abandoned)
    for party in (EU, UK, US):
        simulation.assert_charged(party, EVENT, 3)


def test_a_run_whose_aggregator_alone_died_goes_on_with_everybody(simulation):
    order = simulation.training()
    simulation.put(order)
    simulation.mail.kill(Kind.TRAIN_ROUND, "before", 1)
    assert killed(simulation.work)
    simulation.work()
    assert simulation.job(order).result["parties"] == list(WAREHOUSES)
    for party in WAREHOUSES:
        simulation.assert_charged(party, EVENT, 3)


@pytest.mark.parametrize("kind", [Kind.LEDGER_SEEN, Kind.LEDGER_WITNESS])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_coordinator_killed_among_the_witnesses_goes_on(simulation, kind, moment):
    training, query = simulation.training(), simulation.query(cohort=(CN, EU, UK))
    for order in (training, query):
        simulation.put(order)
        simulation.mail.kill(kind, moment)
        killed(simulation.work)
        simulation.work()
        assert simulation.job(order).status == "done"
    for party in WAREHOUSES:
        simulation.assert_charged(party, EVENT, 3)


def test_a_coordinator_killed_while_all_is_witnessed_does_it_again(simulation, order):
    assert simulation.run(order).status == "done"
    simulation.mail.kill(Kind.LEDGER_WITNESS, "after")
    assert killed(lambda: simulation.coordinator().have_witnessed())
    assert not simulation.notes(order, "witnessed")
    simulation.coordinator().have_witnessed()
    assert simulation.notes(order, "witnessed")
    letters = len(simulation.mail.letters)
    simulation.coordinator().have_witnessed()
    assert len(simulation.mail.letters) == letters  # nothing happened since


def test_a_run_without_any_witness_releases_nothing(simulation, order):
    for party in WAREHOUSES:
        simulation.node(party)
    simulation.mail.drop(Kind.LEDGER_WITNESS)
    job = simulation.run(order)
    assert job.status == "abandoned"
    for party in WAREHOUSES:
        simulation.assert_charged(party, EVENT, 0)


def test_a_witness_whose_cosignature_was_lost_catches_up(simulation, order):
    """The aggregator dies after the witnesses signed and before their lines are delivered."""
    assert simulation.run(order).status == "done"
    origin = origin_of(simulation.roster.federation, CN)
    last = simulation.books(SHOP).last_seen(origin)
    second = simulation.training(seed=2, rounds=6)
    simulation.put(second)
    simulation.mail.kill(Kind.LEDGER_WITNESS, "after")
    assert killed(simulation.work)
    simulation.work()  # of the lines that were under way it knows nothing
    assert simulation.job(second).status == "done"
    coordinator = simulation.coordinator()
    coordinator.have_witnessed()
    assert simulation.books(SHOP).last_seen(origin).size > last.size
    simulation.put(simulation.training(seed=3))
    coordinator.work(simulation.jobs.next())
    coordinator.have_witnessed()
    assert origin_of(simulation.roster.federation, SHOP) in cosigners(simulation, CN)


def cosigners(simulation, party):
    """Who has cosigned the greatest head of a party's ledger that anybody cosigned."""
    books = simulation.books(party)
    with reading(books._engine) as connection:
        for size in reversed(range(1, books.head().size + 1)):
            if found := books._log.cosigned(connection, size):
                return set(found)
    return set()


def test_heads_ride_in_rounds_one_round_behind(simulation, order):
    assert simulation.run(order).status == "done"
    second = [x for x in simulation.mail.sent(Kind.TRAIN_ROUND) if x.sequence == 1]
    for letter in second:
        assert set(unpack(letter.blobs["heads"])) >= set(WAREHOUSES) - {letter.recipient}
    by_party = {frame.sender: [] for frame in simulation.mail.replies(Kind.TRAIN_UPDATE)}
    for frame in simulation.mail.replies(Kind.TRAIN_UPDATE):
        request = WitnessRequest.from_bytes(frame.envelope.blobs["head"])
        by_party[frame.sender].append(request.note)
        if frame.envelope.sequence:
            assert unpack_cosigned(frame.envelope.blobs["cosigned"])
    assert all(len(set(notes)) == 3 for notes in by_party.values())
