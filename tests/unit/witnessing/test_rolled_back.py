"""A folder that was put back is found by what its witnesses saw."""

import shutil

import pytest

from clients.errors import BrokenBooksError
from clients.witnessing import AloneError
from experiments.founding import AGGREGATOR
from federation.envelopes import Envelope, parse, seal
from federation.errors import RolledBackError
from federation.messages import Kind
from federation.riding import pack, unpack
from tests.simulator import (
    CN,
    EU,
    KEYHOLDER,
    KEYHOLDERS,
    UK,
    US,
    killed,
)
from tests.witnessing import ENOUGH, offered, put_back, spent, words


def copy_of(simulation, party, tmp_path, name="copy"):
    simulation.kill(party)
    return shutil.copytree(simulation.folder(party), tmp_path / name)


def test_a_folder_that_was_put_back_spends_nothing(simulation, tmp_path):
    """Copy the folder, spend, restore the copy, start: the account is not full again."""
    assert simulation.run(simulation.training()).status == "done"
    copy = copy_of(simulation, CN, tmp_path)
    assert simulation.run(simulation.training(seed=2)).status == "done"
    put_back(simulation, CN, copy)
    held = simulation.account(CN)
    order = simulation.training(seed=3)
    job = simulation.run(order)
    assert job.status == "done" and job.result["parties"] == [EU, UK, US]
    assert simulation.account(CN) == held
    assert isinstance(simulation.started(CN).ended, RolledBackError)
    # And it stays so, whatever it is asked.
    assert offered(simulation, simulation.training(seed=4)).kind is Kind.FAILED


def test_a_folder_that_was_put_back_and_went_on_elsewhere_spends_nothing(simulation, tmp_path):
    assert simulation.run(simulation.training()).status == "done"
    copy = copy_of(simulation, CN, tmp_path)
    assert simulation.run(simulation.training(seed=2)).status == "done"
    size = simulation.books(CN).head().size
    put_back(simulation, CN, copy)
    books = simulation.books(CN)
    books.note(*[books.entries()[0]] * (size - books.head().size + 5))
    reply = offered(simulation, simulation.training(seed=3), seen=introductions(simulation, CN))
    assert reply.kind is Kind.FAILED
    assert isinstance(simulation.started(CN).ended, RolledBackError)


@pytest.mark.parametrize("remember", [1, 8])
def test_one_witness_who_saw_more_is_enough_to_find_a_shorter_ledger(
    simulation, tmp_path, remember
):
    """However many saw less, or forgot what they saw: the words ride in the offer alone."""
    copy = copy_of(simulation, CN, tmp_path)
    assert simulation.run(simulation.training()).status == "done"
    put_back(simulation, CN, copy)
    forgotten = unpack(words(simulation, *ENOUGH))
    really = dict([*unpack(introductions(simulation, CN)).items()][-remember:])
    reply = offered(simulation, simulation.training(seed=3), seen=pack({**forgotten, **really}))
    assert reply.kind is Kind.FAILED
    assert isinstance(simulation.started(CN).ended, RolledBackError)


def introductions(simulation, party):
    """What all others really saw last of a party's ledger."""
    node, said = simulation.started(party), {}
    for member in simulation.roster.members:
        if member.party not in {party, AGGREGATOR, simulation.home.analyst}:
            body = {"about": {party: node._witnessing.nonce}}
            letter = Envelope(Kind.LEDGER_SEEN, AGGREGATOR, member.party, "", 0, body)
            wire = seal(letter, simulation.key(AGGREGATOR))
            reply = simulation.read(simulation.started(member.party).answer(wire))
            said[member.party] = unpack(reply.blobs["seen"])[party]
    return pack(said)


def test_a_keyholder_that_was_put_back_opens_nothing(simulation, tmp_path):
    """One list per query, also for whoever restores the keys of yesterday."""
    first = simulation.query(cohort=(CN, EU, UK))
    simulation.put(first)
    simulation.mail.kill(Kind.QUERY_OPEN, "before")
    assert killed(simulation.work)
    copy = shutil.copytree(simulation.folder(KEYHOLDER), tmp_path / "copy")
    simulation.work()
    assert simulation.job(first).status == "done"
    simulation.coordinator().have_witnessed()
    put_back(simulation, KEYHOLDER, copy)
    second = simulation.query(
        cohort=(CN, EU, UK), sql="SELECT category, COUNT(*) FROM orders GROUP BY category"
    )
    job = simulation.run(second)
    assert job.status == "done"  # the two others open it
    opened = [parse(frame.wire) for frame in simulation.mail.replies(Kind.QUERY_OPENED)]
    assert {reply.sender for reply in opened if reply.order == second.id} == set(KEYHOLDERS[1:])
    assert isinstance(simulation.started(KEYHOLDER).ended, RolledBackError)
    ask = next(w for w in simulation.mail.letters if parse(w).kind is Kind.QUERY_OPEN)
    assert simulation.read(simulation.started(KEYHOLDER).answer(ask)).kind is Kind.FAILED


def test_books_that_contradict_their_log_do_not_start(simulation, order):
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    simulation.kill(CN)
    import sqlite3

    with sqlite3.connect(simulation.folder(CN) / "books.sqlite") as db:
        db.execute("DROP TRIGGER reservations_delete")
        db.execute("DELETE FROM reservations")
    with pytest.raises(BrokenBooksError):
        simulation.started(CN)


def test_a_node_without_witnesses_for_ten_minutes_gives_up(simulation, order):
    lone = lambda: offered(simulation, order, seen=words(simulation, EU))  # noqa: E731
    for _ in range(3):
        assert lone().kind is Kind.LEDGER_UNSURE
        simulation.later += 280
    assert lone().kind is Kind.FAILED
    assert isinstance(simulation.started(CN).ended, AloneError)
    assert spent(simulation) is None


def test_a_node_that_nobody_brings_a_word_gives_up_too(simulation, order):
    for _ in range(3):
        assert offered(simulation, order).kind is Kind.LEDGER_UNSURE
        simulation.later += 280
    assert offered(simulation, order).kind is Kind.FAILED
    assert isinstance(simulation.started(CN).ended, AloneError)


def test_being_alone_for_a_while_is_forgiven(simulation, order):
    assert offered(simulation, order, seen=words(simulation, EU)).kind is Kind.LEDGER_UNSURE
    simulation.later += 590
    assert offered(simulation, order, seen=words(simulation, *ENOUGH)).kind is Kind.ACCEPTED


def test_time_in_which_nobody_asked_is_no_time_alone(simulation, order):
    for _ in range(4):
        assert offered(simulation, order, seen=words(simulation, EU)).kind is Kind.LEDGER_UNSURE
        simulation.later += 900
