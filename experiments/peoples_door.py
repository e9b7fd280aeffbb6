"""A person's own folder, and the calls that are made from it. `entrepot person`.

DIR/person.json    who it is, in which federation, where its aggregator is and with which key
DIR/person.key     made here, never leaves; signs every login (0600)
DIR/session        the token of the session that goes on, if one does (0600)
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clients.calling import PersonCalls, require_pin
from clients.errors import ClientError
from experiments.errors import ExperimentError, PartlyProposedError, UsageError
from federation.invitations import PIN_SIZE, Token
from federation.people.calling import Call, enrol_statement, login_statement
from federation.whole_files import keep_file
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.primitives.signature import KEY_SIZE, SigningKey

if TYPE_CHECKING:
    from experiments.home import Home
    from experiments.ordering import Terms
    from federation.orders import WorkOrder

DEFAULT: Final = ".entrepot-person"
WISH: Final = "ENTREPOT_PERSON"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the people's door is. pin: SHA-256 of the public key that is shown there [32]."""

    host: str
    port: int
    pin: bytes

    @property
    def address(self) -> str:
        """`host:port`, as a connection is opened to it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Me:
    """A person's folder."""

    folder: Path
    person: str
    federation: str
    place: Place

    def ask(self, method: str, **body: JSON) -> dict[str, Any]:
        """Return what the aggregator answers to whoever is logged in here.

        Raises:
            UsageError: nobody is.
            NotAllowedError, NotReachedError, WrongPinError: see `clients.calling`.
        """
        path = self.folder / "session"
        if not path.exists():
            raise UsageError("nobody is logged in here; run `entrepot person login`")
        return ask(self.place, method, Call(path.read_text("ascii").strip(), body))

    def propose(self, wires: Mapping[str, bytes]) -> None:
        """Lay signed orders on the aggregator's table, one after another.

        Raises:
            PartlyProposedError: not all of them got there.
            UsageError, ClientError: see `ask`; none did.
        """
        for number, wire in enumerate(wires.values()):
            try:
                self.ask("Propose", order=wire.hex())
            except (ClientError, ExperimentError) as why:
                if not number:
                    raise
                raise _partly(number, [*wires], why) from why

    def login(self, code: str) -> dict[str, Any]:
        """Begin a session with a code."""
        return self.begin(self.shown(code))

    def begin(self, body: Mapping[str, JSON]) -> dict[str, Any]:
        """Begin a session with what one shows; the one before ends by itself."""
        found = ask(self.place, "Login", Call("", body))
        keep_file(self.folder / "session", str(found["session"]).encode())
        return {name: value for name, value in found.items() if name != "session"}

    def confirm(self, code: str) -> dict[str, Any]:
        """Show a second factor in the session that goes on."""
        return self.ask("Confirm", **self.shown(code))

    def logout(self) -> dict[str, Any]:
        """End the session; nothing of it stays here, whatever the aggregator says."""
        try:
            return self.ask("Logout")
        finally:
            (self.folder / "session").unlink(missing_ok=True)

    def shown(self, code: str) -> dict[str, JSON]:
        """Return a code, and this machine's signature over it."""
        key = SigningKey((self.folder / "person.key").read_bytes())
        plain = code.strip()
        signature = key.sign(login_statement(self.federation, self.person, plain))
        return {"person": self.person, "code": plain, "signature": signature.hex()}


def choose(option: Path | None) -> Path:
    """Return the folder that a command means."""
    return option or Path(os.environ.get(WISH, DEFAULT))


def open_me(option: Path | None) -> Me:
    """Find who one is.

    Raises:
        UsageError: nobody has enrolled in that folder, or its file is damaged.
    """
    folder = choose(option)
    try:
        value = json.loads((folder / "person.json").read_text("utf-8"))
        place = Place(str(value["host"]), int(value["port"]), bytes.fromhex(value["pin"]))
        return Me(folder, str(value["person"]), str(value["federation"]), place)
    except FileNotFoundError as why:
        raise UsageError(
            f"nobody has enrolled in {folder}; run `entrepot person enrol TOKEN`, or name the "
            f"folder with --folder DIR or ${WISH}"
        ) from why
    except (ValueError, KeyError, TypeError) as why:
        raise UsageError(f"{folder / 'person.json'} is damaged; enrol anew") from why


def enrol(text: str, option: Path | None, now: float) -> tuple[Me, dict[str, Any]]:
    """Take the seat of a token; return it and what is shown this once.

    Raises:
        MalformedInvitationError, ExpiredInvitationError, WrongPinError: nothing was sent.
        UsageError: somebody enrolled in that folder already.
        NotAllowedError, TurnedAwayError, NotReachedError: see `clients.calling`.
    """
    token, folder = Token.parse(text), choose(option)
    token.require_open(now)
    if (folder / "person.json").exists():
        raise UsageError(f"{folder} is somebody's already; name another with --folder DIR")
    place = Place(token.host, token.port, token.pin)
    key = _key(folder)
    name, public = token.invitation.hex(), key.verify_key.hex
    signature = key.sign(enrol_statement(name, public)).hex()
    body: dict[str, JSON] = {"invitation": name, "secret": token.secret.hex()}
    told = ask(place, "Enrol", Call("", {**body, "key": public, "signature": signature}))
    me = Me(folder, str(told["person"]), str(told["federation"]), place)
    keep_file(folder / "person.json", json.dumps(_kept(me)).encode(), 0o644)
    return me, told


def ask(place: Place, method: str, call: Call) -> dict[str, Any]:
    """Return the answer of the server that has the pinned key; another is sent nothing."""
    calls = PersonCalls(place, require_pin(place))
    answer = canonical.decode(calls.ask(method, call.to_bytes()))
    if not isinstance(answer, dict):
        raise UsageError("the aggregator answers in another version's form")
    return answer


def training_draft(
    federation: Path | None, model: str, overrides: Sequence[str]
) -> "tuple[Home, WorkOrder, Terms]":
    """Return an order to train, made in the data team's own folder of the federation.

    Raises:
        NoFederationError, UsageError: there is none, or the settings make no order.
    """
    from dataclasses import replace

    from experiments.home import open_home
    from experiments.ordering import training_order
    from experiments.settings import compose_run

    home, settings = open_home(federation), compose_run(model, overrides)
    task = replace(settings.task, until=home.cut_us if model == "fraud" else 0)
    return home, training_order(home, task, settings.terms), settings.terms


def _partly(number: int, orders: Sequence[str], why: Exception) -> PartlyProposedError:
    """Return what is said when the door answered to so many of a schedule's orders."""
    return PartlyProposedError(
        f"{number} of {len(orders)} orders are on the aggregator's table, the last of them "
        f"{orders[number - 1]}, and are paid when their time comes; the next one may have got "
        "there too, as `entrepot person orders` says. Propose the rest alone, with --start where "
        f"they begin and fewer --times. What went wrong: {why}"
    )


def _key(folder: Path) -> SigningKey:
    """Return the key of this folder, made here if there is none."""
    path = folder / "person.key"
    if not path.exists():
        keep_file(path, os.urandom(KEY_SIZE))
    return SigningKey(path.read_bytes())


def _kept(me: Me) -> Mapping[str, Any]:
    assert len(me.place.pin) == PIN_SIZE  # noqa: S101 - a token's
    where = {"host": me.place.host, "port": me.place.port, "pin": me.place.pin.hex()}
    return {"person": me.person, "federation": me.federation, **where}
