"""`entrepot node contract`: what a partner's table is in the federation's words."""

import json
import re
from pathlib import Path

import click

from experiments.commands.options import AS_JSON
from experiments.exits import WAITING_FOR_APPROVAL

NODE = click.Path(path_type=Path, exists=True, file_okay=False)
_ANSWER = re.compile(r"([0-9]{1,6})=(.+)", re.ASCII | re.DOTALL)


class Answer(click.ParamType[tuple[int, str]]):
    """`N=VALUE`: the answer to question N."""

    name = "N=VALUE"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, str]:
        """Return the number and the answer."""
        found = _ANSWER.fullmatch(value)
        if found is None:
            self.fail(f"{value!r} is no answer: write N=VALUE, such as 2=Europe/Berlin", param, ctx)
        return int(found[1]), found[2]


@click.group()
def contract() -> None:
    """Draft how a table of this party is read as one of the federation's contracts."""


@contract.command()
@click.argument("source")
@click.option("--for", "name", default="", help="The contract; else the one that fits best.")
@click.option("--node", type=NODE, help="The node's folder, for its role, contracts and sources.")
@click.option("--relation", default="", help="Of a database: its table or view.")
@click.option("--password", default="", help="Of a database: env:NAME or file:PATH, never itself.")
@click.option(
    "--answer", "answers", type=Answer(), multiple=True, help="Answer question N; N=yes accepts."
)
@click.option("--write", is_flag=True, help="Write into the node's folder what was drafted.")
@AS_JSON
def draft(
    source: str,
    name: str,
    node: Path | None,
    relation: str,
    password: str,
    answers: tuple[tuple[int, str], ...],
    write: bool,
    as_json: bool,
) -> int:
    """Read SOURCE and propose which of its columns are which of a contract's, and in which unit.

    SOURCE is a .csv or .parquet file, a table that [sources] of node.toml names, or a URL of a
    PostgreSQL, MySQL or MariaDB database with --relation. It is read here; nothing leaves.

    Every doubt is a numbered question. Later questions come behind earlier ones, so add answers at
    the end. With --write and questions open, the draft goes to drafts/ in the node's folder, where
    answers can be written too, and the exit code is 12: nothing uses it.
    """
    from clients.settings import load_settings
    from experiments.drafting import Wish, drafted
    from experiments.drafting import write as write_down
    from experiments.drafting_view import draft_json, show_draft
    from experiments.errors import UsageError

    if write and node is None:
        raise UsageError("name the node to write into: --node FOLDER")
    found = drafted(Wish(source, name, node, relation, password, answers))
    written = write_down(found, load_settings(node)) if write and node is not None else []
    if as_json:
        paths = [str(path) for path in written]
        click.echo(json.dumps(draft_json(found) | {"written": paths}, ensure_ascii=False))
    else:
        show_draft(found)
        for path in written:
            click.echo(f"written: {path}", err=True)
        if written and not found.open:
            click.echo(
                f"next: entrepot node refresh {node}, then entrepot node check {node}; a node that "
                "runs offers a new contract from its next start on",
                err=True,
            )
    return WAITING_FOR_APPROVAL if write and found.open else 0
