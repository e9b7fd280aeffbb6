"""`entrepot audit`: read, prove and verify the ledgers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from experiments.commands.options import AS_JSON, FEDERATION, LANGUAGE


@click.group()
def command() -> None:
    """Read, prove and verify the ledgers."""


@command.command()
@click.option("--node", help="One party's ledger; without it, every party's.")
@click.option("--kind", "kinds", multiple=True, help="Such as refused; may stand more than once.")
@click.option("--last", type=click.IntRange(1), help="The last entries of each ledger alone.")
@FEDERATION
@LANGUAGE
@AS_JSON
def show(
    node: str | None,
    kinds: tuple[str, ...],
    last: int | None,
    federation: Path | None,
    lang: Any,
    as_json: bool,
) -> int:
    """Show entries in plain words: what was asked, approved, refused, spent, and what crossed."""
    from experiments.audit_view import show_entries
    from experiments.auditing import known_kinds, shown
    from experiments.home import open_home

    found = list(shown(open_home(federation), node, known_kinds(kinds), last))
    if as_json:
        value = {"schema": "entrepot.audit.show/1", "logs": [log.to_json() for log in found]}
        click.echo(json.dumps(value))  # all ASCII: nothing in it can move a cursor
    else:
        show_entries(found, lang)
    return 0


@command.command()
@click.option("--node", help="One party's ledger; without it, every party's.")
@click.option("--entry", type=click.IntRange(0), help="One entry of --node alone, with its proof.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to; without it, stdout.")
@FEDERATION
@AS_JSON
def prove(
    node: str | None, entry: int | None, out: Path | None, federation: Path | None, as_json: bool
) -> int:
    """Export ledgers, or one entry, so that anybody with the keys can verify them alone.

    With --json, what was exported is named; the proof stands in it where no --out is given.
    """
    from experiments.files import write
    from experiments.home import TRUST_FILE, open_home
    from experiments.proving import export, receipt

    home = open_home(federation)
    if entry is not None and node is None:
        raise click.UsageError("--entry needs --node: every party numbers its own entries")
    left_out: list[str] = []
    unsigned: dict[str, int] = {}
    if entry is None or node is None:
        found = export(home, node)
        proof = found.export.to_bytes()
        left_out, unsigned = list(found.left_out), dict(found.unsigned)
        _tell(left_out, unsigned)
    else:
        proof = receipt(home, node, entry).to_bytes()
    keys = home.folder / TRUST_FILE
    if out is not None:
        write(out, proof)
        click.echo(f"{out}; check it with: entrepot audit verify {out} --trust {keys}", err=True)
    if as_json:
        value = {
            "schema": "entrepot.audit.prove/1",
            "trust": str(keys),
            "out": None if out is None else str(out),
            "proof": json.loads(proof) if out is None else None,
            "left_out": left_out,
            "unsigned": unsigned,
        }
        click.echo(json.dumps(value))
    elif out is None:
        click.echo(proof, nl=False)
    return 0


def _tell(left_out: Sequence[str], unsigned: Mapping[str, int]) -> None:
    """Say what does not stand in an export."""
    if left_out:
        names = ", ".join(left_out)
        click.echo(f"left out, since too few others have seen them yet: {names}", err=True)
    for party, count in unsigned.items():
        click.echo(f"left out, since {party} has not signed them yet: {count} entries", err=True)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--trust", type=click.Path(path_type=Path), help="The keys printed at join.")
@LANGUAGE
@AS_JSON
def verify(file: Path, trust: Path | None, lang: Any, as_json: bool) -> int:
    """Verify FILE alone: no account, no network, no running system. Exit 0, 30 or 2.

    0 proven; 30 an entry is wrong; 2 no export, or consistent but not authentic without --trust.
    """
    from experiments.verifying import verify_file

    found = verify_file(file, trust)
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        click.echo(found.said.spoken(lang))
    return found.code
