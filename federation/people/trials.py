"""How long a person's account waits after wrong codes: longer each time, never for ever.

Three steps of six digits count at a moment, so a guess is right with 3 in a million. With the
pauses below some hundred guesses a day are looked at, and nobody locks a person out for good.
"""

from typing import Final

FREE: Final = 3
"""Wrong codes in a row that cost no waiting."""
LONGEST: Final = 15 * 60


def pause(failures: int) -> float:
    """Return the seconds to wait after so many wrong codes in a row: 30, 60, … up to 15 minutes."""
    if failures <= FREE:
        return 0.0
    return float(min(30 * 2 ** min(failures - FREE - 1, 10), LONGEST))
