"""The switchboard: what is sent on which line, what an answer is, who is lost and why."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from aggregator.switchboard import ForeignReplyError, Line, Switchboard
from aggregator.transport import LATE, UNREACHABLE
from experiments.local_fleet import wait_until
from policies.parties import PartyId

A, B = PartyId("a"), PartyId("b")
LONG = 240.0
Replies = dict[PartyId, bytes | str]


def later(call: Callable[[], Any]) -> "Future[Any]":
    future: Future[Any] = Future()
    threading.Thread(target=lambda: future.set_result(call()), daemon=True).start()
    return future


def asking(board: Switchboard, *parties: PartyId, text: bytes = b"?") -> "Future[Replies]":
    before = sum(map(len, board._open.values()))
    future = later(lambda: board.ask(dict.fromkeys(parties, text), LONG, {}))
    wait_until(lambda: sum(map(len, board._open.values())) == before + len(parties))
    return future


def sent(board: Switchboard, line: Line) -> int:
    assert line.ended or board._due(line) is not None, "it would wait"
    asked = board.next(line)
    assert asked is not None
    return asked.id


def test_numbers_rise_on_a_line_also_when_it_comes_after_them() -> None:
    board = Switchboard()
    asked = [asking(board, A) for _ in range(3)]
    for _ in range(2):
        line = board.connect(A)
        assert [sent(board, line) for _ in range(3)] == [1, 2, 3]
    for number in (2, 3, 1):
        board.answer(line, number, b"%d" % number)
    assert [one.result(LONG) for one in asked] == [{A: b"1"}, {A: b"2"}, {A: b"3"}]


def test_whoever_comes_anew_has_another_number() -> None:
    board = Switchboard()
    first, other = board.connect(A), board.connect(B)
    before = board.lines()
    assert before == {A: first.number, B: other.number} and first.number != other.number
    board.disconnect(first, "away")
    assert board.lines() == {B: other.number}
    board.connect(A)
    assert board.lines()[A] not in before.values() and board.lines()[B] == other.number


def test_no_more_are_out_than_may_be() -> None:
    board = Switchboard(unanswered=2)
    line = board.connect(A)
    for _ in range(3):
        asking(board, A)
    assert [sent(board, line), sent(board, line)] == [1, 2]
    assert board._due(line) is None
    third = later(lambda: board.next(line))
    board.answer(line, 2, b"")
    assert third.result(60.0).id == 3


@pytest.mark.parametrize("number", [0, 1, 3])
def test_an_answer_to_what_was_not_asked_on_this_line_is_foreign(number: int) -> None:
    board = Switchboard()
    line, other = board.connect(A), board.connect(B)
    first, second = asking(board, A), asking(board, B)
    assert (sent(board, line), sent(board, other)) == (1, 2)
    assert not board.awaits(other, number)
    with pytest.raises(ForeignReplyError):
        board.answer(other, number, b"forged")
    board.answer(other, 2, b"b")
    with pytest.raises(ForeignReplyError):  # twice
        board.answer(other, 2, b"again")
    board.answer(line, 1, b"a")
    assert (first.result(LONG), second.result(LONG)) == ({A: b"a"}, {B: b"b"})


def test_the_answer_of_an_older_line_counts_and_the_newer_may_repeat_it() -> None:
    board = Switchboard()
    old = board.connect(A)
    asked = asking(board, A)
    sent(board, old)
    new = board.connect(A)
    sent(board, new)
    board.answer(old, 1, b"old")
    assert asked.result(LONG) == {A: b"old"}
    board.answer(new, 1, b"new")


def test_a_newer_line_ends_the_older_and_not_the_other_way_round() -> None:
    board, ended = Switchboard(), []
    old = board.connect(A, lambda: ended.append("old"))
    new = board.connect(A, lambda: ended.append("new"))
    assert ended == ["old"] and old.ended
    assert board.next(old) is None
    board.disconnect(old, "late")
    assert old.ended.startswith("replaced")
    assert board.connected() == {A}
    board.disconnect(new, "gone")
    assert board.connected() == set()


def test_only_those_that_are_retained_stay() -> None:
    board = Switchboard()
    line, other = board.connect(A), board.connect(B)
    board.retain({B})
    assert board.next(line) is None
    assert board.connected() == {B}
    assert not other.ended


def test_losses_are_for_the_reason_that_holds_when_the_time_is_over() -> None:
    now = [0.0]
    board = Switchboard(lambda: now[0])
    line = board.connect(A)
    asked = later(lambda: board.ask({A: b"?", B: b"?"}, 10.0, {B: 5.0}))
    wait_until(lambda: board._due(line) is not None)
    sent(board, line)
    now[0] = 5.0
    with board._lock:
        for one in board._open[A].values():
            one.asking.wake.notify_all()
    wait_until(lambda: B in next(iter(board._open[A].values())).asking.replies, 20.0)
    assert not asked.done()
    board.answer(line, 1, b"just in time")
    assert asked.result(LONG) == {A: b"just in time", B: UNREACHABLE}


def test_what_nobody_waits_for_any_more_is_not_sent() -> None:
    board = Switchboard()
    assert board.ask({A: b"?"}, 0.0, {}) == {A: UNREACHABLE}
    line = board.connect(A)
    assert board.ask({A: b"?"}, 0.0, {}) == {A: LATE}
    assert board._due(line) is None


def test_nobody_is_waited_for_longer_than_the_timeout() -> None:
    assert Switchboard().ask({A: b"?"}, 0.0, {A: LONG}) == {A: UNREACHABLE}


def test_who_left_is_remembered_for_a_while_and_until_it_is_back() -> None:
    moment = 100.0
    board = Switchboard(lambda: moment)
    one, other = board.connect(PartyId("one")), board.connect(PartyId("other"))
    newer = board.connect(PartyId("other"))  # the older one is over, and nobody left
    board.disconnect(other, "replaced")
    assert board.left(30.0) == frozenset()
    board.disconnect(one, "killed")
    moment = 130.0
    assert board.left(30.0) == {"one"} and board.left(29.0) == frozenset()
    board.disconnect(newer, "killed")
    board.connect(PartyId("other"))
    assert board.left(30.0) == {"one"}
