"""Since when the aggregator's server does not let this node in, for its operator to read.

    turned_away    there from the first refusal on, until the server lets this node in again

Who is suspended or removed is cut off before the newer roster reaches it: that nobody lets it in is
all that its own folder can know.
"""

from pathlib import Path

_NAME = "turned_away"


def note(folder: Path) -> None:
    """The server did not let this node in; the first time counts."""
    path = folder / _NAME
    if not path.exists():
        path.touch(mode=0o600)


def forget(folder: Path) -> None:
    """The server let this node in."""
    (folder / _NAME).unlink(missing_ok=True)


def since(folder: Path) -> float | None:
    """Return when it was first refused, in seconds since 1970; None where nobody refuses it."""
    try:
        return (folder / _NAME).stat().st_mtime
    except FileNotFoundError:
        return None
