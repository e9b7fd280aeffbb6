"""`entrepot person models`: which models were released, what each says of itself, and its file."""

import json
from pathlib import Path
from typing import Any

import click

from experiments.commands.options import AS_JSON
from experiments.commands.person_options import FOLDER, said


@click.command()
@click.argument("run", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Fetch the model into this file.")
@FOLDER
@AS_JSON
def models(run: str | None, out: Path | None, folder: Path | None, as_json: bool) -> int:
    """List the released models that you may see, or show RUN's card, or fetch it with --out FILE.

    A card says of which order, at which price and after which rounds a model is, whether it is held
    back, and by which entry of the aggregator's ledger it was released. The file goes to recipients
    of its order alone; `entrepot node compare NODE FILE --digest HEX` tries it on a node's rows.
    """
    from experiments.model_fetching import card_of, fetch
    from experiments.peoples_door import open_me

    me = open_me(folder)
    if run is None:
        if out is not None:
            raise click.UsageError("--out FILE fetches one model: name its RUN")
        return said("models", me.ask("Models"), as_json, _listed)
    if out is None:
        return said("models", card_of(me, run), as_json, _card)
    found = fetch(me, run, out)
    if found["held_back"]:
        click.echo("this model is held back: nothing should be made of it", err=True)
    return said("models", found, as_json, lambda v: f"{v['file']} {v['digest']}")


def _listed(value: dict[str, Any]) -> str:
    return "\n".join(
        f"{r['order'][:12]}  {r['rounds']:>4} rounds of {r['contract']}, ε = {r['epsilon']}"
        + (f", {r['standing']}" if r["standing"] else "")
        + f"  {r['digest']}"
        for r in value["models"]
    )


def _card(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
