"""`entrepot aggregator`: run the table everyone sits at, and let others sit down."""

import json
import socket
import sys
from pathlib import Path

import click

from experiments.commands.aggregator_database import database
from experiments.commands.aggregator_members import found, init, invite, pending, uninvite
from experiments.commands.aggregator_people import people
from experiments.commands.keeping import keep
from experiments.commands.options import AS_JSON, FEDERATION
from experiments.commands.vaults import aggregator_vault
from experiments.home import choose_folder


@click.group()
def command() -> None:
    """Run the table everyone sits at."""


for _member in (init, invite, uninvite, pending, found, people, database):
    command.add_command(_member)
command.add_command(aggregator_vault, "vault")


@command.command()
@click.option("--federation", type=click.Path(path_type=Path), help="Folder of the federation.")
def run(federation: Path | None) -> int:
    """Keep the server and the executor running; both come back by themselves after a crash.

    What an earlier version of the program left is carried over first. Before the federation is
    founded it lets parties join and found it.
    """
    from aggregator.errors import PortTakenError
    from aggregator.hosting import load_hosting
    from aggregator.migrating import upgraded
    from aggregator.stores import load_stores
    from experiments.beginning import keep_server
    from experiments.unlocking import hand_on

    folder = choose_folder(federation) / "aggregator"
    hand_on(folder)
    settings = load_hosting(folder)
    keep_server(settings)
    ports = (settings.fleet_port, settings.control_port, settings.stream_port, settings.join_port)
    for port in ports:
        if port is not None and _taken(port):
            raise PortTakenError(
                f"port {port} is taken by another program; end it, or change the port in "
                f"{folder / 'aggregator.toml'} and in every node.toml"
            )
    upgraded(load_stores(folder))  # the ports are free: no other aggregator works with it
    server = [
        *(sys.executable, "-m", "aggregator.superlink", "--folder", str(folder.resolve())),
        *("--fleet-port", str(settings.fleet_port), "--control-port", str(settings.control_port)),
        *("--fleet-host", settings.listen),
    ]
    executor = [sys.executable, "-m", "aggregator.executor", "--folder", str(folder.resolve())]
    return keep(folder, {"superlink": server, "executor": executor})


@command.command()
@FEDERATION
@AS_JSON
def roster(federation: Path | None, as_json: bool) -> int:
    """Show who is in: members, organisations, every epoch and who signed it, who is suspended."""
    from experiments.rosters import shown, spoken

    value = shown(choose_folder(federation) / "aggregator")
    click.echo(json.dumps(value) if as_json else spoken(value))
    return 0


@command.command()
@click.argument("party")
@click.option("--reason", required=True, help="Why, in your words; kept beside the roster.")
@click.option("--restore", is_flag=True, help="Let a suspended PARTY take part again.")
@FEDERATION
@AS_JSON
def revoke(party: str, reason: str, restore: bool, federation: Path | None, as_json: bool) -> int:
    """Suspend PARTY at once: its stream ends, nothing is asked of it, every node is told.

    Nobody else is given a new key. The executor does it within seconds, or at its next start.
    Removing a member for good is not the aggregator's to do.
    """
    from experiments.rosters import revoked

    value = revoked(choose_folder(federation) / "aggregator", party, reason, restore=restore)
    click.echo(json.dumps(value) if as_json else value["said"])
    return 0


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
