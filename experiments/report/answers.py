"""Charts of an answer: bars from zero where one key names the rows, else dots; with intervals."""

from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup

from experiments.outcome import Language, Query
from experiments.report.drawing import circle, drawing, line, rect, text
from experiments.showing import Shown, columns_of, placed
from experiments.words import cell, say

WIDTH: Final = 760
LEFT: Final = 190
RIGHT: Final = 726
TOP: Final = 34
ROW: Final = 28
BAR: Final = 16
LONGEST: Final = 24
"""Letters of a name beside a row."""


def query_plots(query: Query, language: Language) -> Iterator[Markup]:
    """Yield one chart per noised column: value, interval, and a tick for the exact value."""
    for column in columns_of(query)[1]:
        shown = tuple(placed(query, column))
        if shown:
            yield _chart(query, column, shown, language)


def _chart(query: Query, column: str, shown: Sequence[Shown], language: Language) -> Markup:
    keys, _ = columns_of(query)
    is_bars = len(keys) == 1
    start, end = _from_zero(shown) if is_bars else _span(shown)
    names = _names(query, keys, column)
    by_place = {item.place: item for item in shown}
    height = TOP + ROW * len(query.rows) + 26
    floor = line(LEFT, height - 24, RIGHT, height - 24, "d-grid")
    parts: list[Markup] = [floor, text(12, 20, column, font_size=14, font_weight=700)]
    if is_bars:
        parts.append(line(_x(0, end, start), TOP, _x(0, end, start), height - 24, "d-grid"))
    for place, name in enumerate(names):
        y = TOP + ROW * (place + 0.5)
        parts.append(text(12, y + 5, name, font_size=13))
        found = by_place.get(place)
        if found is None:
            parts.append(text(LEFT, y + 5, say("plot.silent", language), class_="d-muted"))
        else:
            parts += _marks(found, y, start, end, is_bars=is_bars)
    parts += [_end(start, start, end, height, "start"), _end(end, start, end, height, "end")]
    about = say("plot.query_bars" if is_bars else "plot.query", language, column=column)
    return drawing(WIDTH, height, about, about, *parts)


def _marks(found: Shown, y: float, start: float, end: float, *, is_bars: bool) -> Iterator[Markup]:
    low, value, high = (_x(at, end, start) for at in (found.low, found.value, found.high))
    if is_bars:
        zero = _x(0, end, start)
        yield rect(min(zero, value), y - BAR / 2, abs(value - zero), BAR, "d-tint", rx=2)
    yield line(low, y, high, y, "d-span")
    if is_bars:
        yield line(low, y - 5, low, y + 5, "d-span")
        yield line(high, y - 5, high, y + 5, "d-span")
    yield circle(value, y, 3.5 if is_bars else 5, "d-teal")
    if found.exact is not None:
        at = _x(found.exact, end, start)
        yield line(at, y - 9, at, y + 9, "d-mark")


def _names(query: Query, keys: Sequence[str], column: str) -> list[str]:
    if not keys:
        return [column]
    names = (" · ".join(cell(row[key]) for key in keys) for row in query.rows)
    return [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names]


def _end(value: float, start: float, end: float, height: float, anchor: str) -> Markup:
    at = {"font_size": 12, "class_": "d-muted", "text_anchor": anchor}
    return text(_x(value, end, start), height - 8, cell(value), **at)


def _x(value: float, end: float, start: float) -> float:
    return LEFT + (RIGHT - LEFT) * (value - start) / ((end - start) or 1.0)


def _ends(shown: Sequence[Shown]) -> tuple[float, float]:
    ends = [
        end
        for item in shown
        for end in (item.low, item.value, item.high, item.exact)
        if end is not None
    ]
    return min(ends), max(ends)


def _from_zero(shown: Sequence[Shown]) -> tuple[float, float]:
    """Return an axis on which zero stands: lengths of bars are compared with it."""
    start, end = _ends(shown)
    margin = (max(end, 0.0) - min(start, 0.0) or 1.0) * 0.04
    return start - margin if start < 0 else 0.0, end + margin if end > 0 else 0.0


def _span(shown: Sequence[Shown]) -> tuple[float, float]:
    start, end = _ends(shown)
    margin = (end - start or 1.0) * 0.04
    # Where zero is not far it belongs on the axis.
    start = 0.0 if 0 <= start < end * 0.6 else start - margin
    return start, end + margin
