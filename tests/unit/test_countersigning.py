"""Two organisations sign what a federation marks: who may, for which order, and how it goes on."""

from dataclasses import replace

import pytest

from clients.approvals import Approvals
from experiments.deciding import pending
from experiments.founding import AGGREGATOR
from experiments.ordering import sign
from federation.countersignatures import (
    MOST,
    SEPARATOR,
    attached,
    countersign,
    divided,
    taken_apart,
)
from federation.errors import MalformedOrderError, UnknownPartyError, UntrustedOrderError
from federation.membership import Member, Roster
from federation.messages import Kind
from federation.orders import open_order, sign_order
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import canonical
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey
from tests.persons import countersign_above, later, run, waiting
from tests.simulator import CN, EU, UK, US, WAREHOUSES
from tests.unit.test_orders import ANALYST, NODE, ORDER, ROSTER

A, B, C, CARRIER, SISTER = (SigningKey(bytes([n] * 32)) for n in range(10, 15))
SEATS = {
    "a": ("Aldebaran", Role.MERCHANT, A),
    "b": ("Betelgeuse", Role.WAREHOUSE, B),
    "c": ("Betelgeuse", Role.MERCHANT, C),
    "carrier": ("Carrier", Role.AGGREGATOR, CARRIER),
    "sister": ("Data", Role.MERCHANT, SISTER),
}
MEMBERS = Roster(
    "test",
    1,
    (
        *ROSTER.members,
        *(
            Member(PartyId(name), organisation, role, Jurisdiction.EU, key.verify_key)
            for name, (organisation, role, key) in SEATS.items()
        ),
    ),
)
WIRE = sign_order(ORDER, ANALYST)


def by(name, key=None, order=ORDER.id, federation="test"):
    party = PartyId(name)
    return {party: countersign(federation, order, party, key or SEATS[name][2])}


def test_an_order_that_nobody_countersigned_is_spelled_as_ever():
    signed = open_order(WIRE, MEMBERS)
    assert signed.countersigned == ()
    assert divided(WIRE) == (WIRE, None)
    assert attached(WIRE, {}) == WIRE == ANALYST.sign(WIRE[SIGNATURE_SIZE:]) + WIRE[SIGNATURE_SIZE:]


def test_a_countersigned_order_is_the_same_order():
    wire = attached(WIRE, by("a") | by("b"))
    signed = open_order(wire, MEMBERS)
    assert signed.order == ORDER and signed.order.id == ORDER.id
    assert signed.countersigned == ("a", "b")
    assert attached(wire, {}) == WIRE
    assert taken_apart(wire) == (WIRE, by("a") | by("b"))


@pytest.mark.parametrize(
    "given",
    [
        by("a", B),  # another's key
        by("a", order="0" * 64),  # for another order
        by("a", federation="other"),  # of another federation
        by("sister"),  # of the proposer's organisation
        by("carrier"),  # of the aggregator's
        by("b") | by("c"),  # two of one organisation
        {PartyId("analyst"): countersign("test", ORDER.id, PartyId("analyst"), ANALYST)},
        {PartyId("a"): by("b")[PartyId("b")]},  # another's statement
    ],
)
def test_bad_countersignatures(given):
    with pytest.raises(UntrustedOrderError):
        open_order(attached(WIRE, given), MEMBERS)


def test_bad_countersigner_is_a_stranger():
    given = {PartyId("eve"): countersign("test", ORDER.id, PartyId("eve"), A)}
    with pytest.raises(UnknownPartyError):
        open_order(attached(WIRE, given), MEMBERS)


def test_a_countersignature_replayed_on_another_order_is_refused():
    other = sign_order(replace(ORDER, epsilon="9"), ANALYST)
    with pytest.raises(UntrustedOrderError):
        open_order(attached(other, by("a")), MEMBERS)


def test_an_altered_order_is_refused_however_it_is_countersigned():
    wire = attached(WIRE, by("a")).replace(b'"epsilon":"2"', b'"epsilon":"9"')
    with pytest.raises(UntrustedOrderError):
        open_order(wire, MEMBERS)


ENTRY = {"party": "a", "signature": by("a")[PartyId("a")].hex()}
OTHER = {"party": "b", "signature": by("b")[PartyId("b")].hex()}


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"x",
        b"[]",
        b"{}",
        canonical.encode([ENTRY, ENTRY]),
        canonical.encode([OTHER, ENTRY]),
        canonical.encode([ENTRY | {"more": 1}]),
        canonical.encode([ENTRY | {"signature": ENTRY["signature"].upper()}]),
        canonical.encode([ENTRY | {"signature": ENTRY["signature"][:-2]}]),
        canonical.encode([ENTRY]) + b" ",
        canonical.encode([ENTRY]) + SEPARATOR,
        canonical.encode([{"party": f"p{n:02}", "signature": "00" * 64} for n in range(MOST + 1)]),
    ],
)
def test_bad_lists(tail):
    with pytest.raises(MalformedOrderError):
        open_order(WIRE + SEPARATOR + tail, MEMBERS)


def test_who_did_not_propose_cannot_hide_behind_a_countersignature():
    with pytest.raises(UntrustedOrderError):
        open_order(attached(sign_order(ORDER, NODE), by("a")), MEMBERS)


# -- over a federation -----------------------------------------------------------------------------


@pytest.fixture
def strict(simulation):
    """Every warehouse wants two organisations to sign an order above an epsilon."""
    countersign_above(simulation, *WAREHOUSES)
    return simulation


def test_an_order_waits_for_a_second_organisation_and_goes_on_by_itself(strict):
    order = waiting(strict.training())
    assert run(strict, order).status == "waiting"
    assert strict.mail.sent(Kind.OFFER) == []
    pending(strict.folder(EU), order.id[:12]).countersign()
    later(strict)
    job = strict.job(order)
    assert job.status == "done"
    assert job.result["parties"] == list(WAREHOUSES)
    assert open_order(job.wire, strict.roster).countersigned == (EU,)
    for party in WAREHOUSES:
        wire = strict.node(party)._outbox.accepted(order.id)
        assert open_order(wire, strict.roster).countersigned == (EU,)


def test_without_one_nobody_takes_part(strict):
    order = waiting(strict.training(), hours=1)
    run(strict, order)
    later(strict, 3601)
    job = strict.job(order)
    assert job.status == "refused"
    reasons = {r["id"] for refusal in job.result["refusals"] for r in refusal["reasons"]}
    assert reasons == {"APPROVAL-003"}
    for party in WAREHOUSES:
        assert strict.books(party).open_orders() == [] and strict.account(party) is None


def test_a_forged_countersignature_is_carried_to_nobody(strict):
    order = waiting(strict.training())
    run(strict, order)
    forged = countersign(strict.home.name, order.id, EU, SigningKey(bytes(32)))
    Approvals(strict.folder(EU)).countersign(order.id, forged)
    later(strict)
    job = strict.job(order)
    assert job.status == "waiting"
    assert open_order(job.wire, strict.roster).countersigned == ()


def test_nodes_do_not_take_the_aggregators_word_for_it(strict):
    """It may leave countersignatures out; it cannot put one in."""
    order = waiting(strict.training())
    plain = sign(strict.home, order)
    own = countersign(strict.home.name, order.id, AGGREGATOR, strict.key(AGGREGATOR))
    reply = strict.offer(CN, order, attached(plain, {AGGREGATOR: own}))
    assert reply.kind is Kind.FAILED
    genuine = countersign(strict.home.name, order.id, UK, strict.key(UK))
    assert strict.offer(CN, order, plain).kind is Kind.REFUSED
    assert strict.offer(CN, order, attached(plain, {UK: genuine})).kind is Kind.ACCEPTED


def test_what_a_suspended_member_signed_counts_for_nothing(strict):
    order = waiting(strict.training(cohort=(CN, UK, US)))
    signed = {
        who: countersign(strict.home.name, order.id, who, strict.key(who)) for who in (EU, UK)
    }
    plain = sign(strict.home, order)
    strict.suspend(EU)
    strict.show_roster(CN)
    strict.restart(CN)
    assert strict.offer(CN, order, attached(plain, {EU: signed[EU]})).kind is Kind.REFUSED
    assert strict.offer(CN, order, attached(plain, signed)).kind is Kind.ACCEPTED


def test_a_countersignature_stays_with_an_accepted_order(strict):
    """Rounds are judged by the order as it was accepted."""
    order = waiting(strict.training())
    run(strict, order)
    pending(strict.folder(US), order.id[:12]).countersign()
    later(strict)
    assert strict.job(order).result["rounds"] == order.releases


def test_a_party_of_the_proposers_organisation_is_told_that_it_may_not(strict):
    order = waiting(strict.training())
    run(strict, order)
    found = pending(strict.folder(EU), order.id[:12])
    own = found.judge.roster.find(order.proposer).organisation
    members = tuple(
        replace(member, organisation=own) if member.party == EU else member
        for member in strict.roster.members
    )
    judge = replace(found.judge, roster=replace(strict.roster, members=members))
    with pytest.raises(UntrustedOrderError, match="may not countersign"):
        replace(found, judge=judge).countersign()
    assert Approvals(strict.folder(EU)).countersignature(order.id) is None
