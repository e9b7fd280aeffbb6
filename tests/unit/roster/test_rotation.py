"""A node's new sealing key: made at home, entered by its own word, and the old one is gone."""

import json

import pytest

from aggregator.settings import load_aggregator
from clients.inbox import Inbox
from clients.once import is_of_the_moment
from clients.rotation import begin, settle, successor
from clients.sealed import SealedOnce
from clients.settings import load_settings
from experiments.cli import run
from experiments.founding import AGGREGATOR
from federation.covers import cover, uncover
from federation.envelopes import parse
from federation.errors import MisdirectedMessageError, RosterChangeError
from federation.ledger.trust import Trust
from federation.messages import Kind
from federation.roster_chain import Rekey, change_statement, extended
from federation.roster_rules import MOST_OWN
from policies.parties import PartyId
from tests.rosters import founded, key, sealing
from tests.simulator import CN, EU, Simulation
from tests.unit.roster.test_nodes import introducing

HERE = PartyId("cn")


@pytest.fixture
def simulation(tmp_path):
    return Simulation(tmp_path / "simulated")


def door(simulation):
    """The node as what reaches it comes in."""
    node, settings = simulation.started(CN), load_settings(simulation.folder(CN))
    inbox = Inbox(settings.folder / "inbox.sqlite")
    return SealedOnce(node.answer, inbox, is_of_the_moment, settings, node.roster)


def asked(simulation, member):
    """What the node answers to a letter that is sealed to it as `member` has it."""
    pin, aggregator = simulation.home.pin, load_aggregator(simulation.home.aggregator)
    letter = simulation.letter(Kind.PING, CN, "")
    reply = door(simulation)(cover(letter, member, pin))
    return parse(uncover(reply, [aggregator.opening], AGGREGATOR, pin)).kind


def test_a_node_enters_its_new_key_and_the_old_one_opens_nothing_any_more(simulation):
    settings, old = load_settings(simulation.folder(CN)), simulation.roster.find(CN)
    simulation.node(CN)
    assert begin(settings)
    made, _, _ = introducing(simulation)
    made.tell()
    new = load_aggregator(simulation.home.aggregator).roster().find(CN)
    assert (new.identity, new.sealing) == (old.identity, settings.openings[-1].sealing_key)
    assert new.sealing != old.sealing
    assert asked(simulation, old) is asked(simulation, new) is Kind.PONG  # until it takes it up
    simulation.show_roster(CN)
    simulation.restart(CN)
    assert settings.openings == (settings.opening,) and settings.opening.sealing_key == new.sealing
    assert asked(simulation, new) is Kind.PONG
    with pytest.raises(MisdirectedMessageError, match="sealed to another key"):
        asked(simulation, old)


def test_the_others_go_on_with_the_same_ledger_keys(simulation):
    before = Trust.of(simulation.roster)
    begin(load_settings(simulation.folder(CN)))
    made, _, _ = introducing(simulation)
    made.tell()
    after = load_aggregator(simulation.home.aggregator).roster()
    assert after.epoch == 2 and str(Trust.of(after)) == str(before)


def test_a_new_key_is_made_once_and_waits_until_the_roster_names_it(simulation):
    settings = load_settings(simulation.folder(CN))
    assert successor(settings, simulation.roster) is None
    assert begin(settings) and not begin(settings)
    kept = settings.openings
    assert len(kept) == 2 and settings.next_opening.stat().st_mode & 0o077 == 0
    assert not settle(settings, simulation.roster)
    assert settings.openings == kept
    change = successor(settings, simulation.roster)
    assert change == Rekey(CN, simulation.roster.find(CN).identity, kept[1].sealing_key)


def test_a_step_that_was_cut_off_is_taken_again(simulation):
    settings = load_settings(simulation.folder(CN))
    begin(settings)
    new = settings.openings[-1]
    made, _, _ = introducing(simulation)
    made.tell()
    roster = load_aggregator(simulation.home.aggregator).roster()
    (settings.folder / "keys" / "opening.key").write_bytes(new.seed)  # killed before it was removed
    assert settle(settings, roster) and not settle(settings, roster)
    assert settings.openings == (new,)


def test_a_suspended_member_waits(simulation):
    settings = load_settings(simulation.folder(CN))
    begin(settings)
    simulation.suspend(CN)
    assert successor(settings, load_aggregator(simulation.home.aggregator).roster()) is None


def test_the_command_says_what_happens_next(simulation, capsys):
    folder = str(simulation.folder(CN))
    assert run(["node", "rotate", folder, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["schema"], value["party"]) == ("entrepot.node.rotate/1", CN)
    assert (value["epoch"], value["running"]) == (1, False)
    assert run(["node", "rotate", folder]) == 0
    assert "the new keys that were made before" in capsys.readouterr().out
    assert len(load_settings(simulation.folder(CN)).openings) == 2
    assert not load_settings(simulation.folder(EU)).next_opening.exists()


# -- the chain -------------------------------------------------------------------------------------


def resealed(chain, new, signer="cn", by=()):
    """The chain with another sealing key of cn, whose identity stays."""
    change = Rekey(HERE, chain.roster.find(HERE).identity, new)
    word = key(signer).sign(change_statement(chain.roster, change))
    words = chain.words(change, by)
    return extended(chain.wire, chain.pin, change, words | {HERE: word + word})


def test_a_member_reseals_by_its_own_word():
    chain = founded()
    chain.wire = resealed(chain, sealing("new"))
    assert chain.roster.find(HERE).sealing == sealing("new")
    assert chain.roster.find(HERE).identity == key("cn").verify_key


@pytest.mark.parametrize("taken", ["eu", "cn"])
def test_bad_a_sealing_key_that_is_somebodys_is_not_taken(taken):
    with pytest.raises(RosterChangeError, match="is or was somebody's already"):
        resealed(founded(), sealing(taken))


def test_bad_a_sealing_key_given_up_comes_back_with_nobody():
    chain = founded()
    chain.wire = resealed(chain, sealing("new"))
    with pytest.raises(RosterChangeError, match="is or was somebody's already"):
        resealed(chain, sealing("cn"))


def test_bad_nobody_else_reseals_a_member():
    chain = founded()
    change = Rekey(HERE, chain.roster.find(HERE).identity, sealing("theirs"))
    said = change_statement(chain.roster, change)
    for words in (
        {HERE: key("hub").sign(said) * 2},
        {HERE: key("cn").sign(said) + key("hub").sign(said)},
        {PartyId("hub"): key("hub").sign(said)},
    ):
        with pytest.raises(Exception, match=r"not signed by the key|sign"):
            extended(chain.wire, chain.pin, change, words)


def test_bad_a_party_that_changes_its_key_for_ever_needs_others_in_the_end():
    chain = founded()
    for turn in range(MOST_OWN):
        chain.wire = resealed(chain, sealing(f"turn {turn}"))
    with pytest.raises(RosterChangeError, match="0 of 2 organisations signed"):
        resealed(chain, sealing("one more"))
    chain.wire = resealed(chain, sealing("one more"), by=("eu", "ch"))
    assert chain.roster.find(HERE).sealing == sealing("one more")
