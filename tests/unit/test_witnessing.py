"""A node among its witnesses: what it needs before it spends, and what it says of others."""

import dataclasses
import shutil
import threading
from contextlib import suppress

import pytest

from clients.errors import BrokenBooksError
from clients.witnessing import AloneError
from experiments.founding import AGGREGATOR
from experiments.ordering import sign
from federation.envelopes import Envelope, parse, seal
from federation.errors import FederationError, RolledBackError
from federation.ledger import notes, witness
from federation.ledger.entries import EntryKind
from federation.ledger.notes import origin_of
from federation.ledger.store import reading
from federation.ledger.trust import Trust
from federation.ledger.witness import WitnessRequest
from federation.messages import Kind
from federation.riding import pack, pack_cosigned, unpack, unpack_cosigned
from policies.parties import DATA_ROLES, PartyId, Role
from tests.asked import Joint, Pool, question
from tests.simulator import (
    CN,
    EU,
    KEYHOLDER,
    KEYHOLDERS,
    OTHER_SHOP,
    SHOP,
    UK,
    US,
    WAREHOUSES,
    killed,
    recipe,
)

EVENT = recipe().event()
ENOUGH = (EU, US, KEYHOLDER, SHOP, OTHER_SHOP, KEYHOLDERS[1])
"""A quorum of the ten other organisations that witness a warehouse."""
DAY, YEAR = 86400.0, 365 * 86400.0


@pytest.fixture
def order(simulation):
    return simulation.training()


def offered(simulation, order, party=CN, **blobs):
    """What a node that has just come up answers to an offer."""
    wire = sign(simulation.home, order)
    letter = simulation.letter(Kind.OFFER, party, order.id, order=wire, **blobs)
    return simulation.read(simulation.started(party).answer(letter))


def words(simulation, *witnesses, about=CN, nonce=None, **said):
    """The blob with what witnesses last saw of a party's ledger."""
    nonce = nonce or simulation.started(about)._witnessing.nonce
    return pack({w: simulation.word(w, about, nonce, **said) for w in witnesses})


def spent(simulation, party=CN):
    return simulation.account(party)


# -- nothing before witnesses have spoken ---------------------------------------------------------


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


# -- rolled back ----------------------------------------------------------------------------------


def copy_of(simulation, party, tmp_path, name="copy"):
    simulation.kill(party)
    return shutil.copytree(simulation.folder(party), tmp_path / name)


def put_back(simulation, party, copy):
    simulation.kill(party)
    folder = simulation.home.node(party)
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)


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


# -- the clock ------------------------------------------------------------------------------------


@pytest.mark.parametrize("leap", [DAY, -DAY, 5 * YEAR, -5 * YEAR, 310, -310])
def test_a_clock_that_leaps_stops_spending(simulation, leap):
    assert simulation.offer(CN, simulation.training()).kind is Kind.ACCEPTED
    held = simulation.account(CN)
    simulation.wrong[CN] = leap
    order = simulation.training(seed=2)
    assert offered(simulation, order).kind is Kind.LEDGER_UNSURE
    reply = offered(simulation, order, seen=words(simulation, *ENOUGH))
    assert reply.kind is Kind.REFUSED and reply.body["kind"] == "clock"
    (reason,) = reply.body["reasons"]
    assert reason["id"] == "CLOCK-001" and reason["en"] and reason["zh"]
    assert simulation.account(CN) == held
    # Nor do orders come back to life, or windows open: the order is refused for the clock alone.
    simulation.wrong[CN] = 0
    reply = offered(simulation, order, seen=words(simulation, *ENOUGH))
    assert reply.kind is Kind.ACCEPTED


@pytest.mark.parametrize("leap", [DAY, -DAY, 5 * YEAR, -5 * YEAR])
def test_a_clock_that_was_set_while_the_node_was_down_stops_spending(simulation, leap):
    assert simulation.offer(CN, simulation.training()).kind is Kind.ACCEPTED
    simulation.kill(CN)
    simulation.wrong[CN] = leap
    order = simulation.training(seed=2)
    reply = offered(simulation, order, seen=words(simulation, *ENOUGH))
    assert reply.kind is Kind.REFUSED and reply.body["reasons"][0]["id"] == "CLOCK-001"


@pytest.mark.parametrize("leap", [200, -200])
def test_a_clock_that_is_a_little_off_is_none_that_leapt(simulation, leap):
    assert simulation.offer(CN, simulation.training()).kind is Kind.ACCEPTED
    simulation.wrong[CN] = leap
    assert offered(simulation, simulation.training(seed=2)).kind is Kind.ACCEPTED


def test_time_never_goes_back_behind_what_was_witnessed(simulation):
    before = int(simulation.now())  # witnesses name whole seconds
    node = simulation.node(CN)
    simulation.wrong[CN] = -DAY
    assert node._judge.now() >= before
    simulation.kill(CN)
    assert simulation.started(CN)._judge.now() >= before


def test_all_clocks_set_back_together_stop_spending(simulation):
    """The witnesses agree; what was witnessed before does not."""
    assert simulation.offer(CN, simulation.training()).kind is Kind.ACCEPTED
    simulation.kill(CN)
    simulation.later = -DAY
    reply = offered(simulation, simulation.training(seed=2), seen=words(simulation, *ENOUGH))
    assert reply.kind is Kind.REFUSED and reply.body["reasons"][0]["id"] == "CLOCK-001"


def test_a_round_is_not_worked_on_while_the_clock_is_in_doubt(simulation, order):
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    simulation.wrong[CN] = -DAY
    node = simulation.node(CN)
    assert simulation.read(node.answer(simulation.round(CN, order))).kind is Kind.LEDGER_UNSURE
    assert simulation.workshops[CN].rounds == []


def test_a_cosignature_of_another_time_makes_a_node_ask_again(simulation, order):
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    request = simulation.node(CN)._witnessing.head()["head"]
    simulation.later += 2 * 3600  # the witnesses' time, and this node's too
    late = simulation.cosign(CN, request)
    simulation.later -= 2 * 3600
    simulation.node(CN).answer(simulation.letter(Kind.LEDGER_WITNESS, CN, "", cosigned=late))
    other = simulation.training(seed=2)
    assert offered(simulation, other).kind is Kind.LEDGER_UNSURE
    assert offered(simulation, other, seen=words(simulation, *ENOUGH)).kind is Kind.ACCEPTED


@pytest.mark.parametrize("liars", [1, 2])
def test_one_wrong_clock_stops_nobody_and_two_do(simulation, order, liars):
    """In their words and in their cosignatures."""
    words_of = dict.fromkeys((EU, US, KEYHOLDER, SHOP, OTHER_SHOP, UK))
    node = simulation.started(CN)
    for number, witness_ in enumerate(words_of):
        simulation.later = 360 if number < liars else 0
        words_of[witness_] = simulation.word(witness_, CN, node._witnessing.nonce)
    simulation.later = 0
    reply = offered(simulation, order, seen=pack(words_of))
    assert reply.kind is (Kind.ACCEPTED if liars == 1 else Kind.REFUSED)
    if liars == 2:
        assert offered(simulation, order, seen=words(simulation, *ENOUGH)).kind is Kind.ACCEPTED
    head = node._witnessing.head()["head"]
    simulation.later = 360
    for liar in ENOUGH[:liars]:
        late = simulation.cosign(CN, head, (liar,))
        simulation.later = 0
        node.answer(simulation.letter(Kind.LEDGER_WITNESS, CN, "", cosigned=late))
        simulation.later = 360
    simulation.later = 0
    assert node._witnessing._is_sure() == (liars == 1)
    assert node._judge.now() < simulation.now() + 300


def test_a_word_to_a_clock_that_was_right_does_not_vouch_for_one_that_leapt(simulation):
    """Statements of an hour ago, shown again to a clock that was set an hour back."""
    old = words(simulation, *ENOUGH)
    first, second = simulation.training(), simulation.training(seed=2)
    assert offered(simulation, first, seen=old).kind is Kind.ACCEPTED
    simulation.later += 3600
    simulation.wrong[CN] = -3600
    assert offered(simulation, second).kind is Kind.LEDGER_UNSURE
    assert offered(simulation, second, seen=old).kind is Kind.LEDGER_UNSURE


# -- nothing leaves unwitnessed -------------------------------------------------------------------


@pytest.fixture
def accepted(simulation, order):
    """An order that a node accepted, and the head that it wants cosigned."""
    reply = offered(simulation, order, seen=words(simulation, *ENOUGH))
    assert reply.kind is Kind.ACCEPTED
    return reply.blobs["head"]


def round_with(simulation, order, **blobs):
    weights = parse(simulation.round(CN, order)).blobs["weights"]
    letter = simulation.letter(Kind.TRAIN_ROUND, CN, order.id, 0, weights=weights, **blobs)
    return simulation.read(simulation.started(CN).answer(letter))


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


# -- as a witness of others -----------------------------------------------------------------------


def shown(simulation, head, owner=CN, to=EU):
    """What a witness says to a head: its line, or None."""
    letter = simulation.letter(Kind.LEDGER_WITNESS, to, "", heads=pack({owner: head}))
    reply = simulation.read(simulation.node(to).answer(letter))
    assert reply.kind is Kind.LEDGER_COSIGNED
    said = unpack_cosigned(reply.blobs["cosigned"]) if "cosigned" in reply.blobs else {}
    return said.get(WitnessRequest.from_bytes(head).note)


def test_a_witness_cosigns_what_continues_what_it_saw_last(simulation, order, accepted):
    lines = shown(simulation, accepted)
    note = WitnessRequest.from_bytes(accepted).note
    name = origin_of(simulation.roster.federation, EU)
    key = simulation.roster.find(EU).identity
    assert witness.open_cosignature(note, lines[name], name, key) <= simulation.now()
    (entry,) = [e for e in simulation.books(EU).entries() if e.kind is EntryKind.CHECKPOINT_SEEN]
    assert entry.body["origin"] == origin_of(simulation.roster.federation, CN)
    round_with(simulation, order, cosigned=pack_cosigned({note: lines}))
    rest = simulation.cosign(CN, accepted, (US, *KEYHOLDERS[:2], SHOP, OTHER_SHOP))
    assert round_with(simulation, order, cosigned=rest).kind is Kind.TRAIN_UPDATE
    later = simulation.node(CN)._witnessing.head()["head"]
    assert shown(simulation, later) is not None
    assert shown(simulation, accepted) is None  # an older head than it has seen


def test_a_witness_does_not_cosign_without_a_proof_from_what_it_saw(simulation, order, accepted):
    assert shown(simulation, accepted) is not None
    simulation.books(CN).note(simulation.books(CN).entries()[0])
    later = WitnessRequest.from_bytes(simulation.node(CN)._witnessing.head()["head"])
    bare = dataclasses.replace(later, proofs={})
    assert shown(simulation, bare.to_bytes()) is None
    assert shown(simulation, later.to_bytes()) is not None


def test_two_heads_of_one_size_are_not_both_cosigned(simulation, tmp_path, order, accepted):
    assert shown(simulation, accepted) is not None
    books = simulation.books(CN)
    simulation.kill(CN)
    fork = shutil.copytree(simulation.folder(CN), tmp_path / "fork")
    books.note(books.entries()[0])
    one = books.request().to_bytes()
    assert shown(simulation, one) is not None
    put_back(simulation, CN, fork)
    other = simulation.books(CN)
    other.note(other.entries()[1])
    two = other.request().to_bytes()
    assert simulation.books(CN).head().size == books.head().size
    assert shown(simulation, two) is None


def test_a_head_that_comes_late_or_is_none_fails_no_letter(simulation, order, accepted):
    later = simulation.node(CN)._witnessing
    books = simulation.books(CN)
    books.note(books.entries()[0])
    newer = later.head()["head"]
    assert shown(simulation, newer) is not None
    good = WitnessRequest.from_bytes(simulation.node(UK)._witnessing.head()["head"])
    heads = {CN: accepted, UK: good.to_bytes(), US: b"garbage", PartyId("nobody"): accepted}
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack(heads))
    reply = simulation.read(simulation.node(EU).answer(letter))
    assert reply.kind is Kind.LEDGER_COSIGNED
    assert set(unpack_cosigned(reply.blobs["cosigned"])) == {good.note}
    assert "forked" not in reply.blobs  # it came late, and that is all


def fork(simulation, tmp_path):
    """A ledger that was put back and continued otherwise: a prefix and two continuations of it."""
    simulation.node(CN)
    prefix = simulation.books(CN).request().to_bytes()
    copy = shutil.copytree(simulation.folder(CN), tmp_path / "prefix")
    books = simulation.books(CN)
    books.note(*[books.entries()[0]] * 3)
    one = books.request().to_bytes()
    put_back(simulation, CN, copy)
    books = simulation.books(CN)
    books.note(*[books.entries()[1]] * 7)
    return prefix, one, books.request().to_bytes()


def test_two_continuations_at_the_same_moment_are_not_both_cosigned(simulation, tmp_path):
    """Both letters look at what was seen last before either has written anything down."""
    prefix, *forks = fork(simulation, tmp_path)
    assert shown(simulation, prefix) is not None
    node, started, said = simulation.node(EU), threading.Barrier(2), {}
    real = witness.examine

    def slowly(*arguments):
        found = real(*arguments)
        with suppress(threading.BrokenBarrierError):
            started.wait(1)
        return found

    def show(head):
        letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({CN: head}))
        said[head] = simulation.read(node.answer(letter))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witness, "examine", slowly)
        threads = [threading.Thread(target=show, args=(head,)) for head in forks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [reply.kind for reply in said.values()] == [Kind.LEDGER_COSIGNED] * 2
    assert sum("cosigned" in reply.blobs for reply in said.values()) == 1


def test_a_log_that_forked_is_shown_what_it_signed_and_ends(simulation, tmp_path):
    prefix, one, two = fork(simulation, tmp_path)
    assert shown(simulation, one) is not None
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({CN: two}))
    reply = simulation.read(simulation.node(EU).answer(letter))
    size = notes.read(WitnessRequest.from_bytes(one).note).checkpoint.size
    assert reply.body["missing"] == {CN: size} and not {"cosigned", "forked"} & set(reply.blobs)
    proven = simulation.books(CN).request([size]).to_bytes()
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({CN: proven}))
    reply = simulation.read(simulation.node(EU).answer(letter))
    assert unpack(reply.blobs["forked"]) == {CN: WitnessRequest.from_bytes(one).note.encode()}
    assert "cosigned" not in reply.blobs
    simulation.kill(CN)
    own = {EU: WitnessRequest.from_bytes(prefix).note.encode(), UK: b"garbage"}
    ask = simulation.letter(Kind.LEDGER_WITNESS, CN, "", forked=pack(own))
    simulation.started(CN).answer(ask)
    assert simulation.started(CN).ended is None  # it continues that one
    signed = {EU: WitnessRequest.from_bytes(one).note.encode()}
    ask = simulation.letter(Kind.LEDGER_WITNESS, CN, "", forked=pack(signed))
    assert simulation.read(simulation.started(CN).answer(ask)).kind is Kind.FAILED
    assert isinstance(simulation.started(CN).ended, RolledBackError)


def test_a_witness_that_is_not_sure_of_itself_cosigns_nothing(simulation, accepted):
    """A copy of a witness put back would cosign what it refused before."""
    simulation.kill(EU)
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({CN: accepted}))
    reply = simulation.read(simulation.started(EU).answer(letter))
    assert reply.kind is Kind.LEDGER_UNSURE and reply.body["lacks"] == "seen"
    origin = origin_of(simulation.roster.federation, CN)
    assert simulation.books(EU).last_seen(origin) is None
    assert shown(simulation, accepted) is not None


def test_sizes_that_a_log_never_had_push_out_none_that_it_had(simulation, accepted):
    node = simulation.node(CN)
    size = simulation.books(CN).head().size
    node._witnessing.show_from([2, size, size + 1, *range(2**62, 2**62 + 99)])
    assert set(WitnessRequest.from_bytes(node._witnessing.head()["head"]).proofs) >= {2}
    assert node._witnessing._wanted == (2,)
    node._witnessing.show_from([2**62])
    assert node._witnessing._wanted == (2,)


def test_a_witness_writes_down_what_it_saw_before_it_signs(simulation, accepted):
    """It is killed before it wrote anything down: then no line of it exists anywhere."""
    node = simulation.node(EU)
    simulation.crash(EU, "books", "vouch", "before")
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({CN: accepted}))
    signed = []
    real = witness.cosign

    def spy(*arguments):
        signed.append(arguments)
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witness, "cosign", spy)
        assert killed(lambda: node.answer(letter))
    assert signed == []
    simulation.kill(EU)
    simulation.crash(EU, "books", "vouch", "after")
    assert killed(lambda: simulation.node(EU).answer(letter))
    simulation.kill(EU)
    last = simulation.books(EU).last_seen(origin_of(simulation.roster.federation, CN))
    assert last is not None and last.size > 0  # seen, and never said: the safe side


def test_a_witness_says_what_it_saw_last(simulation, accepted):
    assert shown(simulation, accepted) is not None
    simulation.kill(EU)
    body = {"about": {CN: "n0nce", UK: "other"}}
    wire = seal(Envelope(Kind.LEDGER_SEEN, AGGREGATOR, EU, "", 0, body), simulation.key(AGGREGATOR))
    reply = simulation.read(simulation.started(EU).answer(wire))
    said = unpack(reply.blobs["seen"])
    seen = witness.open_seen(said[CN], simulation.roster, "n0nce")
    assert seen.size == notes.read(WitnessRequest.from_bytes(accepted).note).checkpoint.size
    assert seen.root == simulation.books(CN).root_at(seen.size)
    assert witness.open_seen(said[UK], simulation.roster, "other").size == 0


def test_a_head_of_a_stranger_or_of_garbage_is_not_cosigned(simulation, accepted):
    for owner, wire in ((PartyId("stranger"), accepted), (CN, b"garbage"), (UK, accepted)):
        letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({owner: wire}))
        reply = simulation.read(simulation.node(EU).answer(letter))
        assert "cosigned" not in reply.blobs
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=b"garbage")
    assert simulation.read(simulation.node(EU).answer(letter)).kind is Kind.FAILED


# -- the whole exchange ---------------------------------------------------------------------------


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


# -- what stands in the ledgers -------------------------------------------------------------------


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
