"""Who comes in by an invitation, and who does not: once, in time, with its secret, to its seat."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from aggregator.door import (
    MOST_WRONG,
    Door,
    Patience,
    RefusedInvitationError,
    TooManyError,
    _waits,
)
from aggregator.hosting import load_hosting
from aggregator.register import Register
from experiments.errors import UsageError
from federation.enrolment import Enrolment, read_offer, sign_enrolment
from federation.errors import MalformedMessageError, MisdirectedMessageError
from federation.invitations import Token
from federation.knocks import Knock
from federation.membership import Member
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.errors import PeerProtocolError
from secure_compute.primitives.authority import request_certificate
from secure_compute.primitives.certificates import read_client_certificate
from secure_compute.primitives.node_keys import create_node_key
from tests.joins import CN, EU, Harbour
from tests.rosters import founded, key, sealing

SECONDS = 3600.0


class Clock:
    def __init__(self) -> None:
        self.at = time.time()

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def harbour(tmp_path: Path) -> Harbour:
    return Harbour(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(harbour: Harbour, clock: Clock) -> Door:
    patience = Patience(clock, one=50, altogether=100)
    register = Register(harbour.aggregator)
    return Door(lambda: load_hosting(harbour.aggregator), register, clock, patience)


def knock(token: Token, **changed) -> Knock:
    return replace(Knock(token.invitation.hex(), token.secret), **changed)


def enrolment(token: Token, folder: Path, seed: str = "cn", **changed) -> Enrolment:
    own = (key(seed).verify_key, sealing(seed))
    member = Member(PartyId("cn"), "Ningbo", Role.WAREHOUSE, Jurisdiction.CN, *own)
    made = Enrolment(
        federation="harbour",
        invitation=token.invitation.hex(),
        member=member,
        request=request_certificate(folder / f"{seed}.key", "cn").decode(),
        flower=create_node_key(folder / f"{seed}.flower").decode(),
        card="c" * 64,
    )
    return replace(made, **changed)


def enrol(door: Door, token: Token, made: Enrolment, seed: str = "cn", **changed) -> bytes:
    wire = sign_enrolment(made, key(seed))
    sent = {"identity": key(seed).verify_key.hex, "enrolment": wire} | changed
    return door.enrol(knock(token, **sent).to_bytes(), "a")


def test_an_invitation_says_what_it_is_good_for(door: Door, harbour: Harbour) -> None:
    offer = read_offer(door.offer(knock(harbour.invite(CN)).to_bytes(), "a"))
    assert (offer.party, offer.organisation, offer.role) == (CN.party, "Ningbo", CN.role)
    assert (offer.federation, offer.pin, offer.colluding) == ("harbour", "", 1)
    assert offer.host == harbour.begun.hosting.member


def test_the_secret_is_not_kept(harbour: Harbour) -> None:
    token = harbour.invite(CN)
    Register(harbour.aggregator).invited()
    for path in harbour.aggregator.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert token.secret not in data and token.secret.hex().encode() not in data
    assert (harbour.aggregator / "membership.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_wrong_secret_and_an_unknown_invitation_are_told_the_same(
    door: Door, harbour: Harbour
) -> None:
    token, said = harbour.invite(CN), set()
    for changed in ({"secret": b"x" * 20}, {"invitation": "f" * 16}):
        with pytest.raises(RefusedInvitationError) as refused:
            door.offer(knock(token, **changed).to_bytes(), "a")
        said.add(str(refused.value))
    assert len(said) == 1


def test_an_invitation_that_was_guessed_at_is_good_for_nothing(
    door: Door, harbour: Harbour
) -> None:
    token = harbour.invite(CN)
    for _ in range(MOST_WRONG):
        with pytest.raises(RefusedInvitationError, match="no such invitation"):
            door.offer(knock(token, secret=b"x" * 20).to_bytes(), "a")
    with pytest.raises(RefusedInvitationError, match="guessed at"):
        door.offer(knock(token).to_bytes(), "a")


def test_wrong_secrets_are_borne_a_few_times_a_minute() -> None:
    clock = Clock()
    patience = Patience(clock, one=2, altogether=3)
    for place in ("a", "a", "b"):
        patience.require(place)
        patience.wrong(place)
    for place in ("a", "b", "c"):  # one place has had enough, then all have
        with pytest.raises(TooManyError):
            patience.require(place)
    clock.at += 61.0
    patience.require("a")
    patience.wrong("a")
    patience.wrong("a")
    patience.require("b")
    with pytest.raises(TooManyError):
        patience.require("a")


def test_a_place_that_guesses_is_not_answered_even_with_the_right_secret(
    harbour: Harbour, clock: Clock
) -> None:
    register = Register(harbour.aggregator)
    door = Door(lambda: load_hosting(harbour.aggregator), register, clock, Patience(clock))
    token = harbour.invite(CN)
    for _ in range(5):
        with pytest.raises(RefusedInvitationError):
            door.offer(knock(token, invitation="0" * 16).to_bytes(), "a")
    with pytest.raises(TooManyError):
        door.offer(knock(token).to_bytes(), "a")
    door.offer(knock(token).to_bytes(), "b")


def test_a_certificate_is_given_once_and_again_to_the_same_key(
    door: Door, harbour: Harbour, tmp_path: Path
) -> None:
    token = harbour.invite(CN)
    made = enrolment(token, tmp_path)
    pem = enrol(door, token, made)
    shown = read_client_certificate(pem, harbour.begun.hosting.authority.certificate)
    assert shown.party == "cn" and (shown.until - shown.since).days == 31
    assert enrol(door, token, made) == pem
    offer = knock(token, identity=key("cn").verify_key.hex)
    assert read_offer(door.offer(offer.to_bytes(), "a")).party == "cn"


def test_a_used_invitation_is_refused_to_everybody_else(
    door: Door, harbour: Harbour, tmp_path: Path
) -> None:
    token = harbour.invite(CN)
    enrol(door, token, enrolment(token, tmp_path))
    for identity in ("", key("eu").verify_key.hex):
        with pytest.raises(RefusedInvitationError, match="used already"):
            door.offer(knock(token, identity=identity).to_bytes(), "a")
    with pytest.raises(RefusedInvitationError, match="used already"):
        enrol(door, token, enrolment(token, tmp_path, "thief"), "thief")


def test_an_invitation_is_over_in_its_last_second_but_not_for_who_took_it(
    door: Door, harbour: Harbour, clock: Clock, tmp_path: Path
) -> None:
    token, other = harbour.invite(CN), harbour.invite(EU)
    pem = enrol(door, token, enrolment(token, tmp_path))
    clock.at = token.expires
    with pytest.raises(RefusedInvitationError, match="expired"):
        door.offer(knock(other).to_bytes(), "a")
    assert enrol(door, token, enrolment(token, tmp_path)) == pem


def test_a_new_invitation_makes_the_one_before_void(
    door: Door, harbour: Harbour, tmp_path: Path
) -> None:
    token = harbour.invite(CN)
    enrol(door, token, enrolment(token, tmp_path))
    again = harbour.invite(CN)
    with pytest.raises(RefusedInvitationError, match="no such invitation"):
        door.offer(knock(token).to_bytes(), "a")
    enrol(door, again, enrolment(again, tmp_path, "anew"), "anew")


def test_a_key_that_was_given_up_stays_so_until_somebody_takes_the_new_seat(
    door: Door, harbour: Harbour, tmp_path: Path
) -> None:
    register, token = Register(harbour.aggregator), harbour.invite(CN)
    enrol(door, token, enrolment(token, tmp_path))
    register.exchange(CN.party, b"new", None)
    again = harbour.invite(CN)
    assert register.exchanged(CN.party) == (b"new", None)
    enrol(door, again, enrolment(again, tmp_path, "anew"), "anew")
    assert register.exchanged(CN.party) is None


def test_a_member_whose_sealing_key_is_on_its_way_comes_again(tmp_path: Path) -> None:
    chain = founded()
    (tmp_path / "roster.bin").write_bytes(chain.wire)
    hosting = SimpleNamespace(pin=chain.pin, folder=tmp_path)
    own = chain.roster.members[0]
    assert not _waits(hosting, replace(own, sealing=sealing("older")))


def test_a_member_with_another_identity_key_waits_for_the_others(tmp_path: Path) -> None:
    chain = founded()
    (tmp_path / "roster.bin").write_bytes(chain.wire)
    hosting = SimpleNamespace(pin=chain.pin, folder=tmp_path)
    own, other = chain.roster.members[:2]
    asked = replace(own, identity=key("new").verify_key, sealing=sealing("new"))
    assert _waits(hosting, asked)
    with pytest.raises(RefusedInvitationError, match="is or was somebody's already"):
        _waits(hosting, replace(asked, identity=other.identity))
    with pytest.raises(RefusedInvitationError, match="is or was somebody's already"):
        _waits(hosting, replace(asked, sealing=other.sealing))
    with pytest.raises(RefusedInvitationError, match="with another identity key"):
        _waits(hosting, replace(asked, organisation="Elsewhere"))


@pytest.mark.parametrize(
    "changed",
    [
        {"organisation": "Rotterdam"},
        {"role": Role.KEYHOLDER},
        {"jurisdiction": Jurisdiction.EU},
        {"party": PartyId("eu")},
    ],
    ids=str,
)
def test_another_seat_than_was_offered_is_refused(
    door: Door, harbour: Harbour, tmp_path: Path, changed
) -> None:
    token = harbour.invite(CN)
    made = enrolment(token, tmp_path)
    with pytest.raises(RefusedInvitationError, match="another seat"):
        enrol(door, token, replace(made, member=replace(made.member, **changed)))
    assert Register(harbour.aggregator).enrolled() == []


def test_an_enrolment_for_another_invitation_or_federation_is_refused(
    door: Door, harbour: Harbour, tmp_path: Path
) -> None:
    token, other = harbour.invite(CN), harbour.invite(EU)
    with pytest.raises(RefusedInvitationError, match="another seat"):
        enrol(door, token, enrolment(other, tmp_path))
    with pytest.raises(MisdirectedMessageError):
        enrol(door, token, enrolment(token, tmp_path, federation="another"))


def test_an_enrolment_of_another_key_than_the_call_is_refused(
    door: Door, harbour: Harbour, tmp_path: Path
) -> None:
    token = harbour.invite(CN)
    with pytest.raises(MalformedMessageError, match="another key"):
        enrol(door, token, enrolment(token, tmp_path), identity=key("eu").verify_key.hex)


def test_a_request_for_another_party_is_given_no_certificate(
    door: Door, harbour: Harbour, tmp_path: Path
) -> None:
    token = harbour.invite(CN)
    foreign = request_certificate(tmp_path / "x.key", "eu").decode()
    with pytest.raises(PeerProtocolError, match="not cn's"):
        enrol(door, token, enrolment(token, tmp_path, request=foreign))
    assert Register(harbour.aggregator).enrolled() == []


def test_a_key_that_is_somebodys_already_is_refused(
    door: Door, harbour: Harbour, tmp_path: Path
) -> None:
    token, other = harbour.invite(CN), harbour.invite(EU)
    enrol(door, token, enrolment(token, tmp_path))
    own = (key("cn").verify_key, sealing("eu"))
    member = Member(PartyId("eu"), "Rotterdam", EU.role, EU.jurisdiction, *own)
    request = request_certificate(tmp_path / "eu.key", "eu").decode()
    made = enrolment(other, tmp_path, member=member, request=request)
    with pytest.raises(RefusedInvitationError, match="somebody's already"):
        enrol(door, other, made)


def test_a_seat_that_cannot_be_is_not_offered(harbour: Harbour) -> None:
    for wrong in (
        {"party": PartyId("")},
        {"party": PartyId("a b")},
        {"party": PartyId("aggregator")},
        {"party": PartyId("analyst")},
        {"organisation": " "},
        {"organisation": "a\nb"},
        {"role": Role.AGGREGATOR},
        {"role": Role.ANALYST},
    ):
        with pytest.raises(UsageError):
            harbour.invite(replace(CN, **wrong))
    with pytest.raises(UsageError):
        harbour.invite(CN, 0.0)
