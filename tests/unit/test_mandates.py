"""A person's signature counts for its party exactly where the party's identity says so."""

import io
import json
import time
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggregator.countersigning import Countersigning, NotCountersignedError
from aggregator.proposing import OVER, Proposing
from aggregator.record import Record
from aggregator.settings import load_aggregator
from clients.rotation import begin_identity
from clients.settings import load_settings
from experiments import cli
from experiments.countersigning import Seen, chosen, keep_mandate
from experiments.deciding import pending
from experiments.errors import UsageError
from experiments.mandating import give_mandate
from experiments.ordering import sign
from experiments.peoples_door import Me, Place
from experiments.telling import tell
from federation.countersignatures import (
    SEPARATOR,
    ByPerson,
    attached,
    countersign,
    countersign_for,
    item_of,
    taken_apart,
)
from federation.errors import MalformedMessageError, MalformedOrderError, UntrustedOrderError
from federation.ledger.entries import EntryKind
from federation.mandates import PREFIX, Mandate, mandate, mandate_of
from federation.messages import Kind
from federation.orders import open_order, read_order, sign_order
from federation.people.persons import Person, PersonId, PersonRole, Seat
from policies.parties import Jurisdiction, PartyId
from secure_compute import canonical
from secure_compute.primitives.signature import SigningKey
from tests.persons import countersign_above, later, run, waiting
from tests.simulator import CN, EU, UK, US, WAREHOUSES
from tests.unit.test_countersigning import CARRIER, MEMBERS, SISTER, WIRE, A, B
from tests.unit.test_orders import ANALYST, ORDER

ANA, BOB = SigningKey(bytes([50] * 32)), SigningKey(bytes([51] * 32))


def allows(name="a", identity=A, key=ANA, until=ORDER.expires, federation="test"):
    return mandate(federation, PartyId(name), key.verify_key, until, identity)


def signed(given, key=ANA, order=ORDER.id, federation="test"):
    return {given.party: countersign_for(federation, order, given, key)}


def test_a_line_is_read_as_it_was_written():
    given_ = allows()
    assert Mandate.parse(f" {given_}\n") == given_
    assert mandate_of(given_.party, given_.to_json()) == given_


@given(st.text(max_size=40) | st.binary(max_size=60).map(lambda b: PREFIX + b.hex()))
@example(PREFIX)
@example(str(allows())[:-4])
@example(str(allows()).replace("_mandate1_", "_mandate1_!"))
@example(str(allows("../up")))
@example(PREFIX + "e30=")
@example(PREFIX + "A" * 2000)
def test_bad_lines(line):
    with pytest.raises(MalformedMessageError):
        Mandate.parse(line)


@pytest.mark.parametrize(
    "changed",
    [
        *({"until": True}, {"until": -1}, {"until": "1"}, {"key": "00"}, {"mandate": "00"}),
        *({"mandate": allows().signature.hex().upper()}, {"key": ANA.verify_key.hex.upper()}),
        {"more": 1},
    ],
)
def test_bad_mandates(changed):
    with pytest.raises(MalformedMessageError):
        mandate_of(PartyId("a"), {**allows().to_json(), **changed})


def test_a_person_signs_for_its_party_and_the_order_stays_the_same():
    given_ = signed(allows()) | signed(allows("b", B, BOB), BOB)
    wire = attached(WIRE, given_)
    found = open_order(wire, MEMBERS)
    assert found.countersigned == ("a", "b")
    assert found.order.id == ORDER.id
    assert taken_apart(wire) == (WIRE, given_)
    assert read_order(wire) == ORDER


def test_a_party_and_a_person_of_another_sign_side_by_side():
    own = {PartyId("b"): countersign("test", ORDER.id, PartyId("b"), B)}
    assert open_order(attached(WIRE, own | signed(allows())), MEMBERS).countersigned == ("a", "b")


@pytest.mark.parametrize(
    "given_",
    [
        signed(allows(identity=B)),  # another member's mandate
        signed(allows(identity=ANA)),  # the person's own
        signed(allows(federation="other")),
        signed(allows(key=BOB)),  # for another key than the one that signs
        signed(allows(), federation="other"),
        signed(allows(), order="0" * 64),
        signed(allows(until=ORDER.expires - 1)),  # it ends before the order
        signed(allows()) | signed(allows("b", B)),  # one person is two
        signed(allows("a", A, ANALYST), ANALYST),  # the proposer's own key
        signed(allows("a", A, SISTER), SISTER),  # another one of its organisation
        signed(allows("a", A, CARRIER), CARRIER),  # the aggregator's
        {PartyId("a"): ByPerson(A.sign(b""), allows())},
        {  # the party's own statement is no person's
            PartyId("a"): ByPerson(countersign("test", ORDER.id, PartyId("a"), ANA), allows())
        },
        {PartyId("a"): signed(allows())[PartyId("a")].signature},  # without its mandate
        {PartyId("a"): ByPerson(signed(allows())[PartyId("a")].signature, allows(until=2**40))}
        | {PartyId("b"): countersign("test", ORDER.id, PartyId("b"), A)},
    ],
)
def test_bad_signatures_of_persons(given_):
    with pytest.raises(UntrustedOrderError):
        open_order(attached(WIRE, given_), MEMBERS)


def test_a_mandate_is_altered_in_nothing():
    later_ = replace(allows(until=1), until=2**40)
    with pytest.raises(UntrustedOrderError):
        open_order(attached(WIRE, signed(later_)), MEMBERS)


def test_a_key_that_the_aggregator_gave_up_signs_for_nobody():
    (was,) = (one for one in MEMBERS.members if one.party == "carrier")
    gave_up = replace(MEMBERS, former=(replace(was, identity=BOB.verify_key),))
    wire = attached(WIRE, signed(allows(key=BOB), BOB))
    assert open_order(wire, MEMBERS).countersigned == ("a",)
    with pytest.raises(UntrustedOrderError):
        open_order(wire, gave_up)


def test_a_mandate_ends_with_the_identity_that_gave_it():
    members = tuple(
        replace(one, identity=BOB.verify_key) if one.party == "a" else one
        for one in MEMBERS.members
    )
    with pytest.raises(UntrustedOrderError):
        open_order(attached(WIRE, signed(allows())), replace(MEMBERS, members=members))


ITEM = item_of(PartyId("a"), signed(allows())[PartyId("a")])


@pytest.mark.parametrize(
    "changed",
    [{"by": None}, {"by": {}}, {"by": [1]}, {"by": {**allows().to_json(), "x": 1}}, {"also": 1}],
)
def test_an_entry_has_one_spelling(changed):
    tail = canonical.encode([{**ITEM, **changed}])
    with pytest.raises(MalformedOrderError):
        open_order(WIRE + SEPARATOR + tail, MEMBERS)


# -- over a federation -----------------------------------------------------------------------------


@pytest.fixture
def strict(simulation):
    """Every warehouse wants two organisations to sign an order above an epsilon."""
    countersign_above(simulation, *WAREHOUSES)
    return simulation


def officer(simulation, party=EU, key=ANA):
    organisation = simulation.roster.find(party).organisation
    seat = Seat(PersonId("ana"), organisation, PersonRole.OFFICER, Jurisdiction.EU)
    return Person(seat, key.verify_key)


def put(simulation, order, party=EU, key=ANA, mandated=None, who=None):
    """Hand a person's countersignature over at the door."""
    name = simulation.home.name
    given_ = mandated or mandate(name, party, key.verify_key, order.expires, simulation.key(party))
    desk, now = Countersigning(simulation.home.aggregator), simulation.now()
    (known,) = (one for one in desk._book.all() if one.job.id == order.id)
    one = countersign_for(name, order.id, given_, key)
    return desk.take(known, party, one, who or officer(simulation, party), now)


def listed(simulation):
    desk = Countersigning(simulation.home.aggregator)
    return [one.job.id for one in desk.waiting(simulation.now())]


def test_nodes_go_on_once_a_person_signed_and_believe_the_mandate_alone(strict):
    order = waiting(strict.training())
    assert run(strict, order).status == "waiting"
    assert listed(strict) == [order.id]
    assert put(strict, order)
    later(strict)
    job = strict.job(order)
    assert (job.status, job.result["parties"]) == ("done", list(WAREHOUSES))
    assert listed(strict) == []
    for party in WAREHOUSES:
        wire = strict.node(party)._outbox.accepted(order.id)
        assert isinstance(taken_apart(wire)[1][EU], ByPerson)


def test_the_aggregator_that_makes_a_person_up_moves_no_node(strict):
    order = waiting(strict.training())
    name = strict.home.name
    own = mandate(name, EU, ANA.verify_key, order.expires, strict.key(PartyId("aggregator")))
    wire = attached(sign(strict.home, order), {EU: countersign_for(name, order.id, own, ANA)})
    assert strict.offer(CN, order, wire).kind is Kind.FAILED
    genuine = mandate(name, EU, ANA.verify_key, order.expires, strict.key(EU))
    wire = attached(wire, {EU: countersign_for(name, order.id, genuine, ANA)})
    assert strict.offer(CN, order, wire).kind is Kind.ACCEPTED


def test_it_is_taken_once_and_said_once(strict):
    order = waiting(strict.training())
    run(strict, order)
    assert put(strict, order)
    wire = strict.job(order).wire
    assert not put(strict, order)
    assert strict.job(order).wire == wire
    own = load_aggregator(strict.home.aggregator)
    record = Record(own.ledger, own.party, own.identity, strict.roster, strict.now)
    (entry,) = (one for one in record.entries() if one.kind is EntryKind.APPROVED)
    assert (entry.order, entry.body["reasons"]) == (order.id, [f"countersigned={EU}"])
    said = tell("approved", entry.body, "en")
    assert said == f"a person countersigned the order for {EU}, at the aggregator's door"
    assert "联署" in tell("approved", entry.body, "zh")


def test_two_organisations_sign_at_one_moment_and_none_is_lost(strict, monkeypatch):
    """Whoever wrote on what it had read before the other wrote would take the other's away."""
    order = waiting(strict.training())
    run(strict, order)
    taking, first = Countersigning._waits, []

    def slow(self, *words):
        found = taking(self, *words)
        if not first:
            first.append(True)
            assert put(strict, order, UK, BOB, who=officer(strict, UK, BOB))
        return found

    monkeypatch.setattr(Countersigning, "_waits", slow)
    assert put(strict, order)
    assert open_order(strict.job(order).wire, strict.roster).countersigned == (EU, UK)


def test_a_person_signs_while_nodes_are_asked_and_no_signature_is_lost(strict, monkeypatch):
    order = waiting(strict.training())
    run(strict, order)
    pending(strict.folder(US), order.id[:12]).countersign()
    collected, done = Proposing._countersigned, []

    def slow(self, *words):
        found = collected(self, *words)
        if not done:
            done.append(put(strict, order))
        return found

    monkeypatch.setattr(Proposing, "_countersigned", slow)
    later(strict)
    assert done == [True]
    assert open_order(strict.job(order).wire, strict.roster).countersigned == (EU, US)


@pytest.mark.parametrize("how", ["another key", "another organisation", "a stranger's mandate"])
def test_bad_signers_at_the_door(strict, how):
    order = waiting(strict.training())
    run(strict, order)
    words = {
        "another key": {"who": officer(strict, EU, BOB)},
        "another organisation": {"who": officer(strict, UK)},
        "a stranger's mandate": {
            "mandated": mandate(strict.home.name, EU, ANA.verify_key, order.expires, BOB)
        },
    }[how]
    with pytest.raises((NotCountersignedError, UntrustedOrderError)):
        put(strict, order, **words)
    assert open_order(strict.job(order).wire, strict.roster).countersigned == ()


def test_for_a_suspended_party_nobody_signs(strict):
    order = waiting(strict.training())
    run(strict, order)
    strict.suspend(EU)
    with pytest.raises(NotCountersignedError, match="suspended"):
        put(strict, order)


def test_a_party_that_signed_signs_no_second_time(strict):
    order = waiting(strict.training())
    run(strict, order)
    assert put(strict, order)
    with pytest.raises(NotCountersignedError, match="already"):
        put(strict, order, key=BOB, who=officer(strict, EU, BOB))


@pytest.mark.parametrize("when", ["decided", "too late", "ended"])
def test_what_waits_no_longer_is_not_signed(strict, when):
    order = waiting(strict.training(), hours=1)
    run(strict, order)
    if when == "decided":
        strict.jobs.propose(order.id, OVER, {})
    elif when == "ended":
        strict.jobs.end(order.id, "refused", {"refusals": []})
    else:
        strict.later += 3601
    assert listed(strict) == []
    with pytest.raises(NotCountersignedError, match="waits for nobody"):
        put(strict, order)


def test_an_order_that_waits_for_nobody_is_not_listed(strict):
    order = strict.training()
    strict.put(order)
    assert listed(strict) == []


def test_a_node_gives_a_mandate_and_writes_it_down(strict):
    given_ = give_mandate(strict.folder(EU), ANA.verify_key.hex, 90)
    given_.require_genuine(strict.home.name, strict.roster.find(EU).identity)
    (entry,) = (one for one in strict.books(EU).entries() if one.kind is EntryKind.APPROVED)
    assert entry.body["reasons"] == [f"mandate={ANA.verify_key.hex}", f"until={given_.until}"]
    assert given_.until - entry.at == 90 * 86400
    assert "may countersign" in tell("approved", entry.body, "en")
    for key, days in (("zz", 90), (ANA.verify_key.hex, 0), (ANA.verify_key.hex, 367)):
        with pytest.raises(UsageError):
            give_mandate(strict.folder(EU), key, days)


@pytest.mark.parametrize("party", ["aggregator", EU, US])
def test_bad_mandates_for_members_keys_are_not_given(strict, party):
    with pytest.raises(UsageError, match="a member's key"):
        give_mandate(strict.folder(EU), strict.key(PartyId(party)).verify_key.hex, 90)


def test_a_node_that_exchanges_its_identity_gives_none(strict):
    begin_identity(load_settings(strict.folder(EU)))
    with pytest.raises(UsageError, match="exchanging"):
        give_mandate(strict.folder(EU), ANA.verify_key.hex, 90)
    assert not list(strict.books(EU).entries())


def test_a_node_gives_it_as_a_line(strict, capsys):
    words = ["node", "mandate", str(strict.folder(EU)), ANA.verify_key.hex, "--days", "2"]
    assert cli.run(words) == 0
    found = Mandate.parse(capsys.readouterr().out)
    assert (found.party, found.key) == (EU, ANA.verify_key)
    assert cli.run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "entrepot.node.mandate/1"


def test_what_is_shown_is_in_the_bytes():
    shown = Seen(read_order(WIRE), ("a",)).shown()
    assert shown["said_to_be_countersigned"] == ["a"]
    assert "countersigned" not in shown  # no roster lies on an officer's machine
    assert (shown["order"], shown["epsilon"]) == (ORDER.id, ORDER.epsilon)
    assert (shown["cohort"], shown["recipients"]) == ([*ORDER.cohort], [*ORDER.recipients])
    assert shown["order"] == canonical.digest_bytes(canonical.encode(ORDER.to_json()))
    other = sign_order(replace(ORDER, epsilon="9"), ANALYST)
    assert Seen(read_order(other), ()).shown()["order"] != ORDER.id


@pytest.fixture
def me(tmp_path):
    """An officer's folder, whose key is ana's."""
    (tmp_path / "person.key").write_bytes(ANA.seed)
    return Me(tmp_path, "ana", "test", Place("127.0.0.1", 1, b""))


@pytest.mark.parametrize("bad", [allows(until=ORDER.created), allows(key=BOB)])
def test_bad_mandates_take_no_good_ones_place(bad, me):
    good = keep_mandate(me, str(allows()), ORDER.created)
    with pytest.raises(UsageError, match=r"ended at|another key"):
        keep_mandate(me, str(bad), ORDER.created)
    assert chosen(me, Seen(ORDER, ())) == good


def test_a_mandate_is_chosen_before_anything_is_signed(me):
    seen = Seen(ORDER, ())
    with pytest.raises(UsageError, match="node mandate"):
        chosen(me, seen)
    keep_mandate(me, str(allows(until=ORDER.expires - 1)), 0)
    with pytest.raises(UsageError, match="before the order"):
        chosen(me, seen)
    keep_mandate(me, str(allows()), ORDER.created)
    keep_mandate(me, str(allows("b", B)), ORDER.created)
    assert chosen(me, seen, "b").party == "b"
    with pytest.raises(UsageError, match="there: a, b"):
        chosen(me, seen)


def test_an_officer_is_asked_for_whom_it_signs(me, monkeypatch, capsys):
    monkeypatch.setattr("experiments.peoples_door.open_me", lambda _: me)
    monkeypatch.setattr("experiments.countersigning.look", lambda *_: Seen(ORDER, ()))
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    line = str(allows(until=int(time.time()) + ORDER.expires))
    assert cli.run(["person", "mandate", line]) == 0
    assert "you may countersign for a orders that end by" in capsys.readouterr().out
    assert cli.run(["person", "countersign", ORDER.id]) != 0
    told = capsys.readouterr().err
    assert "Countersign this order for a?" in told
    assert '"for": "a"' in told
