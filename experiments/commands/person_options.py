"""What the commands of `entrepot person` have in common: the folder, and how an answer is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from experiments.commands.asking import secret
from experiments.exits import DONE

FOLDER = click.option("--folder", type=click.Path(path_type=Path), help="Folder of the person.")

CODE = click.option("--code", help="Six digits, or a recovery code; asked for if not given.")

LONGEST: Final = 4000
"""Characters of one text of a server that are shown; a setting of an order may be long."""


def said(
    name: str, value: dict[str, Any], as_json: bool, spoken: Callable[[dict[str, Any]], str]
) -> int:
    """Print an answer of the aggregator; return the exit code."""
    whole = {"schema": f"entrepot.person.{name}/1", **value}
    click.echo(json.dumps(whole) if as_json else spoken(shown(value)))
    return DONE


def code_or_asked(code: str | None) -> str:
    """Return a code, asked for where none was given."""
    return code or secret("code", "name the code with --code")


def shown(value: Any) -> Any:
    """Return what a server said with no text in it that could move a cursor or break a line."""
    from experiments.telling import plain

    match value:
        case str():
            return plain(value, LONGEST)
        case list():
            return [shown(one) for one in value]
        case dict():
            return {shown(name): shown(one) for name, one in value.items()}
    return value
