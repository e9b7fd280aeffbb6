"""The report: one page that needs nothing else, not even a script, for four readers."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import jinja2
from markupsafe import Markup

from experiments.outcome import Border, Budget, Language, Node, Outcome, Refusal, Training, borders
from experiments.report import plots
from experiments.report.answers import query_plots
from experiments.report.drawing import DARK, LIGHT, drawing, drawing_style
from experiments.report.network import HEIGHT, WIDTH, network
from experiments.showing import columns_of, coverage
from experiments.telling import moment
from experiments.terminal import opened_by, runs_left, searched
from experiments.verdicts import PRECISION, WAPE, verdicts
from experiments.words import cell, epsilon, name_of, say, score, size, small

WAYS: Final = ("baseline", "local", "federated_dp", "federated", "pooled")

SEES: Final = {
    "rows": ("yes", "no", "no", "no", "no"),
    "exact": ("yes", "no", "no", "no", "no"),
    "update": ("yes", "no", "sum", "no", "no"),
    "model": ("yes", "part", "yes", "no", "yes"),
    "partial": ("yes", "no", "cipher", "cipher", "no"),
    "answer": ("no", "no", "noted", "no", "yes"),
    "books": ("yes", "no", "told", "no", "told"),
    "refusal": ("yes", "no", "yes", "no", "yes"),
    "order": ("yes", "part", "yes", "queries", "yes"),
}
"""Who sees what: the node itself, other nodes, the aggregator, one keyholder, the data team."""

PROTECTED: Final = ("rows", "presence", "masked", "books", "orders")
UNPROTECTED: Final = (
    "coalition",
    "collusion",
    "baselines",
    "commercial",
    "person",
    "lies",
    "channel",
    "machine",
)
DEEDS: Final = (
    ("train.update", "updates"),
    ("sum.upload", "uploads"),
    ("query.revealed", "partials"),
    ("query.opened", "opened"),
    ("train.round", "rounds"),
    ("sum.round", "sums"),
)


@dataclass(frozen=True, slots=True)
class Card:
    """What one node's operator reads."""

    node: Node
    deeds: tuple[str, ...]
    sent: str
    refusals: tuple[Refusal, ...]
    budgets: tuple[Budget, ...]


def render(outcome: Outcome, language: Language) -> str:
    """Return the report as one HTML page."""
    style = page_style()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("experiments.report").joinpath("template.html.j2").read_text("utf-8")
    page = environment.from_string(source).render(
        **_words(language),
        **_facts(outcome, language),
        style=Markup(style),  # noqa: S704  our own style sheet
        policy=_policy(style),
    )
    return f"{page}\n"


def page_style() -> str:
    """Return the whole style sheet of the page."""
    sheet = files("experiments.report").joinpath("style.css").read_text("utf-8")
    light = "".join(f"--{name}:{colour};" for name, colour in LIGHT.items())
    dark = "".join(f"--{name}:{colour};" for name, colour in DARK.items())
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{drawing_style()}{sheet}"
    )


def _policy(style: str) -> str:
    """Return a content policy that allows this one style sheet, and nothing else at all."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _words(language: Language) -> dict[str, Any]:
    def spoken(sentence: str, **facts: object) -> str:
        return say(sentence, language, **facts)

    def named(section: str, name: str) -> str:
        return name_of(section, name, language)

    return {
        "say": spoken,
        "name": named,
        "language": language,
        "score": score,
        "epsilon": epsilon,
        "small": small,
        "size": size,
        "cell": cell,
        "moment": moment,
        "figure": lambda value: "–" if value is None else epsilon(value),
    }


def _facts(outcome: Outcome, language: Language) -> dict[str, Any]:
    crossed = borders(outcome.traffic)
    holders = [node for node in outcome.nodes if node.role not in {"aggregator", "keyholder"}]
    return {
        "outcome": outcome,
        "holders": holders,
        "places": {node.jurisdiction for node in holders},
        "notes": (*outcome.faults, *outcome.notes),
        "map": _map(outcome, language),
        "models": (
            _model("demand", outcome.demand, language),
            _model("fraud", outcome.fraud, language),
        ),
        "story": _story(outcome.demand),
        "queries": [_query(outcome, place, language) for place in range(len(outcome.queries))],
        "cards": [_card(node, outcome, language) for node in outcome.nodes],
        "readings": _readings(outcome, language),
        "crossed": crossed,
        "matrix": _matrix((*crossed, *borders(outcome.traffic, domestic=True))),
        "burn": lambda budget: plots.burn_down(budget, language),
        "runs": lambda budget: runs_left(budget, language),
        "people": [budget for budget in outcome.budgets if budget.person],
        "searched": searched(outcome, language),
        "sees": SEES,
        "protected": PROTECTED,
        "unprotected": UNPROTECTED,
        "colluding": min(outcome.demand.colluding, outcome.fraud.colluding),
        "fraud_unit": name_of("unit", outcome.fraud.unit.value, language),
        "total_messages": sum(border.messages for border in crossed),
        "total_size": sum(border.size for border in crossed),
    }


def _map(outcome: Outcome, language: Language) -> Markup:
    about = say("report.picture", language)
    return drawing(WIDTH, HEIGHT, about, about, network(outcome, language))


def _story(demand: Training) -> dict[str, Any]:
    """Return the first tile: the newcomer's row, or all warehouses where nobody is new."""
    for row in demand.parties:
        if row.party == demand.newcomer:
            return {"party": row.party, "scores": row.scores}
    return {"party": None, "scores": demand.overall}


def _model(section: str, training: Training, language: Language) -> dict[str, Any]:
    measure = WAPE if section == "demand" else PRECISION
    return {
        "section": section,
        "training": training,
        "ways": [measure.baseline, *WAYS[1:]],
        "rows": [
            *((row.party, _figures(row.scores)) for row in training.parties),
            (None, _figures(training.overall)),
        ],
        "plot": plots.ways_plot(training, measure, language),
        "verdicts": verdicts(training, measure, language),
    }


def _figures(scores: Any) -> list[str]:
    return [score(getattr(scores, way)) for way in WAYS]


def _query(outcome: Outcome, place: int, language: Language) -> dict[str, Any]:
    query = outcome.queries[place]
    keys, columns = columns_of(query)
    inside, total = coverage(query)
    return {
        "query": query,
        "opened": opened_by(outcome, place, language),
        "keys": keys,
        "columns": columns,
        "rows": list(zip(query.rows, query.error, query.exact_for_demo, strict=False)),
        "plots": list(query_plots(query, language)),
        "inside": inside,
        "total": total,
    }


def _card(node: Node, outcome: Outcome, language: Language) -> Card:
    sent = [item for item in outcome.traffic if item.sender == node.party]
    counts = {kind: sum(item.messages for item in sent if item.kind == kind) for kind, _ in DEEDS}
    deeds = [
        say(f"node.{deed}", language, count=counts[kind]) for kind, deed in DEEDS if counts[kind]
    ]
    return Card(
        node,
        tuple(deeds) or (say("node.idle", language),),
        _sent(sent, language),
        tuple(item for item in outcome.refusals if item.node == node.party),
        tuple(item for item in outcome.budgets if item.node == node.party),
    )


def _sent(sent: Sequence[Any], language: Language) -> str:
    if not sent:
        return say("node.silent", language)
    return say(
        "node.traffic",
        language,
        messages=f"{sum(item.messages for item in sent):,}",
        size=size(sum(item.size for item in sent)),
        abroad=size(sum(item.size for item in sent if item.origin != item.destination)),
    )


def _readings(outcome: Outcome, language: Language) -> list[dict[str, Any]]:
    """Return the plain numbers of the most spent account of each dataset."""
    highest: dict[str, Budget] = {}
    for budget in sorted(outcome.budgets, key=lambda budget: budget.epsilon):
        highest[budget.dataset] = budget
    return [
        {
            "source": f"{budget.node} · {budget.dataset}",
            "epsilon": budget.epsilon,
            "delta": budget.delta,
            "unit": budget.unit.value,
            "plain": budget.plain,
            "dots": plots.hundred_dots(budget.plain, language),
        }
        for budget in highest.values()
        if budget.plain is not None
    ]


def _matrix(moved: Sequence[Border]) -> dict[str, Any]:
    """Return messages and bytes by origin and destination, whatever the kind."""
    places = sorted({place for item in moved for place in (item.origin, item.destination)})
    cells = {
        (origin, destination): (
            sum(item.messages for item in moved if _joins(item, origin, destination)),
            sum(item.size for item in moved if _joins(item, origin, destination)),
        )
        for origin in places
        for destination in places
    }
    return {"places": places, "cells": cells}


def _joins(border: Border, origin: str, destination: str) -> bool:
    return border.origin == origin and border.destination == destination
