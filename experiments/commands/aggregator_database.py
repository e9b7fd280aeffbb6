"""`entrepot aggregator database`: where the aggregator's state lies, and of which revision."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from experiments.commands.options import AS_JSON, FEDERATION
from experiments.home import choose_folder

if TYPE_CHECKING:
    from aggregator.migrating import Lies
    from aggregator.stores import Stores


@click.group()
def database() -> None:
    """The aggregator's state: invitations, orders, keys made ahead, the question that goes on."""


@database.command()
@FEDERATION
@AS_JSON
def show(federation: Path | None, as_json: bool) -> int:
    """Show what lies where, and of which revision; nothing is made or changed."""
    from aggregator.migrating import shown

    _tell(shown(_stores(federation)), "show", as_json=as_json)
    return 0


@database.command()
@FEDERATION
@AS_JSON
def upgrade(federation: Path | None, as_json: bool) -> int:
    """Carry over what an earlier version wrote; end the aggregator first.

    `entrepot aggregator run` does it by itself. Cut off, the old state is there, or the new one.
    """
    from aggregator.migrating import shown, upgraded

    stores = _stores(federation)
    before = {one.name: one.revision for one in upgraded(stores)}
    after = shown(stores)
    _tell(after, "upgrade", as_json=as_json)
    for one in after:
        if before[one.name] != one.revision:
            click.echo(f"{one.name} was carried over to {one.revision}", err=True)
    return 0


def _stores(federation: Path | None) -> "Stores":
    from aggregator.hosting import load_hosting
    from aggregator.stores import load_stores

    folder = choose_folder(federation) / "aggregator"
    load_hosting(folder)  # a folder of somebody else's is refused
    return load_stores(folder.resolve())


def _tell(found: Sequence["Lies"], verb: str, *, as_json: bool) -> None:
    from aggregator.database import HEAD

    if as_json:
        rows = [{"name": one.name, "revision": one.revision} for one in found]
        value = {"schema": f"entrepot.aggregator.database.{verb}/1", "newest": HEAD}
        click.echo(json.dumps(value | {"databases": rows}))
        return
    for one in found:
        click.echo(f"{one.name:<24} {_said(one)}")


def _said(one: "Lies") -> str:
    if one.revision is None:
        return "nothing yet"
    if one.is_newest:
        return f"revision {one.revision}, the newest"
    return f"revision {one.revision or 'of before they were counted'}, to be carried over"
