"""`entrepot node`: join, run or check one partner's node, look at its law, approve what waits."""

import json
from pathlib import Path

import click

from experiments.commands.asking import require_agreed
from experiments.commands.keeping import keep_node
from experiments.commands.node_approve import approve, countersign, mandate
from experiments.commands.node_contract import contract
from experiments.commands.node_joining import admit, found, join
from experiments.commands.node_policy import policy
from experiments.commands.options import AS_JSON
from experiments.commands.vaults import node_vault
from experiments.exits import FAILED, REFUSED_BY_POLICY, UNREACHABLE, USAGE


@click.group()
def command() -> None:
    """Join a federation, run or check a node, look at its law, or try a model on its rows."""


for _member in (policy, join, found, admit, approve, countersign, mandate, contract):
    command.add_command(_member)
command.add_command(node_vault, "vault")


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def run(folder: Path) -> int:
    """Keep the node in FOLDER running; ends on Ctrl-C, comes back by itself after a crash."""
    return keep_node(folder)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--connect", is_flag=True, help="Try the aggregator's ports and the databases, too.")
@AS_JSON
def check(folder: Path, connect: bool, as_json: bool) -> int:
    """Check FOLDER without connecting: settings, keys, roster, law, contracts, tables, books.

    Where a node would start from it, also how well its rows keep each contract, in exact counts
    that are printed here and go nowhere; they are of the newer snapshot where one waits. Its clock,
    disk and certificates; what is left of every account. Nothing is written: neither into FOLDER
    nor into its ledger. The exit code is 2 where the node is suspended, or a source lacks a column
    or cannot be read. With --connect the aggregator's ports are tried, and databases asked for
    their columns; it is 20 where one does not answer.
    """
    from clients import checking
    from clients.certificate import doubts
    from clients.settings import load_settings
    from experiments.node_health import health
    from experiments.node_health_view import failing, health_json, health_lines
    from experiments.policy_folder import export_warnings, key_warnings

    settings = load_settings(folder)
    try:
        checking.check(settings)
    except Exception:  # a source that was never read, a certificate that nobody renews any more
        for line in failing(settings, connect=connect):
            click.echo(line, err=True)
        raise
    found = health(settings, connect=connect)
    remarks = [*doubts(settings), *key_warnings(settings), *export_warnings(settings)]
    code = USAGE if not found.ready else 0 if found.reachable else UNREACHABLE
    if as_json:
        click.echo(json.dumps(health_json(settings, found, remarks), ensure_ascii=False))
        return code
    offered = ", ".join(settings.contracts()) or "nothing"
    who = f"{settings.party} ({settings.role}, {settings.jurisdiction})"
    is_ready = "is ready" if found.ready else "is not ready: see what fails below"
    click.echo(f"{who} {is_ready}; it offers {offered}")
    for line in health_lines(found):
        click.echo(line)
    for line in remarks:
        click.echo(line, err=True)
    return code


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@AS_JSON
def rehearse(folder: Path, as_json: bool) -> int:
    """Let the contracts and the law of FOLDER go through training and a question on made-up rows.

    The rows are drawn from what the contracts say in public; those of this node are not read. The
    other parties are made up, too: nobody is asked, nothing is sent, and nothing of FOLDER changes.
    It shows what would be asked, what would leave, and what that would cost; exit code 10 where
    this node would refuse.
    """
    from experiments.rehearsing import rehearse as rehearsed
    from experiments.rehearsing_view import rehearsed_json, rehearsed_lines

    found = rehearsed(folder, lambda text: click.echo(f"{text} …", err=True))
    if as_json:
        click.echo(json.dumps(rehearsed_json(found), ensure_ascii=False))
    else:
        click.echo("\n".join(rehearsed_lines(found)))
    return 0 if found.works else (REFUSED_BY_POLICY if found.refused else FAILED)


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@AS_JSON
def refresh(folder: Path, as_json: bool) -> int:
    """Read the tables of FOLDER anew that come from a database or another file.

    A node that runs reads them from then on once it has no order under way. Until then they wait,
    and `node check` judges those that wait.
    """
    from clients.settings import load_settings
    from clients.snapshots import refresh as refreshed

    settings = load_settings(folder)
    found = [refreshed(settings, source) for source in settings.sources.values()]
    rows = [
        {"table": s.table, "rows": s.shaped.rows, "new": s.new, "waits": s.waits} for s in found
    ]
    if as_json:
        click.echo(json.dumps({"schema": "entrepot.node.refresh/1", "tables": rows}))
    for one in () if as_json else found:
        click.echo(f"{one.table}: {one.shaped.rows} rows, {'new' if one.new else 'as before'}")
        if one.waits:
            click.echo(
                f"{one.table}: it waits until the node has no order under way, or starts; "
                f"`entrepot node check {folder}` looks at what waits"
            )
    for line in (line for one in found for line in one.remarks):
        click.echo(line, err=True)
    return 0


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--yes", is_flag=True, help="Leave without being asked once more.")
@AS_JSON
def leave(folder: Path, yes: bool, as_json: bool) -> int:
    """Let the node in FOLDER leave the federation for good; nobody else has to agree.

    A node that runs starts anew, says so when it is connected, and is let go. An order that is
    under way here then is over and counts as spent. FOLDER stays: its ledger is what proves what
    this party did, and its name is never given to anybody again.
    """
    from experiments.leaving import leave as left
    from experiments.leaving import leaver

    found = leaver(folder)
    asked = f"{found.party} leaves {found.federation} for good. Is that what you want?"
    require_agreed(asked, yes)
    value = left(found)
    click.echo(json.dumps(value) if as_json else value["said"])
    return 0


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--identity", is_flag=True, help="Change the key that the node signs with, and that alone."
)
@AS_JSON
def rotate(folder: Path, identity: bool, as_json: bool) -> int:
    """Give the node in FOLDER new sealing and stream keys; nobody else has to agree.

    What is sent to it is sealed to the new one as soon as the roster names it. The old one is
    deleted then, and opens nothing any more. The stream's old key opens none once the new one did.
    The identity key, with which the node signs, stays, and so does the key for Flower's server.

    With --identity it is the identity key that changes: the old one signs for the new one, in the
    roster and in the node's ledger, and is deleted once a quorum of witnesses has seen that. It is
    refused while an order is under way. Of a node whose old key is lost
    other members change it: `entrepot node join TOKEN --lost`.
    """
    from experiments.leaving import leaver
    from experiments.rotating import rotate as rotated
    from experiments.rotating import rotate_identity

    found = leaver(folder)
    value = rotate_identity(found) if identity else rotated(found)
    click.echo(json.dumps(value) if as_json else value["said"])
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
