"""Begins a federation of its own: the aggregator's folder and the data team's key, no nodes.

    DIR/federation.toml                 its name, and its pin once it is founded
    DIR/aggregator/                     ports, secrets, identity, the authority of all connections
    DIR/people/analyst/identity.key     signs orders; opening.key opens what is sealed to it

Nobody is a member yet. Parties are invited (`experiments.inviting`), join, and found it together.
"""

import os
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import tomli_w

from aggregator.hosting import DAYS, Hosting, load_hosting
from aggregator.places import Places, create_secrets
from clients.renewal import is_due
from experiments.errors import NoFederationError, UsageError
from experiments.founding import AGGREGATOR, ANALYST, THRESHOLD, Ports
from experiments.home import choose_folder
from federation import at_rest
from federation.membership import Member
from federation.roster_rules import MOST_COLLUDING, is_name, is_organisation
from federation.whole_files import keep_file
from policies.parties import Jurisdiction, Role
from secure_compute.primitives.authority import create_authority, create_server
from secure_compute.primitives.certificates import read_client_certificate
from secure_compute.primitives.hpke import PRIVATE_SIZE, OpeningKey
from secure_compute.primitives.signature import KEY_SIZE, SigningKey

LOOPBACK: Final = ("127.0.0.1", "localhost")


EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - nodes come from outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a federation begins with.

    organisation, jurisdiction: the aggregator's; analyst: the data team's organisation.
    address: the name or number under which nodes reach this machine.
    """

    name: str
    organisation: str
    jurisdiction: Jurisdiction
    analyst: str
    address: str = LOOPBACK[0]
    colluding: int = 1
    threshold: int = THRESHOLD
    days: int = DAYS


@dataclass(frozen=True, slots=True)
class Begun:
    """A federation's folder that may not be founded yet."""

    folder: Path
    analyst: Member
    hosting: Hosting

    @property
    def analyst_key(self) -> SigningKey:
        """The key the data team signs with."""
        return SigningKey((_people(self.folder) / "identity.key").read_bytes())


def begin(folder: Path, plan: Plan, ports: Ports) -> Begun:
    """Write a federation's beginning into `folder`, which must not hold one yet.

    Raises:
        UsageError: there is a federation in it already, or the plan makes none.
    """
    if (folder / "federation.toml").exists():
        raise UsageError(f"{folder} holds a federation already; choose another folder")
    is_bearable = 1 <= plan.colluding <= MOST_COLLUDING
    if ports.join is None or not is_bearable or plan.threshold < 2 or plan.days < 1:
        raise UsageError(
            f"a federation bears 1 to {MOST_COLLUDING} colluders, and 2 keyholders open an answer"
        )
    if not is_name(plan.name) or not all(map(is_organisation, (plan.organisation, plan.analyst))):
        raise UsageError(
            "a federation's name is letters, digits and . _ -, and that of an organisation is one "
            "line of up to 200 characters; nobody could found another"
        )
    if ":" in plan.address or not plan.address.strip():
        raise UsageError(f"{plan.address!r} is no host name and no IPv4 address; name one")
    own = folder / "aggregator"
    for path in (own / "keys", _people(folder)):
        for key, size in (("identity.key", KEY_SIZE), ("opening.key", PRIVATE_SIZE)):
            if not (path / key).exists():
                at_rest.write(path / key, os.urandom(size))
    now = datetime.now(UTC)
    authority = create_authority(own / "keys", now, at_rest.FILES)
    create_server(authority, own / "keys", now, (plan.address,), at_rest.FILES)
    create_secrets(Places(own))
    _write(own / "aggregator.toml", _aggregator(plan, ports))
    _write(
        folder / "federation.toml",
        {
            "name": plan.name,
            "analyst": str(ANALYST),
            "analyst_organisation": plan.analyst,
            "analyst_jurisdiction": plan.jurisdiction.value,
        },
    )
    return open_begun(folder)


def open_begun(option: Path | None) -> Begun:
    """Find a federation, founded or not.

    Raises:
        NoFederationError: there is none in the chosen folder, or its file is damaged.
    """
    folder = choose_folder(option)
    path = folder / "federation.toml"
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
        hosting = load_hosting(folder / "aggregator")
        analyst = Member(
            ANALYST,
            str(value.get("analyst_organisation", "")),
            Role.ANALYST,
            Jurisdiction(value.get("analyst_jurisdiction", hosting.jurisdiction)),
            SigningKey((_people(folder) / "identity.key").read_bytes()).verify_key,
            OpeningKey((_people(folder) / "opening.key").read_bytes()).sealing_key,
        )
    except (FileNotFoundError, NotADirectoryError) as why:
        raise NoFederationError(
            f"no federation in {folder}: begin one with `entrepot aggregator init`, or name its "
            "folder with --federation DIR or $ENTREPOT_HOME"
        ) from why
    except ValueError as why:
        raise NoFederationError(f"{path} is damaged ({why}); restore it from a copy") from why
    return Begun(folder.resolve(), analyst, hosting)


def keep_server(hosting: Hosting) -> None:
    """The server's certificate lasts for another third of its life; its key stays what it is."""
    places, now = hosting.places, datetime.now(UTC)
    shown = read_client_certificate(places.certificate.read_bytes(), places.ca.read_bytes())
    if is_due(shown, now):
        hosts = (hosting.address,)
        create_server(hosting.authority, places.ca.parent, now, hosts, at_rest.FILES)


def write_home(begun: Begun, pin: str, chain: bytes, trust: str) -> None:
    """The data team's side of a federation that was founded: pin, roster, keys of all ledgers."""
    keep_file(begun.folder / "roster.bin", chain, 0o644)
    keep_file(begun.folder / "trust.txt", trust.encode(), 0o644)
    path = begun.folder / "federation.toml"
    value = tomllib.loads(path.read_text(encoding="utf-8"))
    _write(path, value | {"pin": pin})


def _aggregator(plan: Plan, ports: Ports) -> dict[str, object]:
    return {
        "party": str(AGGREGATOR),
        "organisation": plan.organisation,
        "jurisdiction": plan.jurisdiction.value,
        "federation": plan.name,
        "address": plan.address,
        "listen": LOOPBACK[0] if plan.address in LOOPBACK else EVERYWHERE,
        "fleet_port": ports.fleet,
        "control_port": ports.control,
        "stream_port": ports.stream,
        "join_port": ports.join,
        "threshold": plan.threshold,
        "colluding": plan.colluding,
        "certificate_days": plan.days,
        "capture": False,
    }


def _people(folder: Path) -> Path:
    return folder / "people" / ANALYST


def _write(path: Path, value: dict[str, object]) -> None:
    keep_file(path, tomli_w.dumps(value).encode(), 0o644)
