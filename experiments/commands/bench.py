"""`entrepot bench`: measure, beside what you would use instead."""

import json

import click


@click.command()
@click.argument("name")
@click.option("--full", is_flag=True, help="Longer runs: the numbers of the README's tables.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str, full: bool, as_json: bool) -> int:
    """Run the benchmark NAME; known: exchange, books, secagg, steps."""
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
        peer = f"   ({result['peer']}: {result['peer_value']})" if result["peer"] else ""
        click.echo(f"{result['name']}: {result['value']} {result['unit']}{peer}")
    return 0
