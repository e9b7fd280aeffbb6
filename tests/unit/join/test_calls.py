"""What calls with one answer may not take from others: threads, and what went wrong inside."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest

from aggregator.calls import _AT_ONCE, _CALLS, membership
from aggregator.gathering import Gathering
from aggregator.hearing import Hall
from aggregator.hosting import load_hosting
from aggregator.joining import stream_settings
from aggregator.stream import StreamExchange
from clients import calling
from clients.calling import (
    JoinCalls,
    MemberCalls,
    NotReachedError,
    TurnedAwayError,
    require_pin,
    stream_of,
)
from clients.stream_tls import credentials
from federation.control.calls import CALLER_OPTIONS, JOIN, LOOK, MEMBERSHIP, OFFER, path
from federation.control.wire import ADMITTED, PATH
from federation.knocks import Knock
from tests.joins import BR, CN, EU, Harbour
from tests.processes import wait_until


@pytest.fixture
def harbour(tmp_path: Path) -> Harbour:
    """Two have enrolled."""
    made = Harbour(tmp_path)
    with made.open():
        for seat in (CN, EU):
            made.join(made.invite(seat), seat.party)
    return made


def test_calls_that_never_end_leave_the_streams_their_threads(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has a certificate may call; who may not connect takes nobody's stream by that."""
    monkeypatch.setattr("aggregator.stream._STREAMS", 2)
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait()
        yield b""

    settings = stream_settings(load_hosting(harbour.aggregator))
    service = membership(Gathering(harbour.aggregator, time.time))
    with StreamExchange(settings, lambda: [CN.party], [service]) as exchange:
        eu, cn = (stream_of(harbour.node(party), exchange.address) for party in ("eu", "cn"))
        with (
            grpc.secure_channel(eu.address, credentials(eu)) as idle,
            grpc.secure_channel(cn.address, credentials(cn)) as member,
        ):
            calls = [idle.stream_unary(path(MEMBERSHIP, LOOK)).future(nothing()) for _ in range(4)]
            held = exchange._server._state.rpc_states
            wait_until(lambda: len(held) >= len(calls), 20.0, "all calls are there")
            stream = member.stream_stream(PATH)(nothing(), timeout=20)
            shown = [(one.key, one.value) for one in stream.initial_metadata()]
            over.set()
            stream.cancel()
    assert ADMITTED[0] in shown


@pytest.fixture
def halls(monkeypatch: pytest.MonkeyPatch) -> list[Hall]:
    """Where calls are silent: of the join port, and of the port of the streams."""
    made: list[Hall] = []

    def hall(*args: int) -> Hall:
        made.append(Hall(*args))
        return made[-1]

    monkeypatch.setattr("aggregator.calls.Hall", hall)
    return made


@contextmanager
def silent(
    count: int, address: str, believed: grpc.ChannelCredentials, method: str, hall: Hall
) -> Iterator[list[grpc.Future]]:
    """Open so many calls that say nothing, two over each connection, for as long as the block."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait()
        yield from ()

    with ExitStack() as opened:
        opened.callback(over.set)
        calls: list[grpc.Future] = []
        for number in range(count):
            if number % 2 == 0:
                channel = grpc.secure_channel(address, believed, CALLER_OPTIONS)
                opened.enter_context(channel)
            calls.append(channel.stream_unary(method).future(nothing(), wait_for_ready=True))
            wait_until(partial(_are_there, hall, number + 1), 30.0, "the call is there")
        yield calls


def _are_there(hall: Hall, count: int) -> bool:
    return len(hall._silent) == count


def test_silent_calls_hold_neither_port(harbour: Harbour, halls: list[Hall]) -> None:
    """More than are answered at once, from this very address, and one speaks after all of them."""
    with harbour.open():
        token, hosting = harbour.invite(BR), load_hosting(harbour.aggregator)
        leaf = require_pin(token)
        believed = grpc.ssl_channel_credentials(leaf)
        stream = stream_of(harbour.node("eu"), hosting.at(hosting.stream_port))
        joining, members = halls
        offer, look = path(JOIN, OFFER), path(MEMBERSHIP, LOOK)
        with (
            silent(_AT_ONCE + 1, token.address, believed, offer, joining) as entrants,
            silent(_CALLS + 1, stream.address, credentials(stream), look, members) as eu,
        ):
            assert JoinCalls(token, leaf).offer(Knock(token.invitation.hex(), token.secret))
            cn = stream_of(harbour.node("cn"), stream.address)
            assert MemberCalls(cn).look()
            assert not any(call.done() for call in (*entrants, *eu))


def test_silent_calls_beyond_all_seats_make_room(
    harbour: Harbour, halls: list[Hall], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.calls._SILENT", 4)
    with harbour.open():
        token = harbour.invite(BR)
        leaf = require_pin(token)
        believed = grpc.ssl_channel_credentials(leaf)
        with silent(4, token.address, believed, path(JOIN, OFFER), halls[0]) as calls:
            assert JoinCalls(token, leaf).offer(Knock(token.invitation.hex(), token.secret))
            assert calls[0].exception(30.0) is not None
            assert not any(call.done() for call in calls[1:])


def test_what_nobody_foresaw_is_told_to_no_caller(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise sqlite3.OperationalError("where it lies")

    details: list[str] = []
    named = calling._Calls._named
    monkeypatch.setattr(Gathering, "look", fail)
    monkeypatch.setattr(
        calling._Calls, "_named", lambda own, e: details.append(e.details()) or named(own, e)
    )
    with harbour.open():
        stream = load_hosting(harbour.aggregator)
        with pytest.raises(NotReachedError):
            MemberCalls(stream_of(harbour.node("cn"), stream.at(stream.stream_port))).look()
    assert details == ["the aggregator failed"]


def test_who_took_a_seat_before_another_did_is_not_its_party(harbour: Harbour) -> None:
    """A stolen token was used: the seat is given anew, and that certificate opens nothing."""
    harbour.node("cn").rename(harbour.node("thief"))
    with harbour.open():
        stream = load_hosting(harbour.aggregator)
        thief = stream_of(harbour.node("thief"), stream.at(stream.stream_port))
        assert MemberCalls(thief).look()
        harbour.join(harbour.invite(CN), "cn")
        with pytest.raises(TurnedAwayError, match="another key took the seat"):
            MemberCalls(thief).look()
        assert MemberCalls(stream_of(harbour.node("cn"), thief.address)).look()
    settings = stream_settings(load_hosting(harbour.aggregator))
    gathering, shown = Gathering(harbour.aggregator, time.time), {}
    require = gathering.require_key
    with StreamExchange(settings, lambda: [CN.party], (), require) as exchange:
        for name in ("thief", "cn"):
            own = stream_of(harbour.node(name), exchange.address)
            with grpc.secure_channel(own.address, credentials(own)) as channel:
                call = channel.stream_stream(PATH)(iter(()), timeout=20)
                shown[name] = ADMITTED[0] in [(m.key, m.value) for m in call.initial_metadata()]
                call.cancel()
    assert shown == {"thief": False, "cn": True}
