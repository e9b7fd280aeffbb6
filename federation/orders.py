"""The unit of authorisation: what may be computed, on what, for whom, at which price.

A work order is a value. It is signed by the analyst who proposes it; its id is the SHA-256 of its
canonical bytes, so nothing in it can change without becoming another order. Members of other
organisations may have countersigned it (`federation.countersignatures`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from typing import Any, Final, Literal

from federation.countersignatures import divided, listed, require_genuine
from federation.errors import MalformedOrderError, UntrustedOrderError
from federation.membership import Roster
from policies.evidence import Minted
from policies.parties import PartyId, Role
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, NotCanonicalError
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey

VERSION: Final = 2

MOST_ABANDONED: Final = 100
MOST_TURNS: Final = 366


@dataclass(frozen=True, slots=True)
class Read:
    """Whose rows are read: of one version of a contract, and of them these columns, sorted."""

    contract: str
    version: int
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """Which order of a schedule this is: `number` of `of`; the next begins `every` seconds later.

    All orders of one schedule have its proposer and its nonce. That the others are there is what
    the proposer signs, and nobody can tell from one order.
    """

    number: int
    of: int
    every: int


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """One training run, joint query or match of people, as every node will judge it.

    code:        SHA-256 of the installed packages that will do the work.
    contract:    name of the data contract that is read; of a join, the first one.
    columns:     every column of it that is read, sorted.
    recipients:  the parties that will know the result.
    parameters:  the recipe of a training run, the plan of a query, or the terms of a match.
    event:       what ONE release does to the data (`policies.budget.events` JSON); empty where
                 people approve what no event describes.
    releases:    most releases one node will make; all of them are reserved at once.
    abandoned:   most of them that may be made again because a round came to nothing; they are
                 reserved with the others, and at the cap a node stops.
    windows:     the accounting windows that are read, by label; none for all of them.
    cohort:      the parties asked, by name; minimum: fewest that must take part.
    created, expires: seconds since 1970, UTC.
    nonce:       makes two otherwise equal orders two orders.
    further:     of a query that joins: the other contracts that it reads, in the plan's order.
    not_before:  no node takes it up before, and so none sets anything aside; 0 for at once.
    waits_until: until when it waits for people at nodes that have to ask them; 0: it does not.
    schedule:    of an order that is one of several: which; it is over before the next begins.
    """

    federation: str
    kind: Literal["train", "query", "match"]
    proposer: PartyId
    purpose: str
    legal_basis: str
    code: str
    contract: str
    contract_version: int
    columns: tuple[str, ...]
    recipients: tuple[PartyId, ...]
    parameters: Mapping[str, JSON]
    unit: str
    epsilon: str
    delta: str
    event: Mapping[str, JSON]
    releases: int
    abandoned: int
    windows: tuple[str, ...]
    cohort: tuple[PartyId, ...]
    minimum: int
    created: int
    expires: int
    nonce: str
    further: tuple[Read, ...] = ()
    not_before: int = 0
    waits_until: int = 0
    schedule: Turn | None = None

    def __post_init__(self) -> None:
        if self.kind not in {"train", "query", "match"}:
            raise MalformedOrderError("an order is for train, query or match")
        if not 1 <= self.minimum <= len(self.cohort):
            raise MalformedOrderError(f"a minimum of {self.minimum} among {len(self.cohort)}")
        if len(set(self.cohort)) != len(self.cohort):
            raise MalformedOrderError("a party stands twice in the cohort")
        if self.releases < 1:
            raise MalformedOrderError("an order without a release asks for nothing")
        if not 0 <= self.abandoned <= MOST_ABANDONED:
            raise MalformedOrderError(f"an order lets 0 to {MOST_ABANDONED} rounds be abandoned")
        if len(set(self.windows)) != len(self.windows):
            raise MalformedOrderError("a window stands twice in the order")
        self._require_further()
        self._require_times()
        self._require_turn()

    def _require_further(self) -> None:
        if self.further and self.kind != "query":
            raise MalformedOrderError("only a query reads several contracts")
        if len({read.contract for read in self.reads}) < len(self.reads):
            raise MalformedOrderError("a contract stands twice in the order")

    def _require_times(self) -> None:
        for name, moment in (("not_before", self.not_before), ("waits_until", self.waits_until)):
            if moment and not self.created < moment < self.expires:
                raise MalformedOrderError(f"{name} lies between writing and expiry of the order")

    def _require_turn(self) -> None:
        turn = self.schedule
        if turn is None:
            return
        if not 1 <= turn.number <= turn.of <= MOST_TURNS or turn.of < 2:
            raise MalformedOrderError(f"a schedule has 2 to {MOST_TURNS} orders, and this is one")
        if not self.not_before or self.expires >= self.not_before + turn.every:
            raise MalformedOrderError("an order of a schedule is over before the next one begins")

    @property
    def begins(self) -> int:
        """When work on it may begin, seconds since 1970: once written, or when its time comes."""
        return max(self.created, self.not_before)

    @property
    def reads(self) -> tuple[Read, ...]:
        """Everything that is read, by contract, the order's own first."""
        return (Read(self.contract, self.contract_version, self.columns), *self.further)

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form; what may be left out stands in it where there is any."""
        value: dict[str, JSON] = {"version": VERSION}
        for item in fields(self):
            part = getattr(self, item.name)
            value[item.name] = list(part) if isinstance(part, tuple) else part
        value["further"] = [_read_json(read) for read in self.further]
        value["schedule"] = None if self.schedule is None else asdict(self.schedule)
        return {name: part for name, part in value.items() if part or name not in _OPTIONAL}

    @cached_property
    def id(self) -> str:
        """The SHA-256 of the canonical form, in hexadecimal."""
        return canonical.digest(self.to_json())


@dataclass(frozen=True, slots=True)
class SignedOrder(metaclass=Minted):
    """A work order whose signature was checked against the roster.

    countersigned: the members of other organisations that put their names to it.
    """

    order: WorkOrder
    wire: bytes
    countersigned: tuple[PartyId, ...] = ()


def sign_order(order: WorkOrder, key: SigningKey) -> bytes:
    """Return the order's canonical bytes behind the proposer's signature."""
    body = canonical.encode(order.to_json())
    return key.sign(body) + body


def open_order(wire: bytes, roster: Roster) -> SignedOrder:
    """Check that an analyst of the roster signed these bytes, then read them.

    Raises:
        MalformedOrderError: the bytes are no work order of this version.
        UnknownPartyError: the proposer is not on the roster.
        UntrustedOrderError: the proposer is no analyst, or did not sign these bytes; or a
            countersignature is none.
    """
    plain, rest = divided(wire)
    body = plain[SIGNATURE_SIZE:]
    order = _read(body)
    proposer = roster.find(order.proposer)
    if proposer.role is not Role.ANALYST or order.federation != roster.federation:
        raise UntrustedOrderError(f"{order.proposer} may not propose work in {roster.federation}")
    try:
        proposer.identity.verify(wire[:SIGNATURE_SIZE], body)
    except BadSignatureError as why:
        raise UntrustedOrderError(f"{order.proposer} did not sign this order") from why
    given = {} if rest is None else listed(rest)
    names = require_genuine(roster, order.id, order.proposer, order.expires, given)
    return SignedOrder._mint(order, wire, names)  # noqa: SLF001  the home of this evidence


def read_order(wire: bytes) -> WorkOrder:
    """Read what an order says, of whose signatures nothing is known: for whoever has no roster.

    Raises:
        MalformedOrderError: the bytes are no work order of this version.
    """
    plain, _ = divided(wire)
    return _read(plain[SIGNATURE_SIZE:])


_TUPLES: Final = {"columns", "recipients", "windows", "cohort"}
_INTEGERS: Final = {
    *("contract_version", "releases", "abandoned", "minimum", "created", "expires"),
    *("not_before", "waits_until"),
}
_OBJECTS: Final = {"parameters", "event"}
_OPTIONAL: Final = {"further", "not_before", "waits_until", "schedule"}
"""Fields that stand in an order where they say something, and are left out otherwise."""


@lru_cache(maxsize=64)
def _read(body: bytes) -> WorkOrder:
    """Read what an order says; the same few are looked at again at every step of their work."""
    try:
        value = canonical.decode(body)
    except NotCanonicalError as why:
        raise MalformedOrderError("the order is not in canonical form") from why
    names = {item.name for item in fields(WorkOrder)} | {"version"}
    if not isinstance(value, dict) or not names - _OPTIONAL <= value.keys() <= names:
        raise MalformedOrderError("the order has other fields than this version knows")
    if value.pop("version") != VERSION:
        raise MalformedOrderError("the order is of another version; update the older side")
    order = WorkOrder(**{name: _typed(name, part) for name, part in value.items()})
    if order.to_json().keys() - {"version"} != value.keys():  # such an order has one spelling
        raise MalformedOrderError("an order leaves out what it does not say")
    return order


def _typed(name: str, part: JSON) -> Any:
    if name == "further":
        return _read_further(part)
    if name == "schedule":
        return _read_turn(part)
    if name in _TUPLES:
        if isinstance(part, list) and all(isinstance(item, str) for item in part):
            return tuple(part)
    elif name in _INTEGERS:
        if isinstance(part, int) and not isinstance(part, bool):
            return part
    elif name in _OBJECTS:
        if isinstance(part, dict):
            return part
    elif isinstance(part, str):
        return part
    raise MalformedOrderError(f"field {name!r} of the order has the wrong type")


def _read_json(read: Read) -> dict[str, JSON]:
    return {"contract": read.contract, "version": read.version, "columns": list(read.columns)}


def _read_further(part: JSON) -> tuple[Read, ...]:
    found = [_read_one(item) for item in part] if isinstance(part, list) else []
    if not found:  # an order of one contract has one spelling
        raise MalformedOrderError("field 'further' of the order names contracts, or is left out")
    return tuple(found)


def _read_turn(part: JSON) -> Turn:
    match part:
        case {"number": int(number), "of": int(of), "every": int(every), **rest}:
            if not rest and not any(isinstance(one, bool) for one in (number, of, every)):
                return Turn(number, of, every)
    raise MalformedOrderError("field 'schedule' of the order has the wrong type")


def _read_one(item: JSON) -> Read:
    match item:
        case {"contract": str(name), "version": int(version), "columns": list(columns), **rest}:
            texts = [column for column in columns if isinstance(column, str)]
            if not rest and not isinstance(version, bool) and len(texts) == len(columns):
                return Read(name, version, tuple(texts))
    raise MalformedOrderError("field 'further' of the order has the wrong type")
