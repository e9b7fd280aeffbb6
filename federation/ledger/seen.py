"""Whether this party's ledger was put back: what its witnesses saw of it last.

A process that starts cannot know whether its disk is the one it left. It asks its witnesses which
of its heads they saw last (`sign_seen`, bound to a fresh nonce), and compares (`confirm`) before it
spends anything. The witnesses' clocks come along, so that a wrong clock is found too.
"""

import base64
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from federation.errors import (
    ClockError,
    MalformedMessageError,
    MalformedNoteError,
    RolledBackError,
    TooFewWitnessesError,
    UntrustedNoteError,
)
from federation.ledger.notes import Checkpoint
from federation.ledger.trust import COLLUDING
from federation.membership import Roster
from policies.evidence import Minted
from policies.parties import DATA_ROLES, PartyId, Role
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, NotCanonicalError
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey

MAX_SKEW: Final = 300
"""Seconds by which a witness's clock and one's own may differ."""

_SEEN: Final = b"entrepot seen/1\n"


@dataclass(frozen=True, slots=True)
class Seen:
    """A witness's word: the head of `origin` that it saw last had this size and root.

    A witness that never saw one says size 0 and the root of the empty tree.
    """

    witness: PartyId
    organisation: str
    origin: str
    size: int
    root: bytes
    at: int


def witnesses(roster: Roster, party: PartyId) -> frozenset[str]:
    """Return the organisations whose words about the log of `party` count.

    They are the other ones that hold data or the keys: each keeps a log of its own and has
    something to lose. The aggregator, who carries every word, and analysts are none of them.

    Raises:
        UnknownPartyError: the party is not on the roster.
    """
    own = roster.find(party).organisation
    members = roster.with_role(*DATA_ROLES, Role.KEYHOLDER)
    return frozenset(member.organisation for member in members) - {own}


def quorum(roster: Roster, party: PartyId) -> int:
    """Return how many of the `witnesses` must vouch before `party` spends or releases anything.

    Of M witnesses ⌊(M + c)/2⌋ + 1, at most M: any two such sets share c + 1 organisations, so one
    honest organisation that saw what was reserved is asked again before a copy spends it twice.

    Raises:
        UnknownPartyError: the party is not on the roster.
    """
    others = len(witnesses(roster, party))
    return min(others, (others + COLLUDING) // 2 + 1)


def sign_seen(
    origin: str, size: int, root: bytes, nonce: str, at: int, witness: PartyId, key: SigningKey
) -> bytes:
    """Return the signed word of `witness` about the log `origin`, answering `nonce`."""
    body = canonical.encode(
        {
            "at": at,
            "nonce": nonce,
            "origin": origin,
            "root": base64.b64encode(root).decode(),
            "size": size,
            "witness": witness,
        }
    )
    return key.sign(_SEEN + body) + body


def open_seen(wire: bytes, roster: Roster, nonce: str) -> Seen:
    """Return what a witness said, after checking that it says so now and not at another time.

    Raises:
        MalformedMessageError: the bytes are no such word.
        UnknownPartyError: the witness is not on the roster.
        UntrustedNoteError: the witness did not sign it, or it answers another nonce.
    """
    body = wire[SIGNATURE_SIZE:]
    value = _seen_body(body)
    member = roster.find(PartyId(str(value["witness"])))
    try:
        member.identity.verify(wire[:SIGNATURE_SIZE], _SEEN + body)
    except BadSignatureError as why:
        raise UntrustedNoteError(f"{member.party} did not sign what it saw last") from why
    if value["nonce"] != nonce:
        raise UntrustedNoteError(f"{member.party} repeats an earlier word about what it saw last")
    return _seen(value, member.party, member.organisation)


@dataclass(frozen=True, slots=True)
class Confirmed(metaclass=Minted):
    """Enough witnesses saw no head that this log does not continue.

    size: the greatest head that one of them saw; at: the latest of their times.
    """

    origin: str
    size: int
    organisations: frozenset[str]
    at: int


def confirm(
    *,
    origin: str,
    size: int,
    root_at: Callable[[int], bytes],
    organisation: str,
    seen: Sequence[Seen],
    now: int,
    needed: int = COLLUDING + 1,
) -> Confirmed:
    """Return the proof that the log `origin` was not put back, by what its witnesses saw last.

    Args:
        origin: the own log.
        size: its number of entries.
        root_at: its root at a smaller size.
        organisation: the own organisation, whose words do not count.
        seen: what witnesses said, each opened with one fresh nonce.
        now: the own clock.
        needed: how many other organisations must have answered, c + 1.

    Raises:
        RolledBackError: a witness saw a longer log, or another one.
        ClockError: a witness's clock and the own one are more than `MAX_SKEW` apart.
        TooFewWitnessesError: fewer other organisations answered.
    """
    words = [word for word in seen if word.origin == origin]
    for word in words:
        _not_put_back(word, size, root_at)
    check_clock(now, {word.witness: word.at for word in words})
    others = frozenset(word.organisation for word in words) - {organisation}
    if len(others) < needed:
        raise TooFewWitnessesError(
            f"{len(others)} other organisations say which head of {origin} they saw last, "
            f"{needed} are needed before anything may be spent; wait for the others"
        )
    latest = max((word.at for word in words), default=now)
    greatest = max((word.size for word in words), default=0)
    return Confirmed._mint(origin, greatest, others, latest)  # noqa: SLF001  their home


def check_clock(now: int, times: Mapping[PartyId, int]) -> None:
    """Return if `now` is within `MAX_SKEW` of each witness's time.

    Raises:
        ClockError: it is not.
    """
    for witness, at in times.items():
        if abs(now - at) > MAX_SKEW:
            raise ClockError(
                f"this clock and that of {witness} are {abs(now - at)} s apart, {MAX_SKEW} s are "
                f"allowed; set the clock that is wrong, nothing is spent until then"
            )


def _not_put_back(word: Seen, size: int, root_at: Callable[[int], bytes]) -> None:
    if word.size > size:
        raise RolledBackError(
            f"this ledger has {size} entries, but {word.witness} has seen {word.size}: an older "
            f"copy was put back; restore the newest one, nothing is spent from this one"
        )
    if root_at(word.size) != word.root:
        raise RolledBackError(
            f"this ledger is not the one that {word.witness} saw at {word.size} entries: it was "
            f"put back and continued otherwise; restore the newest copy, nothing is spent from this"
        )


def _seen_body(body: bytes) -> Mapping[str, JSON]:
    try:
        value = canonical.decode(body)
    except NotCanonicalError as why:
        raise MalformedMessageError("a word about what was seen last is malformed") from why
    fields = {"at", "nonce", "origin", "root", "size", "witness"}
    if not isinstance(value, dict) or value.keys() != fields:
        raise MalformedMessageError("a word about what was seen last is malformed")
    return value


def _seen(value: Mapping[str, JSON], witness: PartyId, organisation: str) -> Seen:
    match value:
        case {"at": int(at), "origin": str(origin), "root": str(root), "size": int(size)} if (
            not isinstance(at, bool) and not isinstance(size, bool)
        ):
            try:
                head = Checkpoint(origin, size, base64.b64decode(root, validate=True))
            except (Base64Error, MalformedNoteError) as why:
                raise MalformedMessageError(f"{witness} names no head that it saw") from why
            return Seen(witness, organisation, head.origin, head.size, head.root, at)
    raise MalformedMessageError(f"{witness} names no head that it saw")
