"""Officers countersign at the door."""

import logging
import tomllib
from dataclasses import replace

import pytest
import tomli_w

from aggregator.access import DeniedError
from aggregator.countersigning import NotCountersignedError
from aggregator.jobs import Jobs
from federation.countersignatures import (
    ByPerson,
    countersign,
    item_of,
    taken_apart,
)
from federation.errors import (
    FederationError,
    MalformedMessageError,
    UntrustedOrderError,
)
from federation.ledger.entries import EntryKind
from federation.membership import Member
from federation.orders import read_order
from policies.parties import Jurisdiction, PartyId, Role
from tests.desk import WAITS, countersigned, lines_of, record
from tests.people import HOST, MEMBERS, Desk
from tests.rosters import founded, key


def test_an_officer_sees_what_waits_and_signs_what_its_bytes_say(desk: Desk) -> None:
    desk.put(WAITS, "desk")
    desk.put(replace(WAITS, cohort=(PartyId("eu"),)), "desk")  # another organisation's
    desk.put(replace(WAITS, waits_until=1_900_000_001), "desk")  # over
    desk.put(replace(WAITS, waits_until=0), "desk")  # waits for nobody
    ana = desk.member("ana", "officer", "Ningbo", "CN")
    (row,) = desk.ask("Waiting", ana.session)["orders"]
    assert (row["order"], row["epsilon"], row["purpose"]) == (WAITS.id, "2", "fraud_prevention")
    assert (row["cohort"], row["recipients"]) == (["cn", "eu"], ["desk"])
    wire = bytes.fromhex(desk.ask("Waiting", ana.session, order=WAITS.id[:12])["wire"])
    assert read_order(wire) == WAITS
    given = countersigned(ana)
    found = desk.ask("Countersign", ana.session, **given)
    assert found == {"countersigned": WAITS.id, "party": "cn", "new": True}
    again = desk.ask("Countersign", ana.session, **given)
    assert again == {**found, "new": False}
    (job,) = Jobs(desk.folder / "jobs.sqlite").named(WAITS.id)
    assert isinstance(taken_apart(job.wire)[1][PartyId("cn")], ByPerson)
    assert [one.order for one in record(desk).entries() if one.kind is EntryKind.APPROVED] == [
        WAITS.id
    ]


def test_a_countersignature_wants_a_factor_of_five_minutes(desk: Desk) -> None:
    desk.put(WAITS, "desk")
    ana = desk.member("ana", "officer", "Ningbo", "CN")
    desk.clock.at += 300
    with pytest.raises(DeniedError, match="ACCESS-105"):
        desk.ask("Countersign", ana.session, **countersigned(ana))
    desk.ask("Confirm", ana.session, **desk.shown(ana))
    assert desk.ask("Countersign", ana.session, **countersigned(ana))["new"]


@pytest.mark.parametrize(
    ("cohort", "organisation", "rule"),
    [
        (("cn", "sister"), "Analytics", "ACCESS-104"),  # the proposer's
        (("cn", "aggregator"), HOST, "ACCESS-104"),  # the carrier's
        (("cn",), "Rotterdam", "LAW-001"),  # nobody's of the cohort
        (("cn",), HOST, "LAW-001"),
    ],
)
def test_bad_organisations_countersign_nothing_and_are_shown_nothing(
    desk: Desk, cohort: tuple[str, ...], organisation: str, rule: str
) -> None:
    sister = Member(
        PartyId("sister"), "Analytics", Role.MERCHANT, Jurisdiction.EU, key("sister").verify_key
    )
    chain = founded("harbour", (*MEMBERS, sister))
    (desk.folder / "roster.bin").write_bytes(chain.wire)
    path_ = desk.folder / "aggregator.toml"
    path_.write_text(tomli_w.dumps(tomllib.loads(path_.read_text()) | {"pin": chain.pin}))
    order = replace(WAITS, cohort=tuple(map(PartyId, cohort)))
    desk.put(order, "desk")
    ana = desk.member("ana", "officer", organisation)
    assert desk.ask("Waiting", ana.session) == {"orders": []}
    for method, body in (
        ("Waiting", {"order": order.id}),
        ("Countersign", countersigned(ana, order.id)),
    ):
        with pytest.raises(DeniedError, match=rule):
            desk.ask(method, ana.session, **body)
    (job,) = Jobs(desk.folder / "jobs.sqlite").named(order.id)
    assert taken_apart(job.wire)[1] == {}


def test_bad_countersignatures_at_the_door(desk: Desk) -> None:
    desk.put(WAITS, "desk")
    ana = desk.member("ana", "officer", "Ningbo", "CN")
    eva = desk.member("eva", "officer", "Ningbo", "CN")
    party = PartyId("cn")
    own = item_of(party, countersign("harbour", WAITS.id, party, key("cn")))
    for body, why in (
        (countersigned(eva), NotCountersignedError),  # made elsewhere, with another's key
        (countersigned(ana, party="eu"), NotCountersignedError),  # of another organisation
        ({**countersigned(ana, "0" * 64), "order": WAITS.id}, UntrustedOrderError),
        ({"order": WAITS.id, "countersignature": own}, MalformedMessageError),  # a node's
        ({"order": WAITS.id}, MalformedMessageError),
        ({"order": WAITS.id, "countersignature": {}}, FederationError),
    ):
        with pytest.raises(why):
            desk.ask("Countersign", ana.session, **body)
    (job,) = Jobs(desk.folder / "jobs.sqlite").named(WAITS.id)
    assert taken_apart(job.wire)[1] == {}


def test_who_countersigned_and_who_was_turned_away_is_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.put(WAITS, "desk")
    ana = desk.member("ana", "officer", "Ningbo", "CN")
    with caplog.at_level(logging.INFO):
        with pytest.raises(NotCountersignedError):
            desk.ask("Countersign", ana.session, **countersigned(ana, party="eu"))
        desk.ask("Countersign", ana.session, **countersigned(ana))
    (away,) = lines_of(caplog, "door.turned_away")
    assert (away["method"], away["why"]) == ("People/Countersign", "NotCountersignedError")
    (line,) = lines_of(caplog, "people.changed")
    assert (line["method"], line["by"], line["order"]) == ("People/Countersign", "ana", WAITS.id)
    assert "ana" not in str(record(desk).entries())
