"""A join that is cut off anywhere."""

import os
import threading
from dataclasses import replace

import pytest

from aggregator.register import Register
from clients import calling
from clients.calling import NotReachedError
from clients.settings import load_settings
from experiments import inviting
from policies.parties import PartyId
from tests.joins import CN, FOUNDERS, Harbour


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
