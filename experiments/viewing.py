"""Single answers on a terminal: stdout is data, stderr is talk."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text as Styled

from experiments.burndown import bar, sparkline
from experiments.lasting import Fitting, Lasting, day
from experiments.outcome import Language
from experiments.planning import Change, Changed
from experiments.statements import SHOWN_RUNS, NodeStatement
from experiments.verdicts import JOINED
from experiments.words import name_of, say
from policies.budget.account import Scope
from policies.budget.forecast import HORIZON, NEEDED, TooFewRuns

BAR: Final = 8
YEAR: Final = 365 * 86_400


def show_budgets(rows: Sequence[NodeStatement], language: Language = "en") -> None:
    """Print the accounts of every node: what is spent and left, and what that means."""
    console = Console()
    groups: dict[str, list[NodeStatement]] = {}
    for row in rows:
        groups.setdefault(_account(row.account.scope, language), []).append(row)
    for heading, group in groups.items():
        console.print(Styled(f"{heading} · δ = {group[0].delta:g}", style="bold"))
        console.print(_accounts(group, language))
    _below(console, language, "which_note", "failures_note")
    console.print(Styled(say("budget.plain_title", language), style="bold"))
    for heading, group in groups.items():
        console.print(Styled(heading))
        console.print(_meaning(group, language))
    _below(console, language, "plain_note", "commercial_note")
    console.print(Styled(say("budget.person", language), style="bold"))
    for heading, group in groups.items():
        if group[0].is_personal:
            console.print(Styled(heading))
            console.print(_people(group, language))
    _below(console, language, "person_note")


def _account(scope: Scope, language: Language) -> str:
    unit = name_of("unit_short", scope.label, language)
    return f"{scope.subjects} ({unit}, {scope.window}) · {scope.dataset}"


def _accounts(rows: Sequence[NodeStatement], language: Language) -> Table:
    names = ("gate", "pending", "certificate", "limit", "left", "runs", "failures")
    table = _table(language, "node", "course", numbers=names)
    for row in rows:
        table.add_row(
            row.node,
            _course(row),
            f"{row.epsilon:.4g}",
            f"{row.pending:.4g}",
            _figure(row.certificate(), say("budget.no_certificate", language)),
            f"{row.limit:.4g}",
            f"{row.left:.4g}",
            _runs(row.runs_left, language),
            "/".join(row.failures),
        )
    return table


def _course(row: NodeStatement) -> str:
    spent = row.account.statement.epsilon_spent
    return f"{bar(spent, row.pending, row.limit, BAR)} {sparkline(row.course(), row.limit, BAR)}"


def _meaning(rows: Sequence[NodeStatement], language: Language) -> Table:
    names = ("caught", "right_guess", "textbook", "lifetime")
    table = _table(language, "node", numbers=names)
    for row in rows:
        found = row.plain()
        facts = {"caught": found.textbook_caught, "rate": _rate(found.textbook_right_guess)}
        table.add_row(
            row.node,
            say("budget.caught_value", language, caught=found.caught, luck=found.luck),
            _rate(found.right_guess),
            Styled(say("budget.textbook_value", language, **facts), style="dim"),
            f"{row.account.statement.lifetime:.4g}",
        )
    return table


def _people(rows: Sequence[NodeStatement], language: Language) -> Table:
    table = _table(language, "node", numbers=())
    for item in rows[0].person():
        heading = say("budget.person_at", language, parties=item.parties)
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        figures = (f"{_figure(it.epsilon)} ({_figure(it.shared)})" for it in row.person())
        table.add_row(row.node, *figures)
    return table


def show_what_if(change: Change, language: Language = "en") -> None:
    """Print what an order would change in every account that it touches."""
    console, order = Console(), change.order
    console.print(Styled(say("whatif.title", language), style="bold"))
    facts = {"epsilon": order.epsilon, "delta": order.delta, "nodes": len(order.cohort)}
    console.print(say("whatif.price", language, **facts))
    groups: dict[str, list[Changed]] = {}
    for account in change.accounts:
        groups.setdefault(_account(account.scope, language), []).append(account)
    for heading, group in groups.items():
        console.print(Styled(heading))
        console.print(_changes(group, language))
    for line in _conclusions(change, language):
        console.print(Styled(line), soft_wrap=True)


def _changes(accounts: Sequence[Changed], language: Language) -> Table:
    names = ("gate", "limit", "left", "runs", "caught")
    table = _table(language, "node", numbers=names)
    table.add_column("")
    for account in accounts:
        value = account.to_json()
        table.add_row(
            account.node,
            _arrow(f"{value['before']:.4g}", f"{value['after']:.4g}"),
            f"{value['limit']:.4g}",
            _arrow(f"{value['left_before']:.4g}", f"{value['left']:.4g}"),
            _arrow(_runs(account.runs_before, language), _runs(account.runs_after, language)),
            _arrow(str(account.before.caught), str(account.after.caught)),
            say("whatif.fits" if account.fits else "whatif.fits_not", language),
        )
    return table


def _conclusions(change: Change, language: Language) -> Iterator[str]:
    order, total = change.order, len(change.accounts)
    if order.abandoned:
        releases = order.releases + order.abandoned
        facts = {"releases": releases, "abandoned": order.abandoned}
        yield say("whatif.abandoned", language, **facts)
    poor = [account for account in change.accounts if not account.fits]
    if not poor:
        yield say("whatif.all_fit", language)
    else:
        yield say("whatif.some_fit_not", language, count=len(poor), total=total)
    for account in poor:
        yield f"  {account.node}: {account.refusal}"
    yield say("whatif.untouched", language)


def show_forecasts(rows: Sequence[Lasting], language: Language = "en") -> None:
    """Print when every account is empty."""
    console = Console()
    console.print(Styled(say("forecast.title", language), style="bold"))
    texts = ("budget.node", "budget.dataset", "budget.window", "forecast.empties")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in texts:
        table.add_column(say(name, language), no_wrap=name == "budget.node")
    for row in rows:
        scope = row.account.scope
        table.add_row(row.account.node, scope.dataset, scope.window, _empties(row, language))
    console.print(table)
    console.print(Styled(say("forecast.rate_note", language), style="dim"), soft_wrap=True)


def _empties(row: Lasting, language: Language) -> str:
    found = row.result
    if isinstance(found, TooFewRuns):
        return say("forecast.too_few", language, needed=NEEDED, runs=found.runs)
    if found.empty_at is None:
        return say("forecast.never", language, years=HORIZON // YEAR)
    early, late = day(found.earliest), day(found.latest)
    ends = {"early": early or "–", "late": late or "–"}
    return f"{day(found.empty_at)} ({say('forecast.between', language, **ends)})"


def show_wishes(rows: Sequence[Fitting], language: Language = "en") -> None:
    """Print which wishes fit."""
    console = Console()
    console.print(Styled(say("forecast.wishes", language), style="bold"))
    for row in rows:
        nodes = JOINED[language].join(row.lacking)
        name = "forecast.wish_fits" if row.fits else "forecast.wish_lacks"
        facts = {} if row.fits else {"nodes": nodes}
        mark = "✓" if row.fits else "✗"
        line = f"{mark} {row.said} (ε {row.epsilon}): {say(name, language, **facts)}"
        console.print(Styled(line), soft_wrap=True)
        if row.advice:
            console.print(Styled(f"    → {row.advice}"), soft_wrap=True)
    console.print(Styled(say("forecast.greedy_note", language), style="dim"), soft_wrap=True)


def _table(language: Language, *texts: str, numbers: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in texts:
        table.add_column(say(f"budget_short.{name}", language), no_wrap=True)
    for name in numbers:
        table.add_column(say(f"budget_short.{name}", language), justify="right")
    return table


def _below(console: Console, language: Language, *names: str) -> None:
    for name in names:
        console.print(Styled(say(f"budget.{name}", language), style="dim"))


def _runs(count: int | None, language: Language) -> str:
    if count is None:
        return "–"
    if count > SHOWN_RUNS:
        return say("budget.runs_more", language, count=SHOWN_RUNS)
    return say("budget.runs_count", language, count=count)


def _figure(value: float | None, missing: str = "–") -> str:
    return missing if value is None else f"{value:.4g}"


def _rate(value: float) -> str:
    return f"{100 * value:.1f} %"


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"
