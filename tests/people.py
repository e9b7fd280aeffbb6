"""People in front of an aggregator's door, in one process, with a clock that the test moves."""

import base64
import hashlib
import hmac
import struct
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import tomli_w

from aggregator.access import Guard
from aggregator.denials import Denials
from aggregator.door import Patience
from aggregator.hosting import Hosting, load_hosting
from aggregator.jobs import Jobs
from aggregator.logins import Logins
from aggregator.people import People
from aggregator.people_door import PeopleDoor
from experiments.beginning import Plan, begin
from experiments.founding import free_ports
from experiments.people_invited import invite
from federation.membership import Member
from federation.orders import WorkOrder, sign_order
from federation.people.calling import Call, enrol_statement, login_statement
from federation.people.persons import PersonId, PersonRole, Seat
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import canonical
from secure_compute.primitives.signature import SigningKey
from tests.rosters import founded, key

HOST: Final = "Operations"
MEMBERS: Final = (
    Member(PartyId("cn"), "Ningbo", Role.WAREHOUSE, Jurisdiction.CN, key("cn").verify_key),
    Member(PartyId("eu"), "Rotterdam", Role.WAREHOUSE, Jurisdiction.EU, key("eu").verify_key),
    Member(PartyId("br"), "Recife", Role.WAREHOUSE, Jurisdiction.BR, key("br").verify_key),
    Member(PartyId("ca"), "Oakland", Role.MERCHANT, Jurisdiction.US_CA, key("ca").verify_key),
    Member(
        PartyId("aggregator"), HOST, Role.AGGREGATOR, Jurisdiction.EU, key("aggregator").verify_key
    ),
    Member(PartyId("desk"), "Analytics", Role.ANALYST, Jurisdiction.EU, key("desk").verify_key),
    Member(PartyId("lab"), "Institute", Role.ANALYST, Jurisdiction.UK, key("lab").verify_key),
)


class Clock:
    """Seconds since 1970, moved by hand."""

    def __init__(self, at: float = 1_900_000_000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def code_at(secret: str, at: float) -> str:
    """Return six digits by RFC 6238, from the RFC's own words."""
    counter = struct.pack(">Q", int(at) // 30)
    digest = hmac.digest(base64.b32decode(secret), counter, hashlib.sha1)
    offset = digest[19] & 15
    (word,) = struct.unpack(">I", digest[offset : offset + 4])
    return f"{(word & 0x7FFFFFFF) % 1_000_000:06d}"


@dataclass
class Someone:
    """A person with its machine's key and its phone."""

    name: str
    key: SigningKey
    secret: str
    recovery: tuple[str, ...]
    session: str = ""


class Desk:
    """An aggregator's folder, founded unless said otherwise, and its people's door."""

    def __init__(self, folder: Path, *, is_founded: bool = True) -> None:
        plan = Plan(name="harbour", organisation=HOST, jurisdiction=Jurisdiction.EU, analyst="D")
        begin(folder / "fed", plan, free_ports())
        self.home = folder / "fed"
        self.folder = folder / "fed" / "aggregator"
        if is_founded:
            self._found()
        self.open(Clock())

    @classmethod
    def over(cls, home: Path, name: str, clock: Clock) -> "Desk":
        """Return the door of a federation that is there, called `name`."""
        desk = cls.__new__(cls)
        desk.home, desk.folder = home, home / "aggregator"
        path = desk.folder / "aggregator.toml"
        ports = {"join_port": 1, "stream_port": 2}
        path.write_text(tomli_w.dumps(tomllib.loads(path.read_text()) | ports))
        desk.open(clock, name)
        return desk

    def open(self, clock: Clock, name: str = "harbour") -> None:
        """Let people come."""
        self.name = name
        self.clock = clock
        self.people = People(self.folder)
        self.denials = Denials(self.folder)
        self.guard = Guard(self.hosting, self.denials)
        self.patience = Patience(self.clock, one=1000, altogether=1000)
        self.logins = Logins(self.hosting, self.people, self.clock, self.patience, self.patience)
        self.door = PeopleDoor(self.hosting, self.people, self.logins, self.guard, self.clock)
        self.calls = self.door.calls()

    def hosting(self) -> Hosting:
        return load_hosting(self.folder)

    def _found(self) -> None:
        chain = founded("harbour", MEMBERS)
        (self.folder / "roster.bin").write_bytes(chain.wire)
        (self.folder / "keys" / "identity.key").write_bytes(key("aggregator").seed)
        path = self.folder / "aggregator.toml"
        path.write_text(tomli_w.dumps(tomllib.loads(path.read_text()) | {"pin": chain.pin}))

    def invite(
        self, name: str, role: str, organisation: str, place: str = "EU"
    ) -> tuple[str, bytes]:
        """Return an invitation's id and its secret; good for an hour by the test's clock."""
        seat = Seat(PersonId(name), organisation, PersonRole(role), Jurisdiction(place))
        token = invite(self.hosting(), seat, 1.0)
        found = self.people.invitation(token.invitation.hex())
        assert found is not None
        with self.people._database.writing() as db:
            db.execute("UPDATE invitations SET expires = ?", (int(self.clock()) + 3600,))
        return found.id, token.secret

    def enrol(self, name: str, role: str, organisation: str, place: str = "EU") -> Someone:
        return self.take(*self.invite(name, role, organisation, place), key(f"person {name}"))

    def take(self, invitation: str, secret: bytes, own: SigningKey) -> Someone:
        public = own.verify_key.hex
        signature = own.sign(enrol_statement(invitation, public)).hex()
        body = {"invitation": invitation, "secret": secret.hex()}
        told = self.ask("Enrol", "", **body, key=public, signature=signature)
        shared = parse_qs(urlsplit(told["otpauth"]).query)["secret"][0]
        return Someone(told["person"], own, shared, tuple(told["recovery"]))

    def shown(self, who: Someone, code: str | None = None) -> dict[str, str]:
        """Return what logs `who` in: its key's signature over a code, the phone's where none is."""
        said = code_at(who.secret, self.clock()) if code is None else code
        signature = who.key.sign(login_statement(self.name, who.name, said)).hex()
        return {"person": who.name, "code": said, "signature": signature}

    def login(self, who: Someone, code: str | None = None) -> str:
        """Log in, with a code of the phone that was not used before."""
        if code is None:
            self.clock.at += 30
        who.session = str(self.ask("Login", "", **self.shown(who, code))["session"])
        return who.session

    def member(self, name: str, role: str, organisation: str, place: str = "EU") -> Someone:
        """Return somebody who is logged in."""
        someone = self.enrol(name, role, organisation, place)
        self.login(someone)
        return someone

    def ask(self, method: str, session: str, **body: Any) -> dict[str, Any]:
        """Return the answer, as bytes went in and out."""
        call = Call(session, body).to_bytes()
        answer = canonical.decode(self.calls[method](call, "somewhere"))
        assert isinstance(answer, dict)
        return answer

    def put(self, order: WorkOrder, by: str) -> str:
        """Put a signed order on the table."""
        wire = sign_order(order, key(by))
        Jobs(self.folder / "jobs.sqlite").add(order.id, wire, self.clock())
        return order.id


def order_of(proposer: str, cohort: tuple[str, ...], **changed: Any) -> WorkOrder:
    """Return a work order of these parties."""
    words: Mapping[str, Any] = {
        "federation": "harbour",
        "kind": "train",
        "proposer": PartyId(proposer),
        "purpose": "fraud_prevention",
        "legal_basis": "contract",
        "code": "00",
        "contract": "orders",
        "contract_version": 1,
        "columns": ("amount",),
        "recipients": (PartyId(proposer),),
        "parameters": {"rounds": 3},
        "unit": "customer",
        "epsilon": "2",
        "delta": "1e-6",
        "event": {"event": "gaussian"},
        "releases": 3,
        "abandoned": 2,
        "windows": (),
        "cohort": tuple(map(PartyId, cohort)),
        "minimum": 1,
        "created": 1,
        "expires": 2,
        "nonce": "n",
    }
    return WorkOrder(**{**words, **changed})
