"""This node's time, which never goes back and never leaps unnoticed.

The wall clock belongs to the machine, and whoever sets it could open new accounting windows or
revive what has expired. So it is held against three others: the greatest time that witnesses have
put their names to, the machine's own count of seconds since the last comparison, and the time in
every word of a witness. More than five minutes apart, and nothing is spent until they agree.
"""

from collections.abc import Callable

from federation.errors import ClockError
from federation.ledger.witness import MAX_SKEW


class Clock:
    """Seconds since 1970, UTC.

    Args:
        wall: the machine's clock; anybody may have set it.
        monotonic: seconds that nobody can set, from an arbitrary beginning.
    """

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._highest = 0.0
        self._offset: float | None = None

    def now(self) -> float:
        """Return the time; it is never before one that witnesses have put their names to."""
        return max(self._wall(), self._highest)

    def reading(self) -> float:
        """Return what the machine's clock says, whatever was witnessed."""
        return self._wall()

    def elapsed(self) -> float:
        """Return seconds that nobody can set, from an arbitrary beginning."""
        return self._monotonic()

    def is_steady(self) -> bool:
        """Return whether the machine's clock has not leapt since witnesses agreed with it."""
        if self._offset is None:
            return False
        return abs(self._wall() - self._monotonic() - self._offset) <= MAX_SKEW

    def is_near(self, at: float) -> bool:
        """Return whether another party's time is this node's, give or take five minutes."""
        return abs(self._wall() - at) <= MAX_SKEW

    def require_forward(self) -> None:
        """Accept a machine's clock that is not behind what witnesses have put their names to.

        Raises:
            ClockError: it is, by more than five minutes.
        """
        if self._wall() < self._highest - MAX_SKEW:
            raise ClockError(
                "this machine's clock is behind a time that was witnessed before; set it right"
            )

    def agree(self) -> None:
        """Take the machine's clock for right: witnesses have just said the same."""
        self._offset = self._wall() - self._monotonic()

    def forget(self) -> None:
        """Take it for right no longer: a witness has said otherwise."""
        self._offset = None

    def never_before(self, at: float) -> None:
        """Let the time never be before `at`, which witnesses have put their names to."""
        self._highest = max(self._highest, at)
