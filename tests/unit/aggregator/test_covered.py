"""The aggregator's door: letters leave sealed, each to its party, and replies are opened."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aggregator.covered import Covered
from federation.control.captures import Capture, read_capture
from federation.covers import is_cover, uncover
from policies.parties import PartyId
from tests.covers import NODE, OTHER_PIN, PIN, ROSTER, TABLE, sealed
from tests.rosters import bare, opening

EU = PartyId("eu")
OWN: Any = SimpleNamespace(party=TABLE, pin=PIN, opening=opening(TABLE))


class Wire:
    """Carries what it is given, and answers as each party would."""

    def __init__(self, **replies: bytes | str) -> None:
        self.sent: dict[PartyId, bytes] = {}
        self.asked: list[tuple[float, dict[PartyId, float]]] = []
        self._replies = replies

    def __call__(self, requests, timeout, sooner):
        self.sent |= requests
        self.asked.append((timeout, dict(sooner)))
        return {party: self._replies.get(party, "unreachable") for party in requests}


def test_each_letter_is_sealed_to_its_own_party_and_each_reply_opened() -> None:
    wire = Wire(cn=sealed(b"here"), eu="no reply in time")
    replies = Covered(wire, OWN, ROSTER)({NODE: b"to cn", EU: b"to eu"}, 9.0, {EU: 1.0})
    assert replies == {NODE: b"here", EU: "no reply in time"}
    for party, letter in ((NODE, b"to cn"), (EU, b"to eu")):
        assert uncover(wire.sent[party], [opening(party)], party, PIN) == letter
    assert wire.asked == [(9.0, {EU: 1.0})]


def test_whoever_has_no_sealing_key_or_is_nobody_is_sent_nothing_and_the_others_are() -> None:
    members = tuple(bare(m) if m.party == EU else m for m in ROSTER.members)
    wire = Wire(cn=sealed(b"here"))
    covered = Covered(wire, OWN, replace(ROSTER, members=members))
    replies = covered({NODE: b"a", EU: b"b", PartyId("xx"): b"c"}, 9.0, {EU: 1.0, NODE: 2.0})
    assert replies[NODE] == b"here" and wire.sent.keys() == {NODE}
    assert "eu has no sealing key" in replies[EU] and "not on the roster" in replies["xx"]
    assert wire.asked == [(9.0, {NODE: 2.0})]
    assert covered({EU: b"b"}, 9.0, {}) == {EU: replies[EU]} and len(wire.asked) == 1


@pytest.mark.parametrize(
    "reply", [b"in clear", sealed(b"x", ROSTER.find(NODE)), sealed(b"x", pin=OTHER_PIN)]
)
def test_bad_what_does_not_open_is_silence(reply: bytes) -> None:
    replies = Covered(Wire(cn=reply, eu=sealed(b"good")), OWN, ROSTER)(
        {NODE: b"", EU: b""}, 9.0, {}
    )
    assert replies[EU] == b"good"
    assert str(replies[NODE]).startswith("cn sent something unusable")


def test_letters_are_captured_as_they_were_signed(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "hub.cap")
    wire = Wire()
    Covered(wire, OWN, ROSTER, capture)({NODE: b"signed", PartyId("xx"): b"never sent"}, 9.0, {})
    assert list(read_capture(tmp_path / "hub.cap")) == [b"signed"]
    assert is_cover(wire.sent[NODE])
