"""`entrepot budget`: what was spent, and what is left."""

import json
from pathlib import Path

import click


@click.group()
def command() -> None:
    """What was spent, and what is left."""


@command.command()
@click.option("--federation", type=click.Path(path_type=Path), help="Folder of the federation.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(federation: Path | None, as_json: bool) -> int:
    """Show ε spent, pending and left per node and dataset; composed, rounded up."""
    from experiments.home import open_home
    from experiments.statements import statements
    from experiments.viewing import show_budgets

    rows = [row.to_json() for row in statements(open_home(federation))]
    if as_json:
        click.echo(json.dumps({"schema": "entrepot.budget/1", "budgets": rows}))
    else:
        show_budgets(rows)
    return 0
