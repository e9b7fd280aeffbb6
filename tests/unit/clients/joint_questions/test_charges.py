"""What a question says once and charges once."""

import sqlite3
import stat

import pytest

from clients.copies import Copies
from clients.ingestion import stamp_of
from clients.queries import preparing
from clients.queries.prepared import Prepared
from clients.settings import load_settings
from federation.joint_keys import unpack
from federation.messages import Kind
from secure_compute.errors import PeerProtocolError
from tests.asked import FOUR, HOLDERS, Joint, cosigned, federation, question
from tests.joint_questions import GONE, releases, state, width
from tests.simulator import CN


def test_any_two_of_three_keyholders_open_the_same_exact_sum(table, fixed):
    asked = table.answered()
    for party in HOLDERS:
        assert asked.open(party).kind is Kind.QUERY_OPENED
    expected = tuple(len(FOUR) * cell for cell in range(width(asked.order)))
    for pair in (HOLDERS[:2], HOLDERS[1:], HOLDERS[::2]):
        assert asked.answer(pair) == expected
    with pytest.raises(PeerProtocolError, match="a partial of piece"):
        asked.answer(HOLDERS[:1])


def test_an_answer_carries_the_noise_of_every_node(table):
    asked = table.answered()
    for party in HOLDERS[:2]:
        asked.open(party)
    first = asked.answer(HOLDERS[:2])
    again = table.answered()
    for party in HOLDERS[:2]:
        again.open(party)
    assert first != again.answer(HOLDERS[:2])


def test_a_node_answers_from_its_copy_once_there_is_one(table, monkeypatch, tmp_path):
    begun, answered, real = [], [], Prepared.rows
    kept = Copies(tmp_path, 1, lambda work: (work(), begun.append(work)), preparing.prepare)
    monkeypatch.setattr(table.simulation.node(CN), "_copies", kept)
    monkeypatch.setattr(Prepared, "rows", lambda *of: answered.append(of[0]) or real(*of))
    for copied in range(3):
        asked = table.offered()
        assert asked.commit(CN).kind is Kind.QUERY_COMMITTED
        asked.close(CN)
        assert (len(begun), len(answered)) == (1, copied)
    assert {copy.folder.parent for copy in answered} == {tmp_path / "prepared"}


def test_a_start_begins_the_copies(tmp_path, monkeypatch):
    simulation, seen = federation(tmp_path / "federation"), []
    monkeypatch.setattr(Copies, "of", lambda _, contract, *of: seen.append((contract.name, *of)))
    simulation.started(CN)
    settings = load_settings(simulation.folder(CN))
    tables = {name: settings.table(c) for name, c in settings.contracts().items()}
    assert seen == [(name, path, stamp_of(path)) for name, path in tables.items()]


def test_each_step_asked_again_gives_the_same_bytes_and_one_charge(table):
    asked, before = table.offered(), releases(table.simulation)
    for step in (asked.commit, asked.endorse, asked.reveal):
        first = {party: step(party).blobs for party in FOUR}
        for party in FOUR:
            again = step(party).blobs
            name = next(n for n in first[party] if n in {"commitment", "endorsement", "chunks"})
            assert again[name] == first[party][name]
    assert releases(table.simulation) == before + 1


def test_it_is_charged_when_the_ciphertexts_leave_and_not_before(table):
    asked, before = table.offered(), releases(table.simulation)
    for step in (asked.commit, asked.endorse):
        for party in FOUR:
            step(party)
    assert releases(table.simulation) == before
    assert asked.order.id in table.simulation.books(CN).open_orders()
    assert asked.reveal(CN).kind is Kind.QUERY_REVEALED
    assert releases(table.simulation) == before + 1
    assert asked.order.id not in table.simulation.books(CN).open_orders()


def test_what_was_never_revealed_is_given_back(table):
    asked, before = table.committed(), releases(table.simulation)
    assert asked.endorse(CN).kind is Kind.QUERY_ENDORSED
    assert asked.close(CN).kind is Kind.CLOSED
    assert releases(table.simulation) == before
    assert asked.order.id not in table.simulation.books(CN).open_orders()
    for party in FOUR[1:]:
        asked.endorse(party)
    assert asked.reveal(CN).kind is Kind.FAILED
    assert releases(table.simulation) == before


def test_one_letter_proposes_a_question_and_asks_for_its_commitment(table):
    asked = table.ask()
    reply = proposed(asked, CN)
    assert reply.kind is Kind.QUERY_COMMITTED and "head" in reply.blobs
    assert asked.order.id in table.simulation.books(CN).open_orders()
    again = proposed(asked, CN)
    assert again.blobs["commitment"] == reply.blobs["commitment"]


def test_what_a_node_refuses_it_does_not_commit_to(table, fixed):
    order, before = question(table.simulation, epsilon="70"), fixed.asked
    asked = Joint(table.simulation, order, table.package())
    reply = proposed(asked, CN)
    assert reply.kind is Kind.REFUSED and reply.body["reasons"]
    assert fixed.asked == before
    assert asked.order.id not in table.simulation.books(CN).open_orders()


def test_ciphertexts_wait_for_the_witnesses_of_the_reservation(table):
    asked, before = table.ask(), releases(table.simulation)
    heads = {}
    for party in FOUR:
        reply = proposed(asked, party)
        asked.commitments[party] = reply.blobs["commitment"]
        heads[party] = reply.blobs["head"]
    for party in FOUR:
        assert asked.endorse(party).kind is Kind.QUERY_ENDORSED
    reply = asked.reveal(CN)
    assert (reply.kind, reply.body["lacks"]) == (Kind.LEDGER_UNSURE, "witness")
    assert releases(table.simulation) == before
    cosigned(table.simulation, CN, heads[CN])
    assert asked.reveal(CN).kind is Kind.QUERY_REVEALED
    assert releases(table.simulation) == before + 1


def proposed(asked, party):
    return asked.ask(Kind.QUERY_COMMIT, party, order=asked._signed(), key=asked.package)


def test_what_is_on_disk_is_its_owners_alone_and_gone_when_the_query_is_over(table):
    asked = table.answered()
    (wire,) = unpack(asked.chunks[CN])
    folder = table.simulation.folder(CN)
    assert any(wire[:64] in path.read_bytes() for path in folder.glob(GONE))
    for path in folder.glob(GONE):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert asked.close(CN).kind is Kind.CLOSED
    with sqlite3.connect(folder / "answers.sqlite") as db:
        left = db.execute("SELECT count(*) FROM chunks WHERE query = ?", (asked.order.id,))
        assert left.fetchone() == (0,)
    assert asked.reveal(CN).kind is Kind.FAILED
    assert asked.endorse(CN).kind is Kind.FAILED
    assert state(table.simulation).answer(asked.order.id).revealed
