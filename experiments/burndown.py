"""What was left of an account run by run, as one line of text and as a bar."""

from collections.abc import Sequence
from typing import Final

from experiments.outcome import Step

BLOCKS: Final = "▁▂▃▄▅▆▇█"
EMPTY: Final = " "
WIDTH: Final = 16


def sparkline(course: Sequence[Step], limit: float, width: int = WIDTH) -> str:
    """Return what was left after each run as blocks: full height is the limit, a space is nothing.

    The last `width` runs are shown, after what there was before them.
    """
    return "".join(_block(left, limit) for left in _left(course, limit)[-width:])


def bar(spent: float, pending: float, limit: float, width: int = WIDTH) -> str:
    """Return spent as █, pending as ▒ and what is left as ░; something spent is never no █.

    spent: ε without what is pending.
    """
    if limit <= 0:
        return "█" * width
    used = min(width, max(round(width * spent / limit), 1 if spent > 0 else 0))
    held = min(width, max(round(width * (spent + pending) / limit), used))
    if pending > 0 and held == used < width:
        held += 1
    return "█" * used + "▒" * (held - used) + "░" * (width - held)


def _left(course: Sequence[Step], limit: float) -> list[float]:
    return [limit, *(max(0.0, limit - step.epsilon) for step in course)]


def _block(left: float, limit: float) -> str:
    if limit <= 0 or left <= 0:
        return EMPTY
    return BLOCKS[min(len(BLOCKS) - 1, int(len(BLOCKS) * left / limit))]
