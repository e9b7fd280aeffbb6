"""How long a login counts: 15 minutes without a call, eight hours at most, while it is the seat's.

token, kept = begun(os.urandom(32), seat, now)    # the person keeps `token`, we keep its hash
require_open(session, seat, now)
is_fresh(session, now)                            # was a factor shown within five minutes?
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from federation.errors import FederationError
from federation.people.persons import Seat

IDLE: Final = 15 * 60
LONGEST: Final = 8 * 3600
FRESH: Final = 5 * 60
TOKEN_SIZE: Final = 32


class ClosedSessionError(FederationError):
    """A session is none, over, revoked, or of a seat that its person has no more."""

    exit_code = 10


@dataclass(frozen=True, slots=True)
class Session:
    """One login.

    hash:  SHA-256 of its token, hexadecimal: nobody can call with what is kept.
    seat:  what its person was when it logged in.
    begun, seen, shown: when it logged in, called last, and showed a second factor last; seconds
           since 1970.
    """

    hash: str
    seat: Seat
    begun: float
    seen: float
    shown: float

    @property
    def id(self) -> str:
        """How the session is named where it is listed; it opens nothing."""
        return self.hash[:12]


def token_hash(token: bytes) -> str:
    """Return what is kept of a token of 256 random bits; one hash is enough."""
    return hashlib.sha256(b"entrepot session/1\n" + token).hexdigest()


def begun(token: bytes, seat: Seat, now: float) -> Session:
    """Return the session of somebody who has just shown a second factor."""
    return Session(token_hash(token), seat, now, now, now)


def require_open(session: Session, seat: Seat, now: float) -> None:
    """Return if the session counts at this moment. seat: what its person is now.

    Raises:
        ClosedSessionError: it does not.
    """
    if session.seat != seat:
        raise ClosedSessionError("your role has changed since; log in again")
    if now < session.begun or now - session.begun >= LONGEST or now - session.seen >= IDLE:
        raise ClosedSessionError("the session is over; log in again with `entrepot person login`")


def is_open(session: Session, seat: Seat, now: float) -> bool:
    """Return whether `require_open` would return."""
    try:
        require_open(session, seat, now)
    except ClosedSessionError:
        return False
    return True


def is_fresh(session: Session, now: float) -> bool:
    """Return whether a second factor was shown within the last five minutes."""
    return 0 <= now - session.shown < FRESH
