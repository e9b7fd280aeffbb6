"""The policy card, outcomes of cases and changed situations on a terminal."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text as Styled

from experiments.outcome import Language
from experiments.policy_folder import near
from experiments.policy_words import said
from experiments.words import name_of
from policies import masking
from policies.card import Allowance, Border, Card
from policies.cases import Outcome
from policies.situations import TASKS, Change, Difference, spoken

TEST_SCHEMA: Final = "entrepot.node.policy.test/1"
DIFF_SCHEMA: Final = "entrepot.node.policy.diff/1"

NARROW: Final = 120
"""Columns below which the eight of the transfers are a list: side by side they hold no word."""


def show_card(card: Card, others: Sequence[str], language: Language) -> None:
    """Print the card; `others` names the texts that are of another edition of their pack."""
    console = Console()
    place = name_of("place", card.jurisdiction.value, language)
    title = said(
        "title", language, node=card.node, place=place, law=card.law[:12], day=card.day.isoformat()
    )
    console.print(Styled(title, style="bold"))
    parts = (
        ("allows", _allows(card, language)),
        ("limits", _limits(card, language)),
        ("transfers", _transfers(card, language, console.width)),
        ("grades", _grades(language)),
        ("rules", _rules(card, language)),
    )
    for name, table in parts:
        console.print()
        console.print(Styled(said(name, language), style="bold"))
        console.print(table)
        if name == "allows":
            console.print(Styled(said("allows_note", language), style="dim"))
    for line in export_lines(card, language):
        console.print(line)
    _show_sources(console, card, others, language)


def export_lines(card: Card, language: Language) -> list[Styled]:
    """Return what is said about people whose data left; nothing where nobody counts them."""
    if card.export is None:
        return []
    export, count = card.export
    facts = {
        "year": count.year,
        "persons": f"{count.persons:,}",
        "limit": f"{export.persons:,}",
        "percent": count.percent_of(export),
    }
    lines = [Styled(said("export", language, **facts))]
    return [*lines, *(Styled(line, style="bold red") for line in near(export, count, language))]


def _table(language: Language, *names: str) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for name in names:
        table.add_column(said(name, language), overflow="fold")
    return table


def _allows(card: Card, language: Language) -> Table:
    table = _table(language, "task", "persons", "firms")
    known = {(item.task, item.unit): item for item in card.allowances}
    for task in TASKS:
        cells = (_allowance(known[task, unit], language) for unit in ("customer", "commercial"))
        table.add_row(said(task[0], language, purpose=task[1]), *cells)
    return table


def _allowance(item: Allowance, language: Language) -> str:
    if item.epsilon is None:
        return said("never", language, rules=", ".join(item.rules))
    asks = said("asks", language, rules=", ".join(item.asks)) if item.asks else ""
    return f"ε {item.epsilon} → {', '.join(item.recipients)}{asks}"


def _limits(card: Card, language: Language) -> Table:
    names = ("contract", "unit", "rows", "window", "people")
    table = _table(language, *names)
    table.add_column("ε")
    table.add_column("δ")
    for contract in card.contracts:
        people = f"{contract.persons:,}" if contract.persons else said("undeclared", language)
        table.add_row(
            escape(f"{contract.name} {contract.version}"),
            contract.unit.label,
            str(contract.unit.rows),
            escape(contract.limit.window),
            "–" if contract.unit.kind == "commercial" else people,
            str(contract.limit.epsilon),
            str(contract.limit.delta),
        )
    return table


def _transfers(card: Card, language: Language, width: int) -> Table:
    names = ("to", "results", "aggregator", "key", "mechanism", "law", "until", "needs")
    if width < NARROW:
        return _list([said(name, language) for name in names], _crossings(card, language))
    table = _table(language, *names)
    for row in _crossings(card, language):
        table.add_row(*map(escape, row))
    return table


def _list(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return the cells one below the other, each beside its name, rows apart from one another."""
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row()
        for name, text in zip(names, row, strict=True):
            table.add_row(name, escape(text))
    return table


def _crossings(card: Card, language: Language) -> list[tuple[str, ...]]:
    """Return what holds for which places, those together for which the same holds."""
    by_place: dict[str, list[Border]] = {}
    for border in card.borders:
        by_place.setdefault(border.destination, []).append(border)
    together: dict[tuple[str, ...], list[str]] = {}
    for destination, posts in by_place.items():
        rules = [item.mechanism.id if item.mechanism else "–" for item in posts]
        row = (*rules, *_mechanism(posts[0], language))
        together.setdefault(row, []).append(destination)
    return [(", ".join(destinations), *row) for row, destinations in together.items()]


def _mechanism(border: Border, language: Language) -> tuple[str, str, str, str]:
    found = border.mechanism
    if found is None:
        return said("none", language), "–", "–", "–"
    needs = found.needs_zh if language == "zh" else found.needs_en
    watch = found.watch_zh if language == "zh" else found.watch_en
    text = found.zh if language == "zh" else found.en
    until = found.valid_until.isoformat() if found.valid_until else "–"
    more = "; ".join(filter(None, (*needs, watch))) or "–"
    return text, f"{found.law} {found.article}", until, more


def _grades(language: Language) -> Table:
    table = _table(language, "grade")
    rows = masking.table()
    for purpose in masking.READABLE_FOR:
        table.add_column(purpose, overflow="fold")
    words = {"clear": "clear", "masked": "masked", "never": "never_used"}
    for grade, uses in rows.items():
        table.add_row(grade, *(said(words[use], language) for use in uses.values()))
    return table


def _rules(card: Card, language: Language) -> Table:
    table = _table(language, "rule", "says", "law", "fix")
    for rule in card.rules:
        says, fix = (rule.text_zh, rule.fix_zh) if language == "zh" else (rule.text_en, rule.fix_en)
        table.add_row(rule.id, escape(says), escape(rule.law), escape(fix))
    return table


def _show_sources(console: Console, card: Card, others: Sequence[str], language: Language) -> None:
    console.print()
    console.print(Styled(said("sources", language), style="bold"))
    for pack in card.packs:
        chinese = language == "zh"
        line = said(
            "source",
            language,
            name=pack.name_zh if chinese else pack.name_en,
            law=pack.law,
            as_of=pack.as_of.isoformat(),
            reviewed=pack.reviewed_zh if chinese else pack.reviewed_en,
        )
        console.print(Styled(line))
        for note in pack.notes_zh if chinese else pack.notes_en:
            console.print(Styled(f"  {note}", style="dim"))
    for file in others:
        console.print(Styled(said("other_edition", language, file=file), style="bold red"))


def card_json(card: Card, others: Sequence[str]) -> dict[str, Any]:
    """Return the card for `--json`, with the texts that are of another edition."""
    return {**card.to_json(), "other_editions": list(others)}


def show_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print the cases that the law judges otherwise than expected, then how many there were."""
    console = Console()
    wrong = [outcome for outcome in outcomes if not outcome.is_as_expected]
    for outcome in wrong:
        case = outcome.case
        console.print(f"[bold red]✗[/bold red] {escape(case.name)}", highlight=False)
        console.print(f"    expected {_said(case.refused)}", highlight=False)
        console.print(f"    the law says {_said(outcome.found)}", highlight=False)
        if outcome.found == case.refused and case.overrides is not None:
            wanted, found = ", ".join(case.overrides), ", ".join(outcome.suggested)
            console.print(f"    suggests {found or 'nothing'}, expected {wanted or 'nothing'}")
    console.print(f"{len(outcomes) - len(wrong)} of {len(outcomes)} cases are as expected")


def _said(rules: Sequence[str]) -> str:
    return f"refused {', '.join(rules)}" if rules else "permitted"


def outcomes_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the outcomes for `--json`."""
    return {
        "schema": TEST_SCHEMA,
        "cases": [
            {
                "name": outcome.case.name,
                "passed": outcome.is_as_expected,
                "expected": list(outcome.case.refused),
                "refused_by": list(outcome.found),
                "overrides": list(outcome.suggested),
            }
            for outcome in outcomes
        ],
        "passed": sum(outcome.is_as_expected for outcome in outcomes),
        "failed": sum(not outcome.is_as_expected for outcome in outcomes),
    }


def show_difference(found: Difference) -> None:
    """Print the situations that change, newly permitted ones first."""
    console = Console()
    console.print(f"{found.changed} of {found.asked} situations change", highlight=False)
    for change in found.changes:
        style = "bold" if not change.after else ""
        line = f"  {spoken(change, found.prices)}  ({change.count})"
        console.print(Styled(line, style=style))


def difference_json(found: Difference) -> dict[str, Any]:
    """Return the changed situations for `--json`."""
    return {
        "schema": DIFF_SCHEMA,
        "asked": found.asked,
        "changed": found.changed,
        "changes": [_change(change, found) for change in found.changes],
    }


def _change(change: Change, found: Difference) -> dict[str, Any]:
    tasks, prices, places, units, besides = change.facets
    return {
        "text": spoken(change, found.prices),
        "tasks": [{"action": action, "purpose": purpose} for action, purpose in tasks],
        "epsilon": [str(price) for price in sorted(prices)],
        "recipients": [place.value for place in places],
        "units": list(units),
        "besides": [words for words in besides if words],
        "before": list(change.before),
        "after": list(change.after),
        "situations": change.count,
    }
