"""At the door: what each role is let do and shown, how sessions end, what is written down."""

import json
import logging
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import tomli_w

from aggregator.access import DeniedError, Machines, method_at
from aggregator.calls import JoinService, membership
from aggregator.countersigning import NotCountersignedError
from aggregator.denials import Denials
from aggregator.door import Door, Patience, RefusedInvitationError, TooManyError
from aggregator.gathering import Gathering
from aggregator.jobs import Jobs
from aggregator.logins import RefusedLoginError
from aggregator.people_door import NothingThereError
from aggregator.people_views import NothingYetError, NotTakenError
from aggregator.record import Record
from aggregator.register import Register
from aggregator.rosters import change
from aggregator.settings import load_aggregator
from aggregator.stores import Stores
from experiments.errors import UsageError
from experiments.people_invited import disable
from experiments.telling import tell
from federation.control.calls import JOIN, MEMBERSHIP, PEOPLE, path
from federation.control.logs import JsonLines
from federation.control.methods import METHODS, Shows
from federation.control.wire import PATH, SERVICE
from federation.countersignatures import (
    ByPerson,
    countersign,
    countersign_for,
    item_of,
    taken_apart,
)
from federation.errors import (
    FederationError,
    MalformedMessageError,
    MalformedOrderError,
    UnknownPartyError,
    UntrustedOrderError,
)
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.export import Export
from federation.ledger.notes import origin_of
from federation.ledger.trust import Trust
from federation.ledger.verify import verify
from federation.ledger.witness import WitnessRequest, cosign
from federation.mandates import mandate
from federation.membership import Member
from federation.orders import read_order, sign_order
from federation.people.sessions import ClosedSessionError
from federation.roster_chain import Remove, Suspend
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import canonical
from tests.authenticator import Authenticator
from tests.people import HOST, MEMBERS, Desk, Someone, order_of
from tests.rosters import founded, key


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def record(desk: Desk) -> Record:
    settings = load_aggregator(desk.folder)
    identity, roster = settings.identity, settings.roster()
    return Record(settings.ledger, settings.party, identity, roster, time.time)


def denials(desk: Desk) -> list[Entry]:
    return [one for one in record(desk).entries() if one.kind is EntryKind.REFUSED]


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


FRESH: Final = order_of("desk", ("cn", "eu"), nonce="fresh", expires=2_000_000_000)


WAITS: Final = order_of(
    "desk", ("cn", "eu"), nonce="waits", waits_until=1_950_000_000, expires=2_000_000_000
)


def countersigned(who: Someone, order: str = WAITS.id, party: str = "cn") -> dict[str, Any]:
    """Return what a person's machine hands over: its signature, and the party's mandate."""
    name = PartyId(party)
    given = mandate("harbour", name, who.key.verify_key, 2_000_000_000, key(party))
    signed = countersign_for("harbour", order, given, who.key)
    return {"order": order, "countersignature": item_of(name, signed)}


def asked(desk: Desk, who: Someone, order: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return every method that wants a session, by what is asked of it."""
    ids = {name: desk.people.sessions(name)[0].id for name in ("colleague", "stranger")}
    desk.clock.at += 30
    return {
        "WhoAmI": ("WhoAmI", {}),
        "Sessions": ("Sessions", {}),
        "Confirm": ("Confirm", desk.shown(who)),
        "Roster": ("Roster", {}),
        "Orders": ("Orders", {}),
        "Order": ("Order", {"order": order}),
        "Propose": ("Propose", {"order": sign_order(FRESH, key("desk")).hex()}),
        "People": ("People", {}),
        "Ledger": ("Ledger", {}),
        "Answer": ("Answer", {"order": order}),
        "Models": ("Models", {}),
        "Card": ("Card", {"order": order}),
        "Model": ("Model", {"order": order}),
        "Waiting": ("Waiting", {}),
        "Waiting for one": ("Waiting", {"order": order}),
        "Countersign": ("Countersign", countersigned(who, order)),
        "Sessions of a colleague": ("Sessions", {"person": "colleague"}),
        "Sessions of a stranger": ("Sessions", {"person": "stranger"}),
        "Revoke a colleague's": ("Revoke", {"id": ids["colleague"]}),
        "Revoke a stranger's": ("Revoke", {"id": ids["stranger"]}),
        "Disable a colleague": ("Disable", {"person": "colleague"}),
        "Disable a stranger": ("Disable", {"person": "stranger"}),
        "Logout": ("Logout", {}),
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


# -- countersigning --------------------------------------------------------------------------------


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


# -- sessions --------------------------------------------------------------------------------------


def test_a_revoked_session_is_refused_at_its_next_call(desk: Desk) -> None:
    host = desk.member("ann", "aggregator_operator", HOST)
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    (session,) = desk.ask("Sessions", host.session, person="ning")["sessions"]
    assert desk.ask("WhoAmI", ning.session)
    desk.ask("Revoke", host.session, id=session["id"])
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", ning.session)


def test_one_revokes_ones_own_session_whenever_one_likes(desk: Desk) -> None:
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    lost, here = ning.session, desk.login(ning)
    desk.clock.at += 301
    stolen = next(
        one["id"]
        for one in desk.ask("Sessions", here)["sessions"]
        if one["id"] != desk.ask("WhoAmI", here)["session"]["id"]
    )
    desk.ask("Revoke", here, id=stolen)
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", lost)
    assert desk.ask("WhoAmI", here)


def test_a_session_ends_by_itself(desk: Desk) -> None:
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    begun = desk.clock()
    while desk.clock() + 899 < begun + 8 * 3600:
        desk.clock.at += 899
        assert desk.ask("WhoAmI", ning.session)
    desk.clock.at = begun + 8 * 3600
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", ning.session)
    desk.login(ning)
    desk.clock.at += 900
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", ning.session)
    assert desk.people.sessions("ning") == []


def test_a_refused_call_keeps_no_session_alive(desk: Desk) -> None:
    """The session that is over is gone, so no clock that is put back opens it again."""
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    desk.clock.at += 900
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", ning.session)
    desk.clock.at -= 900
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", ning.session)


def test_a_session_that_is_over_is_listed_nowhere_and_kept_no_longer(desk: Desk) -> None:
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    over = desk.ask("WhoAmI", ning.session)["session"]["id"]
    desk.clock.at += 900
    here = desk.login(ning)
    assert over not in [one["id"] for one in desk.ask("Sessions", here)["sessions"]]
    assert [one.id for one in desk.people.sessions()] != []
    assert over not in [one.id for one in desk.people.sessions()]


def test_who_logged_out_is_out(desk: Desk) -> None:
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    desk.ask("Logout", ning.session)
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", ning.session)


@pytest.mark.parametrize("where", ["at the door", "on the aggregator's machine"])
def test_a_stolen_token_is_worth_nothing_once_its_person_is_disabled(
    desk: Desk, where: str
) -> None:
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    if where == "at the door":
        host = desk.member("ann", "aggregator_operator", HOST)
        desk.ask("Disable", host.session, person="ning")
    else:
        disable(desk.hosting(), "ning", restore=False)
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", ning.session)
    with pytest.raises(Exception, match="opens no session"):
        desk.login(ning)
    disable(desk.hosting(), "ning", restore=True)
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", ning.session)
    assert desk.ask("WhoAmI", desk.login(ning))


def test_changing_who_may_do_what_wants_a_factor_of_five_minutes(desk: Desk) -> None:
    host = desk.member("ann", "aggregator_operator", HOST)
    desk.enrol("ning", "partner_operator", "Ningbo", "CN")
    desk.clock.at += 300
    with pytest.raises(DeniedError, match="ACCESS-101"):
        desk.ask("Disable", host.session, person="ning")
    desk.ask("Confirm", host.session, **desk.shown(host))
    desk.ask("Disable", host.session, person="ning")
    assert desk.people.find("ning").disabled


# -- what is written down --------------------------------------------------------------------------


def test_every_denial_is_in_the_log_and_each_kind_in_the_ledger(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    bob = desk.member("bob", "data_team", "Analytics")
    with caplog.at_level(logging.WARNING):
        for method in ("Ledger", "Ledger", "People"):
            with pytest.raises(DeniedError):
                desk.ask(method, bob.session)
    lines = [json.loads(JsonLines().format(one)) for one in caplog.records]
    assert [line["method"] for line in lines] == ["People/Ledger", "People/Ledger", "People/People"]
    assert {line["event"] for line in lines} == {"access.denied"}
    assert lines[0]["caller"] == "bob"
    assert (lines[0]["role"], lines[0]["organisation"]) == ("data_team", "Analytics")
    assert lines[0]["rules"] == ["LAW-001"]
    assert [one.body["reasons"] for one in denials(desk)] == [
        ["People/Ledger", "person", "data_team", "LAW-001"],
        ["People/People", "person", "data_team", "LAW-001"],
    ]
    assert {one.body["kind"] for one in denials(desk)} == {"access"}


def test_the_ledger_names_no_person_and_is_not_filled_by_knocking(desk: Desk) -> None:
    bob = desk.member("bob", "data_team", "Analytics")
    for round_ in range(3):
        desk.guard._denials = Denials(desk.folder) if round_ == 1 else desk.denials
        for _ in range(4):
            with pytest.raises(DeniedError):
                desk.ask("Ledger", bob.session)
    assert len(denials(desk)) == 1
    assert "bob" not in str(denials(desk))


def test_a_ledger_that_cannot_be_written_to_leaves_a_no_a_no(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    bob = desk.member("bob", "data_team", "Analytics")
    (desk.folder / "ledger.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(DeniedError):
        desk.ask("Ledger", bob.session)
    assert [line.getMessage() for line in caplog.records][-1] == (
        "A refusal could not be written into the ledger."
    )


def test_before_the_founding_a_denial_is_a_denial_without_a_ledger(tmp_path: Path) -> None:
    desk = Desk(tmp_path, is_founded=False)
    bob = desk.member("bob", "data_team", "Analytics")
    with pytest.raises(DeniedError):
        desk.ask("Ledger", bob.session)
    assert not (desk.folder / "ledger.sqlite").exists()


# -- machines, and the table of methods ------------------------------------------------------------


def test_machines_are_judged_by_their_certificates_name_and_the_roster(desk: Desk) -> None:
    machines = Machines(Gathering(desk.folder, time.time))
    machines.require(PartyId("cn"), PATH)
    change(load_aggregator(desk.folder), Suspend(PartyId("cn")))
    with pytest.raises(DeniedError):
        machines.require(PartyId("cn"), PATH)
    with pytest.raises(DeniedError):
        machines.admit(PartyId("stranger"), b"")
    assert [one.body["reasons"] for one in denials(desk)] == [
        ["Stream/Keep", "machine", "warehouse", "LAW-001"],
        ["Stream/Keep", "machine", "none", "LAW-001"],
    ]
    machines.require(PartyId("cn"), path(MEMBERSHIP, "Look"))
    with pytest.raises(DeniedError):
        machines.require(PartyId("cn"), path(PEOPLE, "Orders"))


def test_every_method_of_every_service_has_its_row_and_every_row_is_served(desk: Desk) -> None:
    door = Door(desk.hosting, Register(desk.folder), desk.clock, desk.patience)
    service = JoinService("", desk.hosting().places, door, desk.door, desk.guard)
    handlers = [*service.services(), membership(Gathering(desk.folder, time.time))]
    served = {name for handler in handlers for name in handler._method_handlers}
    assert served | {PATH} == METHODS.keys()
    assert {name.split("/")[1] for name in METHODS} == {JOIN, MEMBERSHIP, PEOPLE, SERVICE}
    with pytest.raises(KeyError):
        method_at(path(PEOPLE, "Everything"))


def test_the_repository_has_no_service_that_the_table_does_not_know() -> None:
    """Whoever adds a gRPC service finds out here that it has to be in the table."""
    root = Path(__file__).resolve().parents[3]
    homes = {
        str(file.relative_to(root))
        for package in ("aggregator", "clients", "federation", "experiments")
        for file in (root / package).rglob("*.py")
        if "method_handlers_generic_handler" in file.read_text("utf-8")
    }
    assert homes == {"aggregator/calls.py", "aggregator/stream.py"}


def test_an_officer_reads_a_denial_as_one_and_not_as_a_refused_order(desk: Desk) -> None:
    bob = desk.member("bob", "data_team", "Analytics")
    with pytest.raises(DeniedError):
        desk.ask("Ledger", bob.session)
    (entry,) = denials(desk)
    said = tell(entry.kind.value, entry.body, "en")
    assert said == (
        "a call at a door of the aggregator was refused: People/Ledger, person, data_team, LAW-001"
    )
    assert "入口" in tell(entry.kind.value, entry.body, "zh")


@pytest.mark.parametrize("where", ["at the door", "on the aggregator's machine"])
def test_who_is_turned_away_comes_in_by_no_invitation(desk: Desk, where: str) -> None:
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    invited = desk.invite("ning", "partner_operator", "Ningbo", "CN")
    if where == "at the door":
        host = desk.member("ann", "aggregator_operator", HOST)
        desk.ask("Disable", host.session, person="ning")
    else:
        disable(desk.hosting(), "ning", restore=False)
    with pytest.raises(RefusedInvitationError):
        desk.take(*invited, ning.key)
    assert desk.people.find("ning").disabled


def test_an_invitation_that_nobody_used_is_withdrawn(desk: Desk) -> None:
    invited = desk.invite("ning", "partner_operator", "Ningbo", "CN")
    with pytest.raises(UsageError, match="nobody called ning"):
        disable(desk.hosting(), "ning", restore=True)
    disable(desk.hosting(), "ning", restore=False)
    with pytest.raises(RefusedInvitationError):
        desk.take(*invited, key("ning"))
    with pytest.raises(UsageError, match="nobody called ning"):
        disable(desk.hosting(), "ning", restore=False)


def test_orders_are_read_where_the_settings_say_that_they_lie(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = desk.folder / "elsewhere.sqlite"
    monkeypatch.setattr(Stores, "jobs", property(lambda _: elsewhere))
    order = order_of("desk", ("cn",))
    Jobs(elsewhere).add(order.id, sign_order(order, key("desk")), desk.clock())
    host = desk.member("ann", "aggregator_operator", HOST)
    assert [row["order"] for row in desk.ask("Orders", host.session)["orders"]] == [order.id]


@pytest.mark.parametrize(
    ("changed", "why"),
    [({"kind": "match"}, "train and ask"), ({"expires": 2}, "expired")],
)
def test_what_neither_trains_nor_asks_or_is_over_is_not_proposed(
    desk: Desk, changed: dict[str, Any], why: str
) -> None:
    dan = desk.member("dan", "data_team", "Analytics")
    bad = order_of("desk", ("cn",), **{"expires": 2_000_000_000, **changed})
    with pytest.raises(NotTakenError, match=why):
        desk.ask("Propose", dan.session, order=sign_order(bad, key("desk")).hex())
    assert Jobs(desk.folder / "jobs.sqlite").named("") == []


def test_a_question_that_is_none_is_not_proposed(desk: Desk) -> None:
    dan = desk.member("dan", "data_team", "Analytics")
    bad = order_of("desk", ("cn",), kind="query", expires=2_000_000_000)
    with pytest.raises(MalformedOrderError):
        desk.ask("Propose", dan.session, order=sign_order(bad, key("desk")).hex())
    assert Jobs(desk.folder / "jobs.sqlite").named("") == []


def test_who_is_suspended_proposes_nothing(desk: Desk) -> None:
    dan = desk.member("dan", "data_team", "Analytics")
    change(load_aggregator(desk.folder), Suspend(PartyId("desk")))
    with pytest.raises(NotTakenError, match="suspended"):
        desk.ask("Propose", dan.session, order=sign_order(FRESH, key("desk")).hex())
    assert Jobs(desk.folder / "jobs.sqlite").named("") == []


@pytest.mark.parametrize("order", [{}, {"order": "zz"}, {"order": "00"}])
def test_who_may_propose_nothing_is_told_so_whatever_it_brings(
    desk: Desk, order: dict[str, str]
) -> None:
    reads = desk.member("reg", "regulator", "CAC", "CN")
    with pytest.raises(DeniedError, match="LAW-001"):
        desk.ask("Propose", reads.session, **order)


@pytest.mark.parametrize("how", ["left", "another key"])
def test_an_order_is_shown_when_its_parties_have_left_or_have_other_keys(
    desk: Desk, how: str
) -> None:
    order = desk.put(order_of("lab", ("cn",)), "lab")
    chain = founded("harbour", MEMBERS).change(Remove(PartyId("cn")), "eu", "br")
    if how == "left":
        chain = chain.change(Remove(PartyId("lab")), "eu", "br")
    else:
        chain = chain.rekey("lab", old=True, sealed=False)
    (desk.folder / "roster.bin").write_bytes(chain.wire)
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    lia = desk.member("lia", "data_team", "Institute", "UK")
    for who in (ning, lia):
        assert [row["order"] for row in desk.ask("Orders", who.session)["orders"]] == [order]
        assert desk.ask("Order", who.session, order=order)["work"]["proposer"] == "lab"
    late = sign_order(order_of("lab", ("eu",), expires=2_000_000_000), key("lab"))
    with pytest.raises((UnknownPartyError, UntrustedOrderError)):
        desk.ask("Propose", lia.session, order=late.hex())


def lines_of(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(JsonLines().format(one)) for one in caplog.records]
    return [line for line in lines if line.get("event") == event]


def test_whoever_is_turned_away_has_one_line_in_the_log_and_no_secret(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
    thief = Someone("ning", key("thief"), ning.secret, ())
    _, secret = desk.invite("bea", "data_team", "Ningbo")
    shown = desk.shown(thief)
    desk.clock.at += 30
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **shown)
    with pytest.raises(RefusedLoginError):
        desk.ask("Confirm", ning.session, **desk.shown(ning, "000000"))
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **{**shown, "person": "no\nname"})
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", "ab" * 32)
    with pytest.raises(RefusedInvitationError):
        desk.take("00" * 8, secret, key("bea"))
    desk.logins._patience = Patience(desk.clock, one=0)
    with pytest.raises(TooManyError):
        desk.ask("Login", "", **shown)
    lines = lines_of(caplog, "door.turned_away")
    assert [(line["method"], line["person"], line["why"]) for line in lines] == [
        ("People/Login", "ning", "RefusedLoginError"),
        ("People/Confirm", "ning", "RefusedLoginError"),
        ("People/Login", "", "RefusedLoginError"),
        ("People/WhoAmI", "", "ClosedSessionError"),
        ("People/Enrol", "", "RefusedInvitationError"),
        ("People/Login", "ning", "TooManyError"),
    ]
    assert {(line["level"], line["place"]) for line in lines} == {("WARNING", "somewhere")}
    for held in (shown["code"], shown["signature"], secret.hex(), ning.session, "ab" * 32):
        assert held not in caplog.text
    assert "no\nname" not in caplog.text


def test_whoever_changes_an_account_has_one_line_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        host = desk.member("ann", "aggregator_operator", HOST)
        ning = desk.member("ning", "partner_operator", "Ningbo", "CN")
        asked = bytes.fromhex(desk.ask("Challenge", "", person="ning")["challenge"])
        shown = {"challenge": asked.hex(), "passkey": Authenticator().register(asked)}
        desk.clock.at += 30
        desk.ask("AddPasskey", ning.session, **desk.shown(ning), **shown)
        (passkey,) = desk.ask("WhoAmI", ning.session)["passkeys"]
        desk.ask("RemovePasskey", ning.session, passkey=passkey)
        desk.ask("Revoke", host.session, id=desk.people.sessions("ning")[0].id)
        desk.ask("Disable", host.session, person="ning")
    lines = lines_of(caplog, "people.changed")
    assert [(line["method"], line["person"], line["by"]) for line in lines] == [
        ("People/Enrol", "ann", ""),
        ("People/Enrol", "ning", ""),
        ("People/AddPasskey", "ning", "ning"),
        ("People/RemovePasskey", "ning", "ning"),
        ("People/Revoke", "ning", "ann"),
        ("People/Disable", "ning", "ann"),
    ]
    assert {line["level"] for line in lines} == {"INFO"}
    for held in (ning.secret, *ning.recovery, ning.session):
        assert held not in caplog.text


class Peer:
    """A connection with no certificate of a party; abort ends a call as gRPC does."""

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"ssl_tls_version": [b"TLSv1.3"]}

    def peer(self) -> str:
        return "ipv4:192.0.2.1:4711"

    def abort(self, code: object, said: str) -> None:
        raise PermissionError(said)


def test_a_machine_that_is_no_member_has_a_line_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = membership(Gathering(desk.folder, time.time))._method_handlers
    with pytest.raises(PermissionError):
        handlers[path(MEMBERSHIP, "Look")].unary_unary(b"", Peer())
    (line,) = lines_of(caplog, "door.turned_away")
    assert (line["method"], line["why"]) == ("Membership/Look", "NotAdmittedError")
    assert line["place"] == "ipv4:192.0.2.1"
