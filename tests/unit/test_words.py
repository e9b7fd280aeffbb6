"""Both languages say the same things, with the same facts."""

import re
from pathlib import Path
from string import Formatter

import pytest

from experiments.notes import line
from experiments.outcome import PartyScores, Scores, Text, Training, Unit
from experiments.verdicts import PRECISION, WAPE, verdicts
from experiments.words import catalogue, cell, epsilon, name_of, say, score, size, small
from federation.messages import Kind
from policies.parties import Jurisdiction, Role

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def facts(sentence: str) -> list[str]:
    return sorted(name for _, name, _, _ in Formatter().parse(sentence) if name is not None)


@pytest.mark.parametrize("sentence", sorted(catalogue()))
def test_both_languages_say_it_with_the_same_facts(sentence: str) -> None:
    text = catalogue()[sentence]
    assert text.en
    assert text.zh
    assert facts(text.en) == facts(text.zh)


def test_chinese_is_chinese() -> None:
    symbols = {"score.missing", "node.of_limit", "budget.at_delta", "reading.row"}
    for sentence, text in catalogue().items():
        if sentence not in symbols:
            assert re.search("[一-鿿]", text.zh), sentence
        assert not re.search("[一-鿿]", text.en), sentence
        assert not re.search("[一-鿿][,:;(]|[,;)][一-鿿]", text.zh), sentence


def test_every_id_that_the_code_names_exists() -> None:
    sources = [*EXPERIMENTS.glob("*.py"), *EXPERIMENTS.glob("report/*")]
    named = {
        found
        for source in sources
        if source.suffix in {".py", ".j2"}
        for found in re.findall(r"\bsay\(\s*[\"']([a-z_]+\.[a-z_.]+)[\"']", source.read_text())
    }
    assert named
    assert named <= catalogue().keys()


def test_every_kind_role_place_and_unit_has_a_name() -> None:
    for section, names in {
        "kind": Kind,
        "role": Role,
        "place": Jurisdiction,
        "unit": Unit,
        "unit_short": Unit,
    }.items():
        for name in names:
            assert f"{section}.{name.value}" in catalogue()


def test_a_missing_fact_is_an_error_and_an_unknown_name_is_itself() -> None:
    with pytest.raises(KeyError):
        say("terminal.seconds", "en")
    with pytest.raises(KeyError):
        say("no.such", "en")
    assert name_of("role", "pirate", "zh") == "pirate"


def test_numbers_are_short() -> None:
    assert [score(0.2514), score(None)] == ["0.251", "–"]
    assert [epsilon(4.0), epsilon(3.71256), epsilon(0)] == ["4", "3.7126", "0"]
    assert [small(1e-6), small(2.5e-7), small(0)] == ["1e-6", "2.5e-7", "0"]
    assert [size(0), size(999), size(1500), size(123_456), size(2_500_000)] == [
        "0 B", "999 B", "1.5 kB", "123 kB", "2.5 MB",
    ]  # fmt: skip
    assert [cell(None), cell("home"), cell(12345), cell(1234.5), cell(12.345), cell(0.5)] == [
        "–", "home", "12,345", "1,234", "12.35", "0.5000",
    ]  # fmt: skip


def training(overall: Scores, *rows: PartyScores, newcomer: str | None = None) -> Training:
    nothing = Text("x", "x")
    return Training(overall, rows, 4, 1e-6, Unit.RETAILER_WEEK, nothing, newcomer)


def test_verdicts_say_who_gains_and_who_does_not() -> None:
    said = verdicts(
        training(
            Scores(0.5, 0.3, 0.24, 0.22, 0.21),
            PartyScores("warehouse-cn", Scores(0.4, 0.21, 0.22, 0.2, 0.2)),
            PartyScores("warehouse-uk", Scores(0.5, 0.31, 0.25, 0.24, 0.23)),
            newcomer="warehouse-uk",
        ),
        WAPE,
        "en",
    )
    assert said == (
        "warehouse-uk has just opened: alone it gets 0.310, with the federation 0.250.",
        "Over all rows: 0.240 with the federation and DP, 0.300 without it.",
        "With privacy the federation beats what each can do alone for 1 of 2: warehouse-uk.",
        "It does not help warehouse-cn: what they have without it is as good or better.",
        "Privacy costs 0.020 here: 0.240 with DP, 0.220 without.",
    )


def test_verdicts_do_not_flatter() -> None:
    said = verdicts(
        training(
            Scores(0.1, 0.4, 0.4, 0.39, None),
            PartyScores("merchant-uk", Scores(0.1, 0.5, 0.4, 0.4, None)),
            newcomer="merchant-uk",
        ),
        PRECISION,
        "en",
    )
    assert said[0].endswith("does not help it: 0.400, against 0.500 without.")
    assert "does not help: 0.400, against 0.400" in said[1]
    assert said[2].startswith("It does not help merchant-uk")
    assert said[3].startswith("Privacy costs nothing measurable")


def test_what_was_not_measured_is_not_judged() -> None:
    nothing = Scores(None, None, None, None, None)
    assert verdicts(training(nothing, PartyScores("a", nothing)), WAPE, "zh") == ()


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ({"stage": "offered", "willing": ["a", "b"], "declined": 0}, "2 nodes agreed"),
        (
            {"stage": "offered", "willing": ["a"], "refusals": [], "declined": 2},
            "1 nodes agreed, 2 declined",
        ),
        (
            {"stage": "round", "round": 1, "of": 8, "parties": ["a"], "lost": ["b", "c"]},
            "round 1/8 from 1 nodes; lost: b, c",
        ),
        ({"stage": "resumed", "round": 3, "of": 8}, "resumed after round 3/8"),
        ({"stage": "sealed", "parties": ["a"]}, "1 sealed partials"),
        (
            {"stage": "repeated", "run": "f" * 64, "asked_at": 1_793_000_000},
            "answered from the past release ffffffffffff of 2026-10-26 07:33:20 UTC, at no ε",
        ),
        (
            {"stage": "evaluated", "metrics": {"wape": {"value": None, "note": "too noisy"}}},
            "measured on rows held out: WAPE too noisy",
        ),
        (
            {
                "stage": "evaluated",
                "metrics": {
                    "wape": {"value": "0.1644", "low": "0.115", "high": "0.22", "note": ""}
                },
            },
            "measured on rows held out: WAPE 0.164 (0.115 … 0.220)",
        ),
        (
            {
                "stage": "evaluated",
                "metrics": {"average_precision": {"value": "0.4", "low": "0.3", "high": "0.5"}},
            },
            "measured on units held out: average precision 0.400 (0.300 … 0.500)",
        ),
        ({"stage": "witnessed"}, ""),
    ],
)
def test_progress_is_told_in_both_languages(note: dict[str, object], said: str) -> None:
    assert line(note) == said
    assert bool(line(note, "zh")) == bool(said)
    assert not said or re.search("[一-鿿]", line(note, "zh"))


def test_progress_names_nobody_who_declined_where_the_others_go_on() -> None:
    note = {"stage": "offered", "willing": ["a"], "refusals": [{"node": "shy"}], "declined": 1}
    assert "shy" not in line(note)
