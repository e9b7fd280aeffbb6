"""One picture of a run, 900 pixels wide: who took part, what crossed, what it was worth."""

from pathlib import Path
from typing import Final

from markupsafe import Markup

from experiments.outcome import Language, Outcome, Scores, borders
from experiments.report.drawing import circle, drawing, drawing_style, line, rect, tag, text
from experiments.report.network import WIDTH as MAP_WIDTH
from experiments.report.network import network
from experiments.verdicts import JOINED, PRECISION, WAPE, Measure
from experiments.words import name_of, say, score, size

WIDTH: Final = 900
HEIGHT: Final = 480
WAYS: Final = ("baseline", "local", "federated_dp", "federated", "pooled")
FILLS: Final = {
    "baseline": "d-pale",
    "local": "d-grey",
    "federated_dp": "d-teal",
    "federated": "d-hollow",
    "pooled": "d-hollow-grey",
}
PANEL: Final = 612
BAR: Final = 92


def picture(outcome: Outcome, language: Language = "en") -> str:
    """Return the picture as a standalone SVG."""
    places = {node.jurisdiction for node in outcome.nodes if _holds_rows(node.role)}
    nodes = sum(_holds_rows(node.role) for node in outcome.nodes)
    title = say(
        "picture.title",
        language,
        nodes=nodes,
        places=len(places),
        count=outcome.raw_rows_crossed,
    )
    return str(
        drawing(
            WIDTH,
            HEIGHT,
            title,
            say("report.picture", language),
            tag("style", Markup(drawing_style())),  # noqa: S704  our own constant
            rect(0.5, 0.5, WIDTH - 1, HEIGHT - 1, "d-paper d-edge", rx=14),
            _headline(outcome, language),
            tag("g", network(outcome, language), transform="translate(18 88)"),
            _legend(language),
            _results(outcome, language),
            attributes={"width": WIDTH, "height": HEIGHT},
        )
    )


def write_picture(outcome: Outcome, path: Path, language: Language = "en") -> None:
    """Write the picture to `path`."""
    path.write_text(picture(outcome, language) + "\n", "utf-8")


def _holds_rows(role: str) -> bool:
    return role not in {"aggregator", "keyholder", "analyst"}


def _headline(outcome: Outcome, language: Language) -> Markup:
    count = outcome.raw_rows_crossed
    crossed = borders(outcome.traffic)
    total = say(
        "border.total",
        language,
        messages=f"{sum(item.messages for item in crossed):,}",
        size=size(sum(item.size for item in crossed)),
    )
    digits = 24 * (len(str(count)) - 1)
    return tag(
        "g",
        text(
            26, 66, str(count), font_size=56, font_weight=800, class_="d-bad" if count else "d-teal"
        ),
        text(72 + digits, 47, say("raw.label", language), font_size=21, font_weight=700),
        text(72 + digits, 69, total, font_size=13, class_="d-muted"),
    )


def _legend(language: Language) -> Markup:
    marks = (("warehouse", "d-teal"), ("payment_partner", "d-grey"), ("keyholder", "d-amber"))
    others = [name_of("role", role, language) for role in ("payment_partner", "merchant")]
    names = {"payment_partner": JOINED[language].join(others)}
    parts: list[Markup] = []
    x = 32.0
    for role, colour in marks:
        said = names.get(role) or name_of("role", role, language)
        parts += [circle(x, 457, 4.5, colour), _caption(x + 10, said)]
        x += 34 + _breadth(said)
    parts += [line(x, 457, x + 18, 457, "d-wire", stroke_width=3)]
    parts += [_caption(x + 25, say("picture.wire", language))]
    return tag("g", *parts)


def _caption(x: float, said: str) -> Markup:
    return text(x, 461, said, font_size=11.5, class_="d-muted")


def _breadth(said: str) -> float:
    """Return about how wide 11.5-pixel words are; Chinese characters are twice as wide."""
    return sum(11.5 if character > "\u2fff" else 6.3 for character in said)


def _results(outcome: Outcome, language: Language) -> Markup:
    demand = outcome.demand
    rows = {row.party: row.scores for row in demand.parties}
    story = rows.get(demand.newcomer or "", demand.overall)
    heading, below = say("picture.demand_all", language), say("picture.lower", language)
    if demand.newcomer in rows:
        heading = say("picture.demand", language, party=demand.newcomer)
        below = say("picture.demand_lower", language)
    titles = (heading, below)
    others = (say("picture.fraud", language), say("picture.higher", language))
    return tag(
        "g",
        rect(MAP_WIDTH + 32, 22, WIDTH - MAP_WIDTH - 52, HEIGHT - 44, "d-card d-edge", rx=10),
        _bars(54, titles, story, WAPE, language),
        _bars(266, others, outcome.fraud.overall, PRECISION, language),
    )


def _bars(
    top: float, titles: tuple[str, str], scores: Scores, measure: Measure, language: Language
) -> Markup:
    values = [(way, getattr(scores, way)) for way in WAYS]
    longest = max([value for _, value in values if value is not None], default=1.0) or 1.0
    bars = [
        _bar(top + 42 + 28 * place, way, value, longest, measure, language)
        for place, (way, value) in enumerate(values)
    ]
    return tag(
        "g",
        text(PANEL, top, titles[0], font_size=14, font_weight=700),
        text(PANEL, top + 18, titles[1], font_size=12, class_="d-muted"),
        *bars,
    )


def _bar(
    y: float, way: str, value: float | None, longest: float, measure: Measure, language: Language
) -> Markup:
    name = measure.baseline if way == "baseline" else way
    is_ours = way == "federated_dp"
    weight = 700 if is_ours else 400
    length = BAR * (value or 0) / longest
    return tag(
        "g",
        text(PANEL, y + 5, say(f"score.{name}", language), font_size=12.5, font_weight=weight),
        rect(PANEL + 122, y - 8, max(length, 2), 17, FILLS[way], rx=3),
        text(
            PANEL + 122 + length + 8,
            y + 5,
            score(value),
            font_size=13,
            font_weight=weight,
            class_="d-teal" if is_ours else "d-text",
        ),
    )
