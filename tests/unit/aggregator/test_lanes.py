"""Two ways to the same nodes: who is asked over which, and what an order prefers."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator import executor, flower
from aggregator.control_api import RegisteredNode, ServerUnreachableError
from aggregator.errors import AggregatorError
from aggregator.exchange import Exchange
from aggregator.executor import coordinator
from aggregator.flower import FlowerExchange, FlowerSettings
from aggregator.lanes import Lane, either, preferring, told_by
from aggregator.places import Places
from aggregator.rosters import change
from aggregator.settings import load_aggregator
from aggregator.transport import UNREACHABLE, UNREGISTERED, Transport
from clients.settings import load_settings
from clients.stream import serve_stream
from clients.stream_tls import StreamSettings
from experiments.founding import AGGREGATOR
from experiments.local_fleet import wait_until
from federation.control.captures import Capture, read_capture
from federation.covers import cover, uncover
from federation.envelopes import parse
from federation.messages import Kind
from federation.roster_chain import Suspend
from policies.parties import DATA_ROLES, PartyId, Role
from tests.simulator import CN, WAREHOUSES, Simulation

A, B, C = PartyId("a"), PartyId("b"), PartyId("c")
LONG = 240.0


class Way:
    """Answers for whoever is on it, and remembers what it carried."""

    def __init__(self, name: str, *there: PartyId) -> None:
        self.name = name
        self.there = there
        self.carried: list[tuple[Mapping[PartyId, bytes], float, Mapping[PartyId, float]]] = []

    @property
    def lane(self) -> Lane:
        return Lane(self.carry, lambda: self.there)

    def carry(
        self, requests: Mapping[PartyId, bytes], timeout: float, sooner: Mapping[PartyId, float]
    ) -> Mapping[PartyId, bytes | str]:
        self.carried.append((requests, timeout, sooner))
        return {
            party: letter + self.name.encode() if party in self.there else "unreachable"
            for party, letter in requests.items()
        }


def letters(*parties: PartyId) -> dict[PartyId, bytes]:
    return {party: f"to {party} by ".encode() for party in parties}


def test_everybody_on_the_first_way_is_asked_there() -> None:
    first, second = Way("1", A, B), Way("2", A, B)
    carry = preferring(first.lane, second.lane)
    assert carry(letters(A, B), 60.0, {B: 1.0}) == {A: b"to a by 1", B: b"to b by 1"}
    assert first.carried == [(letters(A, B), 60.0, {B: 1.0})]
    assert second.carried == []


def test_who_is_on_the_second_way_alone_is_asked_there_with_the_same_bytes() -> None:
    first, second = Way("1", A), Way("2", A, B)
    carry = preferring(first.lane, second.lane)
    replies = carry(letters(A, B, C), 60.0, {B: 1.0})
    assert replies == {A: b"to a by 1", B: b"to b by 2", C: "unreachable"}
    assert first.carried == [(letters(A, C), 60.0, {B: 1.0})]  # C may come to it in time
    assert second.carried == [(letters(B), 60.0, {B: 1.0})]


def test_a_first_way_without_anybody_is_not_asked() -> None:
    first, second = Way("1"), Way("2", A, B)
    assert preferring(first.lane, second.lane)(letters(A, B), 60.0, {}) == {
        A: b"to a by 2",
        B: b"to b by 2",
    }
    assert first.carried == []


def test_both_ways_are_waited_for_at_the_same_time() -> None:
    meeting = threading.Barrier(2)

    def wait(requests: Mapping[PartyId, bytes], *_: object) -> Mapping[PartyId, bytes | str]:
        meeting.wait(30.0)
        return dict(requests)

    carry = preferring(Lane(wait, lambda: {A}), Lane(wait, lambda: {B}))
    assert carry(letters(A, B), LONG, {}) == letters(A, B)


@pytest.mark.parametrize("which", [0, 1])
def test_a_way_that_does_not_know_who_is_there_changes_nothing(which: int) -> None:
    def unknown() -> frozenset[PartyId]:
        raise AggregatorError("it does not answer")

    first, second = Way("1", A), Way("2", A, B)
    lanes = [first.lane, second.lane]
    lanes[which] = Lane(lanes[which].carry, unknown)
    preferring(*lanes)(letters(A, B), 60.0, {})
    assert first.carried == [(letters(A, B), 60.0, {})]
    assert second.carried == []


def test_who_is_on_either_way_is_there() -> None:
    first, second = Way("1", A).lane, Way("2", B).lane
    assert either(first, second, lambda: {A, B, C})() == {A, B}


def test_the_second_way_is_not_asked_who_is_there_while_all_are_on_the_first() -> None:
    def asked() -> frozenset[PartyId]:
        raise AssertionError("it was asked")

    way = Way("1", A, B)
    assert either(way.lane, Lane(way.carry, asked), lambda: {A, B})() == {A, B}


def test_who_just_left_a_stream_is_not_believed_to_be_on_flower() -> None:
    streams, flower = Way("1", A), Way("2", A, B, C)
    told = told_by(flower.lane, replace(streams.lane, left=lambda: {B}))
    assert either(streams.lane, told, lambda: {A, B, C})() == {A, C}
    replies = preferring(streams.lane, told)(letters(A, B, C), 60.0, {})
    assert replies == {A: b"to a by 1", B: "unreachable", C: b"to c by 2"}
    assert flower.carried == [(letters(C), 60.0, {})]  # B may open its next stream in time


# -- which letters go which way --------------------------------------------------------------------


class Both:
    """The nodes of a simulation on both ways, over which nothing but covers travels."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.carried: dict[str, list[bytes]] = {"flower": [], "streams": []}
        settings = load_aggregator(simulation.home.aggregator)
        nodes = simulation.roster.with_role(*DATA_ROLES, Role.KEYHOLDER)
        parties = [member.party for member in nodes]
        flower, streams = (Lane(self._way(name), lambda: parties) for name in ("flower", "streams"))
        self.coordinator = coordinator(settings, simulation.jobs, flower, streams)

    def kinds(self, way: str) -> set[Kind]:
        return {parse(letter).kind for letter in self.carried[way]}

    def work(self) -> None:
        while (job := self.simulation.jobs.next()) is not None:
            self.coordinator.work(job)

    def _way(self, name: str) -> Transport:
        def carry(
            requests: Mapping[PartyId, bytes], timeout: float, sooner: Mapping[PartyId, float]
        ) -> Mapping[PartyId, bytes | str]:
            letters = {party: self._opened(party, wire) for party, wire in requests.items()}
            self.carried[name] += letters.values()
            replies = self.simulation.mail(letters, timeout, sooner)
            return {p: r if isinstance(r, str) else self._sealed(r) for p, r in replies.items()}

        return carry

    def _opened(self, party: PartyId, wire: bytes) -> bytes:
        keys = load_settings(self.simulation.folder(party)).openings
        return uncover(wire, keys, party, self.simulation.home.pin)

    def _sealed(self, reply: bytes) -> bytes:
        aggregator = self.simulation.roster.find(AGGREGATOR)
        return cover(reply, aggregator, self.simulation.home.pin)


def test_a_question_travels_over_the_streams_whole(simulation: Simulation) -> None:
    both, order = Both(simulation), simulation.query(cohort=WAREHOUSES)
    simulation.put(order)
    both.work()
    assert simulation.job(order).status == "done"
    both.coordinator.have_witnessed()
    assert both.carried["flower"] == []
    assert {Kind.KEYS_BEGIN, Kind.QUERY_COMMIT, Kind.QUERY_BIND, Kind.QUERY_OPEN} <= both.kinds(
        "streams"
    )


def test_training_travels_over_flower_and_words_of_ledgers_alone_do_not(
    simulation: Simulation,
) -> None:
    both, order = Both(simulation), simulation.training()
    simulation.put(order)
    both.work()
    assert simulation.job(order).status == "done"
    assert {Kind.OFFER, Kind.TRAIN_ROUND} <= both.kinds("flower")
    assert both.kinds("streams") == {Kind.LEDGER_SEEN, Kind.LEDGER_WITNESS}


def test_a_question_after_training_is_no_training(simulation: Simulation) -> None:
    both = Both(simulation)
    first, second = simulation.training(), simulation.query(cohort=WAREHOUSES)
    for order in (first, second):
        simulation.put(order)
    both.work()
    assert simulation.job(second).status == "done"
    asked = [parse(letter) for letter in both.carried["flower"]]
    assert {letter.order for letter in asked} == {first.id}


def test_a_federation_without_streams_has_flower_alone(simulation: Simulation) -> None:
    settings = load_aggregator(simulation.home.aggregator)
    way = Way("flower", A)
    alone = coordinator(settings, simulation.jobs, way.lane, None)
    simulation.put(simulation.query(cohort=WAREHOUSES))
    job = simulation.jobs.next()
    assert job is not None
    alone.work(job)
    assert way.carried


def test_the_executor_lets_enrolled_nodes_in_and_captures_what_it_sends(
    simulation: Simulation, tmp_path: Path
) -> None:
    settings = replace(load_aggregator(simulation.home.aggregator), stream_port=0)
    enrolled = simulation.home.aggregator / "nodes" / f"{CN}.pub"
    enrolled.parent.mkdir()
    enrolled.touch()
    sent = Capture(tmp_path / "sent.cap")
    with executor.streams(settings, sent) as lane:
        assert lane is not None
        asked: list[Mapping[PartyId, bytes | str]] = []
        asking = threading.Thread(
            target=lambda: asked.append(lane.carry({CN: b"question", A: b"question"}, LONG, {})),
            daemon=True,
        )
        asking.start()
        keys = simulation.folder(CN) / "keys"
        own = StreamSettings(
            lane.carry.address,  # type: ignore[attr-defined]
            *(keys / name for name in ("ca.crt", "stream.crt", "stream.key")),
        )
        stop = threading.Event()
        node = threading.Thread(
            target=serve_stream, args=(own, lambda request: request + b"!", stop), daemon=True
        )
        node.start()
        asking.join(LONG)
        assert asked == [{CN: b"question!", A: UNREGISTERED}]
        assert lane.online() == {CN}
        stop.set()
        node.join(LONG)
    assert list(read_capture(tmp_path / "sent.cap")) == [b"question"]


def test_an_aggregator_founded_before_streams_says_what_it_lacks(
    simulation: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(load_aggregator(simulation.home.aggregator), stream_port=None)
    with executor.streams(settings, None) as lane:
        assert lane is None
    assert "names no stream_port" in caplog.text


class Numbered:
    """A Flower server as the control interface shows it."""

    def __init__(self) -> None:
        self.numbers = {A: 1, B: 2}
        self.silent = False

    def nodes(self) -> list[RegisteredNode]:
        if self.silent:
            raise ServerUnreachableError
        return [RegisteredNode(p, number, b"", True) for p, number in self.numbers.items()]


def test_a_party_whose_key_was_replaced_is_written_to_under_its_new_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, asked = Numbered(), []

    def carry(state: Exchange, *_: object) -> None:
        asked.append(dict(state.payloads))
        state.replies.update(state.payloads)

    monkeypatch.setattr(flower, "ControlApi", lambda *_: server)
    monkeypatch.setattr(flower, "run_exchange", carry)
    exchange = FlowerExchange(FlowerSettings("127.0.0.1:1", Places(tmp_path), None))
    exchange.exchange({A: b"a", B: b"b"}, LONG)
    server.numbers[A] = 7
    exchange.exchange({A: b"a", B: b"b"}, LONG)
    server.silent = True  # it is waited for with what is known
    exchange.exchange({A: b"a"}, LONG)
    assert asked == [{1: b"a", 2: b"b"}, {7: b"a", 2: b"b"}, {7: b"a"}]


def test_a_stream_is_looked_at_again_when_the_roster_is_another(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(load_aggregator(simulation.home.aggregator), stream_port=0)
    enrolled = simulation.home.aggregator / "nodes" / f"{CN}.pub"
    enrolled.parent.mkdir()
    enrolled.touch()
    given_up: list[PartyId] = []

    def require(party: PartyId, shown: bytes) -> None:
        assert b"CERTIFICATE" in shown
        if party in given_up:
            raise AggregatorError("it gave this key up")

    with executor.streams(settings, None, (), require) as lane:
        assert lane is not None
        keys = simulation.folder(CN) / "keys"
        own = StreamSettings(
            lane.carry.address,  # type: ignore[attr-defined]
            *(keys / name for name in ("ca.crt", "stream.crt", "stream.key")),
        )
        stop = threading.Event()
        node = threading.Thread(target=serve_stream, args=(own, bytes, stop), daemon=True)
        node.start()
        wait_until(lambda: lane.online() == {CN})
        given_up.append(CN)
        change(settings, Suspend(WAREHOUSES[1]))
        assert lane.carry({CN: b"question"}, 0.0, {}) == {CN: UNREACHABLE}
        assert lane.online() == set()
        stop.set()
        node.join(LONG)
