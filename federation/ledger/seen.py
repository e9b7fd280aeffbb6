"""Whether this party's ledger was put back: what its witnesses saw of it last.

A process that starts cannot know whether its disk is the one it left. It asks its witnesses which
of its heads they saw last (`sign_seen`, bound to a fresh nonce), and compares (`confirm`) before it
spends anything. A word carries the note by which the log itself signed that head: nobody can invent
one, and the worst that a liar can do is to say nothing. The witnesses' clocks come along, so that a
wrong clock is found too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from federation.errors import (
    ClockError,
    MalformedMessageError,
    RolledBackError,
    TooFewWitnessesError,
    UnknownPartyError,
    UntrustedNoteError,
)
from federation.ledger import notes
from federation.ledger.merkle import EMPTY_ROOT
from federation.ledger.notes import Checkpoint, NamedKey, SignedHead, origin_of
from federation.ledger.succession import Succession
from federation.ledger.trust import COLLUDING, vouched_time
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
_FIELDS: Final = {"at", "nonce", "note", "origin", "witness"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A witness's word: the head that it saw last of `origin`, as that log signed it.

    Of a log that it never saw a witness says size 0 and the root of the empty tree.
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
    something to lose. The aggregator's, which carries every word, and analysts' are none of them.
    One whose members are suspended is among them and cannot speak: suspending makes no quorum
    smaller.

    Raises:
        UnknownPartyError: the party is not on the roster.
    """
    own = roster.find(party).organisation
    members = roster.with_role(*DATA_ROLES, Role.KEYHOLDER)
    carriers = {member.organisation for member in roster.with_role(Role.AGGREGATOR)}
    return frozenset(member.organisation for member in members) - carriers - {own}


def speakers(roster: Roster, party: PartyId) -> dict[PartyId, str]:
    """Return the members whose words about the log of `party` count now, and of which organisation.

    Raises:
        UnknownPartyError: the party is not on the roster.
    """
    among = witnesses(roster, party)
    members = roster.active(*DATA_ROLES, Role.KEYHOLDER)
    return {m.party: m.organisation for m in members if m.organisation in among}


def quorum(roster: Roster, party: PartyId) -> int:
    """Return how many of the `witnesses` must vouch before `party` spends or releases anything.

    Of M witnesses ⌊(M + c)/2⌋ + 1, at most M: any two such sets share c + 1 organisations, so one
    honest organisation that saw what was reserved is asked again before a copy spends it twice.

    Raises:
        UnknownPartyError: the party is not on the roster.
    """
    others = len(witnesses(roster, party))
    return min(others, (others + roster.colluding) // 2 + 1)


def sign_seen(
    origin: str, last: SignedHead | None, nonce: str, at: int, witness: PartyId, key: SigningKey
) -> bytes:
    """Return the signed word of `witness` about the log `origin`, answering `nonce`.

    last: the head that it saw last, as the log signed it; None if it never saw one.
    """
    note = "" if last is None else last.note
    body = canonical.encode(
        {"at": at, "nonce": nonce, "note": note, "origin": origin, "witness": witness}
    )
    return key.sign(_SEEN + body) + body


def open_seen(wire: bytes, roster: Roster, nonce: str, keys: Succession | None = None) -> Seen:
    """Return what a witness said, after checking that it says so now and not at another time.

    keys: those of the log that it speaks of, where that log is known to have changed them; a head
        counts under the one that signed heads of its size. Any that the roster names, if not given.

    Raises:
        MalformedMessageError: the bytes are no such word.
        MalformedNoteError: what it says it saw is no head.
        UnknownPartyError: the witness or the party of the log is not on the roster.
        UntrustedNoteError: the witness did not sign it, or it answers another nonce, or the log
            never signed what the witness says it saw. Such a word counts as none.
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
    match value:
        case {"at": int(at), "note": str(note), "origin": str(origin)} if not isinstance(at, bool):
            head = _head(note, origin, roster, keys)
            return Seen(member.party, member.organisation, origin, head.size, head.root, at)
    raise MalformedMessageError(f"{member.party} names no head that it saw")


@dataclass(frozen=True, slots=True)
class Confirmed(metaclass=Minted):
    """Enough witnesses saw no head that this log does not continue.

    size: the greatest head that one of them saw; at: a time that an honest one of them reached.
    """

    origin: str
    size: int
    organisations: frozenset[str]
    at: int


def confirm(
    *,
    roster: Roster,
    party: PartyId,
    size: int,
    root_at: Callable[[int], bytes],
    seen: Sequence[Seen],
    now: int,
) -> Confirmed:
    """Return the proof that the log of `party` was not put back, by what its witnesses saw last.

    Args:
        roster: who is there.
        party: whose log it is: oneself.
        size: its number of entries.
        root_at: its root at a smaller size.
        seen: what others said, each opened with one fresh nonce. A head that this log signed
            counts against it whoever shows it; otherwise only the `witnesses` count.
        now: the own clock.

    Raises:
        RolledBackError: somebody saw a longer log, or another one.
        ClockError: this clock is more than `MAX_SKEW` away from those of c + 1 organisations.
        TooFewWitnessesError: fewer than `quorum` organisations answered.
    """
    origin, among = origin_of(roster.federation, party), speakers(roster, party)
    words = [word for word in seen if word.origin == origin]
    for word in words:
        _not_put_back(word, size, root_at)
    counted = [word for word in words if word.witness in among]
    times = {word.organisation: word.at for word in counted}
    check_clock(now, times, roster.colluding)
    needed = max(1, quorum(roster, party))
    if len(times) < needed:
        raise TooFewWitnessesError(
            f"{len(times)} other organisations say which head of {origin} they saw last, "
            f"{needed} are needed before anything may be spent; wait for the others"
        )
    greatest = max(word.size for word in counted)
    at = vouched_time(times.values(), roster.colluding)
    return Confirmed._mint(origin, greatest, frozenset(times), at)  # noqa: SLF001  their home


def check_clock(now: int, times: Mapping[str, int], colluding: int = COLLUDING) -> None:
    """Return unless c + 1 organisations name times that are more than `MAX_SKEW` from `now`.

    Up to c of them may lie, and stop nobody by that. times: one per organisation.

    Raises:
        ClockError: so many do.
    """
    far = sorted((abs(now - at), who) for who, at in times.items() if abs(now - at) > MAX_SKEW)
    if len(far) > colluding:
        skew, who = far[0]
        raise ClockError(
            f"this clock is {skew} s from that of {who}, and no nearer to those of "
            f"{len(far) - 1} others; {MAX_SKEW} s are allowed: set this clock, nothing is spent "
            f"until then"
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
    if not isinstance(value, dict) or value.keys() != _FIELDS:
        raise MalformedMessageError("a word about what was seen last is malformed")
    return value


def _head(note: str, origin: str, roster: Roster, keys: Succession | None) -> Checkpoint:
    """Return the head of the log `origin` that it signed itself; the empty one without a note."""
    for member in roster.members:
        if origin_of(roster.federation, member.party) == origin:
            if not note:
                return Checkpoint(origin, 0, EMPTY_ROOT)
            if keys is not None and keys.origin == origin and keys.changes:
                return keys.open(note, member.identity)
            known = [NamedKey(origin, key) for key in roster.keys_of(member.party)]
            return notes.open_by_one(note, known)
    raise UnknownPartyError(f"nobody on the roster of {roster.federation} keeps {origin}")
