"""What `aggregator.toml` says of a federation that may not be founded yet.

It names the pin of the roster only once there is one. Until then the join service and the calls of
those who are about to found are all that runs.
"""

import tomllib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from aggregator.errors import AggregatorSettingsError
from aggregator.places import Places
from federation import at_rest
from federation.membership import Member
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.authority import Authority, load_authority
from secure_compute.primitives.hpke import OpeningKey
from secure_compute.primitives.signature import SigningKey

DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """How others come in.

    address:  the name or number under which nodes reach this machine.
    listen:   on which address of it the ports are opened.
    join_port: where entrants call; None: nobody can be invited here.
    lifetime: how long a node's certificate is good.
    pin:      of the roster, "" before the founding.
    origin:   what a browser shows of the place where people use passkeys.
    """

    folder: Path
    federation: str
    party: PartyId
    organisation: str
    jurisdiction: Jurisdiction
    address: str
    listen: str
    fleet_port: int
    control_port: int
    stream_port: int | None
    join_port: int | None
    threshold: int
    colluding: int
    lifetime: timedelta
    pin: str
    origin: str = ""

    @property
    def places(self) -> Places:
        """Where the files of the server are."""
        return Places(self.folder)

    @property
    def identity(self) -> SigningKey:
        """The key the aggregator signs its words with."""
        return SigningKey(at_rest.read(self.folder / "keys" / "identity.key"))

    @property
    def opening(self) -> OpeningKey:
        """The key that opens what is sent to the aggregator."""
        return OpeningKey(at_rest.read(self.folder / "keys" / "opening.key"))

    @property
    def member(self) -> Member:
        """The aggregator as it stands on a roster."""
        own = (self.identity.verify_key, self.opening.sealing_key)
        return Member(self.party, self.organisation, Role.AGGREGATOR, self.jurisdiction, *own)

    @property
    def authority(self) -> Authority:
        """Who vouches for connections."""
        return load_authority(self.places.ca.parent, at_rest.FILES)

    def at(self, port: int | None) -> str:
        """Return `host:port` as nodes are told it."""
        return f"[{self.address}]:{port}" if ":" in self.address else f"{self.address}:{port}"


def load_hosting(folder: Path) -> Hosting:
    """Read `aggregator.toml`.

    Raises:
        AggregatorSettingsError: it is missing or malformed, or of a federation without streams.
    """
    path = folder / "aggregator.toml"
    try:
        return _hosting(folder.resolve(), tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as why:
        raise AggregatorSettingsError(f"{folder} is no aggregator: no aggregator.toml") from why
    except KeyError as why:
        raise AggregatorSettingsError(f"{path} lacks {why}, so nobody can join here") from why
    except (ValueError, TypeError, OverflowError, RecursionError, LocalProtocolError) as why:
        raise AggregatorSettingsError(f"{path}: {why}") from why


def _hosting(folder: Path, value: dict[str, Any]) -> Hosting:
    days = _number(value.get("certificate_days", DAYS), 1, "certificate_days")
    return Hosting(
        folder=folder,
        federation=str(value["federation"]),
        party=PartyId(value["party"]),
        organisation=str(value["organisation"]),
        jurisdiction=Jurisdiction(value["jurisdiction"]),
        address=str(value.get("address", "127.0.0.1")),
        listen=str(value.get("listen", "127.0.0.1")),
        fleet_port=_number(value["fleet_port"], 0, "fleet_port"),
        control_port=_number(value["control_port"], 0, "control_port"),
        stream_port=_port(value, "stream_port"),
        join_port=_port(value, "join_port"),
        threshold=_number(value.get("threshold", 2), 2, "threshold"),
        colluding=_number(value.get("colluding", 1), 1, "colluding"),
        lifetime=timedelta(days=days),
        pin=str(value.get("pin", "")),
        origin=str(value.get("origin", f"https://{value.get('address', '127.0.0.1')}")),
    )


def _port(value: dict[str, Any], name: str) -> int | None:
    return _number(value[name], 0, name) if name in value else None


def _number(value: object, least: int, name: str) -> int:
    if type(value) is not int or not least <= value < 2**16:
        raise ValueError(f"{name} is a whole number of at least {least}")
    return value
