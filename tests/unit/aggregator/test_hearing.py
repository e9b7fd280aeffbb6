"""Calls that say nothing make room for those that come, and hold up none of them."""

from collections.abc import Iterator
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.hearing import Hall, SilentError, first_to_go


class Caller:
    """One call, which says its word once `meanwhile` is over; several are nested in one thread."""

    ended: ClassVar[list[str]] = []

    def __init__(self, name: str, word: bytes | None, *meanwhile: "Caller") -> None:
        self.name, self.word, self.meanwhile = name, word, meanwhile
        self.heard: bytes | str | None = None

    def call(self, hall: Hall) -> "Caller":
        try:
            with hall.heard(
                self._say(hall), self.name[0], lambda: self.ended.append(self.name)
            ) as m:
                self.heard = m
        except SilentError as why:
            self.heard = str(why)
        return self

    def _say(self, hall: Hall) -> Iterator[bytes]:
        for other in self.meanwhile:
            other.call(hall)
        if self.word is not None:
            yield self.word


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(Caller, "ended", [])
    return Caller.ended


def test_a_call_is_heard_while_as_many_as_may_be_are_silent(ended: list[str]) -> None:
    honest = Caller("b1", b"word")
    last = Caller("a2", b"late", honest)
    Caller("a1", b"late", last).call(Hall(3, 1))
    assert (honest.heard, last.heard, ended) == (b"word", b"late", [])


def test_the_longest_silent_of_the_most_crowded_place_goes(ended: list[str]) -> None:
    newest = Caller("c1", b"word")
    crowd = Caller("a1", b"too late", Caller("a2", b"late", newest))
    Caller("b1", b"first", crowd).call(Hall(3, 1))
    assert ended == ["a1"]
    assert newest.heard == b"word"
    assert "call again" in crowd.heard  # its word came after it had made room


def test_who_is_alone_outlasts_a_crowd(ended: list[str]) -> None:
    crowd: list[Caller] = []
    for number in range(20):
        crowd = [Caller(f"a{number}", None, *crowd)]
    honest = Caller("b1", b"word", *crowd)
    honest.call(Hall(3, 1))
    assert honest.heard == b"word"
    assert len(ended) == 18


def test_a_call_without_a_message_is_none_and_frees_its_seat() -> None:
    hall = Hall(1, 1)
    assert "says nothing" in Caller("a1", None).call(hall).heard
    assert Caller("a2", b"word").call(hall).heard == b"word"
    assert hall._silent == []


def test_whoever_fails_frees_its_seat_and_its_turn() -> None:
    hall = Hall(1, 1)

    def broken() -> Iterator[bytes]:
        raise ConnectionError
        yield b""

    with pytest.raises(ConnectionError), hall.heard(broken(), "a", lambda: None):
        pass
    with pytest.raises(KeyError), hall.heard(iter([b"word"]), "a", lambda: None):
        raise KeyError
    assert Caller("a2", b"word").call(hall).heard == b"word"


@given(st.lists(st.sampled_from("abc"), min_size=1))
def test_who_goes_is_the_first_of_those_with_most(places: list[str]) -> None:
    at = first_to_go(places)
    most = max(places.count(place) for place in places)
    assert places.count(places[at]) == most
    assert all(places.count(place) < most for place in places[:at])
