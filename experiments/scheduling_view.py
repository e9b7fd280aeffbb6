"""A schedule on a terminal: which orders wait until when, and what all of them cost together."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from experiments.telling import moment, span


def schedule_line(schedule: Mapping[str, Any]) -> str:
    """Return how often something is done, and from when on."""
    return (
        f"{schedule['times']} times, one every {span(schedule['every'])} from "
        f"{moment(schedule['starts'][0])} UTC on; the accounts below are for all of them together"
    )


def show(value: Mapping[str, Any], as_json: bool) -> None:
    """Print what was laid on the table."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False))
        return
    for line in _lines(value):
        click.echo(line)


def _lines(value: Mapping[str, Any]) -> Iterator[str]:
    orders = value["orders"]
    for number, order in enumerate(orders, 1):
        yield f"{number} of {len(orders)}  {order['run'][:12]}  {moment(order['not_before'])} UTC"
    yield f"each costs ε = {value['epsilon']} at δ = {value['delta']}; all of them together:"
    for one in value["accounts"]:
        yield (
            f"  {one['node']} {one['subjects']} ({one['unit']}, {one['window']}): ε "
            f"{one['before']:.4g} → {one['after']:.4g} of {one['limit']:.4g}"
        )
    if value["unseen"]:
        yield f"  what is left at {', '.join(value['unseen'])} is theirs to say, each time"
    yield "each begins by itself and pays then; --resume RUN shows what came of it"
