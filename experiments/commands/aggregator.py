"""`entrepot aggregator`: run the table everyone sits at."""

import socket
import sys
from pathlib import Path

import click

from federation.control.supervise import supervise


@click.group()
def command() -> None:
    """Run the table everyone sits at."""


@command.command()
@click.option("--federation", type=click.Path(path_type=Path), help="Folder of the federation.")
def run(federation: Path | None) -> int:
    """Keep the server and the executor running; both come back by themselves after a crash."""
    from aggregator.errors import PortTakenError
    from aggregator.settings import load_aggregator
    from experiments.home import choose_folder

    folder = choose_folder(federation) / "aggregator"
    settings = load_aggregator(folder)
    for port in (settings.fleet_port, settings.control_port, settings.stream_port):
        if port is not None and _taken(port):
            raise PortTakenError(
                f"port {port} is taken by another program; end it, or change the port in "
                f"{folder / 'aggregator.toml'} and in every node.toml"
            )
    server = [
        *(sys.executable, "-m", "aggregator.superlink", "--folder", str(folder.resolve())),
        *("--fleet-port", str(settings.fleet_port), "--control-port", str(settings.control_port)),
    ]
    executor = [sys.executable, "-m", "aggregator.executor", "--folder", str(folder.resolve())]
    return supervise(
        {"superlink": server, "executor": executor}, logs=folder / "logs", pids=folder / "run"
    )


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
