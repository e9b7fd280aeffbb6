"""Since when the aggregator does not let this node in, for its operator to read.

    turned_away.flower, turned_away.stream    there from the first refusal on, until it is let in

Who is suspended or removed is cut off before the newer roster reaches it: that nobody lets it in is
all that its own folder can know. Flower's server goes on with a node that is suspended, the stream
does not.
"""

from pathlib import Path
from typing import Literal, get_args

Way = Literal["flower", "stream"]


def note(folder: Path, way: Way) -> None:
    """The aggregator did not let this node in; the first time counts."""
    path = _place(folder, way)
    if not path.exists():
        path.touch(mode=0o600)


def forget(folder: Path, way: Way) -> None:
    """The aggregator let this node in."""
    _place(folder, way).unlink(missing_ok=True)


def since(folder: Path) -> float | None:
    """Return since when, in seconds since 1970; None where it is let in, or never tried."""
    places = [_place(folder, way) for way in get_args(Way)]
    return min((path.stat().st_mtime for path in places if path.exists()), default=None)


def _place(folder: Path, way: Way) -> Path:
    return folder / f"turned_away.{way}"
