"""Who gets to what at the people's door."""

import json
import time
from typing import Final

import pytest

from aggregator.access import DeniedError
from aggregator.jobs import Jobs
from aggregator.people_door import NothingThereError
from aggregator.people_views import NothingYetError, NotTakenError
from aggregator.settings import load_aggregator
from federation.control.methods import METHODS, Shows
from federation.errors import (
    FederationError,
    UnknownPartyError,
    UntrustedOrderError,
)
from federation.ledger.export import Export
from federation.ledger.notes import origin_of
from federation.ledger.trust import Trust
from federation.ledger.verify import verify
from federation.ledger.witness import WitnessRequest, cosign
from federation.orders import sign_order
from federation.people.sessions import ClosedSessionError
from policies.parties import PartyId
from secure_compute import canonical
from tests.desk import FRESH, WAITS, asked, record
from tests.people import HOST, Desk, order_of
from tests.rosters import key

# Written by hand: what a person in each role gets to, with a factor of this minute. Ningbo's
# operator is at cn, which is in the order; the targets are a colleague at Ningbo and a stranger.
ROLES: Final = {
    "partner_operator": ("Ningbo", "CN"),
    "officer": ("Ningbo", "CN"),
    "data_team": ("Analytics", "EU"),
    "aggregator_operator": (HOST, "EU"),
    "regulator": ("CAC", "CN"),
}

EVERYBODY: Final = {"WhoAmI", "Sessions", "Confirm", "Roster", "Orders", "Order", "Logout"} | {
    *("Models", "Card"),
}

MORE: Final = {
    "partner_operator": {"People", "Sessions of a colleague", "Revoke a colleague's"}
    | {"Disable a colleague"},
    "officer": {"People", "Waiting", "Waiting for one", "Countersign"},
    "data_team": {"Propose", "Answer", "Model"},
    "aggregator_operator": {"People", "Sessions of a colleague", "Sessions of a stranger"}
    | {"Revoke a colleague's", "Revoke a stranger's", "Disable a colleague"}
    | {"Disable a stranger", "Model"},
    "regulator": {"Ledger"},
}


@pytest.mark.parametrize("role", ROLES)
def test_every_role_gets_to_what_the_table_says_and_to_nothing_else(desk: Desk, role: str) -> None:
    order = desk.put(WAITS, "desk")
    record(desk).request()
    desk.member("colleague", "data_team", "Ningbo", "CN")
    desk.member("stranger", "data_team", "Rotterdam", "EU")
    who = desk.member("me", role, *ROLES[role])
    got = set()
    questions = asked(desk, who, order)
    for question, (method, body) in questions.items():
        before = desk.people.sessions(), desk.people.persons()
        try:
            desk.ask(method, who.session, **body)
            got.add(question)
        except NotTakenError:  # let in, and there is no answer yet
            got.add(question)
        except DeniedError:
            after = desk.people.sessions(), desk.people.persons()
            assert [one.hash for one in after[0]] == [one.hash for one in before[0]]
            assert after[1] == before[1]
    assert got == EVERYBODY | MORE[role]
    with_session = {m.name for m in METHODS.values() if m.shows is Shows.SESSION}
    assert {method for method, _ in questions.values()} | {"AddPasskey", "RemovePasskey"} == (
        with_session
    )


def test_nobody_gets_to_anything_without_a_session(desk: Desk) -> None:
    for method in METHODS.values():
        if method.shows is Shows.SESSION:
            with pytest.raises(ClosedSessionError):
                desk.ask(method.name, "", order="x", person="x", id="x")


def test_an_operator_sees_nothing_of_another_organisation(desk: Desk) -> None:
    ours = desk.put(order_of("desk", ("cn", "ca")), "desk")
    theirs = desk.put(order_of("desk", ("eu",)), "desk")
    desk.member("eva", "partner_operator", "Rotterdam", "EU")
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    assert [row["order"] for row in desk.ask("Orders", ning.session)["orders"]] == [ours]
    assert [row["person"] for row in desk.ask("People", ning.session)["people"]] == ["ning"]
    told = set()
    for method, body in (
        ("Order", {"order": theirs}),
        ("Order", {"order": "0" * 64}),
        ("Sessions", {"person": "eva"}),
        ("Sessions", {"person": "nobody"}),
        ("Disable", {"person": "eva"}),
        ("Revoke", {"id": desk.people.sessions("eva")[0].id}),
        ("Revoke", {"id": "0" * 12}),
    ):
        with pytest.raises(DeniedError) as why:
            desk.ask(method, ning.session, **body)
        told.add(str(why.value))
    assert len(told) == 1  # what is not there and what is another's sound alike


def test_an_order_says_what_its_cohort_was_told_and_not_who_declined(desk: Desk) -> None:
    order = desk.put(order_of("desk", ("cn", "eu")), "desk")
    jobs = Jobs(desk.folder / "jobs.sqlite")
    refusal = {"node": "eu", "kind": "policy", "reasons": [{"id": "EU-001"}]}
    jobs.note(order, stage="offered", willing=("cn",), refusals=[refusal], declined=1)
    jobs.end(order, "refused", {"error": "refused by eu", "refusals": [refusal]})
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    shown = desk.ask("Order", ning.session, order=order[:12])
    assert (shown["declined"], shown["status"]) == (1, "refused")
    assert shown["work"] == order_of("desk", ("cn", "eu")).to_json()
    assert "EU-001" not in json.dumps(shown)
    assert "refusals" not in json.dumps(shown)


def test_the_data_team_sees_its_own_organisations_orders(desk: Desk) -> None:
    desk.put(order_of("desk", ("cn",)), "desk")
    own = desk.put(order_of("lab", ("cn",)), "lab")
    lab = desk.member("lia", "data_team", "Institute", "UK")
    assert [row["order"] for row in desk.ask("Orders", lab.session)["orders"]] == [own]


@pytest.mark.parametrize(("place", "sees"), [("US", 1), ("US-CA", 1), ("CN", 0), ("EU", 0)])
def test_a_regulator_sees_the_orders_of_its_territory(desk: Desk, place: str, sees: int) -> None:
    """That of a country also those of its states."""
    desk.put(order_of("desk", ("ca",)), "desk")
    reads = desk.member("reg", "regulator", "Regulator", place)
    assert len(desk.ask("Orders", reads.session)["orders"]) == sees


def test_the_data_team_proposes_what_its_own_analyst_signed(desk: Desk) -> None:
    dan = desk.member("dan", "data_team", "Analytics")
    own = sign_order(FRESH, key("desk"))
    assert desk.ask("Propose", dan.session, order=own.hex()) == {"order": FRESH.id}
    jobs = Jobs(desk.folder / "jobs.sqlite")
    (job,) = jobs.named("")
    assert (job.wire, job.status) == (own, "queued")
    jobs.end(job.id, "done", {})
    desk.ask("Propose", dan.session, order=own.hex())
    assert [(one.id, one.status) for one in jobs.named("")] == [(FRESH.id, "done")]


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        (sign_order(order_of("lab", ("cn",)), key("lab")), DeniedError),
        (sign_order(order_of("desk", ("cn",)), key("lab")), UntrustedOrderError),
        (sign_order(order_of("cn", ("cn",)), key("cn")), UntrustedOrderError),
        (sign_order(order_of("nobody", ("cn",)), key("nobody")), UnknownPartyError),
        (b"", FederationError),
        (sign_order(FRESH, key("desk"))[:-1], FederationError),
    ],
)
def test_bad_proposals(desk: Desk, wire: bytes, error: type[Exception]) -> None:
    dan = desk.member("dan", "data_team", "Analytics")
    with pytest.raises(error):
        desk.ask("Propose", dan.session, order=wire.hex())
    assert Jobs(desk.folder / "jobs.sqlite").named("") == []


def test_what_is_forged_is_not_shown(desk: Desk) -> None:
    Jobs(desk.folder / "jobs.sqlite").add("f" * 64, b"forged", desk.clock())
    host = desk.member("ann", "aggregator_operator", HOST)
    assert desk.ask("Orders", host.session) == {"orders": []}
    with pytest.raises(NothingThereError):
        desk.ask("Order", host.session, order="f" * 64)


def test_a_ledger_is_verified_offline(desk: Desk) -> None:
    reads = desk.member("reg", "regulator", "CNIL", "EU")
    with pytest.raises(NothingYetError):
        desk.ask("Ledger", reads.session)
    with pytest.raises(DeniedError):
        desk.ask("People", reads.session)
    ledger = record(desk)
    note = WitnessRequest.from_bytes(ledger.request()).note
    ledger.keep(
        note,
        {
            name: cosign(note, name, key(party), int(time.time()))
            for party in ("cn", "eu")
            for name in (origin_of("harbour", PartyId(party)),)
        },
    )
    data = canonical.encode(desk.ask("Ledger", reads.session)["export"])
    found = verify(Export.from_bytes(data), Trust.of(load_aggregator(desk.folder).roster()))
    assert (found.logs, found.entries) == (1, 1)
