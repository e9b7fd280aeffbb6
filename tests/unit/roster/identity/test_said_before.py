"""What was said before under another key."""

from dataclasses import replace

import pytest

from aggregator.countersigning import NotCountersignedError
from aggregator.settings import load_aggregator
from clients.approvals import Approvals
from clients.errors import NodeSettingsError
from clients.inbox import Inbox
from clients.once import is_of_the_moment
from clients.persons import Persons
from clients.sealed import SealedOnce
from clients.settings import load_settings
from clients.standing import read_standing
from experiments.deciding import give, pending
from experiments.founding import AGGREGATOR
from experiments.ordering import sign
from federation.countersignatures import attached, countersign, countersign_for
from federation.covers import cover, uncover
from federation.envelopes import Envelope, open_envelope, open_own, seal
from federation.errors import MisdirectedMessageError, UntrustedOrderError
from federation.ledger import witness
from federation.ledger.notes import origin_of
from federation.ledger.witness import WitnessRequest
from federation.mandates import mandate
from federation.messages import Kind
from federation.orders import open_order
from federation.riding import pack_cosigned
from secure_compute.errors import BadSignatureError
from tests.identity import copied, covered, everybody_takes, put_back, rotated, shown
from tests.persons import countersign_above, later, waiting
from tests.rosters import key
from tests.simulator import CN, EU, UK, US
from tests.unit.roster.test_attacks import Attack, attack, fails  # noqa: F401  fixtures
from tests.unit.test_mandates import officer, put
from tests.unit.test_standing import TOML


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
