"""Writers of the books are killed with `kill -9`, and what they had acknowledged is looked for.

Every writer is forked from this process, so that it starts warm. It works through an order of its
own and says into a pipe what was acknowledged; half of the writers are killed after a random time,
half at a random line of the books or of the log. Then the same is asked again, as a node would do
after a restart: nothing may be lost, and nothing may be charged a second time.
"""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any, Final

from clients.books import Books
from experiments.forks import Say, fork, heard
from federation.ledger.entries import Entry, EntryKind
from policies.budget import accountant
from policies.budget.account import Charge, Scope
from policies.budget.events import Gaussian
from policies.errors import ClosedOrderError, InsufficientBudgetError
from secure_compute.primitives.signature import SigningKey

RELEASES: Final = 3
STEPS: Final = ("reserve", *(f"k{number}" for number in range(RELEASES)), "close")
DELTA: Final = Decimal("1e-6")
WRITERS: Final = 3

_KEY: Final = SigningKey(b"\x2a" * 32)
_QUIET: Final = Gaussian("100000")
_LOUD: Final = Gaussian("8")
_TRACED: Final = (f"{os.sep}clients{os.sep}books", f"{os.sep}federation{os.sep}ledger{os.sep}")
_UNHURT: Final = ("timed", "traced")  # orders of the writers that nobody kills
_LONGEST: Final = 1.5  # times a writer's whole life, that a random kill may come after


@dataclass(frozen=True, slots=True)
class Crashes:
    """What came of killing writers.

    injections: writers that were killed before they had done everything.
    lost:       acknowledged spends that were not there afterwards.
    double:     spends that were written more than once, or without having been asked.
    """

    injections: int
    lost: int
    double: int


def open_at(path: Path) -> Books:
    """Return the books that are written to."""
    return Books(path, "entrepot/bench/node", _KEY, time.time)


def crash(path: Path, injections: int, seed: int) -> Crashes:
    """Kill so many writers of the books at `path`, one after the other."""
    chance = random.Random(seed)  # noqa: S311  where to kill is no secret
    books, killed, lost, double = open_at(path), 0, 0, 0
    lifetime, lines = _measured(path, books)
    order = 0
    while killed < injections:
        order += 1
        line = chance.randint(1, lines) if order % 2 else 0
        delay = 0.0 if line else chance.uniform(0.0, lifetime * _LONGEST)
        said, was_killed = _doomed(path, books, f"o{order}", line, delay)
        killed += was_killed
        before = _told(books.entries(books.head().size - _room(said)), f"o{order}")
        lost += len(set(said) - set(before))
        double += max(0, len(before) - len(said) - 1)
        work(books, f"o{order}", lambda _: None)
        after = _told(books.entries(books.head().size - len(STEPS)), f"o{order}")
        double += sum(count - 1 for count in Counter(after).values())
        lost += len(set(STEPS) - set(after))
    books.reconcile()
    made = RELEASES * (order + len(_UNHURT))
    for row in books.statement():
        double += max(0, row.releases - made)
        lost += max(0, made - row.releases)
    books.disconnect()
    return Crashes(killed, lost, double)


def overshoot(path: Path) -> float:
    """Return by how much ε is above the limit after several writers reserved all they could."""
    scope = _scope("contested", "3")
    gate, opened = os.pipe()
    children = [fork(lambda _: _reserve_all(path, scope, gate, opened)) for _ in range(WRITERS)]
    os.close(gate)
    os.close(opened)  # all of them start now
    for child, pipe in children:
        heard(child, pipe)
    (told,) = open_at(path).statement()
    return max(0.0, told.epsilon_spent + told.epsilon_pending - float(scope.epsilon))


def work(books: Books, order: str, say: Say) -> None:
    """Take an order through its life; what was done before is asked again."""
    charges = [Charge(_scope(name, "3"), _QUIET, RELEASES) for name in ("people", "shops")]
    for step in STEPS:
        with suppress(ClosedOrderError):
            if step == "reserve":
                books.reserve(charges, order)
            elif step == "close":
                books.close(order)
            else:
                books.settle(order, step)
        say(step)


def _scope(subjects: str, epsilon: str) -> Scope:
    return Scope(
        dataset="orders",
        subjects=subjects,
        unit="customer",
        window="bench",
        epsilon=Decimal(epsilon),
        delta=DELTA,
    )


def _room(said: Sequence[str]) -> int:
    """Return how many of the last entries may be about the writer that just died."""
    return min(len(said) + 2, len(STEPS))


def _told(entries: Sequence[Entry], order: str) -> list[str]:
    """Return the steps that the log tells of an order."""
    names = {EntryKind.RESERVED: "reserve", EntryKind.CLOSED: "close"}
    return [
        names.get(entry.kind, str(entry.body.get("release")))
        for entry in entries
        if entry.order == order
    ]


def _measured(path: Path, books: Books) -> tuple[float, int]:
    """Return how long a writer lives that nobody kills, in seconds and in traced lines."""
    accountant.epsilon([_QUIET], float(DELTA))  # children find the libraries already imported
    books.disconnect()
    started = time.monotonic()
    heard(*fork(lambda say: work(open_at(path), _UNHURT[0], say)))
    lifetime = time.monotonic() - started
    said, _ = heard(*fork(lambda say: _count_lines(path, say)))
    return lifetime, int(said[-1])


def _count_lines(path: Path, say: Say) -> None:
    seen = [0]

    def count() -> None:
        seen[0] += 1

    _trace(count)
    work(open_at(path), _UNHURT[1], lambda _: None)
    sys.settrace(None)
    say(str(seen[0]))


def _doomed(
    path: Path, books: Books, order: str, line: int, delay: float
) -> tuple[list[str], bool]:
    """Fork a writer that dies; return what it had acknowledged, and whether it was killed."""
    books.disconnect()
    child, pipe = fork(lambda say: _write(path, order, line, say))
    if not line:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    said, status = heard(child, pipe)
    return said, os.WIFSIGNALED(status)


def _write(path: Path, order: str, line: int, say: Say) -> None:
    left = [line]

    def burn() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if line:
        _trace(burn)
    work(open_at(path), order, say)


def _trace(each: Callable[[], None]) -> None:
    """Call `each` before every line of the books and of the log."""

    def within(_frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            each()
        return within

    def entered(frame: FrameType, _event: str, _argument: Any) -> Any:
        ours = any(part in frame.f_code.co_filename for part in _TRACED)
        return within if ours else None

    sys.settrace(entered)


def _reserve_all(path: Path, scope: Scope, gate: int, opened: int) -> None:
    os.close(opened)
    os.read(gate, 1)  # returns when the parent closes its end
    books, charges = open_at(path), [Charge(scope, _LOUD, 1)]
    with suppress(InsufficientBudgetError):
        for number in range(1000):
            books.reserve(charges, f"{os.getpid()}.{number}")
