"""`entrepot bench`: measure, beside what you would use instead."""

import json
from typing import Any

import click


@click.command()
@click.argument("name")
@click.option("--full", is_flag=True, help="Longer runs: the numbers of the README's tables.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str, full: bool, as_json: bool) -> int:
    """Run the benchmark NAME.

    Known: exchange, wire, books, secagg, threshold, queries, steps, learning, joining.
    """
    from experiments.benches import machine, run

    results = run(name, full)
    value = {
        "schema": "entrepot.bench/1",
        "name": name,
        "results": results,
        "machine": machine(),
    }
    if as_json:
        click.echo(json.dumps(value))
        return 0
    for result in results:
        click.echo(_line(result))
    return 0


def _line(result: dict[str, Any]) -> str:
    if result.get("skipped"):
        return f"{result['name']}: skipped ({result['skipped']})"
    error = f" ± {result['se']}" if result.get("se") is not None else ""
    beside = "" if result["peer_value"] is None else f": {result['peer_value']}"
    peer = f"   ({result['peer']}{beside})" if result["peer"] else ""
    return f"{result['name']}: {result['value']}{error} {result['unit']}{peer}"
