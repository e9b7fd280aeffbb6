"""No raw row crosses a border: every outbound byte is searched, and a planted leak is found."""

import json
import struct

import pandas as pd
import pytest

from clients.node import Reply
from experiments.canaries import search
from experiments.needles import load_canaries
from experiments.ordering import Terms, training_order
from federation.ledger import notes
from federation.ledger.merkle import verify_consistency
from federation.ledger.notes import NamedKey, origin_of
from federation.ledger.witness import WitnessRequest, cosign, open_cosignature
from federation.messages import Kind
from federation.riding import pack_cosigned, unpack_cosigned
from federation.tasks import TrainingTask
from policies.parties import PartyId
from tests.simulator import WAREHOUSES, Simulation, fraud_recipe

SHOP = PartyId("merchant-br")


@pytest.fixture
def simulation(tmp_path, commerce):
    """A federation that holds the generated commerce, canaries and all."""
    return Simulation(tmp_path / "federation", orders=commerce.orders)


@pytest.fixture
def canaries(commerce):
    return load_canaries(commerce.truth / "canaries.json")


def fraud_order(simulation, rounds=2):
    task = TrainingTask("fraud", 3, 0, fraud_recipe(rounds=rounds))
    return training_order(simulation.home, task, Terms(purpose="fraud_prevention"))


def test_the_canaries_lie_in_the_rows_that_are_read(simulation, canaries):
    """Else not finding them would say nothing."""
    for party in (SHOP, *WAREHOUSES):
        rows = pd.read_parquet(simulation.folder(party) / "data" / "orders.parquet")
        planted = {int(canary.record) for canary in canaries if canary.party == party}
        assert len(planted) == 20 and planted <= set(rows["order_id"])


def test_no_row_leaves_in_training_or_queries(simulation, canaries):
    assert simulation.run(fraud_order(simulation)).status == "done"
    assert simulation.run(simulation.training()).status == "done"
    question = simulation.query()
    assert len(question.cohort) == 8
    assert simulation.run(question).status == "done"
    refused = simulation.query("0.6")
    assert simulation.run(refused).status == "refused"
    said = simulation.mail.said
    assert {frame.envelope.kind for frame in said} == {
        Kind.ACCEPTED,
        Kind.REFUSED,
        Kind.CLOSED,
        Kind.TRAIN_UPDATE,
        *(Kind.KEYS_JOINED, Kind.KEYS_DEALT, Kind.KEYS_COMMITTED, Kind.KEYS_SHOWN),
        *(Kind.QUERY_COMMITTED, Kind.QUERY_ENDORSED, Kind.QUERY_REVEALED),
        *(Kind.QUERY_BOUND, Kind.QUERY_OPENED),
        Kind.LEDGER_UNSURE,
        Kind.LEDGER_HEADS,
        Kind.LEDGER_COSIGNED,
    }
    found = search(said, canaries)
    assert found.canaries == 20 * 8 and found.frames == len(said) and found.foreign == 0
    assert found.found == ()
    assert found.chance < 1e-2


def test_updates_say_nothing_but_their_numbers(simulation):
    """No row count, batch size or metric: one blob of a fixed size, and words of the ledgers.

    Those have one spelling each and no room for anything else: a signed head with proofs, hashes
    all of them, and cosignatures of heads that others have shown.
    """
    simulation.run(fraud_order(simulation))
    updates = simulation.mail.replies(Kind.TRAIN_UPDATE)
    assert len(updates) == 8
    size = 4 * fraud_recipe().model.dimension
    for frame in updates:
        assert frame.envelope.body == {}
        blobs = dict(frame.envelope.blobs)
        assert len(blobs.pop("update")) == size
        assert set(blobs) <= {"head", "cosigned"} and "head" in blobs
        assert_a_head(simulation, frame.sender, blobs["head"])
        assert_cosignatures(simulation, frame.sender, blobs.get("cosigned", b"{}"))


def assert_a_head(simulation, party, blob):
    request = WitnessRequest.from_bytes(blob)
    assert request.to_bytes() == blob
    origin = origin_of(simulation.roster.federation, party)
    key = NamedKey(origin, simulation.roster.find(party).identity)
    head = notes.open_note(request.note, key)
    books = simulation.books(party)
    assert request.note == notes.sign(head, simulation.key(party))
    assert head.root == books.root_at(head.size)
    for old, proof in request.proofs.items():
        verify_consistency(old, head.size, proof, books.root_at(old), head.root)


def assert_cosignatures(simulation, party, blob):
    cosigned = unpack_cosigned(blob)
    assert pack_cosigned(cosigned) == blob
    name = origin_of(simulation.roster.federation, party)
    for note, lines in cosigned.items():
        (line,) = lines.values()
        at = open_cosignature(note, line, name, simulation.roster.find(party).identity)
        assert line == cosign(note, name, simulation.key(party), at)


def test_what_the_ledgers_say_of_a_node_does_not_depend_on_its_rows(tmp_path):
    """The same entries, the same sizes, whatever the rows are."""
    said = []
    for name, grown in (("few", 1), ("many", 3)):
        simulation = Simulation(tmp_path / name)
        for party in WAREHOUSES:
            path = simulation.folder(party) / "data" / "demand.parquet"
            rows = pd.read_parquet(path)
            more = [rows.assign(retailer=rows["retailer"] + str(n)) for n in range(grown)]
            pd.concat(more).to_parquet(path)
        assert simulation.run(simulation.training()).status == "done"
        said.append(
            [
                (frame.sender, frame.kind, {k: len(v) for k, v in frame.envelope.blobs.items()})
                for frame in simulation.mail.said
            ]
        )
    assert said[0] == said[1]


def raw(canary):
    return struct.pack("<qdq", int(canary.record), canary.amount, canary.time)


def floats(canary):
    return struct.pack("<3f", int(canary.record), canary.amount, canary.time / 1e6)


def text(canary):
    return json.dumps([canary.record, canary.amount, canary.time_text]).encode()


@pytest.mark.parametrize("spell", [raw, floats, text])
def test_a_row_inside_an_update_is_found(simulation, canaries, spell):
    """One node puts one row into the numbers of its update, which keeps its size."""
    canary = next(canary for canary in canaries if canary.party == SHOP)
    simulation.node(SHOP)
    workshop = simulation.workshops[SHOP]
    honest = workshop.update

    def sabotaged(job, round_, weights):
        update = honest(job, round_, weights)
        row = spell(canary) if round_ == 0 else b""
        return row + update[len(row) :]

    workshop.update = sabotaged
    simulation.run(fraud_order(simulation))
    assert search(simulation.mail.said, canaries).found == (canary.name,)


def test_a_row_inside_a_body_is_found(simulation, canaries):
    canary = next(canary for canary in canaries if canary.party == SHOP)
    node = simulation.node(SHOP)
    honest = node._update

    def sabotaged(signed, round_, weights):
        reply = honest(signed, round_, weights)
        return Reply(reply.kind, {"example": text(canary).decode()}, reply.blobs)

    node._update = sabotaged
    simulation.run(fraud_order(simulation, rounds=1))
    assert search(simulation.mail.said, canaries).found == (canary.name,)


def test_a_row_in_the_text_of_an_exception_stays_at_home(simulation, canaries):
    canary = next(canary for canary in canaries if canary.party == SHOP)
    simulation.node(SHOP)
    for error in (ValueError, KeyError, RuntimeError):

        def broken(*_, error=error):
            raise error(text(canary).decode())

        simulation.workshops[SHOP].update = broken
        order = fraud_order(simulation, rounds=1)
        simulation.run(order)
        assert {note["party"] for note in simulation.notes(order, "silence")} == {SHOP}
    assert search(simulation.mail.said, canaries).found == ()
    table = simulation.home.jobs.read_bytes()
    assert canary.record.encode() not in table
