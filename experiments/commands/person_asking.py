"""`entrepot person ask`: a joint question from the data team's machine, which opens the answer."""

import json
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
from experiments.commands.person_options import FOLDER, shown
from experiments.exits import DONE

if TYPE_CHECKING:
    from experiments.query_view import Format


@click.command()
@click.argument("sql", required=False)
@click.argument("overrides", nargs=-1)
@FEDERATION
@FOLDER
@click.option("--explain", is_flag=True, help="Show price and error; ask and spend nothing.")
@FRESH
@PAST
@click.option("--resume", metavar="RUN", help="Take up a question that was asked from here.")
@START
@EVERY
@TIMES
@AS_JSON
@FORMAT
@OUTPUT
def ask(
    sql: str | None,
    overrides: tuple[str, ...],
    federation: Path | None,
    folder: Path | None,
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
    """Ask SQL over all parties through the people's door, as `entrepot query` does beside it.

    OVERRIDES are those of `entrepot query`. The key of the answer is made in the data team's folder
    of the federation and stays there: the aggregator hands over what it cannot open. `--explain`
    shows what the order alone says; what is left at nodes is theirs to say. A schedule is that of
    `entrepot query`, but that its orders get to the table one after another: every one asks anew,
    and `--resume RUN` opens each answer.
    """
    from experiments import door_asking
    from experiments.commands.query import form_of, give, require_no_answer
    from experiments.home import open_home
    from experiments.ordering import drafted_query, query_order
    from experiments.peoples_door import open_me
    from experiments.querying import read_terms
    from experiments.schedules import asked_anew, read_schedule
    from experiments.scheduling import lay
    from experiments.scheduling_view import show

    others = explain or source is not None or (start or every or times) is not None
    if resume is not None and (sql is not None or others):
        raise click.UsageError("--resume takes up a question as it was asked: name nothing else")
    form = form_of(as_json, format_, explain=explain, output=output)
    home = open_home(federation)
    epsilon, terms = read_terms(overrides, source or "any")
    schedule = read_schedule(start, every, times, terms, time.time())
    if sql is not None and explain:
        click.echo(_explained(home, sql, epsilon, terms))
        return DONE
    me, started = open_me(folder), time.monotonic()
    if resume is not None:
        value = door_asking.resume(me, home, resume, _tell)
    elif sql is None:
        raise click.UsageError("name a question, or one to take up with --resume RUN")
    elif schedule is not None:
        require_no_answer(form, output)
        door_asking.renew(me, home)
        draft = drafted_query(home, sql, epsilon, asked_anew(terms))
        show(lay(home, draft, schedule, door_asking.put(me, home)), as_json)
        return DONE
    else:
        door_asking.renew(me, home)
        order = query_order(home, sql, epsilon, terms)
        click.echo(f"question {order.id[:12]} (--resume takes it up if this is cut off)", err=True)
        value = door_asking.ask(me, home, order, _tell)
    told = {name: shown(value[name]) for name in ("answer", "parties", "late", "reused")}
    value = {"schema": "entrepot.person.ask/1", **value, **told}
    give({**value, "seconds": round(time.monotonic() - started, 3)}, form, output)
    return DONE


def _explained(home: Any, sql: str, epsilon: str, terms: Any) -> str:
    """Return, as JSON, what an order says of its price before it is signed."""
    from experiments.ordering import drafted_query
    from federation.queries.explaining import explain
    from federation.tasks import QueryTask

    order = drafted_query(home, sql, epsilon, terms)
    task = QueryTask.from_json(order.parameters)
    priced = explain(task.plan, task.noise_multiplier, order.delta, len(order.cohort))
    told = {"purpose": order.purpose, "cohort": [*order.cohort], **priced.to_json()}
    return json.dumps({"schema": "entrepot.person.ask.explain/1", **told}, ensure_ascii=False)


def _tell(text: str) -> None:
    click.echo(shown(text), err=True)
