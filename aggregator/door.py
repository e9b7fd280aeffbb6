"""Who may come in by an invitation, and what it gets: bytes in, bytes out, no network.

An invitation is good once, until its time is over; whoever took it may come again with the same
identity key and gets the same certificate, so that an entry that was cut off goes on. A wrong
secret is told nothing, and told so more and more rarely.
"""

import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from aggregator.errors import AggregatorError
from aggregator.hosting import Hosting
from aggregator.register import Enrolled, Invitation, Register
from federation.enrolment import Enrolment, Offer, open_enrolment
from federation.errors import MalformedMessageError, RosterChangeError
from federation.invitations import secret_hash
from federation.knocks import Knock, read_knock
from federation.membership import Member, Roster
from federation.regaining import change_of, waits
from federation.roster_chain import open_roster
from federation.roster_rules import require_allowed
from secure_compute import canonical
from secure_compute.primitives.authority import certify, read_request
from secure_compute.primitives.node_keys import public_pem

MOST_WRONG: Final = 5
"""Wrong secrets after which an invitation is good for nothing."""


class RefusedInvitationError(AggregatorError):
    """Nobody comes in with this: unknown, wrong, used, withdrawn or over."""


class TooManyError(AggregatorError):
    """Too many wrong secrets came lately, from there or from everywhere."""


class Patience:
    """How many wrong secrets are borne in a minute: from one place, and altogether."""

    def __init__(
        self, clock: Callable[[], float], one: int = 5, altogether: int = 60, window: float = 60.0
    ) -> None:
        self._clock = clock
        self._one, self._altogether, self._window = one, altogether, window
        self._wrong: list[tuple[float, str]] = []

    def require(self, place: str) -> None:
        """Return if a call from `place` is answered now.

        Raises:
            TooManyError: it is not.
        """
        since = self._clock() - self._window
        self._wrong = [(at, where) for at, where in self._wrong if at > since]
        there = sum(where == place for _, where in self._wrong)
        if there >= self._one or len(self._wrong) >= self._altogether:
            raise TooManyError("too many wrong invitations came lately; try again in a minute")

    def wrong(self, place: str) -> None:
        """A wrong secret came from `place`."""
        self._wrong.append((self._clock(), place))


class Door:
    """The join service without its wire; one thread at a time.

    Args:
        hosting: read anew for each call, since the federation is founded in between.
        now:     seconds since 1970.
        patience: see there.
    """

    def __init__(
        self,
        hosting: Callable[[], Hosting],
        register: Register,
        now: Callable[[], float],
        patience: Patience,
    ) -> None:
        self._hosting = hosting
        self._register = register
        self._now = now
        self._patience = patience

    def offer(self, data: bytes, place: str) -> bytes:
        """Return what an invitation is good for.

        place: where the call comes from.

        Raises:
            RefusedInvitationError: nobody comes in with it.
            TooManyError: not now.
            MalformedMessageError: the call is none.
        """
        return canonical.encode(self._offer(self._require(read_knock(data), place)).to_json())

    def enrol(self, data: bytes, place: str) -> bytes:
        """Return the certificate, PEM, of whoever takes the seat of an invitation.

        Raises:
            RefusedInvitationError, TooManyError, MalformedMessageError: see `offer`; or the
                enrolment is for another seat.
            FederationError, SecureComputeError: the enrolment or its request is not good.
        """
        knock = read_knock(data)
        enrolment = open_enrolment(knock.enrolment, self._hosting().federation)
        if knock.identity and knock.identity != enrolment.member.identity.hex:
            raise MalformedMessageError("the enrolment is of another key than the call")
        mine = Knock(knock.invitation, knock.secret, enrolment.member.identity.hex)
        invitation = self._require(mine, place)
        _require_seat(enrolment, invitation)
        taken = self._register.taken(invitation.id) or self._take(invitation, enrolment, knock)
        return taken.certificate.encode()

    def _take(self, invitation: Invitation, enrolment: Enrolment, knock: Knock) -> Enrolled:
        hosting, identity = self._hosting(), enrolment.member.identity.hex
        if identity == hosting.identity.verify_key.hex:
            raise RefusedInvitationError("this is the aggregator's own identity key")
        is_asking = _waits(hosting, enrolment.member)
        public = read_request(enrolment.request.encode(), invitation.party)
        public_pem(enrolment.flower.encode())
        now = datetime.fromtimestamp(self._now(), UTC)
        pem = certify(hosting.authority, invitation.party, public, now, hosting.lifetime).decode()
        taken = self._register.enrol(
            Enrolled(invitation.id, invitation.party, identity, knock.enrolment, pem),
            asks=public if is_asking else None,
        )
        if taken is None or taken.identity != identity:
            raise RefusedInvitationError(
                "the invitation was used by somebody else, or the identity key is somebody's "
                "already; ask the aggregator for another invitation"
            )
        return taken

    def _require(self, knock: Knock, place: str) -> Invitation:
        self._patience.require(place)
        found = self._register.find(knock.invitation)
        if found is None or not hmac.compare_digest(found.secret, secret_hash(knock.secret)):
            self._patience.wrong(place)
            self._register.count_wrong(knock.invitation)
            raise RefusedInvitationError(
                "no such invitation here; ask the aggregator (people run `person enrol`)"
            )
        self._require_open(found, knock)
        return found

    def _require_open(self, found: Invitation, knock: Knock) -> None:
        taken = self._register.taken(found.id)
        if taken is not None and taken.identity == knock.identity:
            return
        if taken is not None:
            raise RefusedInvitationError(
                "the invitation was used already; run the command in the folder that it was used "
                "in, or ask the aggregator for another"
            )
        if found.wrong >= MOST_WRONG:
            raise RefusedInvitationError(
                "the invitation was guessed at too often; ask the aggregator for another"
            )
        if self._now() >= found.expires:
            raise RefusedInvitationError("the invitation has expired; ask for another")

    def _offer(self, invitation: Invitation) -> Offer:
        hosting = self._hosting()
        return Offer(
            federation=hosting.federation,
            party=invitation.party,
            organisation=invitation.organisation,
            role=invitation.role,
            jurisdiction=invitation.jurisdiction,
            host=hosting.member,
            authority=hosting.authority.certificate.decode(),
            fleet=hosting.at(hosting.fleet_port),
            stream=hosting.at(hosting.stream_port),
            threshold=hosting.threshold,
            colluding=hosting.colluding,
            pin=hosting.pin,
        )


def _waits(hosting: Hosting, entrant: Member) -> bool:
    """Return whether a member comes again with other keys, which other members are to give it.

    One that has its key comes since its certificate is over.

    Raises:
        RefusedInvitationError: it has a key that it, or somebody, had before, or is suspended.
    """
    if not hosting.pin:
        return False
    roster = open_roster((hosting.folder / "roster.bin").read_bytes(), hosting.pin)
    known = {member.party: member for member in roster.members}
    own = known.get(entrant.party)
    if own is not None and waits(roster, entrant):
        _require_fresh(roster, entrant)
        return True
    if own is None or (
        entrant.party not in roster.suspended and replace(entrant, sealing=own.sealing) == own
    ):  # its sealing key may be on its way to the roster
        return False
    raise RefusedInvitationError(
        f"{entrant.party} is a member with another identity key, or is suspended; for a new key "
        "in the place of a lost one it joins with one that it makes for that"
    )


def _require_fresh(roster: Roster, entrant: Member) -> None:
    try:
        require_allowed(roster, change_of(roster, entrant))
    except RosterChangeError as why:
        raise RefusedInvitationError(str(why)) from why


def _require_seat(enrolment: Enrolment, invitation: Invitation) -> None:
    seat = Member(
        invitation.party,
        invitation.organisation,
        invitation.role,
        invitation.jurisdiction,
        enrolment.member.identity,
        enrolment.member.sealing,
    )
    if (enrolment.member, enrolment.invitation) != (seat, invitation.id):
        raise RefusedInvitationError("the enrolment asks for another seat than it was offered")
