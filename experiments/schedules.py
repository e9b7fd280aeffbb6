"""When the orders of a schedule begin, as `--start`, `--every` and `--times` say it. Pure.

Every order is the same work at another time. It waits for people, since nobody is there to put it
once more, and is over before the next one begins.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from experiments.errors import UsageError
from experiments.ordering import MOST_SECONDS, WAIT_HOURS, Terms
from federation.orders import MOST_TURNS, Turn, WorkOrder

LEAST_SECONDS: Final = 3600
"""Between two orders: shorter, and one would not be over before the next."""
MOST_AHEAD: Final = 366 * 24 * 3600
"""How long before its time any node takes an order to have been signed."""
SOON: Final = 60
"""Seconds that signing may take: an order is written before its time."""

_UNITS: Final = {"h": 3600, "d": 24 * 3600}
_EVERY: Final = re.compile(r"([0-9]{1,4})([hd])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Schedule:
    """`times` orders: the first begins at `start`, in seconds since 1970, then one `every` so many.

    hours: how long each waits for people; 0 for a day, or half its time where that is less.
    """

    start: int
    every: int
    times: int
    hours: int = 0

    @property
    def starts(self) -> tuple[int, ...]:
        """When each of them may begin."""
        return tuple(self.start + number * self.every for number in range(self.times))

    def to_json(self) -> dict[str, Any]:
        """Return the schedule as `--json` prints it."""
        return {"times": self.times, "every": self.every, "starts": list(self.starts)}


def read_schedule(
    start: str | None, every: str | None, times: int | None, terms: Terms, now: float
) -> Schedule | None:
    """Return what three options say; None where none of them is given.

    start: ISO 8601, UTC where it names no offset; every: such as `12h` or `7d`.
    terms: of the orders, for how long they wait for people; now: seconds since 1970.

    Raises:
        UsageError: one of them is missing, or says what no schedule may.
    """
    if start is None and every is None and times is None:
        return None
    if start is None or every is None or times is None:
        raise UsageError("--start WHEN, --every 12h and --times N make a schedule together")
    if terms.not_before:
        raise UsageError("schedule.not_before is for one order alone: --start says when they begin")
    found = Schedule(_moment(start), _seconds(every), times, terms.hours)
    _require_sensible(found, now)
    return found


def _require_sensible(schedule: Schedule, now: float) -> None:
    if not 2 <= schedule.times <= MOST_TURNS:
        raise UsageError(f"--times is 2 to {MOST_TURNS}; one order alone needs no schedule")
    if schedule.every < LEAST_SECONDS:
        raise UsageError("--every is an hour or more: an order is over before the next begins")
    if schedule.start < now + SOON:
        raise UsageError("--start is a minute ahead at least; without an offset it is read as UTC")
    if schedule.starts[-1] > now + MOST_AHEAD:
        raise UsageError("the last order would begin in more than a year: fewer --times, or sooner")
    if not 0 <= schedule.hours * 3600 < _life(schedule):
        raise UsageError("approval.hours is less than --every: an order is over before the next")


def _moment(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as why:
        raise UsageError(f"--start is a time such as 2026-12-01T06:00, not {text!r}") from why


def _seconds(text: str) -> int:
    found = _EVERY.fullmatch(text)
    if found is None:
        raise UsageError(f"--every is hours or days, such as 12h or 7d, not {text!r}")
    return int(found[1]) * _UNITS[found[2]]


def _life(schedule: Schedule) -> int:
    return min(schedule.every - 1, MOST_SECONDS)


def turns(draft: WorkOrder, schedule: Schedule) -> tuple[WorkOrder, ...]:
    """Return the orders of a schedule, in order: the same work, at other times."""
    life = _life(schedule)
    waits = schedule.hours * 3600 or min(WAIT_HOURS * 3600, life // 2)
    return tuple(
        replace(
            draft,
            not_before=at,
            waits_until=at + waits,
            expires=at + life,
            schedule=Turn(number, schedule.times, schedule.every),
        )
        for number, at in enumerate(schedule.starts, 1)
    )


def asked_anew(terms: Terms) -> Terms:
    """Return the terms of a question that is asked again and again: a release of its own each time.

    Raises:
        UsageError: they want a past release.
    """
    if terms.source == "past":
        raise UsageError("a schedule pays for a new answer each time: leave out --past")
    return replace(terms, source="fresh")
