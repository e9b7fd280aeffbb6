"""Codes, recovery codes, pauses and sessions: right once, in time, and never by another's."""

import os

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import MalformedMessageError
from federation.people import codes, recovery, sessions, trials
from federation.people.calling import Call, read_call
from federation.people.persons import PersonId, PersonRole, Seat
from federation.people.sessions import ClosedSessionError, begun, is_fresh, require_open, token_hash
from policies.parties import Jurisdiction
from secure_compute import canonical
from tests.people import code_at

RFC = codes.secret_of(b"12345678901234567890")
SEAT = Seat(PersonId("ana"), "Ningbo", PersonRole.OFFICER, Jurisdiction.CN)
NOW = 1_900_000_000.0

secrets = st.binary(min_size=20, max_size=20).map(codes.secret_of)
times = st.integers(300, 2**40)


@pytest.mark.parametrize(
    ("at", "eight"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_are_those_of_the_specification(at: int, eight: str) -> None:
    """RFC 6238, appendix B, SHA-1, of which six digits are the last six."""
    assert codes.step_of(RFC, eight[2:], at, 0) == at // 30


@given(secrets, times, st.integers(-200, 200))
def test_a_code_counts_one_step_either_way_and_no_further(secret: str, at: int, away: int) -> None:
    made = code_at(secret, at + away)
    near = {code_at(secret, at + 30 * step) for step in (-1, 0, 1)}
    assert (codes.step_of(secret, made, at, 0) is not None) == (made in near)


@given(secrets, times)
def test_a_code_is_good_once_and_burns_those_before_it(secret: str, at: int) -> None:
    before, now, after = (code_at(secret, at + 30 * step) for step in (-1, 0, 1))
    step = codes.step_of(secret, now, at, 0)
    assert step is not None
    known = {at // 30 - 1: before, at // 30: now, at // 30 + 1: after}
    for code in known.values():
        found = codes.step_of(secret, code, at, step)
        assert found is None or (found > step and known[found] == code)


@pytest.mark.parametrize(
    "bad",
    ["", "12345", "1234567", "12345a", "\uff11\uff12\uff13\uff14\uff15\uff16", " 12345", "-12345"],
)
def test_bad_codes(bad: str) -> None:
    assert codes.step_of(RFC, bad, NOW, 0) is None


def test_the_address_for_the_phone_is_read_by_another_library() -> None:
    read = pyotp.parse_uri(codes.uri_of(RFC, "ana", "harbour"))
    assert (read.secret, read.name, read.issuer, read.digits) == (RFC, "ana", "harbour", 6)


@pytest.mark.parametrize("size", [0, 16, 19, 21])
def test_bad_secrets(size: int) -> None:
    with pytest.raises(ValueError, match="random bytes"):
        codes.secret_of(bytes(size))


def test_recovery_codes_are_kept_as_hashes_and_told_apart() -> None:
    shown = recovery.codes_of([os.urandom(recovery.RANDOM_SIZE) for _ in range(2)])
    kept = recovery.hashed(shown[0], b"s" * 16)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert shown[0][2:6] not in kept
    assert recovery.is_code(shown[0], kept)
    assert recovery.is_code(shown[0].lower().replace("-", " ", 2), kept)
    assert not recovery.is_code(shown[1], kept)
    assert not recovery.is_code(shown[0][:-1], kept)
    assert not recovery.is_code(shown[0], "nonsense")
    assert recovery.hashed(shown[0], b"t" * 16) != kept
    assert [recovery.number_of(code) for code in shown] == [1, 2]


@pytest.mark.parametrize("bad", ["", "123456", "-ABCD", "1-", "11-ABCD", "x-ABCD", "\u00b2-ABCD"])
def test_bad_recovery_codes_have_no_number(bad: str) -> None:
    assert recovery.number_of(bad) is None


@given(st.integers(0, 10_000))
def test_waiting_grows_and_ends(failures: int) -> None:
    assert trials.pause(failures) <= trials.pause(failures + 1) <= 900
    assert (trials.pause(failures) == 0) == (failures <= trials.FREE)


def test_a_day_of_guessing_is_a_hundred_guesses() -> None:
    at, guesses = 0.0, 0
    while at < 86400:
        guesses += 1
        at += trials.pause(guesses)
    assert guesses <= 110


opened = begun(b"t" * 32, SEAT, NOW)


@given(st.floats(0, 30_000), st.floats(0, 30_000))
def test_a_session_is_over_after_a_quarter_or_eight_hours(seen: float, later: float) -> None:
    session = sessions.Session(opened.hash, SEAT, NOW, NOW + seen, NOW)
    at = NOW + seen + later
    should = at - NOW < 8 * 3600 and at - (NOW + seen) < 900
    try:
        require_open(session, SEAT, at)
        is_open = True
    except ClosedSessionError:
        is_open = False
    assert is_open == should


@pytest.mark.parametrize(
    "now_is",
    [
        Seat(SEAT.person, "Rotterdam", SEAT.role, SEAT.jurisdiction),
        Seat(SEAT.person, SEAT.organisation, PersonRole.REGULATOR, SEAT.jurisdiction),
        Seat(SEAT.person, SEAT.organisation, SEAT.role, Jurisdiction.EU),
    ],
)
def test_a_session_is_of_the_seat_it_began_with(now_is: Seat) -> None:
    with pytest.raises(ClosedSessionError, match="role has changed"):
        require_open(opened, now_is, NOW)


def test_a_clock_that_went_back_before_the_login_opens_nothing() -> None:
    with pytest.raises(ClosedSessionError):
        require_open(opened, SEAT, NOW - 1)


@pytest.mark.parametrize(("later", "fresh"), [(0, True), (299, True), (300, False), (-1, False)])
def test_a_factor_is_fresh_for_five_minutes(later: int, fresh: bool) -> None:
    assert is_fresh(opened, NOW + later) is fresh


def test_nothing_that_is_kept_of_a_token_opens_a_session() -> None:
    token = os.urandom(32)
    kept = begun(token, SEAT, NOW)
    assert token.hex() not in repr(kept)
    assert token_hash(bytes.fromhex(kept.hash)) != kept.hash


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "../x", "ana\n", "安娜"])
def test_bad_names(name: str) -> None:
    with pytest.raises(MalformedMessageError):
        Seat(PersonId(name), "Ningbo", PersonRole.OFFICER, Jurisdiction.CN)


@pytest.mark.parametrize("organisation", ["", " ", "a\nb", "x" * 201])
def test_bad_organisations(organisation: str) -> None:
    with pytest.raises(MalformedMessageError):
        Seat(PersonId("ana"), organisation, PersonRole.OFFICER, Jurisdiction.CN)


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3))
def test_a_call_reads_back(session: str, body: dict[str, str]) -> None:
    call = Call(session, body)
    assert read_call(call.to_bytes()) == call


BAD_CALLS = (
    b"",
    b"{}",
    b"[]",
    canonical.encode({"version": 2, "session": "", "body": {}}),
    canonical.encode({"version": 1, "session": 7, "body": {}}),
    canonical.encode({"version": 1, "session": "", "body": []}),
    canonical.encode({"version": 1, "session": "", "body": {}, "more": 1}),
    b'{"version": 1, "session": "", "body": {}}',
)


@pytest.mark.parametrize("bad", BAD_CALLS)
def test_bad_calls(bad: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        read_call(bad)


@pytest.mark.parametrize("body", [{}, {"key": 1}, {"key": "zz"}, {"key": "abc"}])
def test_bad_bytes_of_a_call(body: dict[str, object]) -> None:
    with pytest.raises(MalformedMessageError):
        Call("", body).hex("key")
