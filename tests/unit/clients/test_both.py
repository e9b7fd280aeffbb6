"""A node on both ways: one memory, one end."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from clients import both
from clients.both import serve_both
from clients.errors import ClientError, WrongCertificateError
from clients.inbox import Inbox
from clients.once import Once
from clients.patience import NotRegisteredError
from clients.serve import LoopFailedError, ServeSettings
from clients.stream_tls import StreamSettings

LONG = 240.0
NOWHERE = Path("nowhere")
FLOWER = ServeSettings("127.0.0.1:1", NOWHERE, NOWHERE, NOWHERE)
STREAM = StreamSettings("127.0.0.1:2", NOWHERE, NOWHERE, NOWHERE)
Loop = Callable[[object, Once, threading.Event], None]


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Callable[[Loop, Loop], None]:
    def put(flower: Loop, stream: Loop) -> None:
        monkeypatch.setattr(both, "serve", flower)
        monkeypatch.setattr(both, "serve_stream", stream)

    return put


def waiting(_settings: object, _once: Once, stop: threading.Event, *_: object) -> None:
    assert stop.wait(LONG)


def failing(why: Exception) -> Loop:
    def loop(*_: object) -> None:
        raise why

    return loop


def once_at(folder: Path, handler: Callable[[bytes], bytes] = lambda request: request) -> Once:
    return Once(handler, Inbox(folder / "outbox.sqlite"))


def test_a_request_over_both_at_once_is_computed_once(
    tmp_path: Path, loops: Callable[[Loop, Loop], None]
) -> None:
    computed: list[bytes] = []
    begun, meeting = threading.Event(), threading.Barrier(2)
    answers: list[bytes] = []

    def handler(request: bytes) -> bytes:
        computed.append(request)
        begun.wait(0.2)  # time for the other to come in between, if it may
        return b"answer %d" % len(computed)

    def asking(_settings: object, once: Once, _stop: threading.Event, *_: object) -> None:
        meeting.wait(LONG)
        answers.append(once(b"the same"))
        meeting.wait(LONG)

    loops(asking, asking)
    serve_both(FLOWER, STREAM, once_at(tmp_path, handler), threading.Event())
    assert computed == [b"the same"]
    assert answers == [b"answer 1", b"answer 1"]


def test_both_are_given_the_same_memory_and_end_together(
    tmp_path: Path, loops: Callable[[Loop, Loop], None]
) -> None:
    given: list[tuple[object, Once]] = []
    stop = threading.Event()
    meeting = threading.Barrier(2, stop.set)

    def loop(settings: object, once: Once, told: threading.Event, *_: object) -> None:
        given.append((settings, once))
        meeting.wait(LONG)
        assert told.wait(LONG)

    loops(loop, loop)
    once = once_at(tmp_path)
    serve_both(FLOWER, STREAM, once, stop)
    assert {id(settings) for settings, _ in given} == {id(FLOWER), id(STREAM)}
    assert all(each is once for _, each in given)


@pytest.mark.parametrize("why", [WrongCertificateError("not ours"), NotRegisteredError("unknown")])
def test_the_failure_of_either_ends_both(
    tmp_path: Path, loops: Callable[[Loop, Loop], None], why: ClientError
) -> None:
    for flower, stream in ((waiting, failing(why)), (failing(why), waiting)):
        loops(flower, stream)
        with pytest.raises(type(why)) as raised:
            serve_both(FLOWER, STREAM, once_at(tmp_path), threading.Event())
        assert raised.value is why


def test_a_failure_that_nobody_foresaw_says_nothing_of_its_cause(
    tmp_path: Path, loops: Callable[[Loop, Loop], None]
) -> None:
    loops(waiting, failing(ValueError("amount=4711.00")))
    with pytest.raises(LoopFailedError) as raised:
        serve_both(FLOWER, STREAM, once_at(tmp_path), threading.Event())
    assert "4711" not in str(raised.value)


def test_a_node_without_a_stream_has_flower_alone(
    tmp_path: Path, loops: Callable[[Loop, Loop], None], caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    stop.set()
    loops(waiting, failing(ValueError("opened a stream")))
    serve_both(FLOWER, None, once_at(tmp_path), stop)
    assert "names no stream" in caplog.text
