"""`entrepot budget`: what was spent, what is left, and what a run would change."""

import json
from pathlib import Path
from typing import Any

import click

from experiments.commands.options import AS_JSON, FEDERATION, LANGUAGE
from experiments.home import Home


@click.group()
def command() -> None:
    """What was spent, what is left, and what a run would change."""


@command.command()
@FEDERATION
@LANGUAGE
@AS_JSON
def show(federation: Path | None, lang: Any, as_json: bool) -> int:
    """Show ε spent, pending and left per node and account; composed, rounded up."""
    from experiments.home import open_home
    from experiments.statements import statements
    from experiments.viewing import show_budgets

    home = open_home(federation)
    rows = statements(home)
    _say_who_has_none(home, lang)
    if as_json:
        value = {"schema": "entrepot.budget/1", "budgets": [row.to_json() for row in rows]}
        click.echo(json.dumps(value))
    else:
        show_budgets(rows, lang)
    return 0


@command.command("what-if")
@click.argument("run", type=click.Choice(["train", "query"]))
@click.argument("words", nargs=-1, required=True)
@FEDERATION
@LANGUAGE
@AS_JSON
def what_if(
    run: str, words: tuple[str, ...], federation: Path | None, lang: Any, as_json: bool
) -> int:
    """Show what a run would change in every account it touches; spends nothing, touches no row.

    WORDS as of `entrepot train` or `entrepot query`: train fraud privacy.epsilon=1
    """
    from experiments.home import open_home
    from experiments.planning import order_of, what_if
    from experiments.viewing import show_what_if

    home = open_home(federation)
    value = what_if(home, order_of(home, (run, *words)))
    _say_who_has_none(home, lang)
    if as_json:
        click.echo(json.dumps(value.to_json(), ensure_ascii=False))
    else:
        show_what_if(value, lang)
    return 0


@command.command()
@click.option("--wish", "wishes", multiple=True, help='Such as "train fraud privacy.epsilon=1".')
@FEDERATION
@LANGUAGE
@AS_JSON
def forecast(wishes: tuple[str, ...], federation: Path | None, lang: Any, as_json: bool) -> int:
    """Show the day each account is empty, and which wished runs fit; spends nothing."""
    import time

    from experiments.home import open_home
    from experiments.lasting import forecasts, which_fit
    from experiments.planning import read_wish
    from experiments.viewing import show_forecasts, show_wishes

    home = open_home(federation)
    rows = forecasts(home, int(time.time()))
    fitted = which_fit(home, [read_wish(home, wish) for wish in wishes])
    _say_who_has_none(home, lang)
    if as_json:
        value: dict[str, Any] = {
            "schema": "entrepot.budget.forecast/1",
            "accounts": [row.to_json() for row in rows],
            "wishes": [wish.to_json() for wish in fitted],
        }
        click.echo(json.dumps(value, ensure_ascii=False))
        return 0
    show_forecasts(rows, lang)
    if fitted:
        show_wishes(fitted, lang)
    return 0


def _say_who_has_none(home: Home, language: Any) -> None:
    from experiments.accounts import elsewhere, without_books
    from experiments.words import say

    if nodes := without_books(home):
        click.echo(say("budget.no_books", language, nodes=", ".join(nodes)), err=True)
    if nodes := elsewhere(home):
        click.echo(say("budget.elsewhere", language, nodes=", ".join(nodes)), err=True)
