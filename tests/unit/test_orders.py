"""Orders and rosters: verified first, read after, altered never."""

from dataclasses import replace

import pytest

from federation.errors import (
    MalformedOrderError,
    UnknownPartyError,
    UntrustedOrderError,
    UntrustedRosterError,
)
from federation.membership import Member, Roster
from federation.orders import Turn, WorkOrder, open_order, sign_order
from federation.roster_chain import open_roster
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import canonical
from secure_compute.primitives.signature import SigningKey
from tests.rosters import founded, founders

ANALYST, NODE = (SigningKey(bytes([n] * 32)) for n in (2, 3))
ROSTER = Roster(
    "test",
    1,
    (
        Member(PartyId("analyst"), "Data", Role.ANALYST, Jurisdiction.EU, ANALYST.verify_key),
        Member(PartyId("node"), "Node", Role.MERCHANT, Jurisdiction.UK, NODE.verify_key),
    ),
)
ORDER = WorkOrder(
    federation="test",
    kind="train",
    proposer=PartyId("analyst"),
    purpose="fraud_prevention",
    legal_basis="legitimate interest",
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
    created=1,
    expires=2,
    nonce="n",
)


def test_a_signed_order_reads_back() -> None:
    signed = open_order(sign_order(ORDER, ANALYST), ROSTER)
    assert signed.order == ORDER
    assert signed.order.id == ORDER.id


def test_the_id_changes_with_every_field() -> None:
    for change in ({"epsilon": "3"}, {"abandoned": 3}, {"windows": ()}):
        assert replace(ORDER, **change).id != ORDER.id


SECOND = replace(ORDER, not_before=1000, expires=1099, schedule=Turn(2, 3, 100))


def test_an_order_of_a_schedule_reads_back() -> None:
    assert open_order(sign_order(SECOND, ANALYST), ROSTER).order == SECOND
    assert SECOND.to_json()["schedule"] == {"number": 2, "of": 3, "every": 100}
    assert "schedule" not in ORDER.to_json()


@pytest.mark.parametrize(
    "change",
    [
        *({"schedule": other} for other in (None, {}, [2, 3, 100], "2", 0)),
        {"schedule": {"number": 2, "of": 3}},
        {"schedule": {"number": 2, "of": 3, "every": 100, "name": "x"}},
        {"schedule": {"number": True, "of": 3, "every": 100}},
        {"schedule": {"number": "2", "of": 3, "every": 100}},
        {"schedule": {"number": 0, "of": 3, "every": 100}},
        {"schedule": {"number": 4, "of": 3, "every": 100}},
        {"schedule": {"number": 1, "of": 1, "every": 100}},
        {"schedule": {"number": 1, "of": 367, "every": 100}},
        {"schedule": {"number": 2, "of": 3, "every": 99}},  # not over before the next
        {"expires": 1100},
    ],
)
def test_bad_turns(change: dict[str, canonical.JSON]) -> None:
    body = canonical.encode(SECOND.to_json() | change)
    with pytest.raises(MalformedOrderError):
        open_order(ANALYST.sign(body) + body, ROSTER)


def test_bad_turn_of_an_order_that_may_begin_at_once() -> None:
    with pytest.raises(MalformedOrderError):
        replace(SECOND, not_before=0)


def test_an_order_of_the_first_version_is_not_read() -> None:
    """It says neither how many rounds may be abandoned nor which windows are read."""
    old = {k: v for k, v in ORDER.to_json().items() if k not in {"abandoned", "windows"}}
    body = canonical.encode(old | {"version": 1})
    with pytest.raises(MalformedOrderError):
        open_order(ANALYST.sign(body) + body, ROSTER)


def test_bad_signature() -> None:
    with pytest.raises(UntrustedOrderError):
        open_order(sign_order(ORDER, NODE), ROSTER)


def test_bad_proposer_is_no_analyst() -> None:
    with pytest.raises(UntrustedOrderError):
        open_order(sign_order(replace(ORDER, proposer=PartyId("node")), NODE), ROSTER)


def test_bad_proposer_is_a_stranger() -> None:
    with pytest.raises(UnknownPartyError):
        open_order(sign_order(replace(ORDER, proposer=PartyId("eve")), NODE), ROSTER)


def test_bad_altered_after_signing() -> None:
    wire = sign_order(ORDER, ANALYST).replace(b'"epsilon":"2"', b'"epsilon":"9"')
    with pytest.raises(UntrustedOrderError):
        open_order(wire, ROSTER)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"version": 3},
        {"rounds": 1},
        {"releases": "3"},
        {"columns": [1]},
        {"minimum": 5},
        {"abandoned": -1},
        {"abandoned": 101},
        {"abandoned": True},
        {"windows": "2025-Q1"},
        {"windows": ["a", "a"]},
    ],
)
def test_bad_fields(change: dict[str, canonical.JSON]) -> None:
    body = canonical.encode(ORDER.to_json() | change)
    with pytest.raises(MalformedOrderError):
        open_order(ANALYST.sign(body) + body, ROSTER)


def test_a_roster_opens_under_its_pin_only() -> None:
    chain = founded()
    assert open_roster(chain.wire, chain.pin).members == founders()
    with pytest.raises(UntrustedRosterError):
        open_roster(chain.wire, founded("elsewhere").pin)
    with pytest.raises(UntrustedRosterError):
        open_roster(chain.wire.replace(b"merchant", b"analyst!"), chain.pin)
