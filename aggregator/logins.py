"""How a person comes in: an invitation once, then a key and a code, or a passkey; and stays in.

    logins.enrol(call, place)     # a seat, for a key made elsewhere; a secret and codes, once
    logins.login(call, place)     # a token, good for eight hours at most
    logins.opened(token)          # at every further call: whose it is, or nobody's any more

Who is wrong is told one sentence whatever was wrong, so that nobody learns which names there are. A
wrong code counts against a person only behind that person's key, and how many wrong ones came from
elsewhere is asked of whoever is wrong too: nobody else can make a person wait.
"""

import hmac
import os
import threading
from collections.abc import Callable
from typing import Final, NoReturn

from aggregator.door import MOST_WRONG, Patience, RefusedInvitationError, TooManyError
from aggregator.errors import AggregatorError
from aggregator.hosting import Hosting
from aggregator.people import People, PersonInvitation
from federation.errors import FederationError, MalformedMessageError
from federation.invitations import secret_hash
from federation.people import codes, recovery
from federation.people.calling import (
    Call,
    Code,
    Touch,
    code_of,
    enrol_statement,
    factor_of,
    login_statement,
)
from federation.people.challenges import NONCE_SIZE, SECRET_SIZE, challenge_for, expiry_of
from federation.people.passkeys import Site, asserted, registered
from federation.people.persons import Person
from federation.people.sessions import (
    TOKEN_SIZE,
    ClosedSessionError,
    Session,
    begun,
    is_open,
    require_open,
    token_hash,
)
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, LocalProtocolError
from secure_compute.primitives.signature import KEY_SIZE, SigningKey, VerifyKey


class RefusedLoginError(AggregatorError):
    """Nobody comes in with this."""

    exit_code = 10


_NO: Final = (
    "this opens no session here: an unknown or disabled person, another machine's key, or a code "
    "that is wrong, was used, or is over; try the next code"
)


class Logins:
    """Enrolment, logins and sessions of one aggregator.

    Args:
        hosting: read anew for each call.
        now:     seconds since 1970.
        patience: how many wrong signatures are borne, see `aggregator.door`.
        invitations: how many wrong secrets of invitations.
        random:  as many bytes as it is asked for.
    """

    def __init__(
        self,
        hosting: Callable[[], Hosting],
        people: People,
        now: Callable[[], float],
        patience: Patience,
        invitations: Patience,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._hosting = hosting
        self._people = people
        self._now = now
        self._patience = patience
        self._invitations = invitations
        self._random = random
        self._secret = os.urandom(SECRET_SIZE)  # a challenge outlives no process
        self._nobody = SigningKey(os.urandom(KEY_SIZE)).verify_key
        self._one_at_a_time = threading.Lock()  # so that a guess is counted before the next

    def enrol(self, call: Call, place: str) -> dict[str, JSON]:
        """Return what a new person needs: its seat, an `otpauth://` address, codes.

        The same key may ask again until it has logged in; what it is given then replaces the rest.

        Raises:
            RefusedInvitationError, TooManyError: nobody comes in with it, or not now.
            MalformedMessageError, BadSignatureError: the call is none, or its key signed nothing.
        """
        with self._one_at_a_time:
            invitation = self._invited(call, place)
            person = Person(invitation.seat, _own_key(call))
            secret = codes.secret_of(self._random(codes.SECRET_SIZE))
            randoms = [self._random(recovery.RANDOM_SIZE) for _ in range(recovery.COUNT)]
            shown = recovery.codes_of(randoms)
            kept = [recovery.hashed(code, self._random(recovery.SALT_SIZE)) for code in shown]
            if not self._people.enrol(invitation, person, secret, kept):
                raise RefusedInvitationError("the invitation was used already; ask for another")
        federation, seat = self._hosting().federation, person.seat
        uri = codes.uri_of(secret, seat.person, federation)
        told: dict[str, JSON] = {"federation": federation, "otpauth": uri, "recovery": [*shown]}
        return told | seat.to_json()

    def challenge(self, call: Call) -> dict[str, JSON]:
        """Return what a passkey answers; for an unknown name too, and then nothing answers it."""
        name, nonce, site = call.text("person"), self._random(NONCE_SIZE), self._site()
        challenge = challenge_for(self._secret, name, nonce, self._now())
        return {"challenge": challenge.hex(), "host": site.host, "origin": site.origin}

    def login(self, call: Call, place: str) -> dict[str, JSON]:
        """Return the token of a new session.

        Raises:
            RefusedLoginError: nobody comes in with it.
            TooManyError: too many were wrong lately; says how long to wait.
            MalformedMessageError: the call is none.
        """
        name, factor = call.text("person"), factor_of(call)
        with self._one_at_a_time:
            person = self._require_shown(name, self._people.find(name), factor, place)
            self.sessions(person)
            token = self._random(TOKEN_SIZE)
            session = begun(token, person.seat, self._now())
            if not self._people.begin(session, person.key):
                raise RefusedLoginError(_NO)
        return {"session": token.hex(), "id": session.id} | person.seat.to_json()

    def confirm(self, session: Session, person: Person, call: Call, place: str) -> None:
        """A second factor was shown in a session; errors: `login`."""
        factor = factor_of(call)
        with self._one_at_a_time:
            self._require_shown(person.seat.person, person, factor, place)
        if not self._people.touch(session, self._now(), shown=True):
            raise ClosedSessionError("the session was revoked meanwhile; log in again")

    def add_passkey(self, person: Person, call: Call, place: str) -> None:
        """A person has one passkey more, which it says with a code in the same call.

        Raises:
            BadPasskeyError, RefusedLoginError: it is not for this place, challenge or person.
            TooManyError, MalformedMessageError: see `login`.
        """
        name, code, challenge = person.seat.person, code_of(call), call.hex("challenge")
        shown = call.object("passkey")
        with self._one_at_a_time:
            self._require_code(name, person, code, place)
        made = registered(shown, challenge, self._site())
        if not self._answered(name, challenge):
            raise RefusedLoginError("the challenge is over or was used; ask for another")
        if not self._people.add_passkey(name, made):
            raise RefusedLoginError("this passkey is registered already")

    def remove_passkey(self, person: Person, call: Call) -> None:
        """A passkey opens nothing any more.

        Raises:
            RefusedLoginError: it is none of this person's.
        """
        if not self._people.remove_passkey(person.seat.person, call.text("passkey")):
            raise RefusedLoginError("this passkey is none of yours; `WhoAmI` lists them")

    def opened(self, token: str) -> tuple[Session, Person]:
        """Return the session of a token, and whose it is; that it was used counts from now on.

        Raises:
            ClosedSessionError: there is none, it is over or revoked, or its person is disabled.
        """
        now, found = self._now(), self._people.session(_hash_of(token))
        if found is None or found[1].disabled:
            raise ClosedSessionError(
                "there is no such session; log in with `entrepot person login`"
            )
        session, person = found
        try:
            require_open(session, person.seat, now)
        except ClosedSessionError:
            self._people.end(session)
            raise
        if not self._people.touch(session, now):
            raise ClosedSessionError("the session was revoked; log in again")
        return session, person

    def sessions(self, person: Person) -> list[Session]:
        """Return the sessions of a person that are open; those that are over are forgotten."""
        found = self._people.sessions(person.seat.person)
        still = [one for one in found if is_open(one, person.seat, self._now())]
        for session in found:
            if session not in still:
                self._people.end(session)
        return still

    def _invited(self, call: Call, place: str) -> PersonInvitation:
        name, said = call.text("invitation"), secret_hash(call.hex("secret"))
        found = self._people.invitation(name)
        if found is None or not hmac.compare_digest(found.secret, said):
            self._invitations.require(place)
            self._invitations.wrong(place)
            self._people.count_wrong(name)
            raise RefusedInvitationError(
                "no such invitation is open here: it was used, withdrawn, or is for something else"
            )
        if found.wrong >= MOST_WRONG or self._now() >= found.expires:
            raise RefusedInvitationError("the invitation is over; ask the aggregator for another")
        return found

    def _require_shown(
        self, name: str, person: Person | None, factor: Code | Touch, place: str
    ) -> Person:
        """Return whoever is called so if it shows what it alone can show, and use that up."""
        if isinstance(factor, Touch):
            return self._require_passkey(name, person, factor, place)
        return self._require_code(name, person, factor, place)

    def _require_passkey(
        self, name: str, person: Person | None, factor: Touch, place: str
    ) -> Person:
        challenge, said = factor.challenge, factor.passkey
        kept = {one.id: one for one in self._people.passkeys(name)}.get(str(said.get("id")))
        if person is None or person.disabled or kept is None:
            self._wrong(place)
        try:
            counter = asserted(said, challenge, self._site(), kept)
        except FederationError:
            self._wrong(place)
        if not self._answered(name, challenge) or not self._people.count_up(kept, counter):
            self._wrong(place)
        return person

    def _answered(self, name: str, challenge: bytes) -> bool:
        """Use up a challenge; return whether it was given to this person and counted."""
        now = self._now()
        expires = expiry_of(self._secret, name, challenge, now)
        return expires is not None and self._people.answer(name, challenge, expires, now)

    def _require_code(self, name: str, person: Person | None, factor: Code, place: str) -> Person:
        code = factor.code
        statement = login_statement(self._hosting().federation, name, code)
        try:  # of nobody too, so that it takes as long
            (person.key if person else self._nobody).verify(factor.signature, statement)
        except BadSignatureError:
            self._wrong(place)
        if person is None or person.disabled:
            self._wrong(place)
        until = self._people.shown(name).until
        if self._now() < until:
            wait = int(until - self._now()) + 1
            raise TooManyError(f"too many wrong codes; the next is looked at in {wait} seconds")
        if not self._used_up(name, code):
            self._people.count_failure(name, self._now())
            raise RefusedLoginError(_NO)
        return person

    def _used_up(self, name: str, code: str) -> bool:
        """Return whether a code of either kind is right; it counts no second time."""
        number = recovery.number_of(code)
        if number is not None:
            kept = self._people.recovery(name, number)
            is_right = kept is not None and recovery.is_code(code, kept)
            return is_right and self._people.use_recovery(name, number)
        shown = self._people.shown(name)
        step = codes.step_of(shown.secret, code, self._now(), shown.burnt)
        return step is not None and self._people.burn(name, step)

    def _wrong(self, place: str) -> NoReturn:
        self._patience.require(place)
        self._patience.wrong(place)
        raise RefusedLoginError(_NO)

    def _site(self) -> Site:
        hosting = self._hosting()
        return Site(hosting.address, hosting.origin)


def _own_key(call: Call) -> VerifyKey:
    """Return the key of the machine that calls, which signed that it has it."""
    try:
        key = VerifyKey(call.text("key"))
    except LocalProtocolError as why:
        raise MalformedMessageError(f"the call brings no key: {why}") from why
    key.verify(call.hex("signature"), enrol_statement(call.text("invitation"), key.hex))
    return key


def _hash_of(token: str) -> str:
    try:
        return token_hash(bytes.fromhex(token))
    except ValueError:
        return ""
