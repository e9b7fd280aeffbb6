"""Passkeys open the door to their own user, at their own place, for one challenge, and no copy."""

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

from federation.people.passkeys import BadPasskeyError, Passkey, Site, asserted, registered
from tests.authenticator import ATTESTED, HOST, ORIGIN, PRESENT, VERIFIED, Authenticator

SITE = Site(HOST, ORIGIN)
CHALLENGE = bytes(range(32))


def made(**how: Any) -> tuple[Authenticator, Passkey]:
    phone = Authenticator(**how)
    return phone, registered(phone.register(CHALLENGE), CHALLENGE, SITE)


def test_a_passkey_is_registered_and_answers() -> None:
    phone, kept = made(counter=3)
    phone.counter = 4
    challenge = os.urandom(32)
    assert kept.counter == 3
    assert asserted(phone.answer(challenge), challenge, SITE, kept) == 4


def test_an_authenticator_without_a_counter_is_taken() -> None:
    phone, kept = made()
    assert asserted(phone.answer(CHALLENGE), CHALLENGE, SITE, kept) == 0


@pytest.mark.parametrize("counter", [0, 6, 7])
def test_a_counter_that_does_not_rise_is_a_copy(counter: int) -> None:
    phone, kept = made(counter=7)
    phone.counter = counter
    with pytest.raises(BadPasskeyError):
        asserted(phone.answer(CHALLENGE), CHALLENGE, SITE, kept)


BAD: dict[str, dict[str, Any]] = {
    "origin": {"origin": "https://evil.example"},
    "origin without TLS": {"origin": "http://127.0.0.1"},
    "host": {"host": "evil.example"},
    "user not verified": {"flags": PRESENT},
    "user not there": {"flags": VERIFIED},
}


@pytest.mark.parametrize("what", BAD)
def test_bad_answers(what: str) -> None:
    phone, kept = made()
    for name, value in BAD[what].items():
        setattr(phone, name, value)
    with pytest.raises(BadPasskeyError):
        asserted(phone.answer(CHALLENGE), CHALLENGE, SITE, kept)


@pytest.mark.parametrize("what", BAD)
def test_bad_registrations(what: str) -> None:
    with pytest.raises(BadPasskeyError):
        registered(Authenticator(**BAD[what]).register(CHALLENGE), CHALLENGE, SITE)


def test_another_challenge_is_refused() -> None:
    phone, kept = made()
    with pytest.raises(BadPasskeyError):
        asserted(phone.answer(CHALLENGE[::-1]), CHALLENGE, SITE, kept)
    with pytest.raises(BadPasskeyError):
        registered(phone.register(CHALLENGE[::-1]), CHALLENGE, SITE)


def test_a_foreign_credential_is_refused_even_under_this_ones_name() -> None:
    phone, kept = made()
    foreign = Authenticator()
    with pytest.raises(BadPasskeyError, match="none of this person's"):
        asserted(foreign.answer(CHALLENGE), CHALLENGE, SITE, kept)
    foreign.id = phone.id
    with pytest.raises(BadPasskeyError):
        asserted(foreign.answer(CHALLENGE), CHALLENGE, SITE, kept)


def test_a_registration_is_no_answer_and_an_answer_no_registration() -> None:
    phone, kept = made()
    with pytest.raises(BadPasskeyError):
        asserted(phone.register(CHALLENGE), CHALLENGE, SITE, kept)
    with pytest.raises(BadPasskeyError):
        registered(phone.answer(CHALLENGE), CHALLENGE, SITE)


@pytest.mark.parametrize("part", ["authenticatorData", "clientDataJSON", "signature"])
def test_an_answer_that_was_altered_or_cut_off_is_refused(part: str) -> None:
    phone, kept = made()
    for change in (lambda text: text[:-4], lambda text: "AAAA" + text[4:], lambda _: 7):
        said = phone.answer(CHALLENGE)
        said["response"][part] = change(said["response"][part])
        with pytest.raises(BadPasskeyError):
            asserted(said, CHALLENGE, SITE, kept)


@pytest.mark.parametrize("bad", [{}, {"id": 1}, {"id": "x", "response": None}, {"id": [], "x": {}}])
def test_bad_forms(bad: dict[str, Any]) -> None:
    _, kept = made()
    with pytest.raises(BadPasskeyError):
        registered(bad, CHALLENGE, SITE)
    with pytest.raises(BadPasskeyError):
        asserted({**bad, "id": kept.id}, CHALLENGE, SITE, kept)


def test_the_authenticator_of_these_tests_speaks_the_form() -> None:
    assert Authenticator().register(CHALLENGE)["type"] == "public-key"
    assert ATTESTED | VERIFIED | PRESENT == 0b1000101


PHONE, KEPT = made()


@settings(max_examples=300)
@given(
    st.sampled_from(["attestationObject", "authenticatorData", "clientDataJSON", "signature"]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 400),
)
def test_whatever_an_authenticator_says_is_refused_in_words(
    part: str, changes: list[tuple[int, int]], size: int
) -> None:
    """Bytes changed and cut inside what is nested: CBOR, COSE, JSON and DER."""
    said = PHONE.register(CHALLENGE) if part == "attestationObject" else PHONE.answer(CHALLENGE)
    data = bytearray(base64url_to_bytes(said["response"][part]))
    for at, value in changes:
        data[at % len(data)] ^= value
    said["response"][part] = bytes_to_base64url(bytes(data[: size or None]))
    try:
        if part == "attestationObject":
            assert registered(said, CHALLENGE, SITE)
        else:
            assert asserted(said, CHALLENGE, SITE, KEPT) == 0
    except BadPasskeyError as why:
        assert "try again" in str(why)
