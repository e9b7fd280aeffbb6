"""Streams over real sockets: who is let in, and what a node may say."""

import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from aggregator.admission import NotAdmittedError, party_in
from aggregator.errors import PortTakenError
from aggregator.stream import StreamExchange
from aggregator.transport import FAILED, LATE, UNREACHABLE, UNREGISTERED
from clients import turned_away
from clients.errors import WrongCertificateError
from clients.stream import serve_stream
from clients.stream_tls import BadCertificateError
from experiments.local_fleet import wait_until
from federation.control.captures import Capture, read_capture
from federation.control.frames import LONGEST_FRAME, PIECE, Kind, Message, cut
from federation.control.wire import OPEN
from policies.parties import PartyId
from tests.certified import Authority, ByHand, Pair

A, B = PartyId("warehouse-cn"), PartyId("merchant-uk")
LONG = 240.0
OURS, OTHERS = Authority(), Authority()
OF_A, OF_B = OURS.client(A), OURS.client(B)
Connect = Callable[[Pair | None], ByHand]
Replies = Mapping[PartyId, bytes | str]
Asking = Callable[[Mapping[PartyId, bytes]], "Future[Replies]"]


@pytest.fixture
def enrolled() -> set[PartyId]:
    return {A, B}


@pytest.fixture
def server(tmp_path: Path, enrolled: set[PartyId]) -> Iterator[StreamExchange]:
    settings = OURS.server_settings(
        tmp_path / "server",
        OURS.server(),
        capture=Capture(tmp_path / "sent.cap"),
        largest=3 * PIECE,
    )
    with StreamExchange(settings, lambda: enrolled) as running:
        yield running


@pytest.fixture
def connect(server: StreamExchange) -> Iterator[Connect]:
    streams: list[ByHand] = []

    def make(own: Pair | None) -> ByHand:
        streams.append(ByHand(server.address, OURS.certificate, own))
        return streams[-1]

    yield make
    for stream in streams:
        stream.close()


@pytest.fixture
def asking(server: StreamExchange) -> Asking:
    """Begin an exchange that goes on while the test does something else."""

    def begin(requests: Mapping[PartyId, bytes]) -> "Future[Replies]":
        future: Future[Replies] = Future()
        threading.Thread(
            target=lambda: future.set_result(server(requests, LONG, {})), daemon=True
        ).start()
        return future

    return begin


# -- who is let in -----------------------------------------------------------------------------


def test_a_node_with_its_certificate_is_let_in(server: StreamExchange, connect: Connect) -> None:
    assert connect(OF_A).admitted
    wait_until(lambda: server.online() == {A})


STRANGERS = {
    "nobody's": None,
    "another authority's": OTHERS.client(A),
    "expired": OURS.client(A, days=-900),
    "not yet good": OURS.client(A, days=30),
    "the server's": OURS.server(),
}


@pytest.mark.parametrize("own", STRANGERS.values(), ids=STRANGERS)
def test_a_certificate_that_is_not_good_is_refused(
    server: StreamExchange, connect: Connect, own: Pair | None
) -> None:
    stranger = connect(own)
    assert stranger.end()[0] is grpc.StatusCode.UNAVAILABLE
    assert not stranger.admitted
    assert server.online() == set()


NAMELESS = {
    "none": ("https://example.org",),
    "two": (f"urn:entrepot:party:{A}", f"urn:entrepot:party:{B}"),
    "another spelling": ("urn:entrepot:party:warehouse%2Dcn",),
}


@pytest.mark.parametrize("names", NAMELESS.values(), ids=NAMELESS)
def test_a_certificate_that_names_not_one_party_is_refused(
    server: StreamExchange, connect: Connect, names: tuple[str, ...]
) -> None:
    stranger = connect(OURS.client_with(*names))
    assert stranger.end()[0] is grpc.StatusCode.UNAUTHENTICATED
    assert server.online() == set()


def test_a_party_that_is_not_enrolled_is_told_so(server: StreamExchange, connect: Connect) -> None:
    stranger = connect(OURS.client("stranger"))
    assert stranger.end() == (grpc.StatusCode.PERMISSION_DENIED, UNREGISTERED)
    assert not stranger.admitted


def test_a_party_that_is_withdrawn_loses_its_stream(
    server: StreamExchange, connect: Connect, enrolled: set[PartyId]
) -> None:
    stream = connect(OF_A)
    enrolled.remove(A)
    assert server.online() == set()
    assert server({A: b"x"}, LONG, {}) == {A: UNREGISTERED}
    assert stream.end() == (grpc.StatusCode.ABORTED, "not registered any more")


def test_a_node_notes_that_it_is_not_let_in_until_it_is(
    server: StreamExchange,
    enrolled: set[PartyId],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its operator reads that, who is not told in any other way."""
    folder, stop = tmp_path / "node", threading.Event()
    settings = replace(OURS.node_settings(folder, OF_A, server.address), folder=folder)
    enrolled.remove(A)
    node = threading.Thread(target=serve_stream, args=(settings, bytes, stop), daemon=True)
    node.start()
    wait_until(lambda: f"No stream ({UNREGISTERED})" in caplog.text)
    assert turned_away.since(folder) is not None
    enrolled.add(A)
    wait_until(lambda: server.online() == {A})
    wait_until(lambda: turned_away.since(folder) is None)
    stop.set()
    node.join(10)
    assert not node.is_alive() and turned_away.since(folder) is None


@pytest.mark.parametrize("version", [b"TLSv1.2", None])
def test_an_older_tls_is_refused(version: bytes | None) -> None:
    shown = {"x509_subject_alternative_name": [b"urn:entrepot:party:a"]}
    assert party_in(shown | {"ssl_tls_version": [b"TLSv1.3"]}) == "a"
    with pytest.raises(NotAdmittedError, match="TLS"):
        party_in(shown if version is None else shown | {"ssl_tls_version": [version]})


def test_a_taken_port_is_one_sentence(server: StreamExchange, tmp_path: Path) -> None:
    settings = OURS.server_settings(tmp_path / "second", OURS.server())
    second = StreamExchange(replace(settings, address=server.address), lambda: {A})
    with pytest.raises(PortTakenError, match=server.address):
        second.start()


# -- whom a node believes ----------------------------------------------------------------------


@pytest.mark.parametrize("authority", [OURS, OTHERS], ids=["a node's certificate", "another's"])
def test_a_node_refuses_a_server_with_a_wrong_certificate(
    tmp_path: Path, authority: Authority
) -> None:
    own = OF_B if authority is OURS else OTHERS.server()
    settings = authority.server_settings(tmp_path / "server", own)
    with StreamExchange(settings, lambda: {A}) as wrong:
        node = OURS.node_settings(tmp_path / "node", OF_A, wrong.address)
        stop = threading.Event()
        timer = threading.Timer(20.0, stop.set)
        timer.daemon = True
        timer.start()  # a node that believes it would stay
        with pytest.raises(WrongCertificateError, match="did not sign"):
            serve_stream(node, bytes, stop)


@pytest.mark.parametrize("damage", ["missing", "no PEM", "of another"])
def test_a_node_without_its_own_certificate_says_so(tmp_path: Path, damage: str) -> None:
    node = OURS.node_settings(tmp_path, OF_A, "127.0.0.1:1")
    match damage:
        case "missing":
            node.certificate.unlink()
        case "no PEM":
            node.key.write_bytes(b"4711")
        case _:
            node.key.write_bytes(OF_B.key)
    with pytest.raises(BadCertificateError, match=r"own\.crt and own\.key"):
        serve_stream(node, bytes, threading.Event())


# -- what a node may say -----------------------------------------------------------------------


def test_a_node_cannot_answer_for_another(connect: Connect, asking: Asking) -> None:
    mine, other = connect(OF_A), connect(OF_B)
    asked = asking({A: b"question"})
    request = mine.receive()
    other.reply(request.id, b"forged")
    code, why = other.end()
    assert code is grpc.StatusCode.ABORTED
    assert "may come now" in why
    mine.reply(request.id, b"genuine")
    assert asked.result(LONG) == {A: b"genuine"}


def frame(
    version: int = 1, kind: int = 2, last: int = 1, number: int = 1, index: int = 0, size: int = 0
) -> bytes:
    return struct.pack(">BBBQI", version, kind, last, number, index) + bytes(size)


MALFORMED = {
    "empty": [b""],
    "noise": [b"\xff" * 40],
    "another version": [frame(version=2)],
    "a request": [frame(kind=1)],
    "an unknown kind": [frame(kind=9)],
    "begins in its middle": [frame(index=1)],
    "does not go on": [frame(last=0, size=PIECE), frame(index=2)],
    "cut otherwise": [frame(last=0, size=PIECE - 1)],
    "a failure that talks": [frame(kind=3, size=5)],
    "too large a frame": [frame(size=PIECE + 1)],
    "far too large a frame": [frame(size=2 * LONGEST_FRAME)],
    "too large a message": [frame(last=0, index=n, size=PIECE) for n in range(4)],
    "twice": [frame(), frame()],
    "never asked": [frame(number=7)],
}


@pytest.mark.parametrize("said", MALFORMED.values(), ids=MALFORMED)
def test_what_a_node_may_not_say_ends_its_stream_and_no_other(
    server: StreamExchange,
    connect: Connect,
    asking: Asking,
    said: list[bytes],
) -> None:
    bad, good = connect(OF_A), connect(OF_B)
    first = asking({A: b"first"})
    assert bad.receive().id == 1
    second = asking({B: b"second"})
    question = good.receive()
    bad.say(*said)
    code, _ = bad.end()
    assert code in {grpc.StatusCode.ABORTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    good.reply(question.id, b"well")
    assert second.result(LONG) == {B: b"well"}
    if said != MALFORMED["twice"]:
        again = connect(OF_A)
        again.reply(again.receive().id, b"second try")
        assert first.result(LONG) == {A: b"second try"}


def test_the_newer_stream_of_a_party_replaces_the_older_and_is_asked_again(
    connect: Connect, asking: Asking
) -> None:
    old = connect(OF_A)
    asked = asking({A: b"question"})
    request = old.receive()
    new = connect(OF_A)
    assert old.end()[0] is grpc.StatusCode.ABORTED
    assert new.receive() == request
    new.reply(request.id, b"answer")
    assert asked.result(LONG) == {A: b"answer"}


def test_an_answer_that_comes_too_late_harms_nothing(
    server: StreamExchange, connect: Connect, asking: Asking
) -> None:
    stream = connect(OF_A)
    assert server({A: b"late"}, 0.3, {}) == {A: LATE}
    request = stream.receive()
    asked = asking({A: b"next"})
    following = stream.receive()
    stream.reply(request.id, b"too late")
    stream.reply(following.id, b"in time")
    assert asked.result(LONG) == {A: b"in time"}


def test_a_failure_is_a_fixed_sentence(connect: Connect, asking: Asking) -> None:
    stream = connect(OF_A)
    asked = asking({A: b"question"})
    stream.say(*cut(Message(stream.receive().id, Kind.FAILED)))
    assert asked.result(LONG) == {A: FAILED}


def test_an_empty_letter_and_the_largest_arrive(connect: Connect, asking: Asking) -> None:
    stream = connect(OF_A)
    for letter in (b"", bytes(3 * PIECE)):
        asked = asking({A: letter})
        request = stream.receive()
        assert request.payload == letter
        stream.reply(request.id, letter)
        assert asked.result(LONG) == {A: letter}


def test_a_request_that_is_too_large_is_not_sent(server: StreamExchange, connect: Connect) -> None:
    connect(OF_A)
    replies = server({A: bytes(3 * PIECE + 1), B: b"away"}, 0.2, {})
    assert replies == {A: f"the request is larger than {3 * PIECE} bytes", B: UNREACHABLE}


def test_what_the_server_sends_is_captured_before(
    connect: Connect, asking: Asking, tmp_path: Path
) -> None:
    stream = connect(OF_A)
    asking({A: b"question"})
    assert stream.receive().payload == b"question"
    assert list(read_capture(tmp_path / "sent.cap")) == [b"question"]


# -- a node's own loop -------------------------------------------------------------------------


@pytest.fixture
def serve(
    server: StreamExchange, tmp_path: Path
) -> Iterator[Callable[[Callable[[bytes], bytes]], None]]:
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def run(answer: Callable[[bytes], bytes]) -> None:
        settings = OURS.node_settings(
            tmp_path / "node",
            OF_A,
            server.address,
            capture=Capture(tmp_path / "node.cap"),
            largest=2 * PIECE,
        )
        threads.append(threading.Thread(target=serve_stream, args=(settings, answer, stop)))
        threads[0].start()

    yield run
    stop.set()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


Serve = Callable[[Callable[[bytes], bytes]], None]


def test_a_node_answers_and_captures(server: StreamExchange, serve: Serve, tmp_path: Path) -> None:
    serve(lambda request: request + b"!")
    assert server({A: b"well"}, LONG, {}) == {A: b"well!"}
    assert list(read_capture(tmp_path / "node.cap")) == [b"well!"]


def test_what_cannot_be_captured_is_not_sent(
    server: StreamExchange, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(capture: Capture, payload: bytes) -> None:
        if payload == b"secret!":
            raise OSError("no space left")

    monkeypatch.setattr(Capture, "append", full)
    serve(lambda request: request + b"!")
    assert server({A: b"secret"}, LONG, {}) == {A: FAILED}


def test_an_answer_that_is_too_large_is_a_failure_and_the_stream_stays(
    server: StreamExchange, serve: Serve
) -> None:
    serve(lambda request: bytes(2 * PIECE + 1) if request == b"large" else request)
    assert server({A: b"large"}, LONG, {}) == {A: FAILED}
    assert server({A: b"small"}, LONG, {}) == {A: b"small"}


def test_a_request_that_comes_again_at_work_is_worked_on_once(
    server: StreamExchange, serve: Serve, asking: Asking
) -> None:
    free, worked = threading.Event(), []

    def answer(request: bytes) -> bytes:
        worked.append(request)
        if request == b"slow":
            assert free.wait(LONG)
        return request

    serve(answer)
    asked = [asking({A: b"slow"}) for _ in range(6)]
    wait_until(lambda: worked == [b"slow"])
    server.stop()
    server.start()
    assert server({A: b"quick"}, LONG, {}) == {A: b"quick"}  # a worker is free
    free.set()
    assert [one.result(LONG) for one in asked] == [{A: b"slow"}] * 6
    assert worked == [b"slow", b"quick"]


def test_a_busy_node_that_loses_its_server_comes_back_before_it_is_done(
    server: StreamExchange, serve: Serve, asking: Asking
) -> None:
    free, worked = threading.Event(), []

    def answer(request: bytes) -> bytes:
        worked.append(request)
        assert free.wait(LONG)
        return request

    serve(answer)
    requests = [b"%d" % number for number in range(OPEN + 3)]
    asked = [asking({A: request}) for request in requests]
    wait_until(lambda: len(worked) == 2)
    server.stop()
    server.start()
    wait_until(lambda: server.online() == {A})
    free.set()
    assert [one.result(LONG) for one in asked] == [{A: request} for request in requests]
    assert set(worked) == set(requests)


def test_a_node_does_not_take_more_than_may_be_open(
    server: StreamExchange, serve: Serve, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, worked = threading.Event(), []

    def answer(request: bytes) -> bytes:
        worked.append(request)
        assert free.wait(LONG)
        return request

    monkeypatch.setattr(server._board, "_unanswered", OPEN + 1)  # a server that is greedy
    serve(answer)
    wait_until(lambda: server.online() == {A})
    line = server._board._lines[A]
    asked = [asking({A: b"%d" % number}) for number in range(OPEN + 1)]
    wait_until(lambda: line.ended != "", 20.0)
    server._board._unanswered = OPEN
    free.set()
    assert [one.result(LONG) for one in asked] == [{A: b"%d" % n} for n in range(OPEN + 1)]
