"""The aggregator's side: `(state, message) → (state', requests)`, without disk, network or clock.

It holds no secret. What it collects it checks against what the sender signed and was bound to;
whoever sends something else is named and treated as silent. **Write state' to disk before the
requests are sent**: nodes sign one set of survivors and no second one.

    COLLECTING ─ REVEALING (if anybody is missing; again for each that falls silent) ─ CERTIFYING ─
    OPENING ─ OPENED, or ABANDONED with the reason

A phase ends when all have answered, or when the caller's patience does (`close`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from secure_compute.errors import FaultyPartyError, LocalProtocolError, PeerProtocolError
from secure_compute.secagg import upload
from secure_compute.secagg.messages import Kind, Message, Request, verify
from secure_compute.secagg.terms import Terms
from secure_compute.secagg.unmasking import (
    Expand,
    Sum,
    require_opening,
    require_reveal,
    unmask,
)
from secure_compute.secagg.upload import Upload


class Phase(StrEnum):
    """Where a round is."""

    COLLECTING = "collecting"
    REVEALING = "revealing"
    CERTIFYING = "certifying"
    OPENING = "opening"
    OPENED = "opened"
    ABANDONED = "abandoned"


_KINDS: Final = {
    Phase.COLLECTING: Kind.UPLOAD,
    Phase.REVEALING: Kind.REVEAL,
    Phase.CERTIFYING: Kind.CERTIFY,
    Phase.OPENING: Kind.OPEN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """One round as the aggregator sees it.

    survivors:    U, sorted; empty until collecting ends. reason: why the round was abandoned.
    uploads, reveals, certificates, openings: what came, one of each party, in order of arrival.
    """

    terms: Terms
    phase: Phase = Phase.COLLECTING
    survivors: tuple[str, ...] = ()
    uploads: tuple[Message, ...] = ()
    reveals: tuple[Message, ...] = ()
    certificates: tuple[Message, ...] = ()
    openings: tuple[Message, ...] = ()
    reason: str = ""

    @property
    def dropped(self) -> tuple[str, ...]:
        """D, sorted: the cohort without the survivors."""
        return tuple(party for party in self.terms.cohort if party not in self.survivors)

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The parties that have not answered in this phase."""
        if self.phase not in _KINDS:
            return ()
        came = {message.party for message in _arrived(self)}
        asked = self.survivors or self.terms.cohort
        return tuple(party for party in asked if party not in came)

    @property
    def is_enough(self) -> bool:
        """Whether closing this phase now would go on rather than abandon the round."""
        return len(_arrived(self)) >= self.terms.parameters.threshold


Requests: TypeAlias = tuple[tuple[str, Request], ...]


def receive(state: Gathering, message: Message) -> tuple[Gathering, Requests]:
    """Take one node's message. A repeated one, or one of an earlier phase, changes nothing.

    Nor does a withdrawal: who withdrew stays silent, and the caller keeps the statement for
    `require_given_back`.

    Raises:
        BadSignatureError: the named party did not sign this for this round and set.
        FaultyPartyError: it signed two different things, or what it was not bound to.
        PeerProtocolError: it is not asked in this round, or not yet for this.
    """
    wanted = _KINDS.get(state.phase)
    if wanted is None or message.kind < wanted or message.kind is Kind.WITHDRAW:
        return state, ()
    if message.kind != wanted:
        raise PeerProtocolError(f"{message.party} answers what it was not yet asked")
    _require_asked(state, message.party)
    verify(state.terms, message, state.survivors)
    if _is_repeated(state, message):
        return state, ()
    _require_content(state, message)
    after = _with(state, message)
    return (after, ()) if after.waiting_for else close(after)


def close(state: Gathering) -> tuple[Gathering, Requests]:
    """End the phase with what has arrived: go on, ask again without the silent, or abandon."""
    came = tuple(sorted(message.party for message in _arrived(state)))
    if state.phase in _KINDS and not state.is_enough:
        least = state.terms.parameters.threshold
        return abandon(state, f"{len(came)} parties answered while {state.phase}, {least} must"), ()
    match state.phase:
        case Phase.COLLECTING:
            following = Phase.CERTIFYING if came == state.terms.cohort else Phase.REVEALING
            return _ask(replace(state, survivors=came, phase=following))
        case Phase.REVEALING if came != state.survivors:
            return _ask(replace(state, survivors=came, reveals=()))
        case Phase.REVEALING:
            return _ask(replace(state, phase=Phase.CERTIFYING))
        case Phase.CERTIFYING:
            return _ask(replace(state, phase=Phase.OPENING))
        case Phase.OPENING:
            state = replace(state, phase=Phase.OPENED)
    return state, ()


def abandon(state: Gathering, reason: str) -> Gathering:
    """Return the round given up; nothing of it is opened any more."""
    return replace(state, phase=Phase.ABANDONED, reason=reason)


def combine(state: Gathering, expand: Expand) -> Sum:
    """Return the sum of a round that is opened.

    expand: the nodes' own, for the layers that are removed.

    Raises:
        LocalProtocolError: the round is not opened.
        FaultyPartyError: a self mask cannot be put together: abandon the round with these names.
    """
    if state.phase is not Phase.OPENED:
        raise LocalProtocolError(f"the round is {state.phase}: it has no sum yet")
    collected = (state.uploads, state.reveals, state.openings)
    return unmask(state.terms, state.survivors, *collected, expand)


def requests(state: Gathering) -> Requests:
    """Return what this phase asks, and of whom: those that have not answered.

    The same requests may be sent again at any time, after a restart too.
    """
    if not state.survivors or state.phase not in _KINDS:
        return ()
    least = state.terms.parameters.threshold
    signed = state.certificates[:least] if state.phase is Phase.OPENING else ()
    request = Request(
        kind=_KINDS[state.phase],
        terms=state.terms.digest,
        survivors=state.survivors,
        dropped=state.dropped,
        certificate=tuple((message.party, message.signature) for message in signed),
    )
    return tuple((party, request) for party in state.waiting_for)


def require_given_back(terms: Terms, statements: Iterable[Message]) -> None:
    """Accept that this round was not opened and never can be.

    n − t + 1 + c parties, of which c may lie, said that they will not answer phase B: at most
    t − 1 − c are left, with the liars fewer than the t that open a sum.

    Raises:
        BadSignatureError: a party did not sign its statement for this round.
        PeerProtocolError: too few of them, a party twice, or another message among them.
    """
    said = tuple(statements)
    for message in said:
        if message.kind is not Kind.WITHDRAW or message.content:
            raise PeerProtocolError(f"{message.party} said something else than that it withdrew")
        verify(terms, message)
    parties = {message.party for message in said}
    least = terms.parameters.dropouts + 1 + terms.parameters.colluding
    if len(parties) != len(said) or len(parties) < least:
        raise PeerProtocolError(
            f"{len(parties)} parties withdrew and {least} must: others may still open the sum"
        )


def _ask(state: Gathering) -> tuple[Gathering, Requests]:
    return state, requests(state)


def _arrived(state: Gathering) -> tuple[Message, ...]:
    match state.phase:
        case Phase.COLLECTING:
            return state.uploads
        case Phase.REVEALING:
            return state.reveals
        case Phase.CERTIFYING:
            return state.certificates
        case _:
            return state.openings


def _with(state: Gathering, message: Message) -> Gathering:
    match state.phase:
        case Phase.COLLECTING:
            return replace(state, uploads=(*state.uploads, message))
        case Phase.REVEALING:
            return replace(state, reveals=(*state.reveals, message))
        case Phase.CERTIFYING:
            return replace(state, certificates=(*state.certificates, message))
        case _:
            return replace(state, openings=(*state.openings, message))


def _require_asked(state: Gathering, party: str) -> None:
    state.terms.find(party)
    if state.survivors and party not in state.survivors:
        raise PeerProtocolError(f"{party} answers and is not among the survivors of this round")


def _is_repeated(state: Gathering, message: Message) -> bool:
    for known in _arrived(state):
        if known.party == message.party and known != message:
            raise FaultyPartyError(message.party, why="signed two different answers")
    return message in _arrived(state)


def _require_content(state: Gathering, message: Message) -> None:
    match message.kind:
        case Kind.UPLOAD:
            upload.read(state.terms, message)
        case Kind.REVEAL:
            require_reveal(state.terms, _upload_of(state, message.party), message, state.dropped)
        case Kind.OPEN:
            sent = _upload_of(state, message.party)
            require_opening(state.terms, sent, message, state.survivors)
        case _ if message.content:
            raise FaultyPartyError(message.party, why="signed more than a set of survivors")


def _upload_of(state: Gathering, party: str) -> Upload:
    message = next(message for message in state.uploads if message.party == party)
    return upload.read(state.terms, message)
