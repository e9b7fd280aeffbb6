"""What an entrant and a member do not believe."""

from dataclasses import replace
from pathlib import Path

import pytest

from clients import calling, entering
from clients.admitting import UntrueRequestError
from clients.calling import TurnedAwayError
from clients.entering import OtherFederationError, TakenSeatError, UntrueFoundingError
from clients.errors import NodeSettingsError
from clients.joining import LOST, Entrant, begun
from experiments import inviting
from experiments.admitting import hall
from federation.enrolment import sign_enrolment
from federation.errors import (
    UntrustedRosterError,
)
from federation.membership import Member
from federation.roster_chain import Admit, founding_statement
from federation.views import View, read_view
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.primitives.authority import certify
from secure_compute.primitives.node_keys import create_stream_key
from tests.joins import BR, CN, FOUNDERS, Harbour
from tests.rosters import founded as other_chain
from tests.rosters import key


@pytest.fixture(scope="module")
def waiting(tmp_path_factory) -> Entrant:
    """An entrant that has enrolled before the founding; its folder is read only."""
    harbour = Harbour(tmp_path_factory.mktemp("waiting"))
    with harbour.open():
        harbour.join(harbour.invite(CN), "cn")
    entrant = begun(harbour.node("cn"))
    assert entrant is not None
    return entrant


def _founding(entrant: Entrant, *, federation: str = "harbour", colluding: int = 1, **changed):
    others = [
        Member(PartyId(name), name.upper(), Role.WAREHOUSE, Jurisdiction.EU, key(name).verify_key)
        for name in ("x", "y", "z")
    ]
    members = [entrant.member, entrant.offer.host, *others]
    members = [replace(m, **changed.get(str(m.party), {})) for m in members]
    return founding_statement(federation, members, colluding)


def test_a_true_founding_is_shown(waiting: Entrant) -> None:
    shown = entering.step(waiting, View(founding=_founding(waiting)))
    assert isinstance(shown, entering.Founds) and waiting.member in shown.founding.members


@pytest.mark.parametrize(
    "changed",
    [
        {"cn": {"identity": key("another").verify_key}},
        {"cn": {"role": Role.MERCHANT}},
        {"cn": {"organisation": "Ningbo 2"}},
        {"aggregator": {"identity": key("another").verify_key}},
        {"cn": {"party": PartyId("cn2")}},
        {"federation": "elsewhere"},
    ],
    ids=str,
)
def test_a_founding_other_than_the_invitation_is_not_signed(waiting: Entrant, changed) -> None:
    with pytest.raises(UntrueFoundingError, match="nothing was signed"):
        entering.step(waiting, View(founding=_founding(waiting, **changed)))


def test_a_founding_that_bears_fewer_colluders_is_not_signed(waiting: Entrant) -> None:
    strict = replace(waiting, offer=replace(waiting.offer, colluding=2))
    with pytest.raises(UntrueFoundingError, match="1 colluding"):
        entering.step(strict, View(founding=_founding(waiting)))


def test_a_founding_of_too_few_is_not_signed(waiting: Entrant) -> None:
    statement = founding_statement("harbour", [waiting.member, waiting.offer.host], 1)
    with pytest.raises(UntrueFoundingError):
        entering.step(waiting, View(founding=statement))


def test_a_federation_founded_without_this_party_is_not_its_own(waiting: Entrant) -> None:
    chain = other_chain()
    with pytest.raises(OtherFederationError, match="founded without this party"):
        entering.step(waiting, View(chain.wire))
    pinned = replace(waiting, offer=replace(waiting.offer, pin="a" * 64))
    with pytest.raises(OtherFederationError, match="is not this party's"):
        entering.step(pinned, View(chain.wire))


@pytest.mark.parametrize("told", [{"federation": "elsewhere"}, {"colluding": 2}], ids=str)
def test_a_roster_other_than_the_invitation_said_is_not_entered(waiting: Entrant, told) -> None:
    chain = other_chain()
    seat = {"pin": chain.pin, "federation": chain.roster.federation, "party": PartyId("cn9")}
    offer = replace(waiting.offer, **seat)
    assert isinstance(entering.step(replace(waiting, offer=offer), View(chain.wire)), entering.Asks)
    other = replace(waiting, offer=replace(offer, **told))
    with pytest.raises(OtherFederationError, match="nothing was signed"):
        entering.step(other, View(chain.wire))


def test_who_is_on_the_roster_with_another_key_is_not_in(waiting: Entrant) -> None:
    chain = other_chain()
    seat = {"pin": chain.pin, "federation": chain.roster.federation, "party": PartyId("cn9")}
    pinned = replace(waiting, offer=replace(waiting.offer, **seat))
    longer = chain.change(
        Admit(replace(pinned.member, identity=key("cn9").verify_key)), "cn9", "eu", "us"
    )
    with pytest.raises(TakenSeatError, match="run this again with --lost"):
        entering.step(pinned, View(longer.wire))
    (pinned.folder / LOST).touch()
    there = entering.step(pinned, View(longer.wire))
    assert isinstance(there, entering.Asks) and b'"rekey"' in there.statement


def test_a_resumed_folder_without_an_enrolment_is_said_to_be_none(tmp_path: Path) -> None:
    harbour = Harbour(tmp_path)
    with pytest.raises(NodeSettingsError, match="has not enrolled"):
        harbour.resume("cn")


def _seen(harbour: Harbour, monkeypatch: pytest.MonkeyPatch, **changed) -> None:
    look = calling.MemberCalls.look

    def lying(self) -> bytes:
        view = read_view(look(self))
        request = replace(view.requests[0], **changed)
        return replace(view, requests=(request,)).to_bytes()

    monkeypatch.setattr(calling.MemberCalls, "look", lying)


def test_a_member_reads_other_words_of_another_key(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    harbour.found()
    words = harbour.join(harbour.invite(BR), "br").words
    assert hall(harbour.node("cn")).find("br").words == words
    entrant = begun(harbour.node("br"))
    assert entrant is not None
    enrolment = entrant.enrolment
    swapped = replace(enrolment, member=replace(enrolment.member, identity=key("hub").verify_key))
    _seen(harbour, monkeypatch, enrolment=sign_enrolment(swapped, key("hub")))
    assert hall(harbour.node("cn")).find("br").words != words


def test_nothing_that_the_aggregator_names_writes_over_the_six_words(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.admitting import spoken

    harbour.found()
    words = harbour.join(harbour.invite(BR), "br").words
    entrant = begun(harbour.node("br"))
    assert entrant is not None
    evil = "Recife\n  words  other words\x1b[8m"
    swapped = replace(entrant.enrolment, member=replace(entrant.member, organisation=evil))
    signed = (PartyId("eu"), PartyId("\x1b[2A\x1b[2K  words  other words\n"))
    wire = sign_enrolment(swapped, entrant.identity)
    _seen(harbour, monkeypatch, enrolment=wire, signed=signed)
    shown = hall(harbour.node("cn")).find("br")
    assert shown.signed == ("eu",) and shown.words == words
    lines = spoken(shown).split("\n")
    assert len(lines) == 3 and all(line.isprintable() for line in lines)
    assert lines[1] == f"  words  {' '.join(words)}"


def test_a_refusal_of_the_aggregator_moves_no_cursor(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aggregator.gathering import Gathering, NoMemberError

    def refuse(*_: object) -> bytes:
        raise NoMemberError("no\x1b[2A\x1b[2Kthe six words: other words\u202e")

    harbour.found()
    monkeypatch.setattr(Gathering, "look", refuse)
    with pytest.raises(TurnedAwayError) as why:
        hall(harbour.node("cn"))
    assert str(why.value).isprintable() and "other words" in str(why.value)


def test_a_member_signs_nothing_for_a_certificate_of_another_key(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime, timedelta

    harbour.found()
    harbour.join(harbour.invite(BR), "br")
    public = create_stream_key(harbour.folder / "other.key")
    ca = harbour.begun.hosting.authority
    pem = certify(ca, "br", public, datetime.now(UTC), timedelta(days=1)).decode()
    _seen(harbour, monkeypatch, certificate=pem)
    with pytest.raises(UntrueRequestError, match="nothing was signed"):
        hall(harbour.node("cn"))


def test_a_member_believes_no_other_roster_than_one_that_continues_its_own(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    harbour.found()
    other = other_chain().wire
    monkeypatch.setattr(calling.MemberCalls, "look", lambda _: View(other).to_bytes())
    with pytest.raises(UntrustedRosterError):
        hall(harbour.node("cn"))


def test_a_member_whose_word_does_not_count_does_not_give_it(harbour: Harbour) -> None:
    from clients.errors import RefusedWorkError

    same = inviting.Seat(PartyId("cn2"), "Ningbo", Role.MERCHANT, Jurisdiction.CN)
    harbour.found()
    harbour.join(harbour.invite(same), "cn2")
    there = hall(harbour.node("cn"))
    with pytest.raises(RefusedWorkError, match="does not count"):
        there.admit(there.find("cn2"))


def test_who_came_before_the_founding_and_was_left_out_asks_the_members(harbour: Harbour) -> None:
    tokens = {seat: harbour.invite(seat) for seat in FOUNDERS}
    late = harbour.invite(BR)
    for seat, token in tokens.items():
        harbour.join(token, seat.party)
    shown = inviting.founders(harbour.begun)
    before = harbour.join(late, "br").words
    inviting.found(harbour.begun, shown)
    for seat in (*FOUNDERS, *FOUNDERS):
        harbour.resume(seat.party)
    with pytest.raises(OtherFederationError, match="founded without this party"):
        harbour.resume("br")
    came = harbour.join(late, "br")
    assert came.words != before and came.words == hall(harbour.node("cn")).find("br").words
    for party in ("cn", "eu"):
        there = hall(harbour.node(party))
        there.admit(there.find("br"))
    assert harbour.resume("br").why == ""
