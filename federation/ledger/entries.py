"""What a ledger may keep: a closed set of kinds, each with a closed set of typed fields.

No field can hold a row value or a person: a field is a digest, a count, a price, a privacy event,
or a name that stands in a contract, an order or the roster. What is personal is kept outside, and
the ledger holds a salted commitment to it: erase the value and its salt, and the commitment says
nothing while every proof still holds.

The stored form is canonical JSON; `decode` accepts exactly the bytes that `encode` returns.
"""

import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NewType, TypeAlias

from federation.errors import MalformedEntryError
from policies.budget import events
from policies.errors import MalformedEventError
from secure_compute.canonical import JSON, MAX_INTEGER

VERSION: Final = 1
MAX_ITEMS: Final = 1024
SALT_SIZE: Final = 32

Encoded = NewType("Encoded", bytes)
"""The canonical bytes of an entry, as only `encode` makes them."""


class EntryKind(StrEnum):
    """Everything that a ledger can say."""

    JOINED = "joined"
    LEFT = "left"
    POLICY_CHANGED = "policy_changed"
    CONTRACT_CHANGED = "contract_changed"
    WINDOW_OPENED = "window_opened"
    INGESTED = "ingested"
    LIMIT_SET = "limit_set"
    PROPOSED = "proposed"
    APPROVED = "approved"
    REFUSED = "refused"
    RESERVED = "reserved"
    SETTLED = "settled"
    CLOSED = "closed"
    GIVEN_BACK = "given_back"
    OPENED = "opened"
    RELEASED = "released"
    DELIVERED = "delivered"
    CROSSED = "crossed"
    MATCHED = "matched"
    DISCLOSED = "disclosed"
    CHECKPOINT_SEEN = "checkpoint_seen"
    KEY_ROTATED = "key_rotated"
    KEY_REPLACED = "key_replaced"
    ROSTER_CHANGED = "roster_changed"
    ROSTER_REFUSED = "roster_refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    at:    seconds since 1970, UTC, by the clock of the log's owner.
    order: id of the work order this belongs to, or "".

    Raises:
        MalformedEntryError: the body has other fields than its kind, or one of another type.
    """

    kind: EntryKind
    at: int
    order: str = ""
    body: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _count(self.at) or not (self.order == "" or _token(self.order)):
            raise MalformedEntryError(f"an entry '{self.kind}' has no such time or order")
        fields = FIELDS[self.kind]
        more = OPTIONAL.get(self.kind, {})
        if isinstance(self.body, Mapping):
            fields = {**fields, **{name: more[name] for name in more if name in self.body}}
        _check(f"an entry '{self.kind}'", self.body, fields)


def encode(entry: Entry) -> Encoded:
    """Return the only spelling of `entry`."""
    body = _spell(entry.body)
    return Encoded(
        f'{{"at":{entry.at},"body":{body},"kind":"{entry.kind.value}","order":"{entry.order}",'
        f'"version":{VERSION}}}'.encode()
    )


def decode(data: bytes) -> Entry:
    """Read an entry, accepting exactly the bytes `encode` can produce.

    Raises:
        MalformedEntryError: the bytes are no entry of this version, or another spelling of one.
    """
    try:
        value, _ = _read(data.decode())  # what follows the value is found by spelling it again
    except (ValueError, RecursionError) as why:
        raise MalformedEntryError("an entry is not JSON") from why
    match value:
        case {"at": at, "body": dict(body), "kind": str(kind), "order": str(order), "version": 1}:
            if kind not in _KINDS:
                raise MalformedEntryError("an entry is of a kind that this version does not know")
            entry = Entry(EntryKind(kind), at, order, body)
            if encode(entry) == data:
                return entry
    raise MalformedEntryError("an entry is not in the one spelling of this version")


def commit(value: bytes, salt: bytes) -> str:
    """Return the commitment to `value` under a fresh `salt` of 32 bytes: 64 hexadecimal digits.

    Keep both outside the ledger. Without the salt the commitment tells nothing about the value;
    with both it binds: HMAC-SHA-256, keyed by the salt.

    Raises:
        MalformedEntryError: the salt is shorter or longer than 32 bytes.
    """
    if len(salt) != SALT_SIZE:
        raise MalformedEntryError(f"a commitment needs a salt of {SALT_SIZE} random bytes")
    return hmac.digest(salt, value, "sha256").hex()


Check: TypeAlias = Callable[[Any], bool]

_read: Final = json.JSONDecoder().raw_decode
_spell: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True, check_circular=False
).encode
_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=-]{0,199}", re.ASCII).fullmatch
_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}", re.ASCII).fullmatch
_SIGNATURE: Final = re.compile(r"[0-9a-f]{128}", re.ASCII).fullmatch
_PRICE: Final = re.compile(r"(0|[1-9][0-9]{0,19})(\.[0-9]{0,59}[1-9])?", re.ASCII).fullmatch


def _token(value: Any) -> bool:
    """A name of a party, an order, a release, a rule: letters, digits and a few signs."""
    return type(value) is str and _TOKEN(value) is not None


def _label(value: Any) -> bool:
    """A name that a contract gives, in any script: at most 100 printable signs."""
    return isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable()


def _hex(value: Any) -> bool:
    """A digest or a public key: 64 hexadecimal digits."""
    return type(value) is str and _HEX(value) is not None


def _hex_or_none(value: Any) -> bool:
    """A digest, or "" where there is none."""
    return value == "" or _hex(value)


def _key_id(value: Any) -> bool:
    """The four bytes by which a signature names its key: 8 hexadecimal digits."""
    return type(value) is str and _KEY_ID(value) is not None


def _signature(value: Any) -> bool:
    """A signature: 128 hexadecimal digits."""
    return type(value) is str and _SIGNATURE(value) is not None


def _count(value: Any) -> bool:
    """A whole number from 0 to 2^63 - 1."""
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _flag(value: Any) -> bool:
    """1 for yes, 0 for no."""
    return type(value) is int and value in {0, 1}


def _price(value: Any) -> bool:
    """A decimal number in its shortest plain spelling, such as "0.5"."""
    return type(value) is str and _PRICE(value) is not None


def _account(value: Any) -> bool:
    """The key of an account: subjects, unit and window, between unit separators."""
    return isinstance(value, str) and list(map(_label, value.split("\x1f"))) == [True] * 3


def _event(value: Any) -> bool:
    """A privacy event in its one spelling."""
    return isinstance(value, str) and _is_event(value)


@lru_cache(maxsize=4096)
def _is_event(text: str) -> bool:
    try:
        return bool(events.loads(text))
    except MalformedEventError:
        return False


def _some(each: Check) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, list | tuple) and len(value) <= MAX_ITEMS and all(map(each, value))

    return check


_LIMIT: Final[Mapping[str, Check]] = {
    "account": _account,
    "dataset": _label,
    "subjects": _label,
    "unit": _token,
    "window": _label,
    "epsilon": _price,
    "delta": _price,
    "failures": _price,
}
_CHARGE: Final[Mapping[str, Check]] = {
    **_LIMIT,
    "event": _event,
    "releases": _count,
    "spare": _count,
}


def _charges(value: Any) -> bool:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_ITEMS:
        return False
    for charge in value:
        _check("a charge", charge, _CHARGE)
    return True


FIELDS: Final[Mapping[EntryKind, Mapping[str, Check]]] = {
    EntryKind.JOINED: {
        "party": _token,
        "role": _token,
        "jurisdiction": _token,
        "identity": _hex,
        "epoch": _count,
        "contact": _hex_or_none,  # a commitment
    },
    EntryKind.LEFT: {"party": _token, "epoch": _count},
    EntryKind.POLICY_CHANGED: {"policy": _hex, "previous": _hex_or_none},
    EntryKind.CONTRACT_CHANGED: {"contract": _label, "version": _count, "digest": _hex},
    EntryKind.WINDOW_OPENED: {"subjects": _label, "window": _label, "sequence": _count},
    EntryKind.INGESTED: {"subjects": _label, "commitment": _hex},
    EntryKind.LIMIT_SET: _LIMIT,
    EntryKind.PROPOSED: {
        "proposer": _token,
        "purpose": _token,
        "contract": _label,
        "epsilon": _price,
    },
    EntryKind.APPROVED: {"policy": _hex, "reasons": _some(_token)},
    EntryKind.REFUSED: {"policy": _hex_or_none, "kind": _token, "reasons": _some(_token)},
    EntryKind.RESERVED: {"charges": _charges},
    EntryKind.SETTLED: {"release": _token, "masked": _flag},
    EntryKind.CLOSED: {},
    EntryKind.GIVEN_BACK: {"release": _token, "statements": _some(_hex)},
    EntryKind.OPENED: {"listing": _hex},
    EntryKind.RELEASED: {"recipients": _some(_token), "rule": _token},
    EntryKind.DELIVERED: {"past": _token, "recipients": _some(_token)},
    EntryKind.CROSSED: {
        "kind": _token,
        "recipient": _token,
        "origin": _token,
        "destination": _token,
        "bytes": _count,
        "rule": _token,
    },
    EntryKind.MATCHED: {
        "partner": _token,
        "step": _token,  # what is said next: a set is committed, a list or a reply leaves
        "given": _hex,  # a commitment to what it is made from
    },
    EntryKind.DISCLOSED: {
        "partner": _token,
        "subjects": _label,
        "reveals": _token,
        "receiver": _token,  # who learns which people are in both sets
        "cap": _count,  # how many identifiers it could list, at most
        "basis": _token,
        "terms": _hex,
        "approval": _hex,  # a commitment to who approved it at either end, and in which words
    },
    EntryKind.CHECKPOINT_SEEN: {
        "origin": _token,
        "size": _count,
        "root": _hex,
        "key": _key_id,
        "signature": _signature,  # the log's own, over the head that was seen
    },
    EntryKind.KEY_ROTATED: {
        "party": _token,
        "previous": _hex,
        "identity": _hex,  # the key from now on
        "signature": _signature,  # of the previous one, see `ledger.succession`
    },
    EntryKind.KEY_REPLACED: {
        "party": _token,
        "previous": _hex,
        "identity": _hex,
        "signature": _signature,  # of the new one: the previous one is lost
    },
    EntryKind.ROSTER_CHANGED: {"epoch": _count, "digest": _hex},
    EntryKind.ROSTER_REFUSED: {
        "party": _token,  # who offered it
        "digest": _hex,  # of what was offered, whole
        "reason": _token,
    },
}
"""Which fields an entry of each kind has, all of them and no others."""

OPTIONAL: Final[Mapping[EntryKind, Mapping[str, Check]]] = {
    EntryKind.JOINED: {"card": _hex},  # SHA-256 of the policy card that its operator agreed to
}
"""Which fields it may have besides: entries that were written before there were such lack them."""

_KINDS: Final = frozenset(EntryKind)


def _check(what: str, body: Any, fields: Mapping[str, Check]) -> None:
    if not isinstance(body, Mapping) or body.keys() != fields.keys():
        raise MalformedEntryError(f"{what} has exactly the fields {_named(sorted(fields))}")
    for name, is_typed in fields.items():
        if not is_typed(body[name]):
            raise MalformedEntryError(f"{what} has a '{name}' of another type than it may keep")


def _named(fields: Sequence[str]) -> str:
    return ", ".join(fields) or "(none)"
