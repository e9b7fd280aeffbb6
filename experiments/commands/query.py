"""`entrepot query`: ask a joint SQL question; `--explain` shows the price and spends nothing."""

import json
import time
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("sql")
@click.argument("overrides", nargs=-1)
@click.option("--federation", type=click.Path(path_type=Path), help="Folder of the federation.")
@click.option("--explain", is_flag=True, help="Show price and error; spend nothing, touch no row.")
@click.option("--fresh", "source", flag_value="fresh", help="Pay for a new release in any case.")
@click.option(
    "--past", "source", flag_value="past", help="Give a past release, or none; never pay."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    sql: str,
    overrides: tuple[str, ...],
    federation: Path | None,
    explain: bool,
    source: Any,
    as_json: bool,
) -> int:
    """Ask SQL over all parties, such as "SELECT category, COUNT(*) FROM orders GROUP BY category".

    OVERRIDES: privacy.epsilon=0.25  purpose=market_statistics  cohort.minimum=3  windows=2025,2026

    A question that was asked before, and whose answer you may see, is answered from that release
    and costs nothing, if the law of every node allows it.
    """
    from experiments.home import open_home
    from experiments.ordering import query_order
    from experiments.querying import ask, explanation, read_terms
    from experiments.viewing import show_answer, show_explanation

    home = open_home(federation)
    epsilon, terms = read_terms(overrides, source or "any")
    order = query_order(home, sql, epsilon, terms)
    if explain:
        value = explanation(home, order)
        _print(value, as_json, show_explanation)
        return 0
    started = time.monotonic()
    value = ask(home, order, _say)
    value["seconds"] = round(time.monotonic() - started, 3)
    _print(value, as_json, show_answer)
    return 0


def _say(note: dict[str, Any]) -> None:
    from experiments.notes import line

    if text := line(note):
        click.echo(text, err=True)


def _print(value: dict[str, Any], as_json: bool, show: Any) -> None:
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False))
    else:
        show(value)
