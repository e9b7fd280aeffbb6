"""Pinned bytes: what is read, and what is refused, of signed orders and of sealed messages."""

import json
from pathlib import Path

import pytest

from aggregator.letters import Answer, Desk, Silence
from federation import errors as federation_errors
from federation.countersignatures import attached, taken_apart
from federation.envelopes import Envelope, open_envelope, seal
from federation.membership import Member, Roster
from federation.messages import Kind
from federation.orders import WorkOrder, open_order, sign_order
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import errors as compute_errors
from secure_compute.primitives.signature import SigningKey

FOLDER = Path(__file__).parents[1] / "vectors"
KEYS = {
    name: SigningKey(bytes([number] * 32))
    for number, name in enumerate(("analyst", "node", "friend", "sister", "aggregator"), 1)
}
SEATS = {
    "analyst": ("Data", Role.ANALYST),
    "node": ("Node", Role.MERCHANT),
    "friend": ("Friend", Role.WAREHOUSE),
    "sister": ("Data", Role.MERCHANT),
    "aggregator": ("Carrier", Role.AGGREGATOR),
}
ROSTER = Roster(
    "vectors",
    1,
    tuple(
        Member(PartyId(name), organisation, role, Jurisdiction.EU, KEYS[name].verify_key)
        for name, (organisation, role) in SEATS.items()
    ),
)
ORDER = WorkOrder(
    federation="vectors",
    kind="train",
    proposer=PartyId("analyst"),
    purpose="fraud_prevention",
    legal_basis="contract",
    code="00",
    contract="orders",
    contract_version=1,
    columns=("amount",),
    recipients=(PartyId("analyst"),),
    parameters={"rounds": 3},
    unit="customer",
    epsilon="2",
    delta="1e-6",
    event={"event": "gaussian"},
    releases=3,
    abandoned=2,
    windows=("2025-Q1",),
    cohort=(PartyId("node"),),
    minimum=1,
    created=1000,
    expires=2000,
    nonce="n",
)
LETTER = Envelope(
    Kind.TRAIN_UPDATE,
    PartyId("node"),
    PartyId("aggregator"),
    "o1",
    3,
    {"n": 1},
    {"update": b"one"},
)
ASKED = Kind.TRAIN_ROUND


def vectors(name):
    path = FOLDER / name
    return json.loads(path.read_text(encoding="utf-8"))


ORDERS, ENVELOPES = vectors("orders.json"), vectors("envelopes.json")


def named(error):
    return getattr(federation_errors, error, None) or getattr(compute_errors, error)


@pytest.mark.parametrize("name", ORDERS["good"])
def test_good_orders(name):
    vector = ORDERS["good"][name]
    signed = open_order(bytes.fromhex(vector["wire"]), ROSTER)
    assert signed.order.id == vector["id"]
    assert list(signed.countersigned) == vector["countersigned"]
    plain = sign_order(signed.order, KEYS["analyst"])
    _, given = taken_apart(signed.wire)
    assert attached(plain, given).hex() == vector["wire"]


def test_the_plain_order_is_the_one_of_this_file():
    assert open_order(bytes.fromhex(ORDERS["good"]["plain"]["wire"]), ROSTER).order == ORDER


@pytest.mark.parametrize("name", ORDERS["bad"])
def test_bad_orders(name):
    vector = ORDERS["bad"][name]
    with pytest.raises(named(vector["error"])):
        open_order(bytes.fromhex(vector["wire"]), ROSTER)


def test_a_good_message():
    wire = bytes.fromhex(ENVELOPES["good"])
    assert seal(LETTER, KEYS["node"]) == wire
    assert open_envelope(wire, ROSTER, PartyId("aggregator")).envelope == LETTER


@pytest.mark.parametrize("name", ENVELOPES["bad"])
def test_bad_messages(name):
    vector = ENVELOPES["bad"][name]
    with pytest.raises(named(vector["error"])):
        open_envelope(bytes.fromhex(vector["wire"]), ROSTER, PartyId("aggregator"))


def read(wire):
    desk = Desk(PartyId("aggregator"), KEYS["aggregator"], ROSTER)
    return desk.read(ASKED, "o1", 3, PartyId("node"), wire)


def test_the_good_message_answers_its_question():
    assert isinstance(read(bytes.fromhex(ENVELOPES["good"])), Answer)


@pytest.mark.parametrize("name", ENVELOPES["bad_answers"])
def test_bad_answers(name):
    """Genuine messages of another order, round, kind, sender or recipient, played in its place."""
    assert isinstance(read(bytes.fromhex(ENVELOPES["bad_answers"][name])), Silence)
