"""`entrepot simulate`: many nodes in one process, on data that the caller owns."""

import json

import click


@click.command()
@click.argument("experiment")
@click.argument("overrides", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(experiment: str, overrides: tuple[str, ...], as_json: bool) -> int:
    """Run EXPERIMENT of experiments/conf/experiment; OVERRIDES such as privacy=none.

    Known: fraud, demand, demand_apart (88 retailers, each a party of its own; NOT PRIVATE).
    """
    from experiments.settings import compose
    from experiments.simulating import simulate

    settings = compose([f"experiment={experiment}", *overrides])

    def tell(done: int, of: int) -> None:
        click.echo(f"round {done}/{of}", err=True)

    value = simulate(settings, tell)
    if as_json:
        click.echo(json.dumps(value))
        return 0
    for name, part in value.items():
        click.echo(f"{name}: {part}")
    if not settings.private:
        click.echo("NOT PRIVATE: for studies on data that you own; every node refuses this.")
    return 0
