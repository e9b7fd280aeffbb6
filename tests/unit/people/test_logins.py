"""Who comes in, once, with what, and who is told what; the door's clock is the test's."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.calls import _place
from aggregator.door import MOST_WRONG, Patience, RefusedInvitationError, TooManyError
from aggregator.logins import Logins, RefusedLoginError
from aggregator.people_door import PeopleDoor
from experiments.errors import UsageError
from experiments.people_invited import invite, seat_of
from federation.errors import MalformedMessageError
from federation.people.challenges import challenge_for, expiry_of
from federation.people.passkeys import BadPasskeyError, Passkey
from federation.people.persons import Person
from federation.people.sessions import ClosedSessionError, Session
from secure_compute.errors import BadSignatureError
from secure_compute.primitives.signature import VerifyKey
from tests.authenticator import Authenticator
from tests.people import HOST, Desk, Someone, code_at
from tests.rosters import key


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, is_founded=False)


@pytest.fixture
def ana(desk: Desk) -> Someone:
    return desk.enrol("ana", "officer", "Ningbo", "CN")


def test_who_was_invited_enrols_logs_in_and_is_known(desk: Desk, ana: Someone) -> None:
    told = desk.ask("WhoAmI", desk.login(ana))
    assert (told["person"], told["role"]) == ("ana", "officer")
    assert (told["organisation"], told["jurisdiction"]) == ("Ningbo", "CN")
    assert told["fresh"] is True


def test_an_invitation_is_good_once(desk: Desk) -> None:
    invited = desk.invite("ana", "officer", "Ningbo")
    desk.take(*invited, key("first"))
    with pytest.raises(RefusedInvitationError):
        desk.take(*invited, key("second"))
    assert desk.people.find("ana").key == key("first").verify_key


def test_who_lost_the_answer_enrols_again_with_its_key_until_it_has_logged_in(desk: Desk) -> None:
    invited = desk.invite("ana", "officer", "Ningbo")
    lost = desk.take(*invited, key("mine"))
    for bad in ((invited[0], bytes(20), key("mine")), (*invited, key("thief"))):
        with pytest.raises(RefusedInvitationError):
            desk.take(*bad)
    again = desk.take(*invited, key("mine"))
    assert again.secret != lost.secret
    with pytest.raises(RefusedLoginError):
        desk.login(lost)
    with pytest.raises(RefusedLoginError):
        desk.login(lost, lost.recovery[0])
    assert desk.login(again)
    with pytest.raises(RefusedInvitationError):
        desk.take(*invited, key("mine"))
    assert desk.ask("WhoAmI", again.session)


@pytest.mark.parametrize("ended", ["over", "disabled", "invited anew"])
def test_nobody_enrols_again_with_an_invitation_that_ended(desk: Desk, ended: str) -> None:
    invited = desk.invite("ana", "officer", "Ningbo")
    desk.take(*invited, key("mine"))
    if ended == "over":
        desk.clock.at += 3600
    elif ended == "disabled":
        desk.people.disable("ana")
    else:
        desk.invite("ana", "officer", "Ningbo")
    with pytest.raises(RefusedInvitationError):
        desk.take(*invited, key("mine"))
    assert desk.people.find("ana").disabled is (ended == "disabled")


def test_an_invitation_that_is_over_wrong_or_guessed_at_opens_nothing(desk: Desk) -> None:
    name, secret = desk.invite("ana", "officer", "Ningbo")
    with pytest.raises(RefusedInvitationError):
        desk.take(name, bytes(20), key("x"))
    with pytest.raises(RefusedInvitationError):
        desk.take("00" * 8, secret, key("x"))
    desk.clock.at += 3600
    with pytest.raises(RefusedInvitationError, match="over"):
        desk.take(name, secret, key("x"))
    name, secret = desk.invite("ana", "officer", "Ningbo")
    for _ in range(MOST_WRONG):
        with pytest.raises(RefusedInvitationError):
            desk.take(name, bytes(20), key("x"))
    with pytest.raises(RefusedInvitationError, match="over"):
        desk.take(name, secret, key("x"))
    assert desk.people.persons() == []


def test_a_newer_invitation_ends_the_one_before_and_all_there_was(desk: Desk, ana: Someone) -> None:
    session, old = desk.login(ana), desk.invite("ana", "officer", "Ningbo")
    newer = desk.invite("ana", "regulator", "CAC", "CN")
    with pytest.raises(RefusedInvitationError):
        desk.take(*old, key("thief"))
    assert desk.ask("WhoAmI", session)["role"] == "officer"
    again = desk.take(*newer, ana.key)
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", session)
    with pytest.raises(RefusedLoginError):
        desk.login(ana)
    assert desk.ask("WhoAmI", desk.login(again))["role"] == "regulator"


def test_whoever_enrols_has_the_key_that_it_brings(desk: Desk) -> None:
    name, secret = desk.invite("ana", "officer", "Ningbo")
    stolen = key("stolen").verify_key.hex
    body = {"invitation": name, "secret": secret.hex(), "key": stolen}
    with pytest.raises(BadSignatureError):
        desk.ask("Enrol", "", **body, signature=key("x").sign(b"x").hex())
    with pytest.raises(MalformedMessageError):
        desk.ask("Enrol", "", **{**body, "key": "zz"}, signature="")
    assert desk.take(name, secret, key("mine")).name == "ana"


def test_a_code_opens_one_session(desk: Desk, ana: Someone) -> None:
    desk.clock.at += 30
    shown = desk.shown(ana)
    desk.ask("Login", "", **shown)
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **shown)
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **desk.shown(ana, code_at(ana.secret, desk.clock() - 30)))


def test_a_code_without_the_machines_key_opens_nothing(desk: Desk, ana: Someone) -> None:
    thief = Someone("ana", key("thief"), ana.secret, ana.recovery)
    with pytest.raises(RefusedLoginError):
        desk.login(thief)
    assert desk.login(ana)


def test_a_signature_is_for_its_own_code_person_and_federation(desk: Desk, ana: Someone) -> None:
    desk.clock.at += 30
    shown = desk.shown(ana)
    bea = desk.enrol("bea", "data_team", "Ningbo")
    for altered in ({"code": "000000"}, {"person": "bea"}, {"signature": "00" * 64}):
        with pytest.raises(RefusedLoginError):
            desk.ask("Login", "", **{**shown, **altered})
    assert desk.login(bea)
    assert desk.login(ana)


def test_all_who_are_refused_hear_the_same(desk: Desk, ana: Someone) -> None:
    said = set()
    for who in (
        Someone("nobody", key("x"), ana.secret, ()),
        Someone("ana", key("thief"), ana.secret, ()),
        Someone("ana", ana.key, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", ()),
    ):
        with pytest.raises(RefusedLoginError) as told:
            desk.login(who)
        said.add(str(told.value))
    assert len(said) == 1


def test_wrong_codes_make_their_owner_wait_and_nobody_else_can(desk: Desk, ana: Someone) -> None:
    thief = Someone("ana", key("thief"), ana.secret, ())
    for _ in range(20):
        with pytest.raises(RefusedLoginError):
            desk.login(thief)
    assert desk.login(ana)
    for _ in range(4):
        with pytest.raises(RefusedLoginError):
            desk.ask("Login", "", **desk.shown(ana, "000000"))
    desk.clock.at += 29
    with pytest.raises(TooManyError, match="looked at in"):
        desk.ask("Login", "", **desk.shown(ana))
    desk.clock.at += 1
    assert desk.login(ana)
    assert desk.people.shown("ana").failures == 0


def test_wrong_logins_from_one_place_are_borne_for_a_while(desk: Desk, ana: Someone) -> None:
    desk.logins._patience = Patience(desk.clock, one=2)
    thief = Someone("ana", key("thief"), ana.secret, ())
    for _ in range(2):
        with pytest.raises(RefusedLoginError):
            desk.ask("Login", "", **desk.shown(thief))
    with pytest.raises(TooManyError):
        desk.ask("Login", "", **desk.shown(thief))
    desk.clock.at += 60
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **desk.shown(thief))


@pytest.mark.parametrize("with_passkey", [False, True])
def test_wrong_logins_and_invitations_of_others_lock_nobody_out(
    desk: Desk, ana: Someone, with_passkey: bool
) -> None:
    desk.login(ana)
    phone = Authenticator()
    add(desk, ana, phone)
    invited = desk.invite("bea", "data_team", "Ningbo")
    desk.logins._patience = Patience(desk.clock, altogether=2)
    desk.logins._invitations = Patience(desk.clock, altogether=2)
    thief = Someone("ana", key("thief"), ana.secret, ())
    for _ in range(20):
        with pytest.raises((RefusedLoginError, TooManyError)):
            desk.ask("Login", "", **desk.shown(thief))
        with pytest.raises((RefusedInvitationError, TooManyError)):
            desk.take("00" * 8, bytes(20), key("x"))
    if with_passkey:
        desk.ask("Login", "", **touched(desk, "ana", phone))
    else:
        desk.login(ana)
    desk.ask("Confirm", ana.session, **touched(desk, "ana", phone))
    assert desk.take(*invited, key("bea"))


def test_wrong_invitations_do_not_count_as_wrong_logins(desk: Desk, ana: Someone) -> None:
    people, now = desk.people, desk.clock
    limits = Patience(now, one=2), Patience(now, one=2)
    desk.logins = Logins(desk.hosting, people, now, *limits)
    calls = PeopleDoor(desk.hosting, people, desk.logins, desk.guard, now).calls()
    desk.calls = calls
    for _ in range(2):
        with pytest.raises(RefusedInvitationError):
            desk.take("00" * 8, bytes(20), key("x"))
    with pytest.raises(TooManyError):
        desk.take("00" * 8, bytes(20), key("x"))
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **desk.shown(Someone("ana", key("thief"), ana.secret, ())))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"code": "000000"},
        {"code": "000000", "signature": "zz"},
        {"code": "000000", "signature": "00"},
        {"passkey": {}},
        {"passkey": {}, "challenge": "00"},
        {"passkey": [], "challenge": "00"},
    ],
)
def test_no_call_tells_a_name_that_there_is_from_one_that_there_is_not(
    desk: Desk, ana: Someone, body: dict[str, object]
) -> None:
    desk.enrol("bea", "data_team", "Ningbo")
    desk.people.disable("bea")
    said = set()
    for name in ("nobody", "ana", "bea"):
        with pytest.raises((RefusedLoginError, MalformedMessageError)) as told:
            desk.ask("Login", "", person=name, **body)
        said.add((type(told.value), str(told.value)))
    assert len(said) == 1


def test_a_disabled_person_with_all_its_factors_hears_what_a_stranger_hears(
    desk: Desk, ana: Someone
) -> None:
    desk.people.disable("ana")
    said = set()
    for who in (ana, Someone("nobody", key("x"), ana.secret, ())):
        with pytest.raises(RefusedLoginError) as told:
            desk.login(who)
        said.add(str(told.value))
    assert len(said) == 1


@pytest.mark.parametrize(
    ("peer", "place"),
    [
        ("ipv4:192.0.2.1:4711", "ipv4:192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:4711", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:4711", "2001:db8:1:2::/64"),
        ("ipv6:[fe80::1%25eth0]:4711", "fe80::/64"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:4711", "ipv4:192.0.2.1"),
        ("unix:", "unix"),
    ],
)
def test_a_place_is_an_address_and_of_ipv6_its_net(peer: str, place: str) -> None:
    assert _place(peer) == place


def test_a_recovery_code_is_good_once_and_only_with_the_key(desk: Desk, ana: Someone) -> None:
    thief = Someone("ana", key("thief"), ana.secret, ana.recovery)
    with pytest.raises(RefusedLoginError):
        desk.login(thief, ana.recovery[0])
    assert desk.login(ana, ana.recovery[0])
    with pytest.raises(RefusedLoginError):
        desk.login(ana, ana.recovery[0])
    with pytest.raises(RefusedLoginError):
        desk.login(ana, "1" + ana.recovery[1][1:])
    assert desk.login(ana, ana.recovery[5])


def test_another_persons_recovery_code_is_no_use(desk: Desk, ana: Someone) -> None:
    bea = desk.enrol("bea", "data_team", "Ningbo")
    with pytest.raises(RefusedLoginError):
        desk.login(bea, ana.recovery[0])


def challenge(desk: Desk, name: str) -> bytes:
    return bytes.fromhex(desk.ask("Challenge", "", person=name)["challenge"])


def add(desk: Desk, who: Someone, phone: Authenticator) -> None:
    asked = challenge(desk, who.name)
    shown = {"challenge": asked.hex(), "passkey": phone.register(asked)}
    desk.clock.at += 30
    desk.ask("AddPasskey", who.session, **desk.shown(who), **shown)


def touched(desk: Desk, name: str, phone: Authenticator) -> dict[str, object]:
    asked = challenge(desk, name)
    phone.counter += 1
    return {"person": name, "challenge": asked.hex(), "passkey": phone.answer(asked)}


def test_a_passkey_opens_a_session_by_itself_once_a_challenge(desk: Desk, ana: Someone) -> None:
    phone = Authenticator()
    desk.login(ana)
    add(desk, ana, phone)
    shown = touched(desk, "ana", phone)
    told = desk.ask("Login", "", **shown)
    assert desk.ask("WhoAmI", told["session"])["person"] == "ana"
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **shown)


def test_a_passkey_opens_its_own_persons_session_alone(desk: Desk, ana: Someone) -> None:
    bea = desk.member("bea", "data_team", "Ningbo")
    phone = Authenticator()
    desk.login(ana)
    add(desk, ana, phone)
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **touched(desk, "bea", phone))
    with pytest.raises(RefusedLoginError, match="already"):
        add(desk, bea, phone)


def test_a_challenge_is_over_after_two_minutes_and_is_of_its_person(
    desk: Desk, ana: Someone
) -> None:
    phone = Authenticator()
    desk.login(ana)
    add(desk, ana, phone)
    late = touched(desk, "ana", phone)
    desk.clock.at += 120
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **late)
    desk.enrol("bea", "data_team", "Ningbo")
    foreign = challenge(desk, "bea")
    phone.counter += 1
    shown = {"person": "ana", "challenge": foreign.hex(), "passkey": phone.answer(foreign)}
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **shown)


def test_a_copied_passkey_is_refused_once_either_was_used(desk: Desk, ana: Someone) -> None:
    phone = Authenticator(counter=1)
    desk.login(ana)
    add(desk, ana, phone)
    copy = Authenticator(counter=1, id=phone.id, key=phone.key)
    desk.ask("Login", "", **touched(desk, "ana", phone))
    desk.ask("Login", "", **touched(desk, "ana", phone))
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **touched(desk, "ana", copy))


def test_a_passkey_of_another_origin_is_not_registered(desk: Desk, ana: Someone) -> None:
    desk.login(ana)
    with pytest.raises(BadPasskeyError):
        add(desk, ana, Authenticator(origin="https://evil.example"))
    assert desk.people.passkeys("ana") == []


def test_an_unknown_person_is_given_a_challenge_that_nothing_answers(desk: Desk) -> None:
    assert len(challenge(desk, "nobody")) == 56


def test_who_asks_for_challenges_fills_no_table_and_takes_none_away(
    desk: Desk, ana: Someone
) -> None:
    phone = Authenticator()
    desk.login(ana)
    add(desk, ana, phone)
    shown = touched(desk, "ana", phone)
    before = desk.people._database.read("SELECT count(*) FROM challenges")
    for _ in range(20):
        challenge(desk, "ana")
    for bad in ({}, {**phone.answer(b"c" * 56), "id": phone.register(b"")["id"]}):
        with pytest.raises(RefusedLoginError):
            desk.ask("Login", "", **{**shown, "passkey": bad})
    assert desk.people._database.read("SELECT count(*) FROM challenges") == before
    assert desk.ask("Login", "", **shown)


def test_an_answered_challenge_is_kept_until_it_is_over(desk: Desk, ana: Someone) -> None:
    phone = Authenticator()
    desk.login(ana)
    add(desk, ana, phone)
    desk.ask("Login", "", **touched(desk, "ana", phone))
    assert desk.people._database.read("SELECT count(*) FROM challenges") == [(2,)]
    desk.clock.at += 120
    desk.ask("Login", "", **touched(desk, "ana", phone))
    assert desk.people._database.read("SELECT count(*) FROM challenges") == [(1,)]


SECRET = b"s" * 32


@given(st.text(max_size=9), st.text(max_size=9), st.integers(0, 2**40), st.integers(-300, 300))
def test_a_challenge_counts_for_its_person_and_two_minutes(
    whose: str, who: str, now: int, later: int
) -> None:
    asked = challenge_for(SECRET, whose, b"n" * 16, now)
    found = expiry_of(SECRET, who, asked, now + later)
    assert found == (now + 120 if whose == who and later < 120 else None)


@given(st.integers(0, 55), st.integers(1, 255))
def test_bad_challenges(at: int, flip: int) -> None:
    asked = bytearray(challenge_for(SECRET, "ana", b"n" * 16, 1000))
    assert expiry_of(b"t" * 32, "ana", bytes(asked), 1000) is None
    assert expiry_of(SECRET, "ana", bytes(asked[:at]), 1000) is None
    asked[at] ^= flip
    assert expiry_of(SECRET, "ana", bytes(asked), 1000) is None
    with pytest.raises(ValueError, match="nonce"):
        challenge_for(SECRET, "ana", b"n" * (at + 17), 1000)


def test_a_session_alone_adds_no_passkey(desk: Desk, ana: Someone) -> None:
    """A token that was stolen within five minutes of a login is no key for good."""
    desk.login(ana)
    asked = challenge(desk, "ana")
    shown = {"challenge": asked.hex(), "passkey": Authenticator().register(asked)}
    thief = Someone("ana", key("thief"), ana.secret, ())
    desk.clock.at += 30
    with pytest.raises(MalformedMessageError):
        desk.ask("AddPasskey", ana.session, **shown)
    for who, code in ((thief, None), (ana, "000000")):
        with pytest.raises(RefusedLoginError):
            desk.ask("AddPasskey", ana.session, **desk.shown(who, code), **shown)
    assert desk.people.passkeys("ana") == []


def test_a_passkey_is_listed_and_taken_away(desk: Desk, ana: Someone) -> None:
    phone = Authenticator()
    desk.login(ana)
    bea = desk.member("bea", "data_team", "Ningbo")
    add(desk, ana, phone)
    (kept,) = desk.ask("WhoAmI", ana.session)["passkeys"]
    with pytest.raises(RefusedLoginError, match="none of yours"):
        desk.ask("RemovePasskey", bea.session, passkey=kept)
    assert desk.ask("RemovePasskey", ana.session, passkey=kept) == {"passkeys": 0}
    assert desk.ask("WhoAmI", ana.session)["passkeys"] == []
    with pytest.raises(RefusedLoginError):
        desk.ask("Login", "", **touched(desk, "ana", phone))


def test_the_passkeys_of_who_is_turned_away_come_back_with_nobody(desk: Desk, ana: Someone) -> None:
    phone = Authenticator()
    desk.login(ana)
    add(desk, ana, phone)
    desk.people.disable("ana")
    desk.people.disable("ana", disabled=False)
    assert desk.people.passkeys("ana") == []
    assert desk.login(ana)


def test_a_login_that_an_enrolment_overtook_begins_no_session(desk: Desk, ana: Someone) -> None:
    """The key that logged in is no more when the session would begin."""
    forget = desk.logins.sessions
    invited = desk.people.invitation(desk.invite("ana", "officer", "Ningbo", "CN")[0])
    assert invited is not None

    def overtaken(person: Person) -> list[Session]:
        desk.people.enrol(invited, replace(person, key=key("new").verify_key), "A", [])
        return forget(person)

    desk.logins.sessions = overtaken  # type: ignore[method-assign]
    with pytest.raises(RefusedLoginError):
        desk.login(ana)
    assert desk.people.sessions("ana") == []


def test_a_session_begins_before_the_next_enrolment(desk: Desk, ana: Someone) -> None:
    held, begin = [], desk.people.begin

    def begins(session: Session, own: VerifyKey) -> bool:
        held.append(desk.logins._one_at_a_time.locked())
        return begin(session, own)

    desk.people.begin = begins  # type: ignore[method-assign]
    assert desk.login(ana)
    assert held == [True]


def test_a_confirmed_session_is_fresh_again(desk: Desk, ana: Someone) -> None:
    session = desk.login(ana)
    desk.clock.at += 300
    assert desk.ask("WhoAmI", session)["fresh"] is False
    with pytest.raises(RefusedLoginError):
        desk.ask("Confirm", session, **desk.shown(ana, "000000"))
    desk.ask("Confirm", session, **desk.shown(ana))
    assert desk.ask("WhoAmI", session)["fresh"] is True


def test_nobody_confirms_with_somebody_elses_factor(desk: Desk, ana: Someone) -> None:
    bea = desk.member("bea", "data_team", "Ningbo")
    desk.login(ana)
    desk.clock.at += 300
    with pytest.raises(RefusedLoginError):
        desk.ask("Confirm", ana.session, **desk.shown(bea))
    assert desk.ask("WhoAmI", ana.session)["fresh"] is False


def test_the_book_holds_no_token_code_or_invitation(desk: Desk, ana: Someone) -> None:
    _, secret = desk.invite("bea", "data_team", "Ningbo")
    session = desk.login(ana)
    desk.people._database.wipe()
    held = b"".join(path.read_bytes() for path in desk.folder.glob("people.sqlite*"))
    for kept in (session, ana.recovery[0], secret.hex()):
        assert kept.encode() not in held
        assert kept.replace("-", "").encode() not in held
    assert bytes.fromhex(session) not in held
    assert secret not in held
    assert oct((desk.folder / "people.sqlite").stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize("token", ["", "zz", "00" * 32, "00" * 31])
def test_bad_tokens(desk: Desk, token: str) -> None:
    with pytest.raises(ClosedSessionError):
        desk.ask("WhoAmI", token)


def test_an_aggregator_operator_is_of_the_organisation_that_runs_it(desk: Desk) -> None:
    with pytest.raises(UsageError, match=HOST):
        invite(desk.hosting(), seat_of("eve", "Ningbo", "aggregator_operator", "CN"), 1.0)
    assert invite(desk.hosting(), seat_of("eve", HOST, "aggregator_operator", "CN"), 1.0)
    with pytest.raises(UsageError, match="hours"):
        invite(desk.hosting(), seat_of("eve", "Ningbo", "officer", "CN"), 0.0)
    with pytest.raises(UsageError, match="nobody can be invited"):
        seat_of("../eve", "Ningbo", "officer", "CN")


def test_what_two_use_at_the_same_moment_counts_for_one(desk: Desk, ana: Someone) -> None:
    """The book itself uses things up: whoever comes second is too late, however close."""
    people = desk.people
    assert people.burn("ana", 7)
    assert not people.burn("ana", 7)
    assert not people.burn("ana", 6)
    assert people.use_recovery("ana", 1)
    assert not people.use_recovery("ana", 1)
    until = int(desk.clock()) + 120
    assert people.answer("ana", b"c" * 56, until, desk.clock())
    assert not people.answer("ana", b"c" * 56, until, desk.clock())
    passkey = Passkey("id", b"key", 1)
    people.add_passkey("ana", passkey)
    assert people.count_up(passkey, 2)
    assert not people.count_up(passkey, 2)
