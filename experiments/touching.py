"""A person's passkeys: made and touched at this machine, for the place alone that it has pinned.

DIR/passkeys    the ids of the passkeys that were made here, one a line; they open nothing
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clients.authenticators import Touch, answered, made
from experiments.errors import IntegrityError
from experiments.peoples_door import Me, ask
from federation.people.calling import Call
from federation.whole_files import keep_file
from secure_compute.canonical import JSON


@dataclass(frozen=True, slots=True)
class Talk:
    """How whoever sits here is told what to do with its authenticator, and asked for its PIN."""

    tell: Callable[[str], None]
    pin: Callable[[], str]


def login(me: Me, talk: Talk) -> dict[str, Any]:
    """Begin a session with a passkey.

    Raises:
        NoAuthenticatorError, NotTouchedError: see `clients.authenticators`.
        IntegrityError: the server asks for a passkey of another place.
        ClientError: see `clients.calling`.
    """
    return me.begin(_touched(me, talk))


def confirm(me: Me, talk: Talk) -> dict[str, Any]:
    """Show a passkey in the session that goes on; errors: `login`."""
    return me.ask("Confirm", **_touched(me, talk))


def add(me: Me, talk: Talk, code: str) -> dict[str, Any]:
    """Make a passkey here, with a code of the phone; errors: `login`."""
    touch, challenge = _challenged(me, talk)
    passkey = made(touch, challenge, me.person, me.federation)
    told = me.ask("AddPasskey", **me.shown(code), challenge=challenge.hex(), passkey=passkey)
    lines = "\n".join((*_ids(me), str(passkey["id"])))
    keep_file(me.folder / "passkeys", lines.encode())
    return {**told, "id": passkey["id"]}


def _touched(me: Me, talk: Talk) -> dict[str, JSON]:
    touch, challenge = _challenged(me, talk)
    passkey = answered(touch, challenge, _ids(me))
    return {"person": me.person, "challenge": challenge.hex(), "passkey": passkey}


def _challenged(me: Me, talk: Talk) -> tuple[Touch, bytes]:
    """Return for which place an authenticator is asked, and what: the pinned one, or nobody is."""
    told = ask(me.place, "Challenge", Call("", {"person": me.person}))
    host, origin = str(told["host"]), str(told["origin"])
    if host != me.place.host:
        raise IntegrityError(
            f"the aggregator at {me.place.host} asks for a passkey of {host}: no authenticator is "
            "asked; tell its operator"
        )
    return Touch(host, origin, talk.tell, talk.pin), bytes.fromhex(str(told["challenge"]))


def _ids(me: Me) -> list[str]:
    path = me.folder / "passkeys"
    return path.read_text("ascii").split() if path.exists() else []
