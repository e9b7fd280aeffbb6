"""`entrepot node vault` and `entrepot aggregator vault`: encryption at rest."""

import json
from pathlib import Path
from typing import Any

import click

from experiments.commands.options import AS_JSON, FEDERATION
from experiments.home import choose_folder

KEY = click.option(
    "--key",
    default="passphrase",
    show_default=True,
    help='"passphrase", "credential:NAME" of systemd, or "command:PROGRAM WORD ...".',
)
FOLDER = click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def _init(folder: Path, key: str, as_json: bool) -> int:
    from experiments.vaults import begin

    value = begin(folder, key)
    _tell(value, as_json, f"sealed {len(value['sealed'])} files; the key comes from {value['key']}")
    return 0


def _change(folder: Path, key: str, as_json: bool) -> int:
    from experiments.vaults import change

    value = change(folder, key)
    _tell(value, as_json, f"from now on the key comes from {value['key']}; no file was sealed anew")
    return 0


def _show(folder: Path, as_json: bool) -> int:
    from experiments.vaults import show, spoken

    value = show(folder)
    _tell(value, as_json, spoken(value))
    return 0


def _tell(value: dict[str, Any], as_json: bool, said: str) -> None:
    click.echo(json.dumps(value) if as_json else said)


@click.group()
def node_vault() -> None:
    """Seal keys, books and answers of a node at rest, under a key that does not lie beside them."""


@node_vault.command("init")
@FOLDER
@KEY
@AS_JSON
def node_init(folder: Path, key: str, as_json: bool) -> int:
    """Seal FOLDER, whose node does not run; go on with it where that was cut off."""
    return _init(folder, key, as_json)


@node_vault.command("change")
@FOLDER
@KEY
@AS_JSON
def node_change(folder: Path, key: str, as_json: bool) -> int:
    """Let another passphrase, or another source, open FOLDER; no file is sealed anew."""
    return _change(folder, key, as_json)


@node_vault.command("show")
@FOLDER
@AS_JSON
def node_show(folder: Path, as_json: bool) -> int:
    """Show whether FOLDER is sealed, how it opens, and what in it is plain."""
    return _show(folder, as_json)


@click.group()
def aggregator_vault() -> None:
    """Seal keys, models, ledger and answers of the aggregator at rest."""


@aggregator_vault.command("init")
@FEDERATION
@KEY
@AS_JSON
def aggregator_init(federation: Path | None, key: str, as_json: bool) -> int:
    """Seal the aggregator's folder while it does not run; go on where that was cut off."""
    return _init(_aggregator(federation), key, as_json)


@aggregator_vault.command("change")
@FEDERATION
@KEY
@AS_JSON
def aggregator_change(federation: Path | None, key: str, as_json: bool) -> int:
    """Let another passphrase, or another source, open it; no file is sealed anew."""
    return _change(_aggregator(federation), key, as_json)


@aggregator_vault.command("show")
@FEDERATION
@AS_JSON
def aggregator_show(federation: Path | None, as_json: bool) -> int:
    """Show whether the aggregator's folder is sealed, how it opens, and what in it is plain."""
    return _show(_aggregator(federation), as_json)


@aggregator_vault.command("export")
@click.argument("model", type=FILE)
@click.argument("to", type=click.Path(path_type=Path, dir_okay=False))
def aggregator_export(model: Path, to: Path) -> int:
    """Write a sealed MODEL to the new file TO, plain, to hand it over."""
    from experiments.vaults import export

    export(model, to)
    click.echo(f"{to} is plain: whoever has it can read it", err=True)
    return 0


def _aggregator(federation: Path | None) -> Path:
    return choose_folder(federation) / "aggregator"
