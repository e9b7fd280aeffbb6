"""The outcome as tables on a terminal, and the steps on the way to it."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text as Styled

from experiments.burndown import sparkline
from experiments.outcome import (
    Budget,
    Language,
    Ledger,
    Outcome,
    Query,
    Refusal,
    Scores,
    Training,
    borders,
)
from experiments.showing import columns_of
from experiments.verdicts import JOINED, PRECISION, WAPE, Measure, verdicts
from experiments.words import cell, epsilon, name_of, say, score, size, small

WAYS = ("local", "federated_dp", "federated", "pooled")


class Progress(Protocol):
    """Tells somebody who waits what is being done."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Show that the step called `step.<name>` has begun, and at the end how long it took."""
        ...

    def note(self, text: str) -> None:
        """Show one line of talk below the running step."""
        ...


class Steps:
    """Progress on a console: a spinner on a terminal, plain lines anywhere else."""

    def __init__(
        self, console: Console, language: Language, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._language = language
        self._clock = clock
        self._begun = clock()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show that the step called `step.<name>` has begun, and at the end how long it took."""
        title = say(f"step.{name}", self._language)
        begun = self._clock()
        try:
            if self._console.is_terminal:
                with self._console.status(title):
                    yield
            else:
                self._line(" ", title, "…")
                yield
        except BaseException:
            self._line("✗", title, say("step.failed", self._language))
            raise
        self._line("✓", title, f"{self._clock() - begun:.1f} s")

    def note(self, text: str) -> None:
        """Show one line of talk below the running step."""
        self._line(" ", f"  {text}", "")

    def _line(self, mark: str, title: str, end: str) -> None:
        elapsed = self._clock() - self._begun
        self._console.print(
            Styled(f"{elapsed:6.1f} s {mark} {title}  {end}".rstrip()), soft_wrap=True
        )


class Silence:
    """Progress that nobody watches."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:  # noqa: ARG002  the protocol's name
        """Show nothing."""
        yield

    def note(self, text: str) -> None:
        """Show nothing."""


def show(outcome: Outcome, language: Language, console: Console) -> None:
    """Print every table of the outcome."""
    for title, part in (
        ("demand.title", _training(outcome.demand, WAPE, "demand", language)),
        ("fraud.title", _training(outcome.fraud, PRECISION, "fraud", language)),
        ("query.title", _queries(outcome, language)),
        ("refusal.title", _refusals(outcome.refusals, language)),
        ("budget.title", _budgets(outcome.budgets, language)),
        ("border.title", _borders(outcome, language)),
        ("ledger.title", _ledger(outcome.ledger, language)),
    ):
        console.print(Rule(Styled(say(title, language), style="bold"), align="left"))
        console.print(Padding(part, (0, 0, 1, 1)))
    for text in (*outcome.faults, *outcome.notes):
        console.print(f" · {escape(text.spoken(language))}")
    console.print(_raw(outcome, language))
    console.print(say("terminal.seconds", language, seconds=f"{outcome.seconds:.0f}"))


def _table(*headings: str, numbers: int = 0) -> Table:
    """Return an empty table; its last `numbers` columns are of figures."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for place, heading in enumerate(headings):
        figures = place >= len(headings) - numbers
        table.add_column(heading, justify="right" if figures else "left", no_wrap=figures)
    return table


def _training(
    training: Training, measure: Measure, section: str, language: Language
) -> RenderableType:
    ways = [say(f"score.{way}", language) for way in (measure.baseline, *WAYS)]
    table = _table(say(f"{section}.party", language), *ways, numbers=5)
    for row in training.parties:
        is_story = row.party == training.newcomer
        mark = f" ({say('score.newcomer', language)})" if is_story else ""
        table.add_row(
            row.party + mark, *_figures(row.scores), style="bold cyan" if is_story else None
        )
    table.add_row(say("score.all", language), *_figures(training.overall), style="bold")
    lines = [
        say("demand.data", language, data=training.data.spoken(language)),
        say(
            "training.price",
            language,
            epsilon=epsilon(training.epsilon),
            delta=small(training.delta),
            unit=name_of("unit", training.unit.value, language),
        ),
        say("training.baselines", language),
    ]
    said = [Styled(f"→ {line}") for line in verdicts(training, measure, language)]
    return Group(
        Styled(say(f"{section}.lead", language)),
        table,
        *said,
        *(Styled(line, style="dim") for line in lines),
    )


def _figures(scores: Scores) -> list[str]:
    return [score(scores.baseline), *(score(getattr(scores, way)) for way in WAYS)]


def _queries(outcome: Outcome, language: Language) -> RenderableType:
    parts: list[RenderableType] = []
    for place, query in enumerate(outcome.queries):
        parts.append(Styled(query.sql, style="cyan"))
        parts.append(_answer(query, language))
        price = say("query.price", language, epsilon=epsilon(query.epsilon))
        parts.append(Styled(price, style="dim"))
        if opened := opened_by(outcome, place, language):
            parts.append(Styled(opened, style="dim"))
    parts += [
        Styled(say(line, language), style="dim") for line in ("query.interval", "query.exact_note")
    ]
    return Group(*parts)


def opened_by(outcome: Outcome, place: int, language: Language) -> str:
    """Return who helped to open the answer at `place`, and who could not any more; "" untold."""
    opening = outcome.opening
    if opening is None or place >= len(opening.questions):
        return ""
    opened = opening.questions[place]
    return say(
        "kill.opened",
        language,
        by=JOINED[language].join(opened.by),
        exchanges=opened.exchanges,
        seconds=f"{opened.seconds:.1f}",
        killed=opening.killed,
        threshold=opening.threshold,
        holders=len(opening.keyholders),
    )


def _answer(query: Query, language: Language) -> Table:
    keys, columns = columns_of(query)
    headings = [
        part for name in columns for part in (name, "±", say("query.exact_short", language))
    ]
    table = _table(*keys, *headings, numbers=len(headings))
    for row, error, exact in zip(query.rows, query.error, query.exact_for_demo, strict=False):
        figures = [cell(of.get(name)) for name in columns for of in (row, error, exact)]
        table.add_row(*(cell(row[name]) for name in keys), *figures)
    return table


def _refusals(refusals: tuple[Refusal, ...], language: Language) -> RenderableType:
    if not refusals:
        return Styled(say("refusal.none", language))
    return Group(*(_refusal(refusal, language) for refusal in refusals))


def _refusal(refusal: Refusal, language: Language) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    title = Styled(f"{refusal.node} · {say(f'refusal.{refusal.kind}', language)}", style="bold red")
    if refusal.asked:
        grid.add_row(say("refusal.asked", language), escape(refusal.asked))
    for reason in refusal.reasons:
        law = f" ({reason.law})" if reason.law else ""
        said = f"{reason.rule}  {reason.said.spoken(language)}{law}"
        grid.add_row(say("refusal.why", language), escape(said))
    grid.add_row(say("refusal.fix", language), escape(refusal.fix.spoken(language)))
    if refusal.passed:
        grid.add_row(f"[green]✓[/] {say('refusal.passed', language)}", escape(refusal.passed))
    return Group(title, grid)


def _budgets(budgets: tuple[Budget, ...], language: Language) -> RenderableType:
    texts = [say(f"budget.{name}", language) for name in ("node", "dataset", "unit", "left")]
    names = ("gate", "limit", "left", "runs", "caught")
    figures = [say(f"budget_short.{name}", language) for name in names]
    table = _table(*texts, *figures, numbers=len(figures))
    table.columns[0].no_wrap = True
    for budget in budgets:
        table.add_row(
            budget.node,
            budget.dataset,
            name_of("unit_short", budget.unit.value, language),
            sparkline(budget.course, budget.limit),
            epsilon(budget.epsilon),
            epsilon(budget.limit),
            epsilon(budget.left) if budget.left else say("budget.full", language),
            runs_left(budget, language),
            "–" if budget.plain is None else str(budget.plain.caught),
        )
    return Group(table, Styled(say("budget.note", language), style="dim"))


def runs_left(budget: Budget, language: Language) -> str:
    """Return about how many more runs like the last one the account can pay for."""
    if budget.runs_left is None:
        return say("score.missing", language)
    name = "budget.runs_more" if budget.runs_more else "budget.runs_count"
    return say(name, language, count=budget.runs_left)


def _ledger(ledger: Ledger | None, language: Language) -> RenderableType:
    if ledger is None:
        return Styled(say("ledger.none", language))
    good = ledger.code == 0
    name = "ledger.verified" if good else "ledger.not_verified"
    verdict = say(name, language, verdict=ledger.verdict.spoken(language))
    command = f"entrepot audit verify {ledger.export} --trust {ledger.trust}"
    return Group(
        Styled(verdict, style="green" if good else "bold white on red"),
        Styled(command, style="cyan"),
    )


def _borders(outcome: Outcome, language: Language) -> RenderableType:
    names = ("origin", "destination", "kind", "messages", "bytes")
    table = _table(*(say(f"border.{name}", language) for name in names), numbers=2)
    crossed = borders(outcome.traffic)
    for border in crossed:
        table.add_row(
            border.origin,
            border.destination,
            name_of("kind", border.kind, language),
            f"{border.messages:,}",
            size(border.size),
        )
    total = say(
        "border.total",
        language,
        messages=f"{sum(border.messages for border in crossed):,}",
        size=size(sum(border.size for border in crossed)),
    )
    return Group(table, Styled(total, style="dim"))


def _raw(outcome: Outcome, language: Language) -> RenderableType:
    count = outcome.raw_rows_crossed
    style = "bold green" if count == 0 else "bold white on red"
    lines = [Styled(say("raw.count", language, count=count), style=style)]
    lines += [
        Styled(say("raw.found", language, party=party, record=record), style="red")
        for party, record in outcome.search.found
    ]
    if outcome.search.foreign:
        lines.append(Styled(say("raw.foreign", language, count=outcome.search.foreign)))
    lines.append(Styled(searched(outcome, language), style="dim"))
    return Group(*lines)


def searched(outcome: Outcome, language: Language) -> str:
    """Return the sentence that says what was searched for raw rows."""
    search = outcome.search
    return say(
        "raw.searched",
        language,
        canaries=search.canaries,
        messages=f"{search.frames:,}",
        size=size(search.size),
        chance=small(search.chance),
    )
