"""`entrepot node`: run or check one partner's node, look at its law, approve what waits."""

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
    from clients.certificate import doubts
    from clients.settings import load_settings
    from experiments.policy_folder import export_warnings, key_warnings

    settings = load_settings(folder)
    checking.check(settings)
    offered = ", ".join(settings.contracts()) or "nothing"
    click.echo(
        f"{settings.party} ({settings.role}, {settings.jurisdiction}) is ready; it offers {offered}"
    )
    for line in (*doubts(settings), *key_warnings(settings), *export_warnings(settings)):
        click.echo(line, err=True)
    return 0


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@AS_JSON
def refresh(folder: Path, as_json: bool) -> int:
    """Read the tables of FOLDER anew that come from a database or another file.

    A node that runs reads them from then on once it has no order under way.
    """
    from clients.settings import load_settings
    from clients.snapshots import refresh as refreshed

    settings = load_settings(folder)
    found = [refreshed(settings, source) for source in settings.sources.values()]
    rows = [{"table": s.table, "rows": s.shaped.rows, "new": s.new} for s in found]
    if as_json:
        click.echo(json.dumps({"schema": "entrepot.node.refresh/1", "tables": rows}))
    for one in () if as_json else found:
        click.echo(f"{one.table}: {one.shaped.rows} rows, {'new' if one.new else 'as before'}")
    for line in (line for one in found for line in one.remarks):
        click.echo(line, err=True)
    return 0


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("order")
@click.option("--person", help="Who answers for it, as it will be named to the other end.")
@click.option("--legal-basis", help="Why it is lawful, in the person's words.")
@click.option("--key", type=click.Path(path_type=Path), help="The person's key; else the node's.")
@click.option("--yes", is_flag=True, help="Approve without being asked once more.")
@AS_JSON
def approve(
    folder: Path,
    order: str,
    person: str | None,
    legal_basis: str | None,
    key: Path | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Look at the disclosure ORDER that waits at the node in FOLDER, and approve it.

    Without --person and --legal-basis it is only shown.
    """
    from experiments.approving import spoken, waiting
    from experiments.errors import UsageError

    found = waiting(folder, order)
    shown = found.shown()
    if not as_json:
        click.echo(spoken(shown), err=bool(person))
    if person is None and legal_basis is None:
        if as_json:
            click.echo(json.dumps(shown | {"approved": False}))
        return 0
    if person is None or legal_basis is None:
        raise UsageError("name both: --person NAME and --legal-basis WORDS")
    if not yes:
        click.confirm("Approve this disclosure?", abort=True, err=True)
    signed = found.approve(person, legal_basis, key)
    approved = {"approved": True, "person": person, "key": signed.key.hex}
    click.echo(json.dumps(shown | approved) if as_json else f"approved by {person}")
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
