"""The exchange: what is sent again, what is an answer, who is lost."""

from collections.abc import Collection, Mapping, Sequence

import pytest

from aggregator.exchange import (
    Exchange,
    Link,
    Lost,
    Reply,
    RunLostError,
    ServerSilentError,
    by_party,
    run_exchange,
)
from policies.parties import PartyId


class Script(Link):
    """A run whose nodes answer by script: each entry of `codes` is one attempt's error code."""

    def __init__(self, codes: dict[int, list[int]], away: Collection[int] = ()) -> None:
        self.codes = codes
        self.outages = 0
        self.away = set(away)
        self.posted: list[int] = []
        self.open: dict[str, tuple[int, bytes]] = {}

    def post(
        self, payloads: Mapping[int, bytes], message_type: str, ttl: float, until: float
    ) -> Mapping[str, int]:
        letters = {}
        for node, payload in payloads.items():
            self.posted.append(node)
            name = f"{node}#{len(self.posted)}"
            self.open[name] = (node, payload)
            letters[name] = node
        return letters

    def fetch(self, letters: Collection[str], until: float) -> Sequence[Reply]:
        replies = []
        for letter in letters:
            node, payload = self.open[letter]
            script = self.codes.get(node, [0])
            code = script.pop(0) if len(script) > 1 else script[0]
            if code >= 0:
                replies.append(Reply(letter, b"" if code else payload + b"!", code))
        return replies

    def online(self, until: float) -> Collection[int]:
        return {1, 2, 3} - self.away


class Clock:
    """Seconds that pass by being looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


def run(link: Link, nodes: Collection[int], seconds: float = 10.0) -> dict[int, bytes | Lost]:
    state = Exchange({node: b"%d" % node for node in nodes}, "train", seconds)
    run_exchange(state, lambda lost: link, Clock())
    return state.replies


def test_every_node_answers() -> None:
    assert run(Script({}), [1, 2]) == {1: b"1!", 2: b"2!"}


@pytest.mark.parametrize("code", [3, 4, 5])
def test_a_lost_message_is_sent_again_and_the_others_are_not(code: int) -> None:
    link = Script({1: [code, 0]})
    assert run(link, [1, 2]) == {1: b"1!", 2: b"2!"}
    assert link.posted == [1, 2, 1]


def test_an_error_of_the_node_is_an_answer() -> None:
    link = Script({1: [2]})
    assert isinstance(run(link, [1])[1], Lost)
    assert link.posted == [1]


def test_a_node_that_is_away_is_not_written_to_again_and_is_lost_in_the_end() -> None:
    link = Script({1: [5]}, away=[1])
    assert run(link, [1, 2]) == {1: Lost("unreachable"), 2: b"2!"}
    assert link.posted == [1, 2]


def test_a_silent_node_is_lost_in_the_end() -> None:
    assert run(Script({1: [-1]}), [1], seconds=2.0) == {1: Lost("no reply in time")}


def test_when_the_run_is_lost_the_open_requests_go_to_the_next_run() -> None:
    first, second = Script({1: [0], 2: [-1]}), Script({})
    given: list[Link | None] = []

    def link(lost: Link | None) -> Link:
        given.append(lost)
        if len(given) == 3:
            raise_once()
        return second if lost is first else first

    def raise_once() -> None:
        def lose(letters: Collection[str], until: float) -> Sequence[Reply]:
            raise RunLostError("gone")

        first.fetch = lose  # type: ignore[method-assign]

    state = Exchange({1: b"1", 2: b"2"}, "train", 10.0)
    run_exchange(state, link, Clock())
    assert state.replies == {1: b"1!", 2: b"2!"}
    assert second.posted == [2]
    assert given[3] is first


def test_what_a_server_may_have_forgotten_while_it_was_away_is_sent_again() -> None:
    class Restarted(Script):
        def fetch(self, letters: Collection[str], until: float) -> Sequence[Reply]:
            if not self.outages:  # it handed both letters out, and one of them reached nobody
                self.outages += 1
                del self.open["2#2"]
                return super().fetch(["1#1"], until)
            return super().fetch(letters, until)

    link = Restarted({})
    assert run(link, [1, 2]) == {1: b"1!", 2: b"2!"}
    assert link.posted == [1, 2, 2]


def test_a_silent_server_loses_what_is_open() -> None:
    def link(lost: Link | None) -> Link:
        raise ServerSilentError("down")

    state = Exchange({1: b"1"}, "train", 10.0)
    run_exchange(state, link, Clock())
    assert state.replies == {1: Lost("unreachable")}


def test_parties_without_a_node_are_lost() -> None:
    a, b = PartyId("a"), PartyId("b")
    assert by_party({1: b"x"}, {a: 1}, [a, b]) == {a: b"x", b: Lost("not registered")}
