"""A node spends nothing before its witnesses have spoken."""

import pytest

from experiments.founding import AGGREGATOR
from experiments.ordering import sign
from federation.messages import Kind
from federation.riding import pack
from policies.parties import PartyId
from tests.asked import Pool
from tests.simulator import (
    CN,
    EU,
    KEYHOLDER,
    SHOP,
    US,
    WAREHOUSES,
)
from tests.witnessing import ENOUGH, offered, spent, words


def test_a_node_that_has_just_started_asks_for_its_witnesses(simulation, order):
    reply = offered(simulation, order)
    assert reply.kind is Kind.LEDGER_UNSURE and reply.body["lacks"] == "seen"
    assert not reply.blobs  # nor does it sign a head that might be an old copy's
    assert spent(simulation) is None
    reply = offered(simulation, order, seen=words(simulation, *ENOUGH))
    assert reply.kind is Kind.ACCEPTED
    assert spent(simulation).epsilon_pending > 0


@pytest.mark.parametrize("kind", [Kind.OFFER, Kind.TRAIN_ROUND, Kind.QUERY_COMMIT])
def test_a_restarted_node_spends_nothing_unasked(simulation, order, kind):
    query, key = simulation.query(cohort=WAREHOUSES), Pool(simulation).made().package()
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    assert simulation.offer(CN, query).kind is Kind.ACCEPTED
    simulation.kill(CN)
    simulation.started(CN)
    held = spent(simulation)
    other = simulation.training(seed=2)
    letter = {
        Kind.OFFER: lambda: simulation.letter(
            Kind.OFFER, CN, other.id, order=sign(simulation.home, other)
        ),
        Kind.TRAIN_ROUND: lambda: simulation.round(CN, order),
        Kind.QUERY_COMMIT: lambda: simulation.letter(kind, CN, query.id, key=key.to_bytes()),
    }[kind]()
    assert simulation.read(simulation.started(CN).answer(letter)).kind is Kind.LEDGER_UNSURE
    assert spent(simulation) == held


def test_what_left_before_is_repeated_without_asking_anybody(simulation, order):
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    letter = simulation.round(CN, order)
    first = simulation.node(CN).answer(letter)
    simulation.kill(CN)
    assert simulation.started(CN).answer(letter) == first


def test_a_keyholder_that_has_just_started_asks_too(simulation):
    query = simulation.query(cohort=WAREHOUSES)
    letter = simulation.letter(
        Kind.QUERY_OPEN, KEYHOLDER, query.id, order=sign(simulation.home, query)
    )
    assert simulation.read(simulation.started(KEYHOLDER).answer(letter)).kind is Kind.LEDGER_UNSURE
    assert not (simulation.folder(KEYHOLDER) / "keys.sqlite").exists()


@pytest.mark.parametrize("besides", [(), (CN,), (AGGREGATOR,), (PartyId("analyst"),), (SHOP,)])
def test_fewer_than_a_quorum_is_not_enough_and_only_others_with_data_or_keys_count(
    simulation, order, besides
):
    reply = offered(simulation, order, seen=words(simulation, *ENOUGH[:-1], *besides))
    assert reply.kind is Kind.LEDGER_UNSURE
    assert spent(simulation) is None


def test_a_word_to_another_process_does_not_count(simulation, order):
    """Else the statements of yesterday would vouch for the copy of yesterday."""
    old = words(simulation, *ENOUGH)
    assert offered(simulation, order, seen=old).kind is Kind.ACCEPTED
    simulation.kill(CN)
    other = simulation.training(seed=2)
    assert offered(simulation, other, seen=old).kind is Kind.LEDGER_UNSURE
    assert offered(simulation, other, seen=words(simulation, *ENOUGH)).kind is Kind.ACCEPTED


@pytest.mark.parametrize("spoil", ["another's key", "another's nonce", "altered", "no word"])
def test_a_word_that_is_none_does_not_count(simulation, order, spoil):
    node = simulation.started(CN)
    good = {w: simulation.word(w, CN, node._witnessing.nonce) for w in ENOUGH}
    if spoil == "another's key":
        good[US] = good[US][:64].replace(good[US][:8], good[EU][:8]) + good[US][64:]
    elif spoil == "another's nonce":
        good[US] = simulation.word(US, CN, "0" * 32)
    elif spoil == "altered":
        assert b'"note":""' in good[US]
        good[US] = good[US].replace(b'"note":""', b'"note":"x"')
    else:
        good[US] = b"hello"
    assert offered(simulation, order, seen=pack(good)).kind is Kind.LEDGER_UNSURE
    assert node.ended is None
