"""What everybody derives from a signed order and a roster, and how keys and answers travel."""

from dataclasses import replace

import pytest

from clients.settings import load_settings
from federation.errors import MalformedMessageError, MalformedOrderError
from federation.joint_keys import Package, keyholders, pack, require_holders, unpack
from federation.joint_questions import question_of
from federation.membership import Member, Roster
from federation.orders import open_order, sign_order
from federation.sealed_answers import Origin, seal, unseal
from federation.tasks import QueryTask
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.errors import PeerProtocolError, RosterError
from secure_compute.primitives.agreement import AgreementKey
from tests.asked import HOLDERS, federation, question
from tests.joined import make_key
from tests.masked import signing_key
from tests.simulator import CN

KEY = AgreementKey(bytes(range(32)))
ORIGIN = Origin("ab" * 32, "holder-0", "cd" * 32)
SECRET = bytes(32)


@pytest.fixture(scope="module")
def simulation(tmp_path_factory):
    return federation(tmp_path_factory.mktemp("forms") / "federation")


@pytest.fixture(scope="module")
def order(simulation):
    return question(simulation)


def roster_of(*holders, organisation=str):
    members = [
        Member(
            PartyId(h), organisation(h), Role.KEYHOLDER, Jurisdiction.CH, signing_key(h).verify_key
        )
        for h in holders
    ]
    return Roster("harbour", 1, tuple(members))


# -- orders ---------------------------------------------------------------------------------------


def test_a_sealing_key_stands_in_the_order_where_there_is_one(simulation, order):
    task = QueryTask.from_json(order.parameters)
    assert len(task.sealing) == 64
    assert task.to_json() == dict(order.parameters)
    wire = sign_order(order, simulation.home.analyst_key())
    assert open_order(wire, simulation.roster).order == order
    bare = {name: said for name, said in order.parameters.items() if name != "sealing"}
    assert QueryTask.from_json(bare).sealing == ""
    assert QueryTask.from_json(bare).to_json() == bare
    past = {**bare, "source": "past", "sealing": task.sealing}
    assert QueryTask.from_json(past).to_json() == past


@pytest.mark.parametrize(
    "said", ["", "ab", "AB" * 32, "gg" * 32, "ab" * 33, " " + "ab" * 31 + "a", 1, None, ["ab" * 32]]
)
def test_a_sealing_key_has_one_spelling(order, said):
    with pytest.raises(MalformedOrderError):
        QueryTask.from_json({**order.parameters, "sealing": said})


@pytest.mark.parametrize("more", [{"recipient": "x"}, {"source": "any"}, {"source": 1}])
def test_a_query_has_no_other_fields(order, more):
    with pytest.raises(MalformedOrderError):
        QueryTask.from_json({**order.parameters, **more})


def test_two_nodes_of_one_organisation_are_no_cohort(simulation, order):
    terms = make_key(3, 2).terms
    assert question_of(order, simulation.roster, terms, "00" * 32).quorum == 3
    first = simulation.roster.find(order.cohort[0])
    members = tuple(
        replace(member, organisation=first.organisation)
        if member.party == order.cohort[1]
        else member
        for member in simulation.roster.members
    )
    with pytest.raises(PeerProtocolError, match="one organisation"):
        question_of(order, replace(simulation.roster, members=members), terms, "00" * 32)


@pytest.mark.parametrize(("threshold", "colluding"), [(2, 1), (3, 2)])
def test_a_question_holds_against_as_many_as_its_key_does(simulation, order, threshold, colluding):
    terms = make_key(5, threshold).terms
    asked = question_of(order, simulation.roster, terms, "00" * 32)
    assert asked.colluding == colluding
    assert asked.recipient == order.proposer


# -- keys -----------------------------------------------------------------------------------------


def test_three_keyholders_of_three_organisations_hold_keys():
    require_holders(roster_of("a", "b", "c"), 2)
    require_holders(roster_of("a", "b", "c"), 3)
    assert keyholders(roster_of("c", "a", "b")) == ("a", "b", "c")
    for roster, threshold in (
        (roster_of("a"), 2),
        (roster_of("a", "b"), 2),
        (roster_of("a", "b", "c"), 1),
        (roster_of("a", "b", "c"), 4),
        (roster_of("a", "b", "c", organisation=lambda name: "one"), 2),
    ):
        with pytest.raises(RosterError):
            require_holders(roster, threshold)


def test_a_package_has_one_spelling():
    made = make_key(3, 2)
    parts = tuple(made.shown[place] for place in range(3))
    package = Package(made.terms, made.commitments, parts)
    wire = package.to_bytes()
    assert Package.read(wire) == package
    for bad in (b"", wire[:-1], wire + b"\0", pack(unpack(wire)[:2]), pack([b"{}", b"", b""])):
        with pytest.raises((MalformedMessageError, PeerProtocolError)):
            Package.read(bad)


@pytest.mark.parametrize("text", ["threshold = 1", "threshold = true", 'threshold = "2"'])
def test_a_threshold_in_the_settings_is_a_number_of_keyholders(simulation, text):
    path = simulation.folder(HOLDERS[0]) / "node.toml"
    kept = path.read_text()
    bare = kept.split("[keys]")[0]
    try:
        path.write_text(bare + f"\n[keys]\n{text}\n")
        with pytest.raises(Exception, match="threshold"):
            load_settings(simulation.folder(HOLDERS[0]))
        path.write_text(bare + "\n[keys]\nthreshold = 3\n")
        assert load_settings(simulation.folder(HOLDERS[0])).threshold == 3
    finally:
        path.write_text(kept)
    assert load_settings(simulation.folder(CN)).threshold == 2


# -- boxes ----------------------------------------------------------------------------------------


def test_a_box_is_the_same_for_the_same_parts_and_another_for_others():
    box = seal([b"one", b"two"], KEY.public, ORIGIN, SECRET)
    assert unseal(box, KEY, ORIGIN) == [b"one", b"two"]
    assert seal([b"one", b"two"], KEY.public, ORIGIN, SECRET) == box
    ephemerals = {
        seal(parts, KEY.public, origin, secret)[:32]
        for parts in ([b"one"], [b"two"], [b"one", b""])
        for origin in (ORIGIN, replace(ORIGIN, order="ef" * 32))
        for secret in (SECRET, bytes([1]) * 32)
    }
    assert len(ephemerals) == 12  # no two contents meet under one key


def test_a_box_opens_with_the_orders_key_alone():
    box = seal([b"one"], KEY.public, ORIGIN, SECRET)
    for bad in (b"", box[:31], box[:-1], box + b"\0", bytes(len(box))):
        with pytest.raises(PeerProtocolError):
            unseal(bad, KEY, ORIGIN)
    with pytest.raises(PeerProtocolError):
        unseal(box, AgreementKey(bytes(31) + b"\1"), ORIGIN)
    for changes in ({"order": "00" * 32}, {"keyholder": "holder-1"}, {"listing": "00" * 32}):
        with pytest.raises(PeerProtocolError):
            unseal(box, KEY, replace(ORIGIN, **changes))
    with pytest.raises(PeerProtocolError):
        seal([b"one"], bytes(32), ORIGIN, SECRET)  # a key of low order seals nothing
