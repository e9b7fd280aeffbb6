"""`entrepot query`: ask a joint SQL question; `--explain` shows the price and spends nothing."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experiments.commands.options import (
    AS_JSON,
    EVERY,
    FEDERATION,
    FORMAT,
    FRESH,
    OUTPUT,
    PAST,
    START,
    TIMES,
)

if TYPE_CHECKING:
    from experiments.query_view import Format


@click.command()
@click.argument("sql", required=False)
@click.argument("overrides", nargs=-1)
@FEDERATION
@click.option("--explain", is_flag=True, help="Show price and error; spend nothing, touch no row.")
@FRESH
@PAST
@click.option(
    "--resume",
    metavar="RUN",
    help="Take up a question that was interrupted, by the first digits of its id; costs nothing.",
)
@START
@EVERY
@TIMES
@AS_JSON
@FORMAT
@OUTPUT
def command(
    sql: str | None,
    overrides: tuple[str, ...],
    federation: Path | None,
    explain: bool,
    source: Any,
    resume: str | None,
    start: str | None,
    every: str | None,
    times: int | None,
    as_json: bool,
    format_: "Format | None",
    output: Path | None,
) -> int:
    """Ask SQL over all parties, such as "SELECT category, COUNT(*) FROM orders GROUP BY category".

    OVERRIDES: privacy.epsilon=0.25  purpose=market_statistics  cohort.minimum=3  windows=2025,2026
    deadline=30
    cohort.parties=warehouse-eu,warehouse-uk,warehouse-us  (unless named, all that hold the rows)

    Every node's answer leaves the deadline's seconds after it was asked, ready or not; who was not
    is named, charged, and not in the sum. Without one they have three seconds.

    A question that was asked before, and whose answer you may see, is answered from that release
    and costs nothing, if the law of every node allows it.

    The answer comes sealed, and only this command's folder has what opens it. An interrupted
    question goes on by itself; `--resume RUN` waits for it and opens its answer.

    --start, --every and --times together ask it again and again: so many orders are priced as one,
    signed at once and laid on the table, or none of them. Each begins when its time has come, is
    asked anew (a schedule is never answered from a past release), pays then, waits for people where
    a node has to ask them, and is over before the next. `--resume RUN` opens each answer.
    """
    from experiments import querying
    from experiments.explaining import explanation
    from experiments.home import open_home
    from experiments.ordering import drafted_query, query_order
    from experiments.schedules import asked_anew, read_schedule
    from experiments.scheduling import lay, on_table
    from experiments.scheduling_view import show

    form = form_of(as_json, format_, explain=explain, output=output)
    home = open_home(federation)
    started = time.monotonic()
    if resume is not None:
        _require_alone(sql, explain, source or start or every or times)
        value = querying.resume(home, resume, _say)
    else:
        if sql is None:
            raise click.UsageError("name a question, or one to take up with --resume RUN")
        epsilon, terms = querying.read_terms(overrides, source or "any")
        schedule = read_schedule(start, every, times, terms, time.time())
        if schedule is not None:
            terms = asked_anew(terms)
        if explain:
            draft = drafted_query(home, sql, epsilon, terms)
            _tell(explanation(home, draft, schedule), form, output)
            return 0
        if schedule is not None:
            require_no_answer(form, output)
            draft = drafted_query(home, sql, epsilon, terms)
            show(lay(home, draft, schedule, on_table(home, time.time())), as_json)
            return 0
        order = query_order(home, sql, epsilon, terms)
        click.echo(
            f"question {order.id[:12]} (--resume takes it up if this is cut short)", err=True
        )
        value = querying.ask(home, order, _say)
    value["seconds"] = round(time.monotonic() - started, 3)
    give(value, form, output)
    return 0


def form_of(
    as_json: bool, named: "Format | None", *, explain: bool, output: Path | None
) -> "Format":
    """Return the format that the options ask for, before anything is asked or spent."""
    from experiments.errors import UsageError
    from experiments.files import require_place

    if as_json and named not in {None, "json"}:
        raise UsageError(f"--json and --format {named} are two formats: choose one")
    form: Format = "json" if as_json else named or "table"
    if explain and form not in {"table", "json"}:
        raise UsageError(f"an explanation is a table or JSON: --format {form} is of answers")
    if form == "arrow" and output is None and sys.stdout.isatty():
        raise UsageError("an Arrow file is no text for a terminal: name a file with --output")
    if output is not None:
        require_place(output)
    return form


def _tell(value: dict[str, Any], form: "Format", output: Path | None) -> None:
    from experiments.explain_view import rendered, show_explanation
    from experiments.files import write

    if output is not None:
        write(output, rendered(value, form))
    elif form == "json":
        click.echo(json.dumps(value, ensure_ascii=False))
    else:
        show_explanation(value)


def give(value: dict[str, Any], form: "Format", output: Path | None) -> None:
    """Write an answer into a file, or print it."""
    from experiments.files import write
    from experiments.query_view import rendered, show_answer

    if output is not None:
        write(output, rendered(value, form))
    elif form == "table":
        show_answer(value)
    else:
        click.echo(rendered(value, form), nl=False)


def require_no_answer(form: "Format", output: Path | None) -> None:
    """Refuse what is of answers where none is given yet: orders of a schedule are laid."""
    from experiments.errors import UsageError

    if output is not None or form not in {"table", "json"}:
        raise UsageError(
            "the answers of a schedule come later: name their --format and --output with --resume"
        )


def _require_alone(sql: str | None, explain: bool, others: object) -> None:
    if sql is not None or explain or others is not None:
        raise click.UsageError("--resume takes up a question as it was asked: name nothing else")


def _say(note: dict[str, Any]) -> None:
    from experiments.notes import line

    if text := line(note):
        click.echo(text, err=True)
