"""`entrepot node`: run or check one partner's node, look at its law, try a model on its rows."""

import json
import sys
from pathlib import Path

import click

from experiments.commands.node_policy import policy
from experiments.commands.options import AS_JSON
from federation.control.supervise import supervise


@click.group()
def command() -> None:
    """Run or check one partner's node, look at its law, or try a model on its rows."""


command.add_command(policy)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def run(folder: Path) -> int:
    """Keep the node in FOLDER running; ends on Ctrl-C, comes back by itself after a crash."""
    argv = [sys.executable, "-m", "clients", "--folder", str(folder.resolve())]
    return supervise({"node": argv}, logs=folder / "logs", pids=folder / "run")


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def check(folder: Path) -> int:
    """Check FOLDER without connecting: settings, keys, roster, law, contracts, tables, books.

    Nothing is written: neither into FOLDER nor into its ledger.
    """
    from clients import checking
    from clients.settings import load_settings
    from experiments.policy_folder import export_warnings, key_warnings

    settings = load_settings(folder)
    checking.check(settings)
    offered = ", ".join(settings.contracts()) or "nothing"
    click.echo(
        f"{settings.party} ({settings.role}, {settings.jurisdiction}) is ready; it offers {offered}"
    )
    for line in (*key_warnings(settings), *export_warnings(settings)):
        click.echo(line, err=True)
    return 0


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--digest", required=True, help="SHA-256 of MODEL, as `entrepot train` printed it.")
@click.option("--since", help="First moment to test on: a date for fraud, a week for demand.")
@AS_JSON
def compare(folder: Path, model: Path, digest: str, since: str | None, as_json: bool) -> int:
    """See whether the federation's MODEL helps the node in FOLDER, on its own rows.

    MODEL is a .safetensors file that the aggregator or a data team handed over. It is tried as it
    came and fitted further on this node's rows, beside a model of these rows alone. The figures are
    exact: nothing is sent, charged or written down.
    """
    from experiments.comparing import compare as compared
    from experiments.comparing_view import compared_json, compared_table, remarks

    found = compared(folder, model, digest, since)
    click.echo(json.dumps(compared_json(found)) if as_json else compared_table(found))
    for line in remarks(found):
        click.echo(line, err=True)
    return 0
