"""The plots of the report, as inline SVG with a title and a description each."""

import math
from typing import Final

from markupsafe import Markup

from experiments.outcome import Budget, Language, Plain, Scores, Training
from experiments.report.drawing import circle, drawing, line, rect, tag, text
from experiments.verdicts import Measure, is_helped
from experiments.words import epsilon, say, score

WIDTH: Final = 760
LEFT: Final = 190
RIGHT: Final = 726
ROW: Final = 40
HUNDRED: Final = 100
WAYS: Final = ("baseline", "local", "pooled", "federated", "federated_dp")
"""In the order of drawing: what the federation did stands on top."""


def ways_plot(training: Training, measure: Measure, language: Language) -> Markup:
    """Return one row per party and one for all: five marks, and a line from alone to together."""
    rows = [(row.party, row.scores) for row in training.parties]
    rows.append((say("score.all", language), training.overall))
    every = [value for _, scores in rows for way in WAYS if (value := getattr(scores, way))]
    end = _round_up(max(every, default=1.0))
    height = 62 + ROW * len(rows) + 26
    marks = [
        _ways_row(62 + ROW * place, name, scores, end, training, measure)
        for place, (name, scores) in enumerate(rows)
    ]
    about = _about(training, measure, language)
    axis = _axis(end, 56, height - 26)
    return drawing(WIDTH, height, about, about, _key(measure, language), axis, *marks)


def _about(training: Training, measure: Measure, language: Language) -> str:
    if not measure.lower_is_better:
        return say("plot.fraud", language)
    if training.newcomer is None:
        return say("plot.demand_plain", language)
    return say("plot.demand", language, party=training.newcomer)


def _ways_row(
    y: float, name: str, scores: Scores, end: float, training: Training, measure: Measure
) -> Markup:
    middle = y + ROW / 2
    is_story = name == training.newcomer
    parts = [rect(0, y + 2, WIDTH, ROW - 4, "d-glow", rx=6)] if is_story else []
    weight = 700 if is_story else 400
    parts.append(text(12, middle + 5, name, font_size=14, font_weight=weight))
    if scores.local is not None and scores.federated_dp is not None:
        class_ = "d-gain" if is_helped(scores, measure) else "d-loss"
        ends = (_x(scores.local, end), _x(scores.federated_dp, end))
        parts.append(line(ends[0], middle, ends[1], middle, class_))
    for way in WAYS:
        value = getattr(scores, way)
        if value is not None:
            parts.append(_mark(_x(value, end), middle, way))
    return tag("g", tag("title", _spoken(name, scores)), *parts)


def _spoken(name: str, scores: Scores) -> str:
    return f"{name}: " + ", ".join(f"{way} {score(getattr(scores, way))}" for way in WAYS)


def _mark(x: float, y: float, way: str) -> Markup:
    if way == "federated_dp":
        return circle(x, y, 7.5, "d-teal")
    if way in {"federated", "pooled"}:
        return circle(x, y, 5, "d-hollow" if way == "federated" else "d-hollow-grey")
    return circle(x, y, 5.5, "d-grey" if way == "local" else "d-pale")


def _key(measure: Measure, language: Language) -> Markup:
    parts: list[Markup] = []
    x = 12.0
    for way in ("baseline", "local", "federated_dp", "federated", "pooled"):
        said = say(f"score.{measure.baseline if way == 'baseline' else way}", language)
        parts += [_mark(x + 6, 18, way), text(x + 20, 23, said, font_size=13, class_="d-muted")]
        x += 52 + sum(13 if character > "\u2fff" else 6.9 for character in said)
    return tag("g", *parts)


def _axis(end: float, top: float, bottom: float) -> Markup:
    parts: list[Markup] = []
    step = _step(end)
    for tick in range(round(end / step) + 1):
        value = step * tick
        x = _x(value, end)
        parts.append(line(x, top, x, bottom, "d-grid"))
        said = f"{value:.2f}"
        parts.append(
            text(x, bottom + 18, said, font_size=12, class_="d-muted", text_anchor="middle")
        )
    return tag("g", *parts)


def _x(value: float, end: float, start: float = 0.0) -> float:
    return LEFT + (RIGHT - LEFT) * (value - start) / ((end - start) or 1.0)


def _step(value: float) -> float:
    """Return a step that divides the axis into at most seven parts."""
    return next((step for step in (0.02, 0.05, 0.1, 0.2, 0.5) if value <= 7 * step + 1e-9), 1.0)


def _round_up(value: float) -> float:
    """Return the end of an axis that holds `value`: a whole number of steps."""
    step = _step(value)
    return step * math.ceil(value / step - 1e-9)


def burn_down(budget: Budget, language: Language) -> Markup:
    """Return what was left of an account after each run: a step line that falls from the limit.

    Across stands time where the runs lie apart, else their number.
    """
    about = _course(budget, language)
    if not budget.limit or not budget.course:
        flat = line(4, 8, 156, 8, "d-burn")
        return drawing(160, 44, about, about, _floor(), flat)
    spread = budget.course[-1].at - budget.course[0].at
    places = [_across(budget, place, spread) for place in range(len(budget.course))]
    heights = [8 + 30 * min(1.0, step.epsilon / budget.limit) for step in budget.course]
    path = "M4 8" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in zip(places, heights, strict=True))
    end = circle(156, heights[-1], 3, "d-amber" if heights[-1] > 32 else "d-teal")
    steps = tag("path", d=f"{path}H156", class_="d-burn")
    return drawing(160, 44, about, about, _floor(), steps, end)


def _course(budget: Budget, language: Language) -> str:
    limit = epsilon(budget.limit)
    if not budget.course:
        return say("plot.no_course", language, limit=limit)
    left = epsilon(max(0.0, budget.limit - budget.course[-1].epsilon))
    return say("plot.course", language, limit=limit, runs=len(budget.course), left=left)


def _across(budget: Budget, place: int, spread: int) -> float:
    steps = budget.course
    share = (
        (steps[place].at - steps[0].at) / spread if spread > 0 else place / max(1, len(steps) - 1)
    )
    return 16 + 128 * share


def _floor() -> Markup:
    return tag("g", line(4, 8, 156, 8, "d-grid"), line(4, 38, 156, 38, "d-mark"))


def hundred_dots(plain: Plain, language: Language) -> Markup:
    """Return a hundred members as dots: caught by luck, by the curve, by the textbook's bound."""
    about = say("reading.figure", language, bound=plain.textbook_caught, curve=plain.caught)
    dots = [
        circle(9 + 15 * (place % 25), 9 + 15 * (place // 25), 5.5, _dot(place, plain))
        for place in range(HUNDRED)
    ]
    return drawing(25 * 15 + 3, 4 * 15 + 3, about, about, *dots)


def _dot(place: int, plain: Plain) -> str:
    if place < plain.luck:
        return "d-text"
    if place < plain.caught:
        return "d-teal"
    return "d-amber" if place < plain.textbook_caught else "d-tint"
