"""Kills and copies in the middle of a question."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from clients.errors import RefusedWorkError
from clients.judgement import Judge
from federation.joint_keys import unpack
from federation.messages import Kind
from secure_compute.threshold import ciphertext
from tests.asked import FOUR, HOLDERS
from tests.joint_questions import GONE, releases, state, twofold
from tests.simulator import CN, Killed, killed


def test_a_restart_before_the_list_signs_none_and_reveals_on_the_certified_one(table, fixed):
    asked = table.committed()
    table.simulation.restart(CN)
    for party in FOUR[1:]:
        asked.endorse(party)
    assert asked.endorse(CN).kind is Kind.FAILED  # the folder may have signed another list
    for party in FOUR:
        assert asked.reveal(party).kind is Kind.QUERY_REVEALED
    for party in HOLDERS[:2]:
        asked.open(party)
    assert asked.answer(HOLDERS[:2])[1] == len(FOUR)


def test_a_restart_between_list_and_revealing_goes_on(table):
    asked = table.committed()
    for party in FOUR:
        asked.endorse(party)
    for party in FOUR:
        table.simulation.restart(party)
    first = {party: asked.reveal(party).blobs["chunks"] for party in FOUR}
    for party in FOUR:
        table.simulation.restart(party)
        assert asked.reveal(party).blobs["chunks"] == first[party]
    assert asked.open(HOLDERS[0]).kind is Kind.QUERY_OPENED


def test_a_restart_after_the_commitment_repeats_it_and_makes_no_other(table):
    asked, before = table.offered(), releases(table.simulation)
    first = asked.commit(CN).blobs["commitment"]
    table.simulation.restart(CN)
    assert asked.commit(CN).blobs["commitment"] == first
    assert asked.commit(CN, table.package()).kind is Kind.FAILED
    assert releases(table.simulation) == before + 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_in_the_commitment_says_nothing_else_afterwards(table, moment):
    """Whatever is repeated is what was promised; what was open at the start is over and paid."""
    simulation, asked, before = table.simulation, table.offered(), releases(table.simulation)
    simulation.crash(CN, "outbox", "keep", moment)
    assert killed(lambda: asked.commit(CN))
    promised = state(simulation).answer(asked.order.id).commitment
    simulation.restart(CN)
    assert asked.commit(CN).blobs["commitment"] == promised.to_bytes()
    assert asked.order.id not in simulation.books(CN).open_orders()
    assert releases(simulation) == before + 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_in_the_revealing_is_paid_for_once_and_reveals_the_same(table, moment):
    simulation, asked, before = table.simulation, table.endorsed(), releases(table.simulation)
    simulation.crash(CN, "books", "settle", moment)
    assert killed(lambda: asked.reveal(CN))
    simulation.restart(CN)
    (wire,) = unpack(asked.reveal(CN).blobs["chunks"])
    (promised,) = state(simulation).answer(asked.order.id).commitment.chunks
    assert ciphertext.digest(wire, asked.question.digest, CN, 0) == promised
    assert releases(simulation) == before + 1


def test_what_the_law_refuses_by_now_is_not_revealed_or_charged(table, monkeypatch):
    asked, before = table.endorsed(), releases(table.simulation)

    def refuse(*_):
        raise RefusedWorkError("no longer permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Judge, "still", refuse)
        assert asked.reveal(CN).kind is Kind.FAILED
    assert releases(table.simulation) == before
    assert asked.reveal(CN).kind is Kind.QUERY_REVEALED


def put_aside(simulation, tmp_path, name="aside"):
    kept = tmp_path / name
    kept.mkdir()
    for path in simulation.folder(CN).glob(GONE):
        shutil.copy(path, kept)
    return kept


def put_back(simulation, kept, written_over=False):
    """written_over: into the files that a running process has open; else in their place."""
    for path in () if written_over else simulation.folder(CN).glob(GONE):
        path.unlink()
    for path in kept.iterdir():
        shutil.copy(path, simulation.folder(CN))


@pytest.mark.parametrize("written_over", [False, True])
@pytest.mark.parametrize(("restarted", "why"), [(False, "another list"), (True, "earlier process")])
def test_answers_put_back_sign_no_second_list(
    table, tmp_path, caplog, restarted, why, written_over
):
    asked = table.committed()
    kept = put_aside(table.simulation, tmp_path)
    assert asked.endorse(CN).kind is Kind.QUERY_ENDORSED
    put_back(table.simulation, kept, written_over)
    assert state(table.simulation).answer(asked.order.id).endorsed == ""
    if restarted:
        table.simulation.restart(CN)
    assert asked.endorse(CN, twofold(asked)).kind is Kind.FAILED
    assert why in caplog.text
    table.simulation.restart(CN)  # what it holds open lies in no folder any more


def test_answers_put_back_to_before_the_commitment_know_nothing(table, tmp_path):
    asked = table.offered()
    kept = put_aside(table.simulation, tmp_path)
    before = releases(table.simulation)
    for party in FOUR:
        asked.commit(party)
    table.simulation.kill(CN)
    put_back(table.simulation, kept)
    assert asked.commit(CN).blobs["commitment"] == asked.commitments[CN]  # as it was kept
    assert asked.endorse(CN).kind is Kind.FAILED
    assert asked.commit(CN, table.package()).kind is Kind.FAILED
    assert releases(table.simulation) == before + 1


def test_answers_that_the_books_do_not_know_are_not_revealed(table, monkeypatch):
    asked = table.committed()
    for party in FOUR:
        asked.endorse(party)
    books = table.simulation.node(CN)._books
    with monkeypatch.context() as patch:
        patch.setattr(books, "open_orders", list)
        assert asked.endorse(CN).kind is Kind.FAILED
        assert asked.reveal(CN).kind is Kind.FAILED
    assert asked.reveal(CN).kind is Kind.QUERY_REVEALED


def test_what_was_promised_is_on_disk_before_it_is_said(table, monkeypatch):
    from clients.answer_store import AnswerStore

    asked = table.committed()
    real = AnswerStore.change

    def dying(self, step):
        real(self, step)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(AnswerStore, "change", dying)
        assert killed(lambda: asked.endorse(CN))
    promised = state(table.simulation).answer(asked.order.id)
    assert (promised.endorsed, promised.revealed) == (asked.listed.digest, False)
    for party in FOUR[1:]:
        asked.endorse(party)
    with monkeypatch.context() as patch:
        patch.setattr(AnswerStore, "change", dying)
        assert killed(lambda: asked.reveal(CN))
    assert state(table.simulation).answer(asked.order.id).revealed


def test_an_answer_that_failed_leaves_no_log_beside_the_file(tmp_path):
    from clients.answer_store import AnswerStore

    def step(_):
        raise Killed

    asked = SimpleNamespace(question=SimpleNamespace(query="q"))
    with pytest.raises(Killed):
        AnswerStore(tmp_path / "answers.sqlite", "a").answer(asked, step)
    assert [path.name for path in tmp_path.iterdir()] == ["answers.sqlite"]


def test_an_expired_query_is_over(table):
    asked = table.committed()
    for party in FOUR:
        asked.endorse(party)
    judge = table.simulation.node(CN)._answers._judge
    later = replace(judge, now=lambda: float(asked.order.expires))
    table.simulation.node(CN)._answers._judge = later
    assert asked.reveal(CN).kind is Kind.FAILED
    table.simulation.node(CN)._answers._judge = judge
    assert asked.reveal(CN).kind is Kind.FAILED
