"""`entrepot train`: propose a training run and see it through."""

import json
import time
from pathlib import Path
from typing import Any

import click

from experiments.commands.options import EVERY, START, TIMES


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("model", type=click.Choice(["demand", "fraud"]))
@click.argument("overrides", nargs=-1)
@click.option("--federation", type=click.Path(path_type=Path), help="Folder of the federation.")
@click.option(
    "--resume", "parent", metavar="RUN", help="Go on from a run that waits or was cut short."
)
@click.option("--dry-run", is_flag=True, help="Show the order and its price; ask nobody.")
@START
@EVERY
@TIMES
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    model: str,
    overrides: tuple[str, ...],
    federation: Path | None,
    parent: str | None,
    dry_run: bool,
    start: str | None,
    every: str | None,
    times: int | None,
    as_json: bool,
) -> int:
    """Train MODEL with every node that agrees; OVERRIDES such as privacy.epsilon=1.

    With --resume the recipe is that of RUN, and only the rounds that it lacks are paid for; a RUN
    that waits for people, or did, is followed to its end and pays nothing more.

    --start, --every and --times together train again and again, each time anew on the rows of then:
    so many orders are priced as one, signed at once and laid on the table, or none of them. Each
    begins when its time has come, pays then, waits for people where a node has to ask them, and is
    over before the next. `--resume RUN` follows each.
    """
    from dataclasses import replace

    from aggregator.jobs import Jobs
    from aggregator.standing import held_back, is_held_back
    from experiments.following import asks_people, follow, require_done
    from experiments.home import open_home
    from experiments.ordering import (
        continuation,
        sign,
        training_order,
        waiting_order,
        waiting_run,
    )
    from experiments.schedules import read_schedule
    from experiments.scheduling import lay, on_table, price_of
    from experiments.scheduling_view import show
    from experiments.settings import compose_run

    home, settings = open_home(federation), compose_run(model, overrides)
    schedule = read_schedule(start, every, times, settings.terms, time.time())
    if schedule is not None and parent is not None:
        raise click.UsageError("--resume goes on with one run: a schedule begins anew each time")
    jobs = Jobs(home.jobs)
    order = None if parent is None else waiting_run(home, jobs, parent, model, overrides)
    if order is None:
        task = replace(settings.task, until=home.cut_us if model == "fraud" else 0)
        if parent is not None:
            task = continuation(home, jobs, parent, model, overrides)
        order = training_order(home, task, settings.terms)
        if dry_run:
            priced = {} if schedule is None else price_of(home, order, schedule)
            _show(order.to_json() | {"id": order.id} | priced, as_json)
            return 0
        if schedule is not None:
            show(lay(home, order, schedule, on_table(home, time.time())), as_json)
            return 0
        jobs.add(order.id, sign(home, order), time.time())
    job = follow(jobs, order.id, _watch)
    if asks_people(job) and not order.waits_until:
        order = waiting_order(order)
        _watch({"stage": "asking", "run": order.id})
        jobs.add(order.id, sign(home, order), time.time())
        job = follow(jobs, order.id, _watch)
    result = require_done(job)
    shown = {
        "schema": "entrepot.train/1",
        "run": order.id,
        "model": result["model"],
        "epsilon": order.epsilon,
        "delta": order.delta,
        "unit": order.unit,
        "rounds": result["rounds"],
        "parties": result["parties"],
        "digest": result["digest"],
        "metrics": result["metrics"],
        "gate": result["gate"],
    }
    _show(shown, as_json)
    if is_held_back(result["gate"]):
        click.echo(f"the model is held back: {held_back(result['gate'])}", err=True)
    return 0


def _watch(note: dict[str, Any]) -> None:
    from experiments.notes import line

    if text := line(note):
        click.echo(text, err=True)


def _show(value: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False))
        return
    for name, part in value.items():
        click.echo(f"{name}: {part if isinstance(part, str) else json.dumps(part)}")
