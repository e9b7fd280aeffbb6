"""`entrepot node join`, `found`, `admit`: into a federation, and letting others in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experiments.commands.asking import agrees, require_agreed
from experiments.commands.keeping import keep_node
from experiments.commands.options import AS_JSON, LANGUAGE
from experiments.exits import DONE, WAITING_FOR_APPROVAL

if TYPE_CHECKING:
    from experiments.joining import Came
    from policies.card import Card

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
WAIT = click.option("--wait", default=0.0, help="Seconds to wait for others; else exit code 12.")
YES = click.option("--yes", is_flag=True, help="Agree and sign without being asked.")


class _Person:
    """Whoever runs the command; with `--yes` nobody is asked."""

    def __init__(self, yes: bool, language: Any) -> None:
        self._yes = yes
        self._language = language

    def say(self, line: str) -> None:
        """Show a line."""
        click.echo(line, err=True)

    def show_card(self, drawn: "Card") -> None:
        """Show what the node will ever allow."""
        from contextlib import redirect_stdout
        from sys import stderr

        from experiments.policy_view import show_card

        with redirect_stdout(stderr):
            show_card(drawn, (), self._language)

    def agrees(self, question: str) -> bool:
        """Return whether the person says yes."""
        return self._yes or agrees(question)


def _told(came: "Came", as_json: bool, then: Callable[[], int]) -> int:
    """Say how far a party came; `then` is what is done once it is a member."""
    if as_json:
        value = {
            "schema": "entrepot.node.join/1",
            "party": came.party,
            "folder": str(came.folder),
            "member": not came.why,
            "words": list(came.words),
            "waits": came.why,
        }
        click.echo(json.dumps(value, ensure_ascii=False))
    if came.why:
        click.echo(f"waiting; go on with: entrepot node found {came.folder}", err=True)
        return WAITING_FOR_APPROVAL
    return then()


@click.command()
@click.argument("token")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Else ./PARTY.")
@click.option("--start", is_flag=True, help="Run the node at the end, as `node run` does.")
@click.option("--lost", is_flag=True, help="A member's identity key is lost or stolen.")
@YES
@WAIT
@LANGUAGE
@AS_JSON
def join(
    token: str,
    folder: Path | None,
    start: bool,
    lost: bool,
    yes: bool,
    wait: float,
    lang: Any,
    as_json: bool,
) -> int:
    """Join the federation that TOKEN invites to; keys are made here and stay here.

    The server is checked before anything is sent. Cut off at any moment, run it again with the same
    token. Exit code 12 while others have to sign.

    With --lost a member asks the others for another identity key in the place of one that is lost
    or in other hands: c + 1 of other organisations sign it with `node admit`. --folder names the
    node's folder, whose books and rows stay; with a new one, put the newest books into it. Without
    books it does not start again.
    """
    from experiments.joining import join as come

    came = come(token.strip(), folder, _Person(yes, lang), wait, lost=lost)
    return _told(came, as_json, lambda: keep_node(came.folder) if start else DONE)


@click.command()
@click.argument("folder", type=FOLDER)
@YES
@WAIT
@AS_JSON
def found(folder: Path, yes: bool, wait: float, as_json: bool) -> int:
    """Look at the founding that FOLDER joins, compare its words and sign it; or go on waiting."""
    from experiments.joining import resume

    return _told(resume(folder, _Person(yes, "en"), wait), as_json, lambda: DONE)


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("party", required=False)
@YES
@AS_JSON
def admit(folder: Path, party: str | None, yes: bool, as_json: bool) -> int:
    """Show who asks the members to be let in; with PARTY, let it in by this node's word.

    Compare the six words with the entrant's operator first: they are what is let in. Who asks may
    be a member whose identity key is lost: both keys are shown, and the word is for the new one.
    """
    from experiments.admitting import hall, question, shown, spoken

    found_ = hall(folder)
    asked = [found_.find(party)] if party else list(found_.asked)
    if not as_json:
        for one in asked:
            click.echo(spoken(one), err=bool(party))
    if party:
        require_agreed(question(asked[0]), yes)
        found_.admit(asked[0])
    if as_json:
        value = {"schema": "entrepot.node.admit/1", "requests": [shown(one) for one in asked]}
        click.echo(json.dumps(value | {"admitted": party or None}, ensure_ascii=False))
    elif party:
        click.echo(f"{party} has the word of {found_.settings.party}")
    elif not asked:
        click.echo("nobody asks to be let in", err=True)
    return DONE
