"""`entrepot simulate`: many nodes in one process or on Ray, on data that the caller owns."""

import json

import click


@click.command()
@click.argument("experiment")
@click.argument("overrides", nargs=-1)
@click.option("--attack", is_flag=True, help="Attack a model of half of the units.")
@click.option(
    "--engine",
    type=click.Choice(["process", "ray"]),
    default="process",
    help="Where nodes run: all in this process, or as Flower's virtual nodes on Ray.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    experiment: str, overrides: tuple[str, ...], attack: bool, engine: str, as_json: bool
) -> int:
    """Run EXPERIMENT of experiments/conf/experiment; OVERRIDES such as privacy=none.

    Known: fraud, demand; and, NOT PRIVATE: demand_apart (88 retailers), stallion (58 agencies),
    handbook (50 issuers) and cdnow (50 shops). The last three read tables from the folder that the
    variable ENTREPOT_DATA or data.folder=DIR names; so does handbook_sums, by secure sums with
    privacy, for groups (model.groups=5 model.trimmed=1) and parties that lie (data.flipped).
    """
    from experiments.engines import in_process
    from experiments.settings import compose
    from experiments.simulate_view import simulation_table
    from experiments.simulating import simulate

    settings = compose([f"experiment={experiment}", *overrides])

    def tell(way: str, done: int, of: int) -> None:
        click.echo(f"{way} {done}/{of}", err=True)

    run = in_process
    if engine == "ray":
        from experiments.ray_engine import on_ray as run
    value = simulate(settings, tell, attacked=attack, engine=run) | {"engine": engine}
    click.echo(json.dumps(value) if as_json else simulation_table(value))
    return 0
