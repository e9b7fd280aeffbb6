"""What of it all stands in the ledgers."""

import dataclasses

import pytest

from experiments.founding import AGGREGATOR
from federation.errors import FederationError
from federation.ledger import notes, witness
from federation.ledger.entries import EntryKind
from federation.ledger.notes import origin_of
from federation.ledger.store import reading
from federation.ledger.trust import Trust
from federation.ledger.witness import WitnessRequest
from federation.messages import Kind
from tests.simulator import (
    CN,
    EU,
    SHOP,
    UK,
    US,
    killed,
    recipe,
)


def kinds(entries, order):
    return [entry.kind for entry in entries if entry.order == order.id]


def test_a_node_writes_down_what_it_decided_and_what_left(simulation, order):
    assert simulation.run(order).status == "done"
    refused = simulation.training(seed=2, noise_multiplier=recipe().noise_multiplier / 8)
    assert simulation.run(refused).status == "refused"
    entries = simulation.books(CN).entries()
    found = kinds(entries, order)
    decided = [kind for kind in found if kind is not EntryKind.CROSSED]
    assert set(decided[:2]) == {EntryKind.RESERVED, EntryKind.APPROVED}
    assert found.count(EntryKind.SETTLED) == found.count(EntryKind.RELEASED) == 3
    assert found.count(EntryKind.CROSSED) >= 4
    for entry in entries:
        if entry.kind is EntryKind.CROSSED:
            assert (entry.body["origin"], entry.body["destination"]) == ("CN", "EU")
            assert entry.body["rule"] and entry.body["bytes"] > 100
    (no,) = [e for e in entries if e.order == refused.id and e.kind is EntryKind.REFUSED]
    assert no.body["kind"] == "policy" and "NODE-001" in no.body["reasons"]
    assert no.body["policy"] == simulation.node(CN)._judge.law.digest


def test_every_message_that_crossed_stands_in_the_ledger_of_its_sender(simulation, order):
    assert simulation.run(order).status == "done"
    written = [
        (e.body["kind"], e.body["bytes"])
        for e in simulation.books(CN).entries()
        if e.kind is EntryKind.CROSSED
    ]
    said = [(f.kind, len(f.wire)) for f in simulation.mail.said if f.sender == CN]
    assert written == said


def test_a_reply_that_cannot_be_written_down_does_not_leave(simulation, order):
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    node = simulation.node(CN)

    def full(*_):
        raise OSError("no space left on device")

    node._recorder._books.note = full
    with pytest.raises(OSError, match="no space"):
        node.answer(simulation.round(CN, order))


def test_a_node_writes_down_which_law_and_contracts_are_in_force(simulation):
    before = simulation.books(CN).entries() if simulation.node(CN) else []
    assert [e.kind for e in before][:2] == [EntryKind.JOINED, EntryKind.POLICY_CHANGED]
    contracts = {e.body["contract"] for e in before if e.kind is EntryKind.CONTRACT_CHANGED}
    assert contracts == {"demand", "orders"}
    simulation.restart(CN)
    same = [e for e in simulation.books(CN).entries() if e.kind is EntryKind.POLICY_CHANGED]
    assert len(same) == 1
    path = simulation.folder(CN) / "policy" / "node.cedar"
    path.write_text(path.read_text(encoding="utf-8") + "\n// stricter\n", encoding="utf-8")
    simulation.restart(CN)
    first, second = (
        e for e in simulation.books(CN).entries() if e.kind is EntryKind.POLICY_CHANGED
    )
    assert second.body["previous"] == first.body["policy"] != second.body["policy"]


def test_the_data_team_learns_how_many_declined_and_the_officer_who_and_why(simulation):
    path = simulation.folder(UK) / "policy" / "node.cedar"
    text = path.read_text(encoding="utf-8").replace('decimal("8.0")', 'decimal("0.1")')
    path.write_text(text, encoding="utf-8")
    order = simulation.training()
    job = simulation.run(order)
    assert job.status == "done" and job.result["parties"] == [CN, EU, US]
    (note,) = simulation.notes(order, "offered")
    assert (note["declined"], note["refusals"]) == (1, [])
    assert "NODE-001" not in str(simulation.jobs.notes(order.id)) + str(job.result)
    (own,) = [e for e in simulation.books(UK).entries() if e.kind is EntryKind.REFUSED]
    assert "NODE-001" in own.body["reasons"]
    record = simulation.coordinator()._record
    (no,) = [e for e in record.entries() if e.kind is EntryKind.REFUSED]
    assert no.order == order.id and no.body["reasons"] == [UK, "NODE-001"]


def test_the_aggregator_keeps_only_cosignatures_of_its_own_heads(simulation, order):
    assert simulation.run(order).status == "done"
    record = simulation.coordinator()._record
    origin = origin_of(simulation.roster.federation, AGGREGATOR)
    note = WitnessRequest.from_bytes(record.request()).note
    head = notes.read(note).checkpoint
    name = origin_of(simulation.roster.federation, EU)
    forged = notes.sign(dataclasses.replace(head, root=b"\1" * 32), simulation.key(EU))
    forged = forged.replace(f"— {origin}", f"— {name}")
    line = witness.cosign(forged, name, simulation.key(EU), int(simulation.now()))
    with pytest.raises(FederationError):
        record.keep(forged, {name: line})
    wrong = witness.cosign(note, name, simulation.key(UK), int(simulation.now()))
    record.keep(note, {name: wrong})
    with reading(record._log.engine) as connection:
        assert name not in record._log.cosigned(connection, head.size)
    record.keep(note, {name: witness.cosign(note, name, simulation.key(EU), 1)})
    with reading(record._log.engine) as connection:
        assert name in record._log.cosigned(connection, head.size)


def test_the_keys_of_all_ledgers_are_printed_when_a_federation_is_founded(simulation):
    text = (simulation.home.folder / "trust.txt").read_text(encoding="utf-8")
    assert Trust.parse(text) == Trust.of(simulation.roster)
    assert text.startswith("entrepot trust/1 simulated c=1\n")


def test_the_aggregator_writes_down_what_it_did_once(simulation, order):
    simulation.put(order)
    simulation.mail.kill(Kind.TRAIN_ROUND, "after", 2)
    assert killed(simulation.work)
    simulation.work()
    simulation.coordinator().have_witnessed()
    record = simulation.coordinator()._record
    assert kinds(record.entries(), order) == [EntryKind.PROPOSED, EntryKind.RELEASED]
    last = simulation.books(SHOP).last_seen(origin_of(simulation.roster.federation, AGGREGATOR))
    assert last is not None and last.size == 2
