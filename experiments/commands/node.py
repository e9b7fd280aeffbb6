"""`entrepot node`: run or check one partner's node, and look at its law."""

import sys
from pathlib import Path

import click

from experiments.commands.node_policy import policy
from federation.control.supervise import supervise


@click.group()
def command() -> None:
    """Run or check one partner's node, and look at its law."""


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
