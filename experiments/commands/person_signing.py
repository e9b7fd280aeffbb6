"""`entrepot person waiting | mandate | countersign`: an officer puts a party's name to an order."""

import json
import time
from pathlib import Path
from typing import Any

import click

from experiments.commands.asking import require_agreed
from experiments.commands.options import AS_JSON
from experiments.commands.person_options import FOLDER, said, shown


@click.command()
@click.argument("order", required=False)
@FOLDER
@AS_JSON
def waiting(order: str | None, folder: Path | None, as_json: bool) -> int:
    """List the orders that you may countersign, or show ORDER as its own bytes have it."""
    from experiments.countersigning import look
    from experiments.peoples_door import open_me

    me = open_me(folder)
    if order is None:
        return said("waiting", me.ask("Waiting"), as_json, _listed)
    return said("waiting", look(me, order).shown(), as_json, _spoken)


@click.command()
@click.argument("line", required=False)
@FOLDER
@AS_JSON
def mandate(line: str | None, folder: Path | None, as_json: bool) -> int:
    """Print the key that signs here, for your node's operator; or keep the LINE it gave you."""
    from experiments.countersigning import keep_mandate, own_key
    from experiments.peoples_door import open_me

    me = open_me(folder)
    if line is None:
        return said("mandate", {"key": own_key(me).verify_key.hex}, as_json, lambda v: v["key"])
    found = keep_mandate(me, line, time.time())
    return said("mandate", {"party": found.party, "until": found.until}, as_json, _kept)


@click.command()
@click.argument("order")
@click.option("--party", help="For whom, where you have the mandates of several.")
@click.option("--yes", is_flag=True, help="Sign without being asked once more.")
@FOLDER
@AS_JSON
def countersign(
    order: str, party: str | None, yes: bool, folder: Path | None, as_json: bool
) -> int:
    """Put your party's name to ORDER, as the second organisation that signs it.

    What is shown is read from the order's own bytes, and the signature is made here, over their
    hash, with the key that stays on this machine. Every node verifies it by your party's mandate.
    """
    from experiments.countersigning import chosen, look, sign
    from experiments.peoples_door import open_me

    me = open_me(folder)
    seen = look(me, order)
    mandate = chosen(me, seen, party)
    click.echo(_spoken(shown({**seen.shown(), "for": mandate.party})), err=True)
    require_agreed(f"Countersign this order for {mandate.party}?", yes)
    found = sign(me, seen, mandate)
    return said("countersign", found, as_json, lambda v: f"countersigned for {v['party']}")


def _listed(value: dict[str, Any]) -> str:
    from experiments.telling import moment

    if not value["orders"]:
        return "nothing waits for a second organisation"
    return "\n".join(
        f"{r['order'][:12]}  {r['kind']:<5}  {r['proposer']}: {r['purpose']}, ε = {r['epsilon']}, "
        f"of {', '.join(r['cohort'])} to {', '.join(r['recipients'])}, "
        f"until {moment(r['waits_until'])}"
        + (f", said to be signed by {', '.join(r['countersigned'])}" if r["countersigned"] else "")
        for r in value["orders"]
    )


def _kept(value: dict[str, Any]) -> str:
    from experiments.telling import moment

    party = value["party"]
    return (
        f"kept: you may countersign for {party} orders that end by {moment(value['until'])} UTC; "
        f"that {party} signed this line is verified by nodes, not here"
    )


def _spoken(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
