"""The report stands alone, says what the numbers say, in both languages, and lets nothing in."""

import hashlib
import html
import json
import re
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from experiments.burndown import bar, sparkline
from experiments.outcome import (
    Budget,
    Crossing,
    Language,
    Node,
    Query,
    Scores,
    Step,
    Unit,
    borders,
    to_json,
)
from experiments.report.answers import query_plots
from experiments.report.page import render
from experiments.report.picture import picture, write_picture
from experiments.report.plots import burn_down
from experiments.showing import columns_of, coverage, intervals, query_of
from experiments.terminal import Silence, Steps, opened_by, show
from experiments.words import LANGUAGES, say
from federation.queries.answers import Answer, Cell, Row
from tests.made_up import LEAKING, LEDGER, OUTCOME, PEOPLE

VOID = {"meta", "br", "circle", "rect", "line", "path"}


class Reader(HTMLParser):
    """Collects what a browser would fetch or run, and whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in {"src", "srcset", "data", "action", "poster", "xlink:href"}:
                self.fetched.append(f"{tag} {value}")
            if name == "style" or name.startswith("on"):
                self.inline.append(f"{tag} {name}")
            if name == "id":
                self.ids.add(value or "")
            if name == "href":
                self.links.append(value or "")
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Language:
    return request.param


def test_the_page_needs_nothing_else_and_runs_nothing(language: Language) -> None:
    page = render(OUTCOME, language)
    reader = Reader()
    reader.feed(page)
    assert reader.fetched == []
    assert reader.inline == []
    assert not reader.tags & {"script", "link", "iframe", "object", "embed", "img", "form", "base"}
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
    assert {"team", "operator", "officer", "stranger"} <= reader.ids
    style = re.search("<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    digest = b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src &#39;none&#39;; style-src &#39;sha256-{digest}" in page


def test_every_drawing_is_well_formed_and_told_to_those_who_cannot_see_it(
    language: Language,
) -> None:
    drawings = re.findall("<svg.*?</svg>", render(OUTCOME, language), re.DOTALL)
    assert len(drawings) > 20
    for drawing in [*drawings, picture(OUTCOME, language)]:
        root = ElementTree.fromstring(drawing)
        assert root.find("{http://www.w3.org/2000/svg}title") is not None
        assert root.find("{http://www.w3.org/2000/svg}desc") is not None
        assert "nan" not in drawing


def test_the_page_says_the_numbers(language: Language) -> None:
    page = render(OUTCOME, language)
    for number in ("0.254", "0.311", "0.301", "812,346", "14,200", "2.2781", "1.1219", "21.4 MB"):
        assert number in page
    for party in OUTCOME.nodes:
        assert party.party in page
    for refusal in OUTCOME.refusals:
        assert refusal.reasons[0].said.spoken(language) in page
        assert refusal.fix.spoken(language) in page
    assert "keyholder-ch" in opened_by(OUTCOME, 0, language)
    for place in range(len(OUTCOME.queries)):
        assert opened_by(OUTCOME, place, language) in page
    assert say("unprotected.coalition", language, colluding=1) in page.replace("&#39;", "'")
    assert say("unprotected.collusion", language) in page.replace("&#39;", "'")
    assert say("verdict.helps_not", language, parties="warehouse-eu") in page


def test_data_cannot_become_markup(language: Language) -> None:
    page = render(OUTCOME, language)
    assert "<b>&odd" not in page
    assert "&lt;b&gt;&amp;odd" in page


def test_a_leak_is_shouted(language: Language) -> None:
    page = render(LEAKING, language)
    assert say("raw.found", language, party="warehouse-cn", record="4711000012345678") in page
    assert say("report.intro_leaked", language) in page
    assert say("report.intro_kept", language) not in page
    assert say("report.intro_kept", language) in render(OUTCOME, language)


def test_a_federation_that_does_not_help_is_said_not_to() -> None:
    worse = replace(OUTCOME.fraud, overall=Scores(0.02, 0.4, 0.3, 0.35, 0.4))
    page = render(replace(OUTCOME, fraud=worse), "en")
    assert "Over all rows the federation with DP does not help: 0.300, against 0.400" in page


def test_an_outcome_with_next_to_nothing_in_it_renders(language: Language) -> None:
    nothing = Scores(None, None, None, None, None)
    bare = replace(
        OUTCOME,
        demand=replace(OUTCOME.demand, overall=nothing, parties=(), newcomer=None),
        fraud=replace(OUTCOME.fraud, overall=nothing, parties=(), rounds=0, survivors=()),
        queries=(replace(OUTCOME.queries[0], rows=(), error=(), exact_for_demo=()),),
        refusals=(),
        budgets=(Budget("merchant-br", "orders", Unit.ORDER, 0.0, 1e-6, 0.0),),
        nodes=(Node("merchant-br", "merchant", "BR"), Node("merchant-in", "merchant", "IN")),
        traffic=(Crossing("merchant-br", "?", "BR", "?", "unreadable", 1, 5),),
        notes=(),
    )
    assert say("refusal.none", language) in render(bare, language)
    ElementTree.fromstring(picture(bare, language))
    show(bare, language, Console(file=StringIO(), width=100))


def test_the_picture_says_how_many_rows_crossed(tmp_path: Path) -> None:
    write_picture(OUTCOME, tmp_path / "picture.svg")
    drawn = (tmp_path / "picture.svg").read_text("utf-8")
    assert "0 raw rows crossed" in drawn
    assert "<script" not in drawn
    assert "1 raw rows crossed" in picture(LEAKING)


def test_json_has_exactly_the_agreed_keys() -> None:
    value = json.loads(json.dumps(to_json(OUTCOME), allow_nan=False))
    assert value["schema"] == "entrepot.demo/1"
    five = {"local", "federated_dp", "federated", "pooled"}
    assert value["demand"]["wape"].keys() == five | {"naive"}
    assert value["demand"]["warehouses"][2] == {
        "party": "warehouse-uk",
        "naive": 0.502,
        "local": 0.311,
        "federated_dp": 0.254,
        "federated": 0.241,
        "pooled": 0.232,
    }
    assert value["fraud"]["ap"].keys() == five | {"base_rate"}
    for model in ("demand", "fraud"):
        assert value[model].keys() >= {"epsilon", "delta", "unit"}
    assert "commercial confidentiality" in value["demand"]["unit"]
    assert value["queries"][0].keys() == {
        "sql", "rows", "error", "exact_for_demo", "epsilon", "low", "high",
    }  # fmt: skip
    for refusal in value["refusals"]:
        assert refusal.keys() >= {"node", "kind", "reasons", "fix"}
        assert all(reason["en"] and reason["zh"] for reason in refusal["reasons"])
    assert {budget["node"] for budget in value["budgets"]} == {
        node.party for node in OUTCOME.nodes[:8]
    }
    assert value["budgets"][0].keys() >= {"node", "dataset", "unit", "epsilon", "delta", "limit"}
    assert value["borders"][0].keys() == {"origin", "destination", "kind", "messages", "bytes"}
    assert all(border["origin"] != border["destination"] for border in value["borders"])
    assert value["ledger"]["entries"] == sum(log["entries"] for log in value["ledger"]["logs"])
    assert value["ledger"]["booked"] == 12
    assert value["ledger"]["verified"].keys() == {"en", "zh"}
    assert {"export", "trust", "code", "last", "register"} <= value["ledger"].keys()
    told = value["keyholders"]
    assert told.keys() == {"threshold", "keyholders", "killed", "keys", "questions"}
    assert told["questions"][0].keys() == {"by", "exchanges", "seconds", "opening_ms"}
    assert value["raw_rows_crossed"] == 0
    assert to_json(LEAKING)["raw_rows_crossed"] == 1


def test_borders_add_up() -> None:
    home, abroad = borders(OUTCOME.traffic, domestic=True), borders(OUTCOME.traffic)
    assert sum(item.size for item in (*home, *abroad)) == sum(item.size for item in OUTCOME.traffic)


def test_a_burn_down_falls_from_the_limit_and_never_rises() -> None:
    spent = [0.1 * step for step in range(1, 9)]
    course = tuple(Step(1000 + 60 * place, value) for place, value in enumerate(spent))
    budget = replace(PEOPLE, limit=1.0, epsilon=0.8, course=course)
    path = re.search('d="(M[^"]+)"', burn_down(budget, "en"))
    assert path is not None
    heights = [float(y) for y in re.findall(r"V([0-9.]+)", path[1])]
    across = [float(x) for x in re.findall(r"H([0-9.]+)", path[1])]
    assert path[1].startswith("M4 8H")  # it begins at the limit
    assert heights == sorted(heights)
    assert heights == pytest.approx([8 + 30 * value for value in spent], abs=0.06)
    assert across == sorted(across)
    assert across[-1] == 156
    nothing = burn_down(replace(budget, course=()), "en")
    assert "Nothing was spent; 1 is left" in nothing


def test_runs_at_one_moment_stand_beside_each_other() -> None:
    course = tuple(Step(1000, value) for value in (0.1, 0.2, 0.3))
    drawn = burn_down(replace(PEOPLE, limit=1.0, course=course), "en")
    path = re.search('d="(M[^"]+)"', drawn)
    assert path is not None
    across = [float(x) for x in re.findall(r"H([0-9.]+)V", path[1])]
    assert len(set(across)) == 3


def test_a_sparkline_says_what_was_left() -> None:
    course = [Step(place, value) for place, value in enumerate((0.0, 0.5, 0.99, 1.0, 1.2))]
    assert sparkline(course, 1.0) == "██▅▁  "
    assert sparkline((), 1.0) == "█"
    assert sparkline(course, 1.0, width=2) == "  "
    assert sparkline(course, 0.0).strip() == ""


def test_a_bar_shows_spent_pending_and_left() -> None:
    assert bar(0.0, 0.0, 1.0, 8) == "░" * 8
    assert bar(0.5, 0.25, 1.0, 8) == "████▒▒░░"
    assert bar(0.001, 0.001, 1.0, 8) == "█▒░░░░░░"
    assert bar(2.0, 1.0, 1.0, 8) == "█" * 8
    assert bar(0.0, 0.0, 0.0, 8) == "█" * 8


def test_the_officer_reads_both_epsilons_purses_people_and_the_ledger(language: Language) -> None:
    page = html.unescape(render(OUTCOME, language))
    for sentence in ("which_note", "failures_note", "person_note", "commercial_note", "gate"):
        assert say(f"budget.{sentence}", language) in page
    for figure in ("3.7512", "0.0000000002 / 0.000000001", "3.3011", "4.5123", "2.9012"):
        assert figure in page
    assert say("budget.no_certificate", language) in page
    assert say("budget.runs_more", language, count=100) in page
    assert "entrepot audit verify entrepot-ledger.json --trust entrepot-trust.txt" in page
    assert say("ledger.verified", language, verdict=LEDGER.verdict.spoken(language)) in page
    assert say("ledger.offline_why", language) in page
    assert "BR-004 <dp>" in page
    # A unit that is no person has no person view.
    (people,) = re.findall(
        f"<h3>{say('budget.person', language)}</h3>(.*?)</table>", page, re.DOTALL
    )
    assert "orders" in people
    assert "demand" not in people


def test_each_crossing_shows_the_rules_that_covered_it(language: Language) -> None:
    ruled = replace(OUTCOME, traffic=(replace(OUTCOME.traffic[0], rule="CN-T07 EU-T08"),))
    assert "<code>CN-T07 EU-T08</code>" in render(ruled, language)


def test_an_entry_cannot_become_markup(language: Language) -> None:
    page = render(OUTCOME, language)
    assert "<i>x</i>" not in page
    assert "<dp>" not in page


def test_a_ledger_that_does_not_verify_is_shouted(language: Language) -> None:
    bad = replace(LEDGER, code=30)
    wrong = replace(OUTCOME, ledger=bad)
    said = say("ledger.not_verified", language, verdict=LEDGER.verdict.spoken(language))
    assert said in html.unescape(render(wrong, language))
    shown = StringIO()
    show(wrong, language, Console(file=shown, width=200))
    assert said in shown.getvalue()
    assert say("ledger.none", language) in render(replace(OUTCOME, ledger=None), language)


def test_an_answer_of_the_federation_is_shown_as_it_is() -> None:
    answer = Answer(
        keys=("category",),
        labels=("spent", "mean"),
        units=("rows", "EUR"),
        rows=(
            Row(
                ("home",),
                (Cell("12", "3", "9", "15"), Cell("1.50", "0.50", "1.20", "2.20")),
            ),
            Row(("toys",), (Cell("-1", "3", "-4", "2"), Cell(None, None, None, None, "noise"))),
        ),
        contributors=3,
    )
    exact = [{"spent": 10, "mean": 2.1}, {"spent": 9, "mean": 2.0}]
    query = query_of("SELECT", answer, exact, 0.1)
    assert query.rows[1] == {"category": "toys", "spent": -1, "mean": None}
    assert columns_of(query) == (("category",), ("spent", "mean"))
    assert list(intervals(query, "mean")) == [(1.5, 1.2, 2.2, 2.1)]
    assert coverage(query) == (2, 3)


def test_a_chart_has_a_bar_for_every_row_that_says_something() -> None:
    rows = ({"k": "a", "n": 5}, {"k": "b", "n": None}, {"k": "c", "n": -2})
    ends = ({"n": 3}, {"n": None}, {"n": -4}), ({"n": 7}, {"n": None}, {"n": 0})
    query = Query("SELECT", rows, ({"n": 2}, {"n": None}, {"n": 2}), (), 0.1, *ends)
    (chart,) = query_plots(query, "en")
    assert chart.count("<rect") == 2
    assert chart.count(say("plot.silent", "en")) == 1
    # Every name stands beside its own row: 28 px apart, whatever the rows between them say.
    at = [re.search(rf'y="([\d.]+)"[^>]*>{name}</text>', chart).group(1) for name in "abc"]
    assert [float(y) for y in at] == [53, 81, 109]
    discs = re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', chart)
    assert [float(y) for y in discs] == [48, 104]


def test_bars_begin_at_zero_and_an_answer_without_keys_has_none() -> None:
    far = Query(
        "SELECT", ({"k": "a", "n": 100},), ({"n": 1},), (), 0.1, ({"n": 99},), ({"n": 101},)
    )
    (chart,) = query_plots(far, "en")
    (bar,) = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', chart)
    assert float(bar[0]) == 190
    assert float(bar[1]) > 500
    (alone,) = query_plots(replace(far, rows=({"n": 100},)), "en")
    assert "<rect" not in alone


def test_the_terminal_shows_every_part(language: Language) -> None:
    said = StringIO()
    show(OUTCOME, language, Console(file=said, width=120))
    for part in ("demand", "fraud", "query", "refusal", "budget", "border"):
        assert say(f"{part}.title", language) in said.getvalue()
    assert say("raw.count", language, count=0) in said.getvalue()
    assert "<b>&odd" in said.getvalue()
    leaked = StringIO()
    show(LEAKING, language, Console(file=leaked, width=120))
    assert "4711000012345678" in leaked.getvalue()


def test_steps_are_plain_lines_where_nobody_types(language: Language) -> None:
    said = StringIO()
    ticks = iter([0.0, 1.0, 1.5, 2.0, 4.5, 4.5])
    steps = Steps(Console(file=said, width=100), language, clock=lambda: next(ticks))
    with steps.step("demand"):
        steps.note("[bold]as it is")
    title = say("step.demand", language)
    assert said.getvalue().splitlines() == [
        f"   1.5 s   {title}  …",
        "   2.0 s     [bold]as it is",
        f"   4.5 s ✓ {title}  3.5 s",
    ]


def test_a_step_that_fails_is_marked_and_its_error_goes_on() -> None:
    said = StringIO()
    steps = Steps(Console(file=said, width=100), "en")
    with pytest.raises(ValueError, match="why"), steps.step("fraud"):
        raise ValueError("why")
    assert "✗" in said.getvalue()
    with Silence().step("fraud"):
        Silence().note("nothing")
