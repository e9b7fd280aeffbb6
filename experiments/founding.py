"""Founds a federation on this machine: keys, certificates, roster, and one folder per party.

This is what a ceremony between organisations does; here one process plays all of them, and says so:
it signs the founding with the key of every seat, and nobody keeps a key that founds. Private keys
are written with mode 0600 into the folder of whoever owns them.
"""

import os
import socket
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

import tomli_w

from aggregator.places import Places, create_secrets
from clients.renewal import is_due
from experiments.errors import UsageError
from experiments.home import TRUST_FILE, Home
from federation.ledger.trust import COLLUDING, Trust
from federation.membership import Member
from federation.offers import OFFERED_BY
from federation.roster_chain import found_roster, founding_statement, open_roster, pin_of
from federation.whole_files import keep_file
from policies.law.bundle import Caps, bundle
from policies.parties import DATA_ROLES, Jurisdiction, PartyId, Role
from secure_compute.primitives.authority import (
    CLIENT_LIFETIME,
    create_authority,
    create_server,
)
from secure_compute.primitives.authority import certify as issue
from secure_compute.primitives.certificates import read_client_certificate
from secure_compute.primitives.hpke import PRIVATE_SIZE, OpeningKey
from secure_compute.primitives.node_keys import create_node_key, create_stream_key
from secure_compute.primitives.signature import KEY_SIZE, SigningKey

ANALYST: Final = PartyId("analyst")
AGGREGATOR: Final = PartyId("aggregator")


CAPS: Final = Caps(train_epsilon=Decimal(8), query_epsilon=Decimal("0.5"))
"""What every node of a federation founded here allows at most, until its operator says less."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A party to be: who it is, and where its data lives."""

    party: PartyId
    organisation: str
    role: Role
    jurisdiction: Jurisdiction


def _seat(party: str, organisation: str, role: Role, jurisdiction: Jurisdiction) -> Seat:
    return Seat(PartyId(party), organisation, role, jurisdiction)


DEMO_SEATS: Final = (
    _seat("warehouse-cn", "Ningbo Bonded Storage", Role.WAREHOUSE, Jurisdiction.CN),
    _seat("warehouse-eu", "Rotterdam Fulfilment", Role.WAREHOUSE, Jurisdiction.EU),
    _seat("warehouse-uk", "Felixstowe Stores", Role.WAREHOUSE, Jurisdiction.UK),
    _seat("warehouse-us", "Newark Logistics", Role.WAREHOUSE, Jurisdiction.US),
    _seat("payments-eu", "Lyon Paiements", Role.PAYMENT_PARTNER, Jurisdiction.EU),
    _seat("payments-cn", "Shenzhen Pay", Role.PAYMENT_PARTNER, Jurisdiction.CN),
    _seat("merchant-uk", "Leeds Outfitters", Role.MERCHANT, Jurisdiction.UK),
    _seat("merchant-br", "Recife Comércio", Role.MERCHANT, Jurisdiction.BR),
    _seat("keyholder-ch", "Zug Treuhand", Role.KEYHOLDER, Jurisdiction.CH),
    _seat("keyholder-eu", "Dublin Custody", Role.KEYHOLDER, Jurisdiction.EU),
    _seat("keyholder-uk", "Edinburgh Trust", Role.KEYHOLDER, Jurisdiction.UK),
    _seat(AGGREGATOR, "Entrepôt Operations", Role.AGGREGATOR, Jurisdiction.EU),
    _seat(ANALYST, "Commerce Analytics", Role.ANALYST, Jurisdiction.EU),
)


FEWEST_KEYHOLDERS: Final = 3
THRESHOLD: Final = 2
"""How many keyholders open a joint question together; one fewer of them read nothing of it."""


LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the aggregator listens: its ports, and the host nodes reach them at.

    The control port is on loopback always. join: None where nobody is invited.
    """

    fleet: int
    control: int
    stream: int
    join: int | None = None
    host: str = LOOPBACK


def free_ports() -> Ports:
    """Return ports that nobody listens on at this moment."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(4)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return Ports(*(probe.getsockname()[1] for probe in probes))


def found(
    folder: Path,
    name: str,
    seats: Sequence[Seat],
    limits: Mapping[str, Mapping[str, str]],
    ports: Ports,
    cut_us: int = 0,
) -> Home:
    """Write a whole federation into `folder`, which must not hold one yet.

    limits: per contract name, the `epsilon` and `delta` its account may ever spend. A party offers
            those of them of which its role holds rows.

    Raises:
        UsageError: there is a federation in the folder already, or too few are to hold its keys.
    """
    _require_keyholders(seats)
    if (folder / "federation.toml").exists():
        raise UsageError(f"{folder} holds a federation already; choose another folder")
    keys = {seat.party: _new_key() for seat in seats}
    opening = {seat.party: OpeningKey(os.urandom(PRIVATE_SIZE)) for seat in seats}
    members = [_member(seat, keys[seat.party], opening[seat.party]) for seat in seats]
    wire = _founding(name, members, keys)
    pin = pin_of(wire)
    for seat in seats:
        if seat.role is Role.ANALYST:
            _keys(folder / "people" / seat.party, keys[seat.party], opening[seat.party])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "roster.bin").write_bytes(wire)
    (folder / TRUST_FILE).write_text(str(Trust.of(open_roster(wire, pin))), encoding="utf-8")
    nodes = [seat for seat in seats if seat.role in {*DATA_ROLES, Role.KEYHOLDER}]
    certify(folder, [seat.party for seat in nodes], ports.host)
    (host,) = (seat for seat in seats if seat.role is Role.AGGREGATOR)
    _keys(folder / "aggregator" / "keys", keys[AGGREGATOR], opening[AGGREGATOR])
    _write_aggregator(folder / "aggregator", name, host, pin, ports, wire)
    for seat in nodes:
        _keys(folder / "nodes" / seat.party / "keys", keys[seat.party], opening[seat.party])
        _write_node(folder, name, seat, pin, ports, wire)
        _write_law(folder / "nodes" / seat.party, seat, limits)
    _toml(
        folder / "federation.toml",
        {
            "name": name,
            "pin": pin,
            "analyst": str(ANALYST),
            "cut_us": cut_us,
        },
    )
    return Home(folder.resolve(), name, pin, ANALYST, cut_us)


def _founding(name: str, members: Sequence[Member], keys: Mapping[PartyId, SigningKey]) -> bytes:
    statement = founding_statement(name, members, COLLUDING)
    return found_roster(statement, {party: key.sign(statement) for party, key in keys.items()})


def _require_keyholders(seats: Sequence[Seat]) -> None:
    organisations = {seat.organisation for seat in seats if seat.role is Role.KEYHOLDER}
    if len(organisations) < FEWEST_KEYHOLDERS:
        raise UsageError(
            f"{len(organisations)} organisations are to hold the keys of joint questions and "
            f"{FEWEST_KEYHOLDERS} must, best in as many jurisdictions: any {THRESHOLD} of them "
            "open an answer, no one alone can, and one may be away; seat more keyholders"
        )


def move(home: Home, ports: Ports) -> None:
    """Let a federation that is not running listen on other ports from now on.

    One that was founded before nodes had streams is given new certificates, so that they have.
    """
    path = home.aggregator / "aggregator.toml"
    value = tomllib.loads(path.read_text(encoding="utf-8"))
    _toml(path, value | _listening(ports))
    nodes = sorted((home.folder / "nodes").iterdir())
    if worn := [PartyId(node.name) for node in nodes if _is_worn(node / "keys")]:
        certify(home.folder, worn, ports.host)
    for node in nodes:
        value = tomllib.loads((node / "node.toml").read_text(encoding="utf-8"))
        value["aggregator"] |= _reached(ports)
        _toml(node / "node.toml", value)


def _is_worn(keys: Path) -> bool:
    """Whether a node lacks a certificate, or one that lasts: nobody renews it while it stands."""
    if not (keys / "stream.crt").exists():
        return True
    shown = read_client_certificate(
        (keys / "stream.crt").read_bytes(), (keys / "ca.crt").read_bytes()
    )
    return is_due(shown, datetime.now(UTC))


def certify(folder: Path, parties: Sequence[PartyId], host: str = LOOPBACK) -> None:
    """The aggregator and these nodes have certificates of the authority in the aggregator's folder.

    It is made where there is none. Keys that are there are kept.
    """
    own, now = Places(folder / "aggregator").ca.parent, datetime.now(UTC)
    authority = create_authority(own, now)
    create_server(authority, own, now, (host,))
    for party in parties:
        keys = folder / "nodes" / party / "keys"
        public = create_stream_key(keys / "stream.key")
        pem = issue(authority, party, public, now, CLIENT_LIFETIME)
        keep_file(keys / "ca.crt", authority.certificate, 0o644)
        keep_file(keys / "stream.crt", pem, 0o644)


def _listening(ports: Ports) -> dict[str, int | str]:
    joined = {} if ports.join is None else {"join_port": ports.join}
    return {
        "address": ports.host,
        "listen": ports.host,
        "fleet_port": ports.fleet,
        "control_port": ports.control,
        "stream_port": ports.stream,
        **joined,
    }


def _reached(ports: Ports) -> dict[str, str]:
    return {"address": f"{ports.host}:{ports.fleet}", "stream": f"{ports.host}:{ports.stream}"}


def _new_key() -> SigningKey:
    return SigningKey(os.urandom(KEY_SIZE))


def _member(seat: Seat, key: SigningKey, opening: OpeningKey) -> Member:
    own = (key.verify_key, opening.sealing_key)
    return Member(seat.party, seat.organisation, seat.role, seat.jurisdiction, *own)


def _keys(folder: Path, identity: SigningKey, opening: OpeningKey) -> None:
    _secret(folder / "identity.key", identity.seed)
    _secret(folder / "opening.key", opening.seed)


def _write_aggregator(
    folder: Path, name: str, seat: Seat, pin: str, ports: Ports, roster: bytes
) -> None:
    places = Places(folder)
    create_secrets(places)
    (folder / "roster.bin").write_bytes(roster)
    _toml(
        folder / "aggregator.toml",
        {
            "party": str(AGGREGATOR),
            "organisation": seat.organisation,
            "jurisdiction": seat.jurisdiction.value,
            "federation": name,
            **_listening(ports),
            "pin": pin,
            "capture": True,
            "threshold": THRESHOLD,
        },
    )


def _write_node(
    folder: Path,
    name: str,
    seat: Seat,
    pin: str,
    ports: Ports,
    roster: bytes,
) -> None:
    node = folder / "nodes" / seat.party
    line = create_node_key(node / "keys" / "flower")
    enrolled = folder / "aggregator" / "nodes" / f"{seat.party}.pub"
    enrolled.parent.mkdir(parents=True, exist_ok=True)
    enrolled.write_bytes(line + b"\n")
    (node / "roster.bin").write_bytes(roster)
    for part in ("data", "contract", "policy"):
        (node / part).mkdir(exist_ok=True)
    _toml(
        node / "node.toml",
        {
            "party": str(seat.party),
            "organisation": seat.organisation,
            "role": seat.role.value,
            "jurisdiction": seat.jurisdiction.value,
            "federation": name,
            "pin": pin,
            "capture": True,
            "aggregator": {
                "party": str(AGGREGATOR),
                **_reached(ports),
                "ca": "keys/ca.crt",
            },
            "keys": {"threshold": THRESHOLD},
        },
    )


def _write_law(node: Path, seat: Seat, limits: Mapping[str, Mapping[str, str]]) -> None:
    for contract in (name for name in limits if seat.role in OFFERED_BY.get(name, ())):
        source = files("experiments") / "parties" / "contracts" / f"{contract}.toml"
        text = Template(source.read_text(encoding="utf-8")).substitute(limits[contract])
        (node / "contract" / f"{contract}.toml").write_text(text, encoding="utf-8")
    for filename, text in bundle(seat.party, seat.jurisdiction, CAPS).items():
        (node / "policy" / filename).write_text(text, encoding="utf-8")


def _secret(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)


def _toml(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tomli_w.dumps(value).encode())
