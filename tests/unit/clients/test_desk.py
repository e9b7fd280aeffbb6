"""The desk: nothing is worked on twice, and every answer goes to whoever asked."""

import threading

import pytest

from clients.desk import Desk


class Note:
    """Writes down what it is sent."""

    def __init__(self) -> None:
        self.got: list[tuple[int, bytes | None]] = []

    def send(self, number: int, answer: bytes | None) -> None:
        self.got.append((number, answer))


def test_a_request_under_way_is_given_out_once_and_answered_to_all() -> None:
    desk, first, second = Desk(), Note(), Note()
    desk.bring(b"same", first, 1)
    desk.bring(b"other", first, 2)
    assert desk.take() == b"same"
    desk.bring(b"same", second, 7)
    assert desk.take() == b"other"
    desk.done(b"same", b"answer")
    desk.done(b"other", None)
    assert first.got == [(1, b"answer"), (2, None)]
    assert second.got == [(7, b"answer")]
    desk.bring(b"same", first, 3)  # what was answered may be asked again
    assert desk.take() == b"same"


def test_a_request_under_way_is_one_request_whatever_its_name_has_become() -> None:
    names = iter(("first", "second"))
    desk, note = Desk(lambda _: next(names)), Note()
    desk.bring(b"same", note, 1)
    assert desk.take() == b"same"
    desk.bring(b"same", note, 2)
    desk.done(b"same", b"answer")
    assert note.got == [(1, b"answer"), (2, b"answer")]
    assert not desk._waiting and not desk._addresses and not desk._came


def test_a_request_came_when_it_was_first_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter((5.0, 6.0, 7.0))
    monkeypatch.setattr("clients.desk.time.monotonic", lambda: next(moments))
    desk, first, second = Desk(), Note(), Note()
    desk.bring(b"same", first, 1)
    desk.bring(b"same", second, 2)
    assert desk.take() == b"same" and desk.came(b"same") == 5.0
    desk.done(b"same", b"answer")
    desk.bring(b"same", first, 3)
    assert desk.came(b"same") == 7.0
    desk.leave(first)
    assert desk._came == {}


def test_a_request_came_before_its_name_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [5.0]
    monkeypatch.setattr("clients.desk.time.monotonic", lambda: clock[0])

    def named(request: bytes) -> str:
        clock[0] += 60.0  # the node that knows it is being built
        return request.hex()

    desk = Desk(named)
    desk.bring(b"same", Note(), 1)
    assert desk.came(b"same") == 5.0


def test_what_nobody_waits_for_and_nobody_took_is_forgotten() -> None:
    desk, gone, there = Desk(), Note(), Note()
    for number, request in enumerate((b"at work", b"waiting", b"shared"), 1):
        desk.bring(request, gone, number)
    desk.bring(b"shared", there, 9)
    assert desk.take() == b"at work"
    desk.leave(gone)
    assert desk.take() == b"shared"
    desk.bring(b"at work", there, 10)  # is not worked on twice
    desk.bring(b"waiting", there, 11)  # was never begun
    assert desk.take() == b"waiting"
    for request in (b"at work", b"shared", b"waiting"):
        desk.done(request, request)
    assert gone.got == []
    assert there.got == [(10, b"at work"), (9, b"shared"), (11, b"waiting")]


def test_a_closed_desk_gives_nothing_out() -> None:
    desk, taken = Desk(), []
    thread = threading.Thread(target=lambda: taken.append(desk.take()), daemon=True)
    thread.start()
    desk.close()
    thread.join(60.0)
    desk.bring(b"too late", Note(), 1)
    assert taken == [None]
    assert desk.take() is None
