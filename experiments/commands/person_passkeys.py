"""`entrepot person passkey`: an authenticator at this machine, for `login` and `confirm`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from experiments.commands.asking import secret
from experiments.commands.options import AS_JSON
from experiments.commands.person_options import CODE, FOLDER, code_or_asked, said

if TYPE_CHECKING:
    from experiments.touching import Talk

PASSKEY = click.option("--passkey", is_flag=True, help="Touch an authenticator instead of a code.")


@click.group()
def passkey() -> None:
    """Add or remove a passkey, which is a USB or NFC authenticator's (CTAP2)."""


@passkey.command()
@CODE
@FOLDER
@AS_JSON
def add(code: str | None, folder: Path | None, as_json: bool) -> int:
    """Make a passkey on the authenticator that is plugged in; a code of the phone vouches for it.

    Wants a session, a factor shown within five minutes, and `pip install 'entrepot[passkey]'`.
    """
    from experiments.peoples_door import open_me
    from experiments.touching import add as added

    found = added(open_me(folder), talk(), code_or_asked(code))
    return said("passkey", found, as_json, lambda v: f"you have {v['passkeys']} passkeys")


@passkey.command()
@click.argument("passkey_id", metavar="ID")
@FOLDER
@AS_JSON
def remove(passkey_id: str, folder: Path | None, as_json: bool) -> int:
    """Let a passkey open nothing any more; `entrepot person whoami --json` lists the ids."""
    from experiments.peoples_door import open_me

    found = open_me(folder).ask("RemovePasskey", passkey=passkey_id)
    return said("passkey", found, as_json, lambda v: f"you have {v['passkeys']} passkeys")


def talk() -> "Talk":
    """Return how whoever sits here is spoken to; nothing of it is on stdout."""
    from experiments.touching import Talk

    return Talk(lambda text: click.echo(text, err=True), _pin)


def _pin() -> str:
    return secret("PIN of the authenticator", "run it at a terminal")
