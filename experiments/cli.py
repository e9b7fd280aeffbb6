"""The one command, `entrepot`. A sub-command's libraries are imported when it is called."""

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from experiments.exits import FAILED, INTEGRITY_FAILED, INTERRUPTED, MEANING, USAGE

COMMANDS: Final = {
    "demo": ("experiments.commands.demo", "A whole federation on this machine."),
    "doctor": ("experiments.commands.doctor", "Check versions, ports, keys and disk."),
    "aggregator": ("experiments.commands.aggregator", "Run the table everyone sits at."),
    "node": ("experiments.commands.node", "Run or check one partner's node."),
    "person": ("experiments.commands.person", "Log in at the aggregator; read what you may."),
    "train": ("experiments.commands.train", "Train the demand or the fraud model together."),
    "query": ("experiments.commands.query", "Ask a joint SQL question, with its price."),
    "psi": ("experiments.commands.psi", "Match the people of two parties."),
    "budget": ("experiments.commands.budget", "What was spent, is left, and a run would change."),
    "audit": ("experiments.commands.audit", "Read, prove and verify the ledgers."),
    "metrics": ("experiments.commands.metrics", "What a node or aggregator tells Prometheus."),
    "simulate": ("experiments.commands.simulate", "Many nodes in one process, on your own data."),
    "bench": ("experiments.commands.bench", "Measure, beside what you would use instead."),
}

EPILOG: Final = "Exit codes: " + " · ".join(f"{code} {text}" for code, text in MEANING.items())


class Lazy(click.Group):
    """A group that imports a command's module only when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names without importing anything."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command called `cmd_name`; its module is imported here."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Lazy, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks; may stand anywhere.")
@click.version_option(package_name="entrepot")
def entrepot(debug: bool) -> None:
    """Federated analytics for cross-border commerce: the data stays in bond."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a documented code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(words))


def run(words: Sequence[str]) -> int:
    """Return the exit code of one command line; one clear sentence per failure."""
    debug = "--debug" in words  # wherever it stands
    try:
        code: Any = entrepot.main(
            args=[word for word in words if word != "--debug"], standalone_mode=False
        )
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as why:
        click.echo(why.format_message())
        return USAGE
    except click.ClickException as why:
        why.show()
        return USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
    except Exception as why:
        if debug or os.environ.get("ENTREPOT_DEBUG"):
            raise
        return _explain(why)


def _explain(why: Exception) -> int:
    # Every error of ours is one sentence; anything else is a defect, and says where to look.
    module = type(why).__module__.split(".")[0]
    if module in {
        "experiments",
        "clients",
        "aggregator",
        "federation",
        "policies",
        "secure_compute",
    }:
        click.echo(f"entrepot: {why}", err=True)
    elif isinstance(why, OSError) and why.errno in _DISK and why.filename is not None:
        click.echo(
            f"entrepot: {why.filename}: {why.strerror}; see that this user may read and write "
            "there, and that the disk has room",
            err=True,
        )
        return USAGE
    else:
        click.echo(
            f"entrepot: unexpected {type(why).__name__}: {why} (run with --debug to see where)",
            err=True,
        )
    return int(getattr(why, "exit_code", _code_of(why)))


_DISK: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR}
)
"""What a disk says where its operator has to do something, whichever file was meant."""

_CODES: Final = {
    **dict.fromkeys(
        (
            "NodeSettingsError",
            "AggregatorSettingsError",
            "NonConformantError",
            "MalformedContractError",
            "UnitMismatchError",
            "UnknownWindowError",
            "UnsupportedQueryError",
            "PortTakenError",
            "UntrustedRosterError",
            "VersionMismatchError",
            "MalformedLawError",
            "MalformedPackError",
            "MalformedCasesError",
            "LocalProtocolError",
            "MalformedOrderError",
            "MalformedTrustError",
            "ForeignBooksError",
            "ForeignDatabaseError",
            "ForeignLedgerError",
            "MalformedModelError",
            "TrainingDataError",
        ),
        USAGE,
    ),
    **dict.fromkeys(
        (
            "RolledBackError",
            "InconsistentLogError",
            "LedgerMismatchError",
            "ClockError",
            "BrokenLineageError",
        ),
        INTEGRITY_FAILED,
    ),
}
"""The exit codes of errors below this package, by name: to import them all would be slow."""


def _code_of(why: Exception) -> int:
    names = (cls.__name__ for cls in type(why).__mro__)
    return next((_CODES[name] for name in names if name in _CODES), FAILED)


if __name__ == "__main__":
    main()
