"""Nothing leaves unwitnessed."""

import pytest

from experiments.founding import AGGREGATOR
from experiments.ordering import sign
from federation.ledger import notes, witness
from federation.ledger.notes import origin_of
from federation.ledger.store import reading
from federation.ledger.witness import WitnessRequest
from federation.messages import Kind
from federation.riding import pack_cosigned
from policies.parties import PartyId
from tests.asked import Joint, Pool, question
from tests.simulator import (
    CN,
    EU,
    KEYHOLDERS,
    OTHER_SHOP,
    SHOP,
    UK,
    US,
)
from tests.witnessing import ENOUGH, offered, round_with


def test_a_release_waits_until_its_reservation_is_witnessed_by_a_quorum(
    simulation, order, accepted
):
    reply = round_with(simulation, order)
    assert reply.kind is Kind.LEDGER_UNSURE and reply.body["lacks"] == "witness"
    head = reply.blobs["head"]
    few = simulation.cosign(CN, head, ENOUGH[:-1])
    assert round_with(simulation, order, cosigned=few).kind is Kind.LEDGER_UNSURE
    relayed = simulation.cosign(CN, head, (AGGREGATOR,))
    assert round_with(simulation, order, cosigned=relayed).kind is Kind.LEDGER_UNSURE
    assert simulation.workshops[CN].rounds == [] and simulation.account(CN).releases == 0
    again = round_with(simulation, order, cosigned=simulation.cosign(CN, head, ENOUGH[-1:]))
    assert again.kind is Kind.TRAIN_UPDATE
    assert simulation.account(CN).releases == 1
    # The kept reply answers a letter with other parts, or none of them.
    assert round_with(simulation, order) == again


def test_a_partial_waits_too(simulation):
    """A commitment to it does not: nothing of it can be read, and nothing is charged."""
    cohort, package = (CN, EU, UK), Pool(simulation).made().package()
    asked = Joint(simulation, question(simulation, cohort), package.to_bytes(), cohort)
    for party in cohort:
        letter = {"order": sign(simulation.home, asked.order), "key": asked.package}
        reply = asked.ask(Kind.QUERY_COMMIT, party, **letter)
        asked.commitments[party] = reply.blobs["commitment"]
    for party in cohort:
        assert asked.endorse(party).kind is Kind.QUERY_ENDORSED
    reply = asked.reveal(CN)
    assert reply.kind is Kind.LEDGER_UNSURE and reply.body["lacks"] == "witness"
    assert simulation.account(CN, "orders").releases == 0


def cosigned_by(simulation, head, line_by, named):
    note = WitnessRequest.from_bytes(head).note
    name = origin_of(simulation.roster.federation, named)
    line = witness.cosign(note, name, simulation.key(line_by), int(simulation.now()))
    return pack_cosigned({note: {name: line}})


@pytest.mark.parametrize(
    ("line_by", "named"),
    [(CN, CN), (AGGREGATOR, EU), (EU, UK), (PartyId("analyst"), PartyId("analyst"))],
    ids=["itself", "the relay", "another", "nobody with a ledger"],
)
def test_a_forged_or_own_cosignature_is_none(simulation, order, accepted, line_by, named):
    others = (US, *KEYHOLDERS[:2], SHOP, OTHER_SHOP)
    node = simulation.node(CN)
    almost = simulation.cosign(CN, accepted, others)
    node.answer(simulation.letter(Kind.LEDGER_WITNESS, CN, "", cosigned=almost))
    blob = cosigned_by(simulation, accepted, line_by, named)
    assert round_with(simulation, order, cosigned=blob).kind is Kind.LEDGER_UNSURE
    blob = cosigned_by(simulation, accepted, EU, EU)
    assert round_with(simulation, order, cosigned=blob).kind is Kind.TRAIN_UPDATE


def test_a_line_under_another_name_keeps_nobodys_place(simulation, order, accepted):
    """A genuine line of UK under the name of EU would stand where EU's own belongs."""
    note = WitnessRequest.from_bytes(accepted).note
    names = {p: origin_of(simulation.roster.federation, p) for p in (EU, UK)}
    lines = {
        p: witness.cosign(note, names[p], simulation.key(p), int(simulation.now())) for p in names
    }
    books = simulation.books(CN)
    size = notes.read(note).checkpoint.size
    for wrong in (
        {names[EU]: lines[UK], names[UK]: "garbage"},
        {names[EU]: lines[UK] + lines[EU]},
        {names[EU]: lines[EU] + lines[EU]},
    ):
        blob = pack_cosigned({note: wrong})
        simulation.node(CN).answer(simulation.letter(Kind.LEDGER_WITNESS, CN, "", cosigned=blob))
        with reading(books._engine) as connection:
            assert books._log.cosigned(connection, size) == {}
    right = pack_cosigned({note: {names[p]: lines[p] for p in names}})
    simulation.node(CN).answer(simulation.letter(Kind.LEDGER_WITNESS, CN, "", cosigned=right))
    with reading(books._engine) as connection:
        assert books._log.cosigned(connection, size) == {names[p]: lines[p] for p in names}


def test_a_cosignature_from_before_the_reservation_covers_nothing(simulation, order):
    simulation.node(CN)
    early = simulation.node(CN)._witnessing.head()["head"]
    reply = offered(simulation, order)
    assert reply.kind is Kind.ACCEPTED
    blob = simulation.cosign(CN, early)
    assert round_with(simulation, order, cosigned=blob).kind is Kind.LEDGER_UNSURE


def test_a_cosignature_of_somebody_elses_head_covers_nothing(simulation, order, accepted):
    simulation.node(EU)
    blob = simulation.cosign(EU, simulation.node(EU)._witnessing.head()["head"], (UK, US))
    assert round_with(simulation, order, cosigned=blob).kind is Kind.LEDGER_UNSURE
