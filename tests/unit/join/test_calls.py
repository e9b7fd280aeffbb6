"""What calls with one answer may not take from others: threads, and what went wrong inside."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from aggregator.calls import membership
from aggregator.gathering import Gathering
from aggregator.hosting import load_hosting
from aggregator.joining import stream_settings
from aggregator.stream import StreamExchange
from clients import calling
from clients.calling import MemberCalls, NotReachedError, TurnedAwayError, stream_of
from clients.stream_tls import credentials
from federation.control.calls import LOOK, MEMBERSHIP, path
from federation.control.wire import ADMITTED, PATH
from tests.joins import CN, EU, Harbour
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
