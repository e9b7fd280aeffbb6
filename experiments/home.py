"""Where a federation lies on this machine: `--federation DIR`, $ENTREPOT_HOME, ./.entrepot."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import NoFederationError
from federation.membership import Member, Roster, open_roster
from policies.parties import DATA_ROLES, PartyId
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.signature import SigningKey, VerifyKey


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of a federation, as its founder or a data team holds it.

    cut_us: fraud is trained on orders placed before this moment, in microseconds since 1970.
    """

    folder: Path
    name: str
    pin: VerifyKey
    analyst: PartyId
    cut_us: int = 0

    @property
    def aggregator(self) -> Path:
        """The aggregator's folder."""
        return self.folder / "aggregator"

    @property
    def jobs(self) -> Path:
        """The aggregator's table of work."""
        return self.aggregator / "jobs.sqlite"

    @property
    def truth(self) -> Path:
        """What the demo knows and no node may see."""
        return self.folder / "truth"

    @property
    def people(self) -> Path:
        """What the analyst keeps: a key that signs orders, and keys of answers not yet opened."""
        return self.folder / "people" / self.analyst

    def node(self, party: PartyId) -> Path:
        """The folder of one node."""
        return self.folder / "nodes" / party

    def roster(self) -> Roster:
        """Return the roster, verified under the pin.

        Raises:
            NoFederationError: it is missing.
            UntrustedRosterError: the founder did not sign it.
        """
        return open_roster(_read(self.folder / "roster.bin"), self.pin)

    def holders(self) -> tuple[Member, ...]:
        """Return the members that hold rows."""
        return self.roster().with_role(*DATA_ROLES)

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
    try:
        value: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return Home(
            folder.resolve(),
            value["name"],
            VerifyKey(value["pin"]),
            PartyId(value["analyst"]),
            int(value.get("cut_us", 0)),
        )
    except (FileNotFoundError, NotADirectoryError) as why:
        raise NoFederationError(
            f"no federation in {folder}: start one with `entrepot demo --stay`, or name its folder "
            "with --federation DIR or $ENTREPOT_HOME"
        ) from why
    except (KeyError, TypeError, ValueError, LocalProtocolError) as why:
        raise NoFederationError(f"{path} is damaged ({why}); restore it from a copy") from why


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as why:
        raise NoFederationError(f"{path} is missing; restore it from a copy") from why
