"""Sessions at the door."""

import pytest

from aggregator.access import DeniedError
from experiments.people_invited import disable
from federation.people.sessions import ClosedSessionError
from tests.people import HOST, Desk


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
