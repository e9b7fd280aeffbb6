"""The way of a key, and the key of before."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest

from clients import rotation
from clients.books import Books
from clients.rotation import begin, begin_identity, hand_over, successor
from clients.settings import load_settings
from experiments import leaving
from experiments.cli import run
from experiments.founding import AGGREGATOR
from experiments.proving import export
from experiments.verifying import check
from federation import at_rest, roster_rules
from federation.envelopes import Envelope, open_envelope, seal
from federation.ledger.entries import EntryKind
from federation.ledger.notes import origin_of
from federation.ledger.trust import Trust
from federation.ledger.verify import verify
from federation.messages import Kind
from federation.roster_chain import Rekey
from secure_compute import canonical
from tests.identity import (
    copied,
    covered,
    everybody_takes,
    offered,
    put_back,
    rotated,
    shown,
    speaks,
)
from tests.simulator import CN, EU, US, Killed, Simulation
from tests.unit.roster.test_attacks import Attack, attack, fails  # noqa: F401  fixtures


def changes(simulation: Simulation) -> list[dict[str, canonical.JSON]]:
    entries = simulation.books(CN).entries()
    return [dict(entry.body) for entry in entries if entry.kind is EntryKind.KEY_ROTATED]


def test_a_node_takes_another_identity_key_by_the_word_of_the_old_one(simulation):
    before = simulation.roster.find(CN)
    flower = (simulation.folder(CN) / "keys" / "flower.pub").read_bytes()
    old, new = rotated(simulation)
    after = simulation.roster.find(CN)
    assert old != new and (before.identity, after.identity) == (old.verify_key, new.verify_key)
    assert replace(after, identity=before.identity) == before
    assert simulation.roster.keys_of(CN) == (old.verify_key, new.verify_key)
    assert speaks(simulation)
    (change,) = changes(simulation)
    assert (change["previous"], change["identity"]) == (old.verify_key.hex, new.verify_key.hex)
    keys = simulation.folder(CN) / "keys"
    assert not (keys / "identity.next").exists()
    assert (keys / "identity.key").read_bytes() == new.seed
    assert (keys / "identity.key").stat().st_mode & 0o077 == 0
    assert (keys / "flower.pub").read_bytes() == flower


def test_all_go_on_and_the_ledger_is_followed_from_the_key_of_before(simulation):
    first = Trust.of(simulation.roster)
    cohort = (CN, EU, US)
    blob = simulation.cosign(CN, simulation.node(CN)._witnessing.head()["head"])
    simulation.node(CN).answer(simulation.letter(Kind.LEDGER_WITNESS, CN, "", cosigned=blob))
    rotated(simulation)
    everybody_takes(simulation)
    job = simulation.run(simulation.training(cohort=cohort, rounds=1))
    assert job.status == "done" and job.result["parties"] == sorted(cohort)
    simulation.coordinator().have_witnessed()
    found = export(simulation.home).export
    for trust in (first, Trust.of(simulation.roster)):
        verdict = verify(found, trust)
        assert verdict.is_authentic
        assert [one.partition(" of ")[2] for one in verdict.rotated] == [
            origin_of(simulation.roster.federation, CN)
        ]
    told = check(found.to_bytes(), first)
    assert "keys changed, each by the word of the one before: 1" in told.said.en
    assert told.to_json()["rotated"] == list(verdict.rotated)
    kept = (simulation.folder(CN) / "trust.txt").read_text(encoding="utf-8")
    assert Trust.parse(kept) == Trust.of(simulation.roster)


STEPS = ("keep", "rotate", "write", "unlink")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_cut_off_at_any_step_it_goes_on(simulation, monkeypatch, step, moment):
    settings, old = load_settings(simulation.folder(CN)), simulation.key(CN)
    simulation.node(CN)
    begin_identity(settings)
    new = settings.identities[-1]
    offered(simulation)
    shown(simulation, CN)
    simulation.kill(CN)
    owner, name = {
        "keep": (rotation.at_rest, "write"),
        "write": (rotation.at_rest, "write"),
        "rotate": (Books, "rotate"),
        "unlink": (type(settings.next_identity), "unlink"),
    }[step]
    real = getattr(owner, name)

    def dying(*arguments, **named):
        if step == "write" and arguments[0] == settings.old_identity:
            return real(*arguments, **named)
        if moment == "after":
            real(*arguments, **named)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, dying)
        with suppress(Killed):
            simulation.started(CN)
            pytest.fail("it was not cut off")
    assert settings.identity in {old, new}
    simulation.kill(CN)
    assert speaks(simulation)
    assert settings.identities == (new,)
    assert at_rest.read(settings.old_identity) == old.seed
    assert len(changes(simulation)) == 1
    simulation.restart(CN)
    assert simulation.node(CN)._witnessing._is_sure() and len(changes(simulation)) == 1


def test_until_the_aggregator_has_it_the_old_key_speaks(simulation):
    settings = load_settings(simulation.folder(CN))
    begin_identity(settings)
    simulation.node(CN)
    simulation.restart(CN)
    assert speaks(simulation) and changes(simulation) == []
    assert not hand_over(settings, simulation.roster, simulation.now)
    offered(simulation)
    simulation.restart(CN)  # it has not seen that roster: its key is still the one that it has
    assert settings.identity.verify_key == settings.epochs()[-1].find(CN).identity
    shown(simulation, CN)
    simulation.restart(CN)
    assert speaks(simulation)


def test_a_new_identity_key_is_made_once(simulation):
    settings = load_settings(simulation.folder(CN))
    assert successor(settings, simulation.roster) is None
    assert begin_identity(settings) and not begin_identity(settings)
    kept = settings.identities
    assert len(kept) == 2 and settings.next_identity.stat().st_mode & 0o077 == 0
    assert successor(settings, simulation.roster) == Rekey(CN, kept[1].verify_key)
    assert successor(settings, simulation.roster, idle=False) is None
    begin(settings)
    both = successor(settings, simulation.roster)
    assert both == Rekey(CN, kept[1].verify_key, settings.openings[-1].sealing_key)


def test_both_kinds_of_keys_change_in_one_epoch(simulation):
    settings = load_settings(simulation.folder(CN))
    begin(settings)
    opening = settings.openings[-1]
    rotated(simulation)
    assert simulation.roster.epoch == 2
    assert settings.openings == (opening,) and speaks(simulation)


def test_an_order_under_way_ends_as_it_began(simulation):
    settings = load_settings(simulation.folder(CN))
    order = simulation.training()
    simulation.node(CN)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    begin_identity(settings)
    offered(simulation)
    assert simulation.roster.epoch == 1
    assert simulation.ask(Kind.CLOSE, CN, order.id).kind is Kind.CLOSED
    offered(simulation)
    assert simulation.roster.find(CN).identity == settings.identities[-1].verify_key


def test_the_command_ends_no_order_that_is_under_way(simulation, capsys, monkeypatch):
    settings = load_settings(simulation.folder(CN))
    order = simulation.training()
    simulation.node(CN)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    monkeypatch.setattr(leaving, "restart", simulation.kill)
    command = ["node", "rotate", str(settings.folder), "--identity"]
    assert run(command) == 2
    assert "orders under way at warehouse-cn: 1" in capsys.readouterr().err
    assert not settings.next_identity.exists()
    update = simulation.started(CN).answer(simulation.round(CN, order))
    assert simulation.read(update).kind is Kind.TRAIN_UPDATE
    assert simulation.ask(Kind.CLOSE, CN, order.id).kind is Kind.CLOSED
    assert run(command) == 0
    assert settings.next_identity.exists()


def test_a_suspended_member_waits_and_its_operator_is_told(simulation, capsys):
    settings = load_settings(simulation.folder(CN))
    begin_identity(settings)
    (settings.folder / "roster.bin").write_bytes(simulation.suspend(CN))
    assert successor(settings, settings.roster()) is None
    settings.next_identity.unlink()
    assert run(["node", "rotate", str(settings.folder), "--identity"]) == 2
    assert "its own word changes no key" in capsys.readouterr().err
    assert not settings.next_identity.exists()


def test_a_node_that_changed_its_keys_too_often_is_told_and_goes_on(
    simulation, capsys, monkeypatch
):
    monkeypatch.setattr(roster_rules, "MOST_OWN", 1)
    rotated(simulation)
    covered(simulation)
    settings = load_settings(simulation.folder(CN))
    for words in ([], ["--identity"]):
        assert run(["node", "rotate", str(settings.folder), *words]) == 2
        assert "its own word does so no more" in capsys.readouterr().err
    assert not settings.next_identity.exists() and not settings.next_opening.exists()
    begin_identity(settings)  # by a copy of before the limit was reached
    assert successor(settings, simulation.roster) is None
    newest = {"epoch": simulation.roster.epoch, "digest": simulation.roster.digest}
    letter = Envelope(Kind.ROSTER_SHOW, AGGREGATOR, CN, "", 0, newest, {})
    reply = simulation.started(CN).answer(seal(letter, simulation.key(AGGREGATOR)))
    said = open_envelope(reply, simulation.roster, AGGREGATOR).envelope
    assert said.kind is Kind.ROSTER_KNOWN and not said.blobs


def test_the_command_says_what_happens_next(simulation, capsys):
    folder = str(simulation.folder(CN))
    assert run(["node", "rotate", folder, "--identity", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    settings = load_settings(simulation.folder(CN))
    assert (value["schema"], value["epoch"]) == ("entrepot.node.rotate/1", 1)
    assert value["identity"] == settings.identities[-1].verify_key.hex
    assert len(settings.openings) == 1
    assert run(["node", "rotate", folder, "--identity"]) == 0
    said = capsys.readouterr().out
    assert "the identity key that was made before" in said and "is deleted" in said


def test_the_old_key_is_gone_once_a_quorum_saw_the_change(simulation, capsys):
    settings = load_settings(simulation.folder(CN))
    old, _ = rotated(simulation)
    assert at_rest.read(settings.old_identity) == old.seed
    assert settings.old_identity.stat().st_mode & 0o077 == 0
    command = ["node", "rotate", str(settings.folder), "--identity"]
    assert run(command) == 2
    assert "after the next order" in capsys.readouterr().err
    assert not settings.next_identity.exists()
    begin_identity(settings)  # a second change waits for the first
    assert successor(settings, simulation.roster) is None
    simulation.restart(CN)
    assert settings.old_identity.exists() and len(changes(simulation)) == 1
    covered(simulation)
    assert not settings.old_identity.exists()
    assert successor(settings, simulation.roster) is not None


def test_the_newest_books_go_on_though_older_ones_took_the_new_key_before(simulation):
    settings = load_settings(simulation.folder(CN))
    simulation.node(CN)
    simulation.kill(CN)
    older = copied(simulation)
    order = simulation.training()
    simulation.node(CN)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    assert simulation.ask(Kind.CLOSE, CN, order.id).kind is Kind.CLOSED
    simulation.node(CN)._witnessing.head()
    begin_identity(settings)
    offered(simulation)
    shown(simulation, CN)
    simulation.kill(CN)
    newest = copied(simulation)
    put_back(simulation, older)
    simulation.started(CN)
    simulation.kill(CN)
    assert len(changes(simulation)) == 1
    put_back(simulation, newest)
    assert changes(simulation) == []
    simulation.restart(CN)
    assert len(changes(simulation)) == 1
    assert simulation.node(CN)._witnessing.head() and speaks(simulation)
    covered(simulation)
    assert not settings.old_identity.exists()
