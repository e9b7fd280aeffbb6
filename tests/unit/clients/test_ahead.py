"""Databases made ahead: one lies ready, each is given once, and nothing is made unasked."""

from collections.abc import Callable

from clients.queries.ahead import Ahead


class Made:
    """What was made, and what is to be done later."""

    def __init__(self) -> None:
        self.count = 0
        self.due: list[Callable[[], None]] = []
        self.ahead = Ahead(self.make, self.due.append)

    def make(self) -> int:
        self.count += 1
        return self.count

    def later(self) -> None:
        while self.due:
            self.due.pop()()


def test_without_a_wish_each_is_made_when_it_is_taken() -> None:
    made = Made()
    assert [made.ahead.take(), made.ahead.take()] == [1, 2]
    assert not made.due and made.count == 2


def test_one_lies_ready_and_the_next_is_made_later() -> None:
    made = Made()
    made.ahead.keep_ready()
    assert made.count == 1
    assert made.ahead.take() == 1 and made.count == 1
    made.later()
    assert made.count == 2
    assert made.ahead.take() == 2


def test_who_comes_before_the_next_is_ready_gets_a_new_one_and_none_is_given_twice() -> None:
    made = Made()
    made.ahead.keep_ready()
    given = [made.ahead.take() for _ in range(3)]
    made.later()
    given += [made.ahead.take() for _ in range(2)]
    assert len(set(given)) == len(given) == 5


def test_never_more_than_one_lies_ready() -> None:
    made = Made()
    made.ahead.keep_ready()
    made.ahead.keep_ready()
    made.ahead.take()
    made.ahead.take()
    made.later()
    assert made.count == 3


def test_what_was_let_go_comes_back_by_no_timer() -> None:
    made = Made()
    made.ahead.keep_ready()
    made.ahead.take()
    made.ahead.let_go()
    made.later()
    assert made.ahead._ready == []
