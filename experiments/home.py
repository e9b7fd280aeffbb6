"""Where a federation lies on this machine: `--federation DIR`, $ENTREPOT_HOME, ./.entrepot.

A node's own folder is one, too: as much of the federation as its party holds. What is read of the
others' books and ledgers is left out there.
"""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from experiments.errors import NoFederationError
from federation.ledger.trust import Trust
from federation.membership import Member, Roster
from federation.roster_chain import (
    Epoch,
    history,
    open_roster,
    require_pin,
    require_successor,
)
from federation.whole_files import replace_file
from policies.parties import DATA_ROLES, PartyId, Role
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.signature import SigningKey

if TYPE_CHECKING:
    from aggregator.database import Server

TRUST_FILE: Final = "trust.txt"
"""The keys of all ledgers, as the newest epoch has them; exports are verified against it."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of a federation, as its founder, a data team or one party holds it.

    pin:    the SHA-256 of its founding.
    cut_us: fraud is trained on orders placed before this moment, in microseconds since 1970.
    own:    whose node's folder this is; None: nobody's, its nodes lie below it.
    """

    folder: Path
    name: str
    pin: str
    analyst: PartyId
    cut_us: int = 0
    own: PartyId | None = None

    @property
    def aggregator(self) -> Path:
        """The aggregator's folder."""
        return self.folder / "aggregator"

    @property
    def jobs(self) -> "Path | Server":
        """The aggregator's table of work."""
        from aggregator.stores import load_stores

        return load_stores(self.aggregator).jobs

    @property
    def truth(self) -> Path:
        """What the demo knows and no node may see."""
        return self.folder / "truth"

    @property
    def people(self) -> Path:
        """What the analyst keeps: a key that signs orders, and keys of answers not yet opened."""
        return self.folder / "people" / self.analyst

    def node(self, party: PartyId) -> Path:
        """The folder of one node; nothing lies there where the party is elsewhere."""
        return self.folder if party == self.own else self.folder / "nodes" / party

    def roster(self) -> Roster:
        """Return the roster at its last epoch, verified under the pin.

        The aggregator's chain is taken, and kept, if it goes on from the one here.

        Raises:
            NoFederationError: it is missing.
            ForkedRosterError, OlderRosterError: the aggregator's is another, or was put back.
            UntrustedRosterError: its members did not sign it.
        """
        return self.epochs()[-1]

    def epochs(self) -> tuple[Roster, ...]:
        """Return the roster at every epoch, the founding first; errors: `roster`."""
        return tuple(epoch.roster for epoch in self.history())

    def history(self) -> tuple[Epoch, ...]:
        """Return every epoch with what changed and who signed it; errors: `roster`."""
        offered = self.aggregator / "roster.bin"
        if offered.exists():
            self.take_chain(offered.read_bytes())
        return history(_read(self.folder / "roster.bin"), self.pin)

    def take_chain(self, newer: bytes) -> None:
        """Keep a chain that goes on from the one here; errors: `roster`."""
        own = _read(self.folder / "roster.bin")
        if newer == own:
            return
        require_successor(own, newer, self.pin)
        keys = str(Trust.of(open_roster(newer, self.pin)))
        replace_file(self.folder / TRUST_FILE, keys.encode())
        replace_file(self.folder / "roster.bin", newer)  # last: cut off before, both are written

    def holders(self) -> tuple[Member, ...]:
        """Return the members that hold rows."""
        return self.roster().active(*DATA_ROLES)

    def analyst_key(self) -> SigningKey:
        """The key the data team signs orders with.

        Raises:
            NoFederationError: it is missing.
        """
        return SigningKey(_read(self.people / "identity.key"))


def choose_folder(option: Path | None) -> Path:
    """Return the folder a command means."""
    return option or Path(os.environ.get("ENTREPOT_HOME", ".entrepot"))


def open_home(option: Path | None) -> Home:
    """Find the federation.

    Raises:
        NoFederationError: there is none in the chosen folder, or its file is damaged.
    """
    folder = choose_folder(option)
    path = folder / "federation.toml"
    if (folder / "node.toml").exists():
        return _of_node(folder)
    try:
        value: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        if "pin" not in value and "analyst_organisation" in value:
            raise NoFederationError(
                f"the federation in {folder} is not founded yet: see who has come with `entrepot "
                "aggregator pending`, and run `entrepot aggregator found`, once more when all have "
                "signed"
            )
        return Home(
            folder.resolve(),
            value["name"],
            require_pin(value["pin"]),
            PartyId(value["analyst"]),
            int(value.get("cut_us", 0)),
        )
    except (FileNotFoundError, NotADirectoryError) as why:
        raise NoFederationError(
            f"no federation in {folder}: start one with `entrepot demo --stay`, or name its folder "
            "or your node's with --federation DIR or $ENTREPOT_HOME"
        ) from why
    except (KeyError, TypeError, ValueError, LocalProtocolError) as why:
        raise NoFederationError(f"{path} is damaged ({why}); restore it from a copy") from why


def _of_node(folder: Path) -> Home:
    from clients.settings import load_settings

    settings = load_settings(folder)
    analyst = next((m.party for m in settings.roster().members if m.role is Role.ANALYST), None)
    words = (settings.federation, settings.pin, analyst or PartyId("analyst"))
    return Home(settings.folder, *words, own=settings.party)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as why:
        raise NoFederationError(f"{path} is missing; restore it from a copy") from why
