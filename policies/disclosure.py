"""The last gate before a result is known outside: too few contributors, and it stays inside.

Only `clear` makes a `Releasable`, so whoever releases something holds the proof that it passed.
"""

from dataclasses import dataclass
from typing import Any

from policies.errors import SmallCohortError
from policies.evidence import Minted


@dataclass(frozen=True, slots=True)
class Releasable(metaclass=Minted):
    """A result that enough organisations contributed to; `contributors` says how many."""

    result: Any
    contributors: int


def clear(result: object, contributors: int, minimum: int) -> Releasable:
    """Return `result` as releasable when at least `minimum` organisations contributed.

    Raises:
        SmallCohortError: fewer contributed, or `minimum` would let one of them be read alone.
    """
    if minimum < 2:
        raise SmallCohortError("a minimum below two organisations would release one's own result")
    if contributors < minimum:
        raise SmallCohortError(
            f"{contributors} organisations contributed and {minimum} are needed; ask again when "
            f"more of them are up"
        )
    return Releasable._mint(result, contributors)  # noqa: SLF001  the home of this evidence
