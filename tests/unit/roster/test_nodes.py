"""A node and the aggregator when members change: what is taken up, when, and what it stops."""

import importlib
import logging
import threading

import pytest

from aggregator.coordinator import Coordinator
from aggregator.executor import enrolled
from aggregator.introducing import Introducing
from aggregator.key_pool import KeyPool
from aggregator.rosters import adopt, taking_part
from aggregator.settings import load_aggregator
from clients.errors import NodeSettingsError
from clients.key_store import KeyStore
from clients.once import is_of_the_moment
from clients.rosters import LEAVING
from clients.settings import load_settings
from clients.worker import build
from experiments.auditing import keepers
from experiments.founding import AGGREGATOR
from experiments.home import open_home
from experiments.ordering import sign
from experiments.proving import export, trust_of
from federation.errors import (
    ForkedRosterError,
    OlderRosterError,
    RosterChangeError,
    SuspendedPartyError,
    UnknownPartyError,
)
from federation.joint_keys import keyholders
from federation.ledger import seen
from federation.ledger.entries import EntryKind
from federation.ledger.verify import verify
from federation.membership import Member
from federation.messages import Kind
from federation.orders import open_order
from federation.roster_chain import Admit, Remove, Restore, change_statement, extended, open_roster
from federation.secure_sums import signers
from policies.parties import Jurisdiction, PartyId, Role
from tests.rosters import key
from tests.simulator import CN, EU, KEYHOLDER, UK, US, WAREHOUSES, Killed

BR = PartyId("warehouse-br")
NEW = Member(BR, "Santos", Role.WAREHOUSE, Jurisdiction.BR, key(BR).verify_key)


def changed(simulation, party):
    """The epochs that a node wrote down."""
    entries = simulation.books(party).entries()
    return [e.body["epoch"] for e in entries if e.kind is EntryKind.ROSTER_CHANGED]


# -- taking an epoch up ----------------------------------------------------------------------------


def test_a_node_takes_a_longer_chain_and_works_with_it_from_its_next_start(simulation):
    simulation.node(CN)
    simulation.lengthen(Admit(NEW), CN, US, BR, **{BR: key(BR)})
    reply = simulation.show_roster(CN)
    assert reply.kind is Kind.ROSTER_KNOWN
    assert reply.body["epoch"] == 1
    assert load_settings(simulation.folder(CN)).roster().epoch == 2
    assert changed(simulation, CN) == [2]
    simulation.kill(CN)
    assert simulation.show_roster(CN).body["epoch"] == 2
    assert changed(simulation, CN) == [2]


def test_what_a_node_says_of_its_roster_is_of_the_moment(simulation):
    letter = simulation.letter(Kind.ROSTER_SHOW, CN, "")
    assert is_of_the_moment(simulation.started(CN).answer(letter))
    assert not is_of_the_moment(simulation.started(CN).answer(simulation.letter(Kind.PING, CN, "")))


def halted(simulation, party):
    """A node, and whether it ended."""
    stop = threading.Event()
    settings = load_settings(simulation.folder(party))
    node = build(settings, simulation.now, simulation.monotonic, halt=stop.set)
    node.begin()
    simulation._nodes[party] = node
    return node, stop


def test_a_node_ends_to_take_it_up_and_not_because_of_anything_else(simulation):
    node, stop = halted(simulation, CN)
    simulation.show_roster(CN)
    assert not stop.is_set()
    simulation.suspend(UK)
    simulation.show_roster(CN)
    assert stop.is_set()
    assert node.ended is None


def test_it_waits_until_no_order_is_under_way(simulation):
    simulation.node(CN)
    _, stop = halted(simulation, CN)
    order = simulation.training()
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    simulation.suspend(UK)
    simulation.show_roster(CN)
    assert not stop.is_set()
    assert changed(simulation, CN) == [2]
    simulation.ask(Kind.CLOSE, CN, order.id)
    simulation.show_roster(CN)
    assert stop.is_set()


def test_a_crash_before_it_stands_in_the_ledger_loses_nothing(simulation):
    simulation.node(CN)
    chain = simulation.suspend(UK)
    (simulation.folder(CN) / "roster.bin").write_bytes(chain)
    simulation.restart(CN)
    assert changed(simulation, CN) == [2]


@pytest.mark.parametrize("of", ["clients.rosters", "experiments.home"])
def test_a_crash_between_the_two_files_of_an_epoch_loses_no_key(simulation, monkeypatch, of):
    home, node = simulation.home, simulation.node(CN)
    folder = home.folder if of == "experiments.home" else simulation.folder(CN)
    before = (folder / "roster.bin").read_bytes()
    chain = simulation.lengthen(Admit(NEW), CN, US, BR, **{BR: key(BR)})
    (folder / "roster.bin").write_bytes(before)
    (folder / "trust.txt").write_text("the keys of before")
    real, done = importlib.import_module(of).replace_file, []

    def cut(path, content):
        if done:
            raise Killed
        done.append(path)
        real(path, content)

    def take():
        return home.roster() if folder == home.folder else node._rosters.take(chain, AGGREGATOR)

    monkeypatch.setattr(f"{of}.replace_file", cut)
    with pytest.raises(Killed):
        take()
    monkeypatch.undo()
    take()
    assert str(BR) in (folder / "trust.txt").read_text()
    assert (folder / "roster.bin").read_bytes() == chain


def test_a_chain_in_the_folder_that_forked_from_the_ledgers_is_refused(simulation):
    simulation.node(CN)
    first = (simulation.folder(CN) / "roster.bin").read_bytes()
    simulation.suspend(UK)
    simulation.show_roster(CN)
    pin = simulation.home.pin
    said = change_statement(open_roster(first, pin), Remove(EU))
    other = extended(first, pin, Remove(EU), {EU: simulation.key(EU).sign(said)})
    (simulation.folder(CN) / "roster.bin").write_bytes(other)
    with pytest.raises(ForkedRosterError, match="another epoch 2 than the ledger beside it"):
        simulation.restart(CN)


def test_the_data_team_keeps_what_is_newer_and_refuses_what_is_older(simulation):
    home = simulation.home
    first = (home.aggregator / "roster.bin").read_bytes()
    simulation.suspend(UK)
    assert (home.folder / "roster.bin").read_bytes() == (
        home.aggregator / "roster.bin"
    ).read_bytes()
    (home.aggregator / "roster.bin").write_bytes(first)
    with pytest.raises(OlderRosterError):
        open_home(home.folder).roster()


# -- suspended -------------------------------------------------------------------------------------


def orders_of(simulation):
    return {
        "the cohort": simulation.query(cohort=WAREHOUSES),
        "training": simulation.training(cohort=WAREHOUSES),
    }


@pytest.mark.parametrize("what", ["the cohort", "training"])
def test_a_node_refuses_an_order_that_asks_a_suspended_party(simulation, what):
    order = orders_of(simulation)[what]
    simulation.suspend(UK)
    simulation.show_roster(CN)
    simulation.restart(CN)
    reply = simulation.ask(Kind.OFFER, CN, order.id, order=sign(simulation.home, order))
    assert reply.kind is Kind.REFUSED
    (reason,) = reply.body["reasons"]
    assert reason["id"] == "MEMBER-001"
    assert "warehouse-uk is suspended at epoch 2" in reason["en"]
    assert simulation.books(CN).open_orders() == []


def test_a_node_refuses_an_order_of_a_suspended_data_team(simulation):
    order = simulation.query(cohort=WAREHOUSES)
    wire = sign(simulation.home, order)
    simulation.suspend(simulation.home.analyst)
    simulation.show_roster(CN)
    simulation.restart(CN)
    reply = simulation.ask(Kind.OFFER, CN, order.id, order=wire)
    assert [reason["id"] for reason in reply.body["reasons"]] == ["MEMBER-001"]


def test_a_node_refuses_an_order_that_names_who_has_left(simulation):
    order = simulation.query(cohort=WAREHOUSES)
    simulation.lengthen(Remove(UK), UK)
    simulation.show_roster(CN)
    simulation.restart(CN)
    reply = simulation.ask(Kind.OFFER, CN, order.id, order=sign(simulation.home, order))
    assert reply.kind is Kind.REFUSED
    assert "'warehouse-uk' is no longer on the roster" in str(reply.body)


def test_a_restored_party_is_asked_again(simulation):
    simulation.suspend(UK)
    simulation.lengthen(Restore(UK), AGGREGATOR)
    for party in WAREHOUSES:
        simulation.show_roster(party)
        simulation.restart(party)
    assert simulation.run(simulation.training(cohort=WAREHOUSES)).status == "done"


def test_an_order_without_the_suspended_party_is_seen_through(simulation):
    simulation.suspend(UK)
    for party in (CN, EU, US):
        simulation.show_roster(party)
        simulation.restart(party)
    assert simulation.run(simulation.training(cohort=(CN, EU, US))).status == "done"
    assert UK not in {letter.recipient for letter in simulation.mail.sent(Kind.LEDGER_WITNESS)}


def test_a_suspended_member_has_no_part_in_sums_or_keys(simulation):
    simulation.suspend(KEYHOLDER)
    roster = simulation.roster
    assert KEYHOLDER not in keyholders(roster)
    assert KEYHOLDER not in {one.party for one in signers(roster).identities}
    with pytest.raises(SuspendedPartyError, match="restored it"):
        roster.require_active([CN, KEYHOLDER])
    with pytest.raises(UnknownPartyError):
        roster.require_active([BR])


def test_a_suspended_keyholder_opens_nothing(simulation):
    order = simulation.query(cohort=WAREHOUSES)
    simulation.suspend(KEYHOLDER)
    simulation.show_roster(KEYHOLDER)
    node = simulation.restart(KEYHOLDER)
    signed = open_order(sign(simulation.home, order), simulation.roster)
    with pytest.raises(SuspendedPartyError):
        node._judge.as_keyholder(signed)


def test_a_suspended_witness_counts_in_every_total_and_says_nothing(simulation):
    roster = simulation.roster
    total, quorum = seen.witnesses(roster, CN), seen.quorum(roster, CN)
    simulation.suspend(UK)
    assert seen.witnesses(simulation.roster, CN) == total
    assert seen.quorum(simulation.roster, CN) == quorum
    assert UK in seen.speakers(roster, CN)
    assert UK not in seen.speakers(simulation.roster, CN)


def test_a_suspended_witness_vouches_for_no_head(simulation):
    simulation.suspend(UK)
    simulation.node(CN)
    simulation.show_roster(CN)
    node = simulation.restart(CN)
    nonce = node._witnessing.nonce
    wire = simulation.word(UK, CN, nonce)
    said = seen.open_seen(wire, simulation.roster, nonce)
    size = simulation.books(CN).head().size
    with pytest.raises(Exception, match="0 other organisations say"):
        seen.confirm(
            roster=simulation.roster,
            party=CN,
            size=size,
            root_at=simulation.books(CN).root_at,
            seen=[said],
            now=int(simulation.now()),
        )


def test_what_a_suspended_witness_cosigns_is_not_kept(simulation):
    simulation.suspend(UK)
    simulation.node(CN)
    simulation.show_roster(CN)
    node = simulation.restart(CN)
    order = simulation.training(cohort=(CN, EU, US))
    reply = simulation.ask(Kind.OFFER, CN, order.id, order=sign(simulation.home, order))
    everybody = [m.party for m in simulation.roster.members if m.party not in {CN, AGGREGATOR}]
    for witnesses in ((UK,), tuple(everybody)):
        blob = simulation.cosign(CN, reply.blobs["head"], witnesses)
        node.answer(simulation.letter(Kind.LEDGER_WITNESS, CN, "", cosigned=blob))
        names = node._books._witnesses(order.id)
        assert bool(names) is (witnesses != (UK,))
        assert f"entrepot/{simulation.roster.federation}/{UK}" not in names


def test_the_aggregators_organisation_witnesses_nothing(simulation):
    own = Member(
        BR,
        simulation.roster.find(AGGREGATOR).organisation,
        Role.WAREHOUSE,
        Jurisdiction.EU,
        key(BR).verify_key,
    )
    before = seen.witnesses(simulation.roster, CN)
    simulation.lengthen(Admit(own), CN, US, BR, **{BR: key(BR)})
    assert seen.witnesses(simulation.roster, CN) == before


# -- keys made ahead -------------------------------------------------------------------------------


def test_keys_of_an_earlier_epoch_are_retired_at_both_ends(simulation):
    assert simulation.run(simulation.query(cohort=WAREHOUSES)).status == "done"
    pool = KeyPool(simulation.home.aggregator / "keys.sqlite")
    assert pool.ready > 0
    store = KeyStore(simulation.folder(KEYHOLDER) / "keys.sqlite")
    pools = store._database.read("SELECT count(*) FROM pools")
    assert pools[0][0] > 0
    simulation.coordinator()
    assert pool.ready > 0
    simulation.restart(KEYHOLDER)
    assert store._database.read("SELECT count(*) FROM pools") == pools
    simulation.suspend(UK)
    simulation.coordinator()
    assert pool.ready == 0
    simulation.show_roster(KEYHOLDER)
    simulation.restart(KEYHOLDER)
    assert store._database.read("SELECT count(*) FROM pools") == [(0,)]


def test_a_question_is_answered_under_new_keys_afterwards_and_an_old_answer_still_opens(simulation):
    order = simulation.query(cohort=WAREHOUSES)
    simulation.put(order)
    simulation.work()
    simulation.suspend(EU)
    assert simulation.job(order).result["sealed"]
    simulation.open(order)
    assert simulation.job(order).result["answer"]
    others = (PartyId("payments-eu"), PartyId("merchant-uk"), PartyId("merchant-br"))
    for member in simulation.roster.active(*Role):
        if simulation.home.node(member.party).exists():
            simulation.show_roster(member.party)
            simulation.restart(member.party)
    again = simulation.run(simulation.query(cohort=others))
    assert again.status == "done", again.result


# -- the aggregator --------------------------------------------------------------------------------


def test_who_is_suspended_may_not_connect_from_that_moment_on(simulation):
    settings = load_aggregator(simulation.home.aggregator)
    (settings.folder / "nodes").mkdir()
    for party in (CN, UK, BR):
        (settings.folder / "nodes" / f"{party}.pub").touch()
    assert enrolled(settings) == [CN, UK]
    simulation.suspend(UK)
    assert enrolled(settings) == [CN]
    assert UK not in taking_part(settings)


def test_the_aggregator_writes_each_epoch_down_once_and_refuses_an_older_one(simulation):
    first = (simulation.home.aggregator / "roster.bin").read_bytes()
    simulation.suspend(UK)
    for _ in range(2):
        record = simulation.coordinator()._record
    found = [e.body["epoch"] for e in record.entries() if e.kind is EntryKind.ROSTER_CHANGED]
    assert found == [2]
    (simulation.home.aggregator / "roster.bin").write_bytes(first)
    with pytest.raises(OlderRosterError, match="an older copy was put back"):
        simulation.coordinator()


def introducing(simulation):
    coordinator = simulation.coordinator()
    there = {CN, EU}
    coordinator._asking._present = lambda: there
    moment = [0.0]
    made = Introducing(
        coordinator._settings,
        coordinator._asking,
        coordinator._desk.roster,
        lambda: moment[0],
        lambda seconds: moment.__setitem__(0, moment[0] + seconds),
    )
    return made, there, moment


def shown(simulation):
    return [
        (let.recipient, "roster" in let.blobs) for let in simulation.mail.sent(Kind.ROSTER_SHOW)
    ]


def test_every_node_that_is_there_is_told_once(simulation):
    made, there, _ = introducing(simulation)
    made.tell()
    made.tell()
    assert shown(simulation) == [(CN, False), (EU, False)]
    there.add(US)
    made.tell()
    assert shown(simulation)[2:] == [(US, False)]
    there.discard(CN)
    made.tell()
    there.add(CN)
    made.tell()
    assert shown(simulation)[3:] == [(CN, False)]


def test_a_node_that_was_away_between_two_looks_is_told_again(simulation):
    """Its process was another one meanwhile: it may be the one that wants to leave."""
    made, _, _ = introducing(simulation)
    lines = {CN: 1, EU: 2}
    made._lines = lambda: dict(lines)
    made.tell()
    made.tell()
    assert shown(simulation) == [(CN, False), (EU, False)]
    lines[EU] = 3
    made.tell()
    made.tell()
    assert shown(simulation)[2:] == [(EU, False)]


def test_a_node_that_is_behind_is_sent_the_chain_and_waited_for(simulation):
    simulation.started(CN)
    simulation.started(EU)
    simulation.suspend(UK)
    made, _, moment = introducing(simulation)
    real = made._sleep

    def sleep(seconds):
        real(seconds)
        for party in (CN, EU):
            simulation.kill(party)

    made._sleep = sleep
    made.settle()
    assert shown(simulation)[:4] == [(CN, False), (EU, False), (CN, True), (EU, True)]
    assert made._works == {CN, EU}
    assert 0 < moment[0] < 1


def test_a_node_brings_back_what_the_aggregator_has_lost(simulation):
    first = (simulation.home.aggregator / "roster.bin").read_bytes()
    newest = simulation.suspend(UK)
    simulation.show_roster(CN)
    (simulation.home.aggregator / "roster.bin").write_bytes(first)
    made, _, _ = introducing(simulation)
    made.tell()
    assert (simulation.home.aggregator / "roster.bin").read_bytes() == newest
    assert shown(simulation) == [(CN, False), (EU, False)]


def test_nobody_is_waited_for_for_ever(simulation):
    simulation.started(CN)
    simulation.suspend(UK)
    made, there, moment = introducing(simulation)
    there.discard(EU)
    made.settle()
    assert 20 <= moment[0] < 22
    assert made._works == set()
    asked = len(shown(simulation))
    made.tell()
    assert len(shown(simulation)) == asked  # not again before its time
    moment[0] += 31
    made.tell()
    assert len(shown(simulation)) > asked


def test_a_coordinator_ends_whose_members_changed_while_it_began(simulation):
    settings = load_aggregator(simulation.home.aggregator)
    before = settings.roster()
    asking = simulation.coordinator()._asking
    assert not Introducing(settings, asking, before).is_over()
    simulation.suspend(UK)  # after the roster was read, before the chain is
    assert Introducing(settings, asking, before).is_over()
    assert not Introducing(settings, asking, settings.roster()).is_over()


def test_a_coordinator_ends_when_members_changed(simulation):
    simulation.started(CN)
    coordinator = simulation.coordinator()
    coordinator._asking._present = lambda: {CN}
    simulation.suspend(UK)
    stop = threading.Event()
    coordinator._introducing.look = stop.set  # as soon as it goes on with the members of before
    coordinator.run(stop)
    assert not stop.is_set()
    order = simulation.training(cohort=(CN, EU, US))
    simulation.put(order)
    settings = load_aggregator(simulation.home.aggregator)
    after = Coordinator(settings, simulation.jobs, simulation.mail, lambda: {CN}, simulation.now)
    after._introducing._sleep = lambda _: simulation.kill(CN)
    after.work = lambda job: stop.set()
    after.run(stop)
    assert simulation.show_roster(CN).body["epoch"] == 2


# -- leaving ---------------------------------------------------------------------------------------


def test_a_party_leaves_by_its_own_word(simulation):
    simulation.node(CN)
    (simulation.folder(CN) / LEAVING).touch()
    made, _, _ = introducing(simulation)
    made.tell()
    assert made.is_over()
    settings = load_aggregator(simulation.home.aggregator)
    assert CN not in taking_part(settings)
    (entry,) = (e for e in simulation.books(CN).entries() if e.kind is EntryKind.LEFT)
    assert entry.body == {"party": CN, "epoch": 2}
    made.tell()
    assert len([e for e in simulation.books(CN).entries() if e.kind is EntryKind.LEFT]) == 1


def test_a_node_that_has_left_does_not_start(simulation):
    simulation.node(CN)
    simulation.lengthen(Remove(CN), CN)
    (simulation.folder(CN) / "roster.bin").write_bytes(
        (simulation.home.aggregator / "roster.bin").read_bytes()
    )
    with pytest.raises(NodeSettingsError, match="warehouse-cn has left simulated; keep"):
        simulation.restart(CN)


def test_a_chain_that_no_member_signed_is_not_taken_from_a_node(simulation, caplog):
    settings = load_aggregator(simulation.home.aggregator)
    own = settings.chain.read_bytes()
    with pytest.raises(RosterChangeError):
        words = {CN: simulation.key(CN).sign(change_statement(simulation.roster, Remove(EU)))}
        extended(own, settings.pin, Remove(EU), words)
    with caplog.at_level(logging.WARNING), pytest.raises(Exception, match="no chain of epochs"):
        adopt(settings, b"nothing")
    assert settings.chain.read_bytes() == own


def test_the_ledger_of_who_left_is_still_verified(simulation):
    assert simulation.run(simulation.training(cohort=(CN, EU, US))).status == "done"
    simulation.coordinator().have_witnessed()
    simulation.lengthen(Remove(CN), CN)
    assert CN in {kept.party for kept in keepers(simulation.home)}
    trust = trust_of(simulation.home)
    assert any(vouched.key.name.endswith(f"/{CN}") for vouched in trust.parties)
    found = export(simulation.home)
    assert verify(found.export, trust).is_authentic
    assert any(log.origin.endswith(f"/{CN}") for log in found.export.logs)
