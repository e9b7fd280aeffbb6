"""Keeps processes running as long as the command does: `node run` and `aggregator run`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from federation.control.supervise import supervise


def keep(folder: Path, children: Mapping[str, Sequence[str]]) -> int:
    """The children have run until told to stop; errors and the exit code: `supervise`.

    A person at a terminal is told where they say what they do; a service's log is not.
    """
    logs = folder / "logs"
    if sys.stderr.isatty():
        click.echo(f"{folder} runs until Ctrl-C; what it does stands in {logs}", err=True)
    return supervise(children, logs=logs, pids=folder / "run")


def keep_node(folder: Path) -> int:
    """The node in `folder` has run, with the key of its vault, where it has one; errors: `keep`."""
    from experiments.unlocking import hand_on

    hand_on(folder)
    argv = [sys.executable, "-m", "clients", "--folder", str(folder.resolve())]
    return keep(folder, {"node": argv})
