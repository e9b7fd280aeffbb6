"""Machines, and the table of methods."""

import logging
import time
from pathlib import Path
from typing import Any

import pytest

from aggregator.access import DeniedError, Machines, method_at
from aggregator.calls import JoinService, membership
from aggregator.door import Door, Patience, RefusedInvitationError, TooManyError
from aggregator.gathering import Gathering
from aggregator.jobs import Jobs
from aggregator.logins import RefusedLoginError
from aggregator.people_views import NotTakenError
from aggregator.register import Register
from aggregator.rosters import change
from aggregator.settings import load_aggregator
from aggregator.stores import Stores
from experiments.errors import UsageError
from experiments.people_invited import disable
from experiments.telling import tell
from federation.control.calls import JOIN, MEMBERSHIP, PEOPLE, path
from federation.control.methods import METHODS
from federation.control.wire import PATH, SERVICE
from federation.errors import (
    MalformedOrderError,
    UnknownPartyError,
    UntrustedOrderError,
)
from federation.orders import sign_order
from federation.people.sessions import ClosedSessionError
from federation.roster_chain import Remove, Suspend
from policies.parties import PartyId
from tests.authenticator import Authenticator
from tests.desk import FRESH, denials, lines_of
from tests.people import HOST, MEMBERS, Desk, Someone, order_of
from tests.rosters import founded, key


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
    root = Path(__file__).resolve().parents[4]
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

    def cancel(self) -> None:
        raise AssertionError("it made room for nobody")

    def abort(self, code: object, said: str) -> None:
        raise PermissionError(said)


def test_a_machine_that_is_no_member_has_a_line_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = membership(Gathering(desk.folder, time.time))._method_handlers
    with pytest.raises(PermissionError):
        handlers[path(MEMBERSHIP, "Look")].stream_unary(iter([b""]), Peer())
    (line,) = lines_of(caplog, "door.turned_away")
    assert (line["method"], line["why"]) == ("Membership/Look", "NotAdmittedError")
    assert line["place"] == "ipv4:192.0.2.1"
