"""What is sent and to whom, and what stays."""

import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.register import Register
from clients import calling
from clients.books import Books
from clients.calling import NotReachedError, TurnedAwayError, WrongPinError
from clients.certificate import require_shown
from clients.consent import agreed
from clients.joining import ForeignFolderError
from clients.recording import Recorder
from clients.settings import load_settings
from experiments import inviting
from experiments.errors import NotAgreedError
from experiments.founding import free_ports
from experiments.joining import join
from federation.errors import (
    ExpiredInvitationError,
    MalformedInvitationError,
)
from federation.ledger.entries import EntryKind
from federation.ledger.notes import origin_of
from secure_compute import canonical
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.authority import certify, create_authority
from secure_compute.primitives.node_keys import create_stream_key
from tests.joins import CN, EU, FOUNDERS, Harbour, Person, evil


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
