"""Tokens have one spelling, and whatever is altered, cut off or over is refused by name."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import ExpiredInvitationError, MalformedInvitationError
from federation.invitations import PREFIX, Token, secret_hash

V = json.loads((Path(__file__).parents[2] / "vectors" / "join" / "tokens.json").read_text())
HOSTS = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9.:-]{0,60}[A-Za-z0-9])?\Z")
TOKENS = st.builds(
    Token,
    HOSTS,
    st.integers(1, 65535),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=20, max_size=20),
    st.integers(0, 2**63 - 1),
)


@pytest.mark.parametrize("vector", V["good"], ids=lambda v: v["name"])
def test_good_vectors_are_read_and_spelt_again(vector):
    token = Token.parse(vector["token"])
    assert str(token) == vector["token"]
    assert (token.host, token.port, token.expires) == (
        vector["host"],
        vector["port"],
        vector["expires"],
    )
    parts = (token.pin, token.invitation, token.secret)
    assert [part.hex() for part in parts] == [vector[n] for n in ("pin", "invitation", "secret")]
    assert secret_hash(token.secret) == vector["kept"]


@pytest.mark.parametrize("name", sorted(V["bad"]))
def test_bad_vectors_are_refused(name):
    with pytest.raises(MalformedInvitationError):
        Token.parse(V["bad"][name])


@given(TOKENS)
def test_a_token_is_read_as_it_was_written(token):
    assert Token.parse(str(token)) == token
    assert str(token).startswith(PREFIX) and str(token).isascii()


@given(TOKENS, st.data())
def test_one_other_letter_is_noticed(token, data):
    text = str(token)
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda c: c != text[place]))
    with pytest.raises(MalformedInvitationError):
        Token.parse(text[:place] + letter + text[place + 1 :])


@given(TOKENS, st.data())
def test_a_token_that_is_cut_off_is_noticed(token, data):
    text = str(token)
    with pytest.raises(MalformedInvitationError):
        Token.parse(text[: data.draw(st.integers(0, len(text) - 1))])


def test_a_secret_does_not_print_itself_and_is_not_what_is_kept():
    token = Token.parse(V["good"][0]["token"])
    assert token.secret.hex() not in repr(token) and repr(token.secret) not in repr(token)
    assert secret_hash(token.secret) != token.secret.hex()


def test_the_time_of_a_token_is_over_at_its_last_second():
    token = Token.parse(V["good"][0]["token"])
    token.require_open(token.expires - 1)
    with pytest.raises(ExpiredInvitationError, match="nothing was sent"):
        token.require_open(token.expires)


def test_an_address_of_colons_is_put_in_brackets():
    token = Token("fd00::1", 9447, b"p" * 32, b"i" * 8, b"s" * 20, 1)
    assert token.address == "[fd00::1]:9447"


@pytest.mark.parametrize(
    "changed",
    [
        {"host": "a b"},
        {"host": ""},
        {"host": "-a"},
        {"port": 0},
        {"port": 65536},
        {"pin": b"p"},
        {"secret": b"s" * 21},
        {"invitation": b""},
        {"expires": -1},
    ],
    ids=str,
)
def test_a_token_that_could_not_be_read_cannot_be_made(changed):
    fields = {"host": "a", "port": 1, "pin": b"p" * 32, "invitation": b"i" * 8}
    fields |= {"secret": b"s" * 20, "expires": 1}
    with pytest.raises(MalformedInvitationError):
        Token(**(fields | changed))


def test_a_right_checksum_over_no_host_is_no_token():
    data = base64.urlsafe_b64decode(V["bad"]["without_a_host"].removeprefix(PREFIX) + "==")
    assert len(data) == 74  # the head, and a right checksum
