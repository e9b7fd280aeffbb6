"""A partner's side over real TLS: nothing is sent to the wrong server, no key is sent at all, and
an entry that was cut off anywhere goes on.
"""

import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.register import Register
from clients import calling, entering
from clients.admitting import UntrueRequestError
from clients.books import Books
from clients.calling import NotReachedError, TurnedAwayError, WrongPinError
from clients.certificate import require_shown
from clients.consent import agreed
from clients.entering import OtherFederationError, TakenSeatError, UntrueFoundingError
from clients.errors import NodeSettingsError
from clients.joining import Entrant, ForeignFolderError, begun
from clients.recording import Recorder
from clients.settings import load_settings
from experiments import inviting
from experiments.admitting import hall
from experiments.errors import NotAgreedError
from experiments.founding import free_ports
from experiments.joining import join
from federation.enrolment import sign_enrolment
from federation.errors import (
    ExpiredInvitationError,
    MalformedInvitationError,
    UntrustedRosterError,
)
from federation.ledger.entries import EntryKind
from federation.ledger.notes import origin_of
from federation.membership import Member
from federation.roster_chain import Admit, founding_statement
from federation.views import View, read_view
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import canonical
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.authority import certify, create_authority
from secure_compute.primitives.node_keys import create_stream_key
from tests.joins import BR, CN, EU, FOUNDERS, Harbour, Person, evil
from tests.rosters import founded as other_chain
from tests.rosters import key


@pytest.fixture
def harbour(tmp_path: Path) -> Iterator[Harbour]:
    made = Harbour(tmp_path)
    with made.open():
        yield made


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """Every message that calls carry, as it is sent."""
    seen: list[tuple[str, bytes]] = []
    ask = calling._Calls.ask

    def listening(self, method: str, data: bytes) -> bytes:
        seen.append((method, data))
        return ask(self, method, data)

    monkeypatch.setattr(calling._Calls, "ask", listening)
    return seen


# -- to whom nothing is sent -----------------------------------------------------------------------


def test_a_server_with_another_key_is_sent_no_byte(harbour: Harbour, tmp_path: Path) -> None:
    token = harbour.invite(CN)
    with (
        evil(tmp_path / "evil") as (port, sizes),
        pytest.raises(WrongPinError, match="nothing was sent") as refused,
    ):
        harbour.join(replace(token, port=port), "cn")
    assert sizes == [0] and refused.value.exit_code == 30
    assert not harbour.node("cn").exists()


def test_a_server_that_takes_over_after_the_pin_was_checked_is_sent_no_byte(
    harbour: Harbour, tmp_path: Path
) -> None:
    token = harbour.invite(CN)
    leaf = calling.require_pin(token)
    with evil(tmp_path / "evil") as (port, sizes):
        calls = calling.JoinCalls(replace(token, port=port), leaf, 3.0)
        knock = calling.Knock(token.invitation.hex(), token.secret)
        with pytest.raises(NotReachedError):
            calls.offer(knock)
    assert sizes and set(sizes) == {0}


def test_an_expired_token_goes_nowhere(harbour: Harbour, tmp_path: Path) -> None:
    with evil(tmp_path / "evil") as (port, sizes):
        token = replace(harbour.invite(CN), port=port, expires=int(time.time()))
        with pytest.raises(ExpiredInvitationError, match="nothing was sent"):
            harbour.join(token, "cn")
    assert sizes == [] and not harbour.node("cn").exists()


def test_a_malformed_token_goes_nowhere(harbour: Harbour) -> None:
    with pytest.raises(MalformedInvitationError):
        join(str(harbour.invite(CN))[:-1], harbour.node("cn"), Person(), 0.0)


def test_where_nobody_listens_is_said(harbour: Harbour) -> None:
    token = replace(harbour.invite(CN), port=free_ports().fleet)
    with pytest.raises(NotReachedError, match="no join service answers") as refused:
        harbour.join(token, "cn")
    assert refused.value.exit_code == 20


def test_a_used_token_says_nothing_of_who_comes_with_it(
    harbour: Harbour, sent: list[tuple[str, bytes]]
) -> None:
    token = harbour.invite(CN)
    harbour.join(token, "cn")
    sent.clear()
    with pytest.raises(TurnedAwayError, match="used already"):
        join(str(token), harbour.node("thief"), Person(), 0.0)
    assert [method for method, _ in sent] == ["Offer"]
    value = canonical.decode(sent[0][1])
    assert isinstance(value, dict) and (value["identity"], value["enrolment"]) == ("", "")
    assert not harbour.node("thief").exists()


def test_a_token_of_another_federation_finds_no_door_here(harbour: Harbour, tmp_path: Path) -> None:
    other = Harbour(tmp_path / "other", "elsewhere")
    with other.open():
        foreign = other.invite(CN)
        here = harbour.invite(CN)
        with pytest.raises(WrongPinError):
            harbour.join(replace(foreign, port=here.port), "cn")
        with pytest.raises(TurnedAwayError, match="no such invitation"):
            harbour.join(replace(foreign, port=here.port, pin=here.pin), "cn")
    assert not harbour.node("cn").exists()


# -- what is sent and what stays -------------------------------------------------------------------


def test_no_private_key_is_sent_and_all_are_the_owners_alone(
    harbour: Harbour, sent: list[tuple[str, bytes]]
) -> None:
    harbour.found()
    keys = harbour.node("cn") / "keys"
    private = {
        name: (keys / name).read_bytes() for name in ("identity.key", "stream.key", "flower")
    }
    for name, content in private.items():
        assert stat.S_IMODE((keys / name).stat().st_mode) == 0o600
        lines = [line for line in content.splitlines() if len(line) > 40] or [content]
        for secret in (*lines, content.hex().encode()):
            assert all(secret not in data for _, data in sent), name
    assert {method for method, _ in sent} == {"Offer", "Enrol", "Look", "Sign"}


def test_a_founder_is_a_node_that_would_start(harbour: Harbour) -> None:
    harbour.found()
    for seat in FOUNDERS:
        settings = load_settings(harbour.node(seat.party))
        shown = require_shown(settings)
        assert shown is not None and shown.party == seat.party
        assert settings.roster().find(seat.party).identity == settings.identity.verify_key
        assert agreed(settings.folder, settings.identity.verify_key) is not None
        unit = (settings.folder / f"entrepot-{seat.party}.service").read_text(encoding="utf-8")
        assert f'node run "{settings.folder}"' in unit and "PRIVATE" not in unit


def test_the_card_is_shown_before_anything_of_this_party_is_made_or_sent(
    harbour: Harbour, sent: list[tuple[str, bytes]]
) -> None:
    token, person = harbour.invite(CN), Person(agreeing=False)
    with pytest.raises(NotAgreedError, match="nothing was sent"):
        harbour.join(token, "cn", person)
    assert len(person.cards) == 1
    assert [method for method, _ in sent] == ["Offer"]
    assert not (harbour.node("cn") / "enrolment.bin").exists()
    assert Register(harbour.aggregator).enrolled() == []
    agreeing = Person()
    harbour.join(token, "cn", agreeing)
    assert len(agreeing.cards) == 1
    again = Person()
    harbour.join(token, "cn", again)
    assert again.cards == [] and again.asked == []


def test_the_law_is_its_operators_to_edit_before_it_agrees(harbour: Harbour) -> None:
    token = harbour.invite(CN)
    with pytest.raises(NotAgreedError):
        harbour.join(token, "cn", Person(agreeing=False))
    law = harbour.node("cn") / "policy" / "node.cedar"
    edited = law.read_text(encoding="utf-8") + "\n// mine\n"
    law.write_text(edited, encoding="utf-8")
    harbour.join(token, "cn")
    assert law.read_text(encoding="utf-8") == edited


def test_whoever_changes_the_law_after_agreeing_is_asked_again(harbour: Harbour) -> None:
    token = harbour.invite(CN)
    harbour.join(token, "cn")
    law = harbour.node("cn") / "policy" / "node.cedar"
    law.write_text(law.read_text(encoding="utf-8").replace("8.0", "7.0"), encoding="utf-8")
    person = Person(agreeing=False)
    with pytest.raises(NotAgreedError):
        harbour.join(token, "cn", person)
    assert len(person.cards) == 1


def test_what_was_agreed_to_stands_in_the_nodes_own_log(harbour: Harbour) -> None:
    harbour.found()
    settings = load_settings(harbour.node("ch"))
    consent = agreed(settings.folder, settings.identity.verify_key)
    origin = origin_of(settings.federation, settings.party)
    books = Books(settings.books, origin, settings.identity, time.time)
    recorder = Recorder(settings, settings.roster(), books, "a" * 64, time.time)
    recorder.began({})
    (joined,) = (entry for entry in books.entries() if entry.kind is EntryKind.JOINED)
    assert consent is not None and joined.body["card"] == consent.card
    assert joined.body["epoch"] == 1


def test_both_sides_read_the_same_six_words(harbour: Harbour) -> None:
    came = harbour.join(harbour.invite(CN), "cn")
    harbour.invite(EU)
    rows = {row["party"]: row["words"] for row in inviting.pending(harbour.begun)}
    assert rows == {"cn": list(came.words), "eu": None} and len(came.words) == 6


def test_a_folder_of_another_invitation_or_node_is_left_alone(harbour: Harbour) -> None:
    harbour.join(harbour.invite(CN), "cn")
    before = {p: p.read_bytes() for p in harbour.node("cn").rglob("*") if p.is_file()}
    with pytest.raises(ForeignFolderError):
        join(str(harbour.invite(EU)), harbour.node("cn"), Person(), 0.0)
    assert {p: p.read_bytes() for p in harbour.node("cn").rglob("*") if p.is_file()} == before


def test_nobody_is_told_to_remove_what_is_a_node(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    harbour.found()
    token = harbour.invite(CN)  # for its next certificate, and no folder is named
    monkeypatch.chdir(harbour.folder / "nodes")
    with pytest.raises(ForeignFolderError, match=r"keep it.*--folder cn"):
        join(str(token), None, Person(), 0.0)


def test_joining_again_once_in_changes_nothing_and_asks_nobody(
    harbour: Harbour, sent: list[tuple[str, bytes]]
) -> None:
    tokens = {seat: harbour.invite(seat) for seat in FOUNDERS}
    for seat, token in tokens.items():
        harbour.join(token, seat.party)
    inviting.found(harbour.begun, inviting.founders(harbour.begun))
    for seat in (*FOUNDERS, *FOUNDERS):
        harbour.resume(seat.party)
    sent.clear()
    assert harbour.join(tokens[CN], "cn").why == "" and sent == []


def test_a_certificate_for_another_key_is_not_kept(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosting = harbour.begun.hosting
    from datetime import UTC, datetime, timedelta

    other = create_stream_key(harbour.folder / "other.key")
    pem = certify(hosting.authority, "cn", other, datetime.now(UTC), timedelta(days=1))
    monkeypatch.setattr(calling.JoinCalls, "enrol", lambda *_: pem)
    with pytest.raises(LocalProtocolError, match="not a certificate of cn"):
        harbour.join(harbour.invite(CN), "cn")
    assert not (harbour.node("cn") / "keys" / "stream.crt").exists()


def test_an_authority_that_did_not_sign_the_server_is_not_believed(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime

    other = create_authority(harbour.folder / "other", datetime.now(UTC)).certificate.decode()
    token = harbour.invite(CN)
    offer = calling.JoinCalls.offer

    def lying(self, knock):
        value = canonical.decode(offer(self, knock))
        return canonical.encode(value | {"authority": other})

    monkeypatch.setattr(calling.JoinCalls, "offer", lying)
    with pytest.raises(LocalProtocolError):
        harbour.join(token, "cn")
    assert not harbour.node("cn").exists()


# -- cut off anywhere ------------------------------------------------------------------------------


class CutError(BaseException):
    """The power is gone."""


def _cut_at(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """The power goes at the n-th moment something is put on disk by whoever joins."""
    left, real = [place], os.fsync

    def cutting(handle: int) -> None:
        if threading.current_thread() is threading.main_thread():
            left[0] -= 1
            if left[0] == 0:
                raise CutError
        real(handle)

    monkeypatch.setattr(os, "fsync", cutting)


def test_an_entry_cut_off_at_every_step_goes_on_with_the_same_keys(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = 0
    for place in range(1, 99):  # odd: before a file stands, even: right after
        party = f"p{place}"
        token, folder = harbour.invite(replace(CN, party=PartyId(party))), harbour.node(party)
        _cut_at(monkeypatch, place)
        try:
            harbour.join(token, party)
        except CutError:
            cuts += 1
        monkeypatch.undo()
        before = {path: path.read_bytes() for path in folder.glob("keys/[!.]*")}
        came = harbour.join(token, party)
        assert all(path.read_bytes() == content for path, content in before.items())
        rows = {row["party"]: row["words"] for row in inviting.pending(harbour.begun)}
        assert rows[party] == list(came.words)
        if cuts < place:
            break
    assert cuts > 20 and len(Register(harbour.aggregator).enrolled()) == cuts + 1


@pytest.mark.parametrize("method", ["Offer", "Enrol"])
def test_an_entry_whose_answer_was_lost_goes_on(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    token, ask = harbour.invite(CN), calling._Calls.ask

    def losing(self, name: str, data: bytes) -> bytes:
        answer = ask(self, name, data)
        if name == method:
            raise NotReachedError("lost")
        return answer

    monkeypatch.setattr(calling._Calls, "ask", losing)
    with pytest.raises(NotReachedError):
        harbour.join(token, "cn")
    monkeypatch.undo()
    came = harbour.join(token, "cn")
    (one,) = Register(harbour.aggregator).enrolled()
    assert one.certificate == (harbour.node("cn") / "keys" / "stream.crt").read_text()
    assert [row["words"] for row in inviting.pending(harbour.begun)] == [list(came.words)]


def test_a_founder_cut_off_before_its_word_arrived_gives_it_again(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seat in FOUNDERS:
        harbour.join(harbour.invite(seat), seat.party)
    inviting.found(harbour.begun, inviting.founders(harbour.begun))

    def lost(*_: object) -> bytes:
        raise NotReachedError("lost")

    monkeypatch.setattr(calling.MemberCalls, "sign", lost)
    with pytest.raises(NotReachedError):
        harbour.resume("cn")
    monkeypatch.undo()
    for seat in (*FOUNDERS, *FOUNDERS):
        came = harbour.resume(seat.party)
    assert came.why == "" and load_settings(harbour.node("cn")).roster().epoch == 1


def test_a_folder_cut_off_before_node_toml_becomes_a_node(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seat in FOUNDERS:
        harbour.join(harbour.invite(seat), seat.party)
    inviting.found(harbour.begun, inviting.founders(harbour.begun))
    for seat in FOUNDERS:
        harbour.resume(seat.party)

    def cut(*_: object) -> None:
        raise CutError

    monkeypatch.setattr("clients.joining.Trust.of", cut)
    with pytest.raises(CutError):
        harbour.resume("cn")
    assert not (harbour.node("cn") / "node.toml").exists()
    monkeypatch.undo()
    assert harbour.resume("cn").why == ""


# -- what an entrant and a member do not believe ---------------------------------------------------


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
    (pinned.folder / "lost").touch()
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
