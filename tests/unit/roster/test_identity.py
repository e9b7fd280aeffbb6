"""A node's new identity key: the old one signs for it, its ledger goes on, and nobody else can."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest

from aggregator.countersigning import NotCountersignedError
from aggregator.introducing import Introducing
from aggregator.settings import load_aggregator
from clients import rotation
from clients.approvals import Approvals
from clients.books import Books
from clients.errors import NodeSettingsError
from clients.inbox import Inbox
from clients.once import is_of_the_moment
from clients.persons import Persons
from clients.rotation import begin, begin_identity, hand_over, successor
from clients.sealed import SealedOnce
from clients.settings import load_settings
from clients.standing import read_standing
from experiments import leaving
from experiments.cli import run
from experiments.deciding import give, pending
from experiments.founding import AGGREGATOR
from experiments.ordering import sign
from experiments.proving import export
from experiments.verifying import check
from federation import at_rest, roster_rules
from federation.countersignatures import attached, countersign, countersign_for
from federation.covers import cover, uncover
from federation.envelopes import Envelope, open_envelope, open_own, seal
from federation.errors import MisdirectedMessageError, RolledBackError, UntrustedOrderError
from federation.ledger import notes, witness
from federation.ledger.entries import EntryKind
from federation.ledger.notes import Checkpoint, NamedKey, origin_of
from federation.ledger.seen import sign_seen
from federation.ledger.trust import Trust
from federation.ledger.verify import verify
from federation.ledger.witness import WitnessRequest
from federation.mandates import mandate
from federation.messages import Kind
from federation.orders import open_order
from federation.riding import pack, pack_cosigned
from federation.roster_chain import Rekey, change_statement, open_roster
from policies.parties import DATA_ROLES, PartyId, Role
from secure_compute import canonical
from secure_compute.errors import BadSignatureError
from secure_compute.primitives.signature import SigningKey
from tests.persons import countersign_above, later, waiting
from tests.rosters import key
from tests.simulator import CN, EU, UK, US, Killed, Simulation
from tests.unit.roster.test_attacks import Attack, attack, fails  # noqa: F401  fixtures
from tests.unit.test_mandates import officer, put
from tests.unit.test_standing import TOML


def offered(simulation: Simulation) -> None:
    """The node says what it wants, and the aggregator's folder has it."""
    coordinator = simulation.coordinator()
    coordinator._asking._present = lambda: {CN}
    Introducing(coordinator._settings, coordinator._asking, coordinator._desk.roster).tell()
    simulation.roster = simulation.home.roster()


def shown(simulation: Simulation, party: PartyId) -> None:
    """A node is shown the newest chain; its words of before are not read."""
    chain = (simulation.home.aggregator / "roster.bin").read_bytes()
    newest: dict[str, canonical.JSON] = {"digest": open_roster(chain, simulation.home.pin).digest}
    letter = Envelope(Kind.ROSTER_SHOW, AGGREGATOR, party, "", 0, newest, {"roster": chain})
    simulation.started(party).answer(seal(letter, simulation.key(AGGREGATOR)))


def rotated(simulation: Simulation) -> tuple[SigningKey, SigningKey]:
    """CN has changed its identity key; return the old one and the new one."""
    settings = load_settings(simulation.folder(CN))
    simulation.started(CN)
    old = settings.identity
    assert begin_identity(settings)
    offered(simulation)
    shown(simulation, CN)
    simulation.kill(CN)
    simulation.started(CN)
    return old, settings.identity


def covered(simulation: Simulation) -> None:
    """A quorum has put its names to the head of CN's ledger as it stands."""
    node = simulation.node(CN)
    blob = simulation.cosign(CN, node._witnessing.head()["head"])
    node.answer(simulation.letter(Kind.LEDGER_WITNESS, CN, "", cosigned=blob))
    simulation.kill(CN)


def copied(simulation: Simulation) -> dict[str, bytes]:
    """The files of CN's books."""
    return {path.name: path.read_bytes() for path in simulation.folder(CN).glob("books.sqlite*")}


def put_back(simulation: Simulation, kept: dict[str, bytes]) -> None:
    """CN's books are those of before."""
    for path in simulation.folder(CN).glob("books.sqlite*"):
        path.unlink()
    for name, content in kept.items():
        (simulation.folder(CN) / name).write_bytes(content)


def everybody_takes(simulation: Simulation) -> None:
    """All others start with the newest chain."""
    chain = (simulation.home.aggregator / "roster.bin").read_bytes()
    for member in simulation.roster.with_role(*DATA_ROLES, Role.KEYHOLDER):
        (simulation.folder(member.party) / "roster.bin").write_bytes(chain)
        if member.party != CN:
            simulation.kill(member.party)


def changes(simulation: Simulation) -> list[dict[str, canonical.JSON]]:
    entries = simulation.books(CN).entries()
    return [dict(entry.body) for entry in entries if entry.kind is EntryKind.KEY_ROTATED]


def speaks(simulation: Simulation) -> bool:
    """Whether the aggregator, by its own roster, understands the node."""
    reply = simulation.started(CN).answer(simulation.letter(Kind.PING, CN, ""))
    roster = load_aggregator(simulation.home.aggregator).roster()
    return open_envelope(reply, roster, AGGREGATOR).envelope.kind is Kind.PONG


# -- the way of a key ------------------------------------------------------------------------------


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


# -- the key of before, until others saw that it was given up --------------------------------------


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


# -- what was said before --------------------------------------------------------------------------


def test_an_answer_of_before_is_given_again_under_the_key_of_now(simulation):
    settings, pin = load_settings(simulation.folder(CN)), simulation.home.pin
    hub = load_aggregator(simulation.home.aggregator)
    letter = simulation.letter(Kind.PING, CN, "", 7)

    def asked() -> bytes:
        node = simulation.node(CN)
        inbox = Inbox(settings.folder / "inbox.sqlite")
        door = SealedOnce(node.answer, inbox, is_of_the_moment, settings, node.roster)
        return uncover(
            door(cover(letter, node.roster.find(CN), pin)), [hub.opening], AGGREGATOR, pin
        )

    before, old = asked(), simulation.roster
    rotated(simulation)
    after = asked()
    assert open_envelope(before, old, AGGREGATOR) == open_envelope(
        after, simulation.roster, AGGREGATOR
    )
    with pytest.raises(BadSignatureError):
        open_envelope(before, simulation.roster, AGGREGATOR)


def test_bad_what_a_node_keeps_is_its_own(simulation):
    old, _ = rotated(simulation)
    good = Envelope(Kind.PONG, CN, AGGREGATOR)
    assert open_own(seal(good, old), simulation.roster, CN, AGGREGATOR) == good
    with pytest.raises(BadSignatureError):
        open_own(seal(good, simulation.key(EU)), simulation.roster, CN, AGGREGATOR)
    for other in (replace(good, sender=EU), replace(good, recipient=EU)):
        with pytest.raises(MisdirectedMessageError):
            open_own(seal(other, old), simulation.roster, CN, AGGREGATOR)


def test_a_release_of_before_leaves_again_and_is_not_made_anew(simulation):
    order = simulation.training()
    simulation.node(CN)
    assert simulation.offer(CN, order).kind is Kind.ACCEPTED
    letter = simulation.round(CN, order)
    first = simulation.read(simulation.node(CN).answer(letter))
    assert first.kind is Kind.TRAIN_UPDATE
    simulation.ask(Kind.CLOSE, CN, order.id)
    rotated(simulation)
    again = simulation.read(simulation.node(CN).answer(letter))
    assert again.blobs["update"] == first.blobs["update"]
    assert simulation.workshops[CN].rounds == []


def test_a_countersignature_of_before_can_be_read_and_counts_no_more(simulation):
    old, new = rotated(simulation)
    order = simulation.query(cohort=(EU, UK, US))
    wire, name = sign(simulation.home, order), simulation.roster.federation
    for secret, counted in ((old, ()), (new, (CN,))):
        said = attached(wire, {CN: countersign(name, order.id, CN, secret)})
        assert open_order(said, simulation.roster).countersigned == counted
    forged = attached(wire, {CN: countersign(name, order.id, CN, key("a stranger"))})
    with pytest.raises(UntrustedOrderError, match="did not countersign"):
        open_order(forged, simulation.roster)


def test_a_mandate_ends_with_the_key_that_gave_it(simulation):
    old, new = rotated(simulation)
    order = simulation.query(cohort=(EU, UK, US))
    wire, name, ana = sign(simulation.home, order), simulation.roster.federation, key("ana")
    for secret, counted in ((old, ()), (new, (CN,))):
        given = mandate(name, CN, ana.verify_key, order.expires, secret)
        said = attached(wire, {CN: countersign_for(name, order.id, given, ana)})
        assert open_order(said, simulation.roster).countersigned == counted


def test_a_person_countersigns_again_with_a_mandate_of_the_key_of_now(simulation):
    countersign_above(simulation, CN, EU, US)
    old, new = rotated(simulation)
    everybody_takes(simulation)
    order, name = waiting(simulation.training(cohort=(CN, EU, US), rounds=1)), simulation.home.name
    ana = key("ana")
    stale, good = (mandate(name, CN, ana.verify_key, order.expires, own) for own in (old, new))
    wire = sign(simulation.home, order)
    before = attached(wire, {CN: countersign_for(name, order.id, stale, ana)})
    simulation.jobs.add(order.id, before, float(order.created))
    simulation.work()
    who = officer(simulation, CN, ana)
    with pytest.raises(NotCountersignedError, match="given up"):
        put(simulation, order, CN, ana, stale, who)
    assert put(simulation, order, CN, ana, good, who)
    later(simulation)
    assert simulation.job(order).status == "done"


def test_an_order_that_waits_is_countersigned_again(simulation):
    countersign_above(simulation, CN, EU, US)
    old, _ = rotated(simulation)
    everybody_takes(simulation)
    order = waiting(simulation.training(cohort=(CN, EU, US), rounds=1))
    stale = countersign(simulation.home.name, order.id, CN, old)
    wire = attached(sign(simulation.home, order), {CN: stale})
    simulation.jobs.add(order.id, wire, float(order.created))
    simulation.work()
    Approvals(simulation.folder(CN)).countersign(order.id, stale)
    later(simulation)
    assert simulation.job(order).status == "waiting"
    pending(simulation.folder(CN), order.id[:12]).countersign()
    later(simulation)
    job = simulation.job(order)
    assert job.status == "done", job.result
    assert open_order(job.wire, simulation.roster).countersigned == (CN,)


def test_what_persons_said_before_holds(simulation):
    settings = load_settings(simulation.folder(CN))
    simulation.node(CN)
    name = give(settings.folder, read_standing(TOML), "Officer", "as agreed", None)
    rotated(simulation)
    persons = Persons(settings, Approvals(settings.folder), simulation.books(CN))
    assert set(persons.envelopes()) == {name}
    stranger = replace(settings, folder=simulation.folder(EU))
    (simulation.folder(EU) / "approvals").mkdir(exist_ok=True)
    content = Approvals(settings.folder).standing()[name]
    other = Persons(stranger, Approvals(simulation.folder(EU)), simulation.books(EU))
    with pytest.raises(NodeSettingsError, match="not signed by whom it names"):
        other.read(name, content)


def test_what_the_old_key_cosigns_afterwards_counts_for_nothing(simulation):
    old, new = rotated(simulation)
    shown(simulation, EU)
    node = simulation.restart(EU)
    head = node._witnessing.head()["head"]
    note, origin = WitnessRequest.from_bytes(head).note, origin_of(simulation.roster.federation, CN)
    size = node._books.head().size
    for secret, counted in ((old, frozenset()), (new, {origin})):
        line = witness.cosign(note, origin, secret, int(simulation.now()))
        blob = pack_cosigned({note: {origin: line}})
        node.answer(simulation.letter(Kind.LEDGER_WITNESS, EU, "", cosigned=blob))
        with node._books._reading() as connection:
            assert set(node._books._log.cosigned(connection, size)) == counted


def test_a_ledger_of_before_the_change_is_not_continued_under_the_new_key(simulation):
    simulation.node(CN)
    simulation.node(CN)._witnessing.head()
    simulation.kill(CN)
    kept = copied(simulation)
    rotated(simulation)
    covered(simulation)
    put_back(simulation, kept)
    with pytest.raises(Exception, match="restore the newest copy"):
        simulation.restart(CN)


# -- who tries -------------------------------------------------------------------------------------


def genuine(attack: Attack) -> bytes:  # noqa: F811  the fixture's value
    """The chain in which CN itself gives its key up for another one."""
    settings = load_settings(attack.simulation.folder(CN))
    begin_identity(settings)
    found = attack.simulation.node(CN)._rosters.rotating()
    assert found is not None
    return found


def swapped(chain: bytes, hex_key: str) -> bytes:
    links = canonical.decode(chain)
    links[-1]["statement"]["change"]["rekey"]["identity"] = hex_key
    return canonical.encode(links)


def test_it_swaps_the_new_key_or_leaves_a_signature_out(attack, fails):  # noqa: F811
    chain = genuine(attack)
    own = key("the aggregator's own")
    fails(swapped(chain, own.verify_key.hex), f"the key that {CN} has there")
    links = canonical.decode(chain)
    both = links[-1]["signatures"][CN]
    links[-1]["signatures"][CN] = both[:128]
    fails(canonical.encode(links), f"0 of 2 organisations signed for a new key of {CN}")
    links[-1]["signatures"][CN] = both[128:]
    fails(canonical.encode(links), f"the key that {CN} has there")
    links[-1]["statement"]["change"]["rekey"]["identity"] = own.verify_key.hex
    said = change_statement(attack.simulation.roster, Rekey(CN, own.verify_key))
    links[-1]["signatures"][CN] = own.sign(said).hex() + both[128:]
    fails(canonical.encode(links), f"the key that {CN} has there")
    links[-1]["signatures"][AGGREGATOR] = attack.keys[AGGREGATOR].sign(said).hex()
    links[-1]["signatures"][CN] = own.sign(said).hex()
    fails(canonical.encode(links), f"0 of 2 organisations signed for a new key of {CN}")


def test_it_replays_a_change_of_key_and_brings_the_old_key_back(attack, fails, simulation):  # noqa: F811
    first = simulation.key(CN)
    rotated(simulation)
    once = (simulation.folder(CN) / "roster.bin").read_bytes()
    covered(simulation)
    rotated(simulation)
    attack.wire = (simulation.folder(CN) / "roster.bin").read_bytes()
    replayed = canonical.decode(once)[-1]
    fails(
        canonical.encode([*canonical.decode(attack.wire), replayed]),
        "was signed for another place",
    )
    change = Rekey(CN, first.verify_key)  # whoever has the first key, with it alone
    said = change_statement(open_roster(attack.wire, attack.pin), change)
    fails(attack.forged(change, {CN: first.sign(said) * 2}), "is or was somebody's already")
    fails(once, "the roster offered ends at epoch 2", "older")


def test_a_key_that_was_given_up_signs_no_letter_and_no_further_change(attack, fails, simulation):  # noqa: F811
    old, _ = rotated(simulation)
    attack.wire = (simulation.folder(CN) / "roster.bin").read_bytes()
    with pytest.raises(BadSignatureError):
        open_envelope(seal(Envelope(Kind.PONG, CN, AGGREGATOR), old), simulation.roster, AGGREGATOR)
    thief = key("a thief")
    change = Rekey(CN, thief.verify_key)
    said = change_statement(open_roster(attack.wire, attack.pin), change)
    fails(attack.forged(change, {CN: thief.sign(said) + old.sign(said)}), f"the key that {CN} has")


def test_a_sealed_folder_keeps_the_new_key_sealed(simulation):
    from experiments.vaults import NODE

    assert {"keys/identity.next", "keys/identity.old"} <= set(NODE.files)
    settings = load_settings(simulation.folder(CN))
    begin_identity(settings)
    assert at_rest.read(settings.next_identity) == settings.identities[-1].seed


def shows(simulation: Simulation, own: SigningKey, part: str, size: int) -> Kind:
    """What the node says to another head of that size, which it is shown; it is signed by `own`."""
    node = simulation.started(CN)
    origin = origin_of(simulation.roster.federation, CN)
    note = notes.sign(Checkpoint(origin, size, bytes(32)), own)
    head = notes.open_note(note, NamedKey(origin, own.verify_key))
    nonce, at = node._witnessing.nonce, int(simulation.now())
    word = sign_seen(origin, head, nonce, at, EU, simulation.key(EU))
    blob = pack({EU: note.encode() if part == "forked" else word})
    letter = simulation.letter(Kind.LEDGER_WITNESS, CN, "", **{part: blob})
    return simulation.read(node.answer(letter)).kind


@pytest.mark.parametrize("part", ["forked", "seen"])
def test_whoever_has_the_old_key_stops_no_node_once_a_quorum_saw_the_change(simulation, part):
    old, new = rotated(simulation)
    (number,) = (one.number for one in simulation.books(CN).succession().changes)
    covered(simulation)
    assert shows(simulation, old, part, number) is not Kind.FAILED
    assert shows(simulation, old, part, number + 1) is not Kind.FAILED  # no head of its log
    assert simulation.started(CN).ended is None
    assert shows(simulation, new, part, number + 1) is Kind.FAILED
    assert isinstance(simulation.started(CN).ended, RolledBackError)


@pytest.mark.parametrize("part", ["forked", "seen"])
def test_until_then_another_head_of_the_old_key_ends_the_node(simulation, part):
    old, _ = rotated(simulation)
    assert shows(simulation, old, part, 1) is Kind.FAILED
    assert isinstance(simulation.started(CN).ended, RolledBackError)


@pytest.mark.parametrize("part", ["forked", "seen"])
def test_the_first_key_stops_no_node_that_changes_its_key_a_second_time(simulation, part):
    first, second = rotated(simulation)
    (number,) = (one.number for one in simulation.books(CN).succession().changes)
    covered(simulation)
    rotated(simulation)
    assert shows(simulation, first, part, number) is not Kind.FAILED
    assert shows(simulation, first, part, number + 1) is not Kind.FAILED
    assert shows(simulation, second, part, number + 1) is Kind.FAILED  # nobody saw that change yet


@pytest.mark.parametrize("part", ["forked", "seen"])
def test_a_ledger_put_back_before_it_changed_its_key_is_told_as_such(simulation, part):
    old, _ = rotated(simulation)
    (number,) = (one.number for one in simulation.books(CN).succession().changes)
    assert shows(simulation, old, part, number + 5) is Kind.FAILED
    ended = simulation.started(CN).ended
    assert isinstance(ended, RolledBackError) and "put back and changed its key" in str(ended)
