"""How members come together: who is shown what, whose word counts, and when a roster grows.

    gathering.look(party)              what this party may see and sign (`federation.views`)
    gathering.sign(party, word)        its word; the roster grows as soon as enough have given it
    gathering.renew(party, request)    a fresh certificate for its streams, while it is a member

The aggregator hands statements round and collects; it signs no entry, and a roster that members
did not sign cannot be made here: `federation.roster_chain` refuses it, at this end as at any other.
"""

import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from stat import S_IMODE
from typing import Final

import tomli_w

from aggregator.door import RefusedInvitationError
from aggregator.errors import AggregatorError
from aggregator.hosting import Hosting, load_hosting
from aggregator.register import Enrolled, Register
from aggregator.rosters import change as grow
from aggregator.settings import load_aggregator
from federation.enrolment import Enrolment, open_enrolment
from federation.errors import FederationError
from federation.exchanges import is_exchange, open_exchange
from federation.membership import Member, Roster
from federation.regaining import change_of, waits
from federation.roster_chain import (
    Founding,
    Rekey,
    change_statement,
    found_roster,
    open_roster,
    pin_of,
)
from federation.roster_changes import read_founding
from federation.views import MOST_REQUESTS, Request, Signature, View, read_signature
from federation.whole_files import keep_file
from policies.parties import DATA_ROLES, PartyId, Role
from secure_compute import canonical
from secure_compute.canonical import digest_bytes
from secure_compute.errors import BadSignatureError
from secure_compute.primitives.authority import certify, read_request
from secure_compute.primitives.certificates import read_client_certificate
from secure_compute.primitives.signature import VerifyKey

_TELL: Final = (
    "if nobody there asked for it, tell the other members and the aggregator's operator at once"
)


class NoMemberError(AggregatorError):
    """A connection is of a party that is no member, and asks for nothing that it may have."""


class StaleWordError(AggregatorError):
    """A signature is over a statement that is not to be signed now."""


class Gathering:
    """The membership of one aggregator's folder; threads and processes may share it.

    Args:
        folder: the aggregator's.
        now:    seconds since 1970.
    """

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._folder = folder
        self._register = Register(folder)
        self._now = now
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """The aggregator's."""
        return self._folder

    def look(self, party: PartyId) -> bytes:
        """Return what `party` is shown.

        Raises:
            NoMemberError: it is neither a member nor about to be one.
        """
        hosting = load_hosting(self._folder)
        if not hosting.pin:
            return self._before(party, hosting).to_bytes()
        chain = (self._folder / "roster.bin").read_bytes()
        roster = open_roster(chain, hosting.pin)
        waiting = self._waiting(roster)
        is_in = any(member.party == party for member in roster.members)
        if not is_in and party not in {one.party for one in waiting}:
            raise NoMemberError(f"{party} is no member and does not ask to be one")
        shown = [one for one in waiting if is_in or one.party == party][:MOST_REQUESTS]
        return View(chain, requests=tuple(self._request(one, roster) for one in shown)).to_bytes()

    def sign(self, party: PartyId, word: bytes) -> bytes:
        """Keep a party's word on a statement that is to be signed now; return what it sees then.

        Raises:
            StaleWordError: there is no such statement (any more).
            MalformedMessageError: it is no word.
            BadSignatureError: it is not the party's.
        """
        said = read_signature(word)
        statement, key = self._statement(party, said)
        key.verify(said.signature, statement)
        self._register.sign(said.statement, party, said.signature)
        self.complete()
        return self.look(party)

    def renew(self, party: PartyId, request: bytes, certificate: bytes) -> bytes:
        """Return a fresh certificate, PEM, for the streams of a member.

        certificate: that it showed, PEM, and that `require_key` let pass.

        Raises:
            NoMemberError: it is none, or suspended.
            PeerProtocolError, MalformedMessageError: its request is not good.
            BadSignatureError: it asks for another key without its identity key's word.
        """
        hosting = load_hosting(self._folder)
        roster = self._roster(hosting)
        if roster is None or party not in {member.party for member in roster.active(*Role)}:
            raise NoMemberError(f"{party} is no member, or suspended: it is given no certificate")
        if is_exchange(request):
            old = read_client_certificate(certificate, hosting.authority.certificate).key
            request = open_exchange(request, old, roster.find(party), hosting.pin)
            self._register.exchange(party, read_request(request, party), old)
        public = read_request(request, party)
        now = datetime.fromtimestamp(self._now(), UTC)
        return certify(hosting.authority, party, public, now, hosting.lifetime)

    def hold(self, party: PartyId) -> None:
        """The key of a member's streams stays good while somebody is invited to its seat."""
        hosting = load_hosting(self._folder)
        roster = self._roster(hosting)
        is_in = roster is not None and any(member.party == party for member in roster.members)
        for one in self._register.enrolled() if is_in else ():
            if one.party == party and not self._asks(one, hosting):
                self._register.hold(party, _key_of(one, hosting))

    def require_caller(self, party: PartyId, certificate: bytes) -> None:
        """Return if whoever shows this certificate, PEM, may look and sign; errors: `require_key`.

        That may also who asks members for another identity key of the party.
        """
        hosting = load_hosting(self._folder)
        if not self._is_asking(party, certificate, hosting):
            self.require_key(party, certificate)

    def require_key(self, party: PartyId, certificate: bytes) -> None:
        """Return if a certificate, PEM, is for the key that the party has since its last exchange.

        The one before is good until the new one was shown. Without an exchange it is the key that
        the party enrolled with last: who took the seat by an earlier invitation has a certificate
        of the same name, and is somebody else. A party that did neither shows what it was given,
        and no key that somebody asked for in its name.

        Raises:
            NoMemberError: it is for another key.
            LocalProtocolError: it is none of this authority.
        """
        hosting = load_hosting(self._folder)
        if self._is_asking(party, certificate, hosting):
            raise NoMemberError(f"other members have not given {party} this key yet")
        if (exchanged := self._register.exchanged(party)) is not None:
            shown = read_client_certificate(certificate, hosting.authority.certificate).key
            self._require_exchanged(party, shown, *exchanged)
            return
        for one in self._register.enrolled():
            if one.party == party and not self._asks(one, hosting):
                shown = read_client_certificate(certificate, hosting.authority.certificate).key
                if shown != _key_of(one, hosting):
                    raise NoMemberError(f"another key took the seat of {party} since; {_TELL}")
                return
        if asked := self._register.asked(party):
            shown = read_client_certificate(certificate, hosting.authority.certificate).key
            if shown in asked:
                raise NoMemberError(f"whoever asked for this key of {party} was turned away")

    def _is_asking(self, party: PartyId, certificate: bytes, hosting: Hosting) -> bool:
        """Whether a certificate is of who asks for another identity key of a member."""
        for one in self._register.enrolled():
            if one.party == party and self._asks(one, hosting):
                shown = read_client_certificate(certificate, hosting.authority.certificate).key
                return shown == _key_of(one, hosting)
        return False

    def _asks(self, one: Enrolled, hosting: Hosting) -> bool:
        """Whether somebody took a member's seat with another identity key, and waits for others."""
        roster = self._roster(hosting)
        if roster is None or all(member.party != one.party for member in roster.members):
            return False
        return waits(roster, open_enrolment(one.wire, hosting.federation).member)

    def _require_exchanged(
        self, party: PartyId, shown: bytes, key: bytes, before: bytes | None
    ) -> None:
        if shown not in {key, before}:
            raise NoMemberError(f"{party} gave this key up for another one; {_TELL}")
        if shown == key and before is not None:  # it has arrived: the old one is good no longer
            self._register.arrived(party, key)

    def complete(self) -> None:
        """Whatever enough have signed is done: the federation is founded, entrants are in."""
        with self._lock:
            hosting = load_hosting(self._folder)
            if not hosting.pin:
                self._found()
                return
            for enrolled in self._waiting(open_roster(self._chain(), hosting.pin)):
                self._admit(enrolled, hosting.pin)

    def founders(self) -> tuple[tuple[Enrolment, Enrolled], ...]:
        """Return everybody who took a seat, by party."""
        federation = load_hosting(self._folder).federation
        return tuple(
            (open_enrolment(one.wire, federation), one) for one in self._register.enrolled()
        )

    # -- before the founding ---------------------------------------------------------------------

    def _before(self, party: PartyId, hosting: Hosting) -> View:
        enrolled = self.founders()
        if party not in {one.party for _, one in enrolled}:
            raise NoMemberError(f"{party} has not enrolled here")
        others = {e.member.organisation for e, _ in enrolled} - {hosting.organisation}
        statement = self._register.founding()
        signed = tuple(self._register.signatures(digest_bytes(statement))) if statement else ()
        is_in = bool(statement) and party in {m.party for m in founding_of(statement).members}
        return View(b"", statement if is_in else b"", signed, len(others))

    def _found(self) -> None:
        if not (statement := self._register.founding()):
            return
        signatures = self._register.signatures(digest_bytes(statement))
        members = founding_of(statement).members
        if not signatures.keys() >= {member.party for member in members}:
            return
        mine = {member.party: signatures[member.party] for member in members}
        chain = found_roster(statement, mine)
        for enrolment, one in self.founders():
            if one.party in mine:
                self._let_connect(enrolment)
        keep_file(self._folder / "roster.bin", chain, 0o644)
        write_pin(self._folder / "aggregator.toml", pin_of(statement))

    # -- afterwards ------------------------------------------------------------------------------

    def _waiting(self, roster: Roster) -> list[Enrolled]:
        return [
            one
            for one in self._register.enrolled()
            if waits(roster, open_enrolment(one.wire, roster.federation).member)
        ]

    def _request(self, one: Enrolled, roster: Roster) -> Request:
        enrolment = open_enrolment(one.wire, roster.federation)
        digest = digest_bytes(change_statement(roster, change_of(roster, enrolment.member)))
        return Request(one.wire, one.certificate, tuple(self._register.signatures(digest)))

    def _admit(self, one: Enrolled, pin: str) -> None:
        chain = self._chain()
        roster = open_roster(chain, pin)
        enrolment = open_enrolment(one.wire, roster.federation)
        change = change_of(roster, enrolment.member)
        signatures = self._register.signatures(digest_bytes(change_statement(roster, change)))
        hosting = load_hosting(self._folder)

        def let_in() -> None:
            self._let_connect(enrolment)
            if isinstance(change, Rekey):  # from here on the old key opens no stream
                self._register.give_up(change.party, _key_of(one, hosting))

        try:
            grow(load_aggregator(self._folder), change, signatures, let_in)
        except FederationError:
            return  # not enough have signed, or not for this epoch; the chain says what is enough

    def _statement(self, party: PartyId, said: Signature) -> tuple[bytes, VerifyKey]:
        """Return what is to be signed, by the digest that was named, and the party's key."""
        hosting = load_hosting(self._folder)
        roster = self._roster(hosting)
        if roster is None:
            statement = self._register.founding()
            found = [statement] if statement else []
            members: tuple[Member, ...] = founding_of(statement).members if statement else ()
            shown = {digest_bytes(one): (one, _keys_of(members)) for one in found}
        else:
            shown = dict(self._to_be_signed(roster))
        statement, keys = shown.get(said.statement, (b"", {}))
        if party not in keys:  # a stranger's word on another's entry would make the chain none
            raise StaleWordError(
                "what was signed is not to be signed any more: the roster or the list of founders "
                "has changed since; look again and sign what is shown then"
            )
        return statement, keys[party]

    def _to_be_signed(
        self, roster: Roster
    ) -> Iterator[tuple[str, tuple[bytes, Mapping[PartyId, VerifyKey]]]]:
        """Yield statements by their digest, each with the keys that may sign it."""
        for one in self._waiting(roster):
            entrant = open_enrolment(one.wire, roster.federation).member
            statement = change_statement(roster, change_of(roster, entrant))
            yield digest_bytes(statement), (statement, _keys_of((*roster.members, entrant)))

    def _let_connect(self, enrolment: Enrolment) -> None:
        if enrolment.member.role in {*DATA_ROLES, Role.KEYHOLDER}:
            path = self._folder / "nodes" / f"{enrolment.member.party}.pub"
            keep_file(path, enrolment.flower.encode() + b"\n")

    def _roster(self, hosting: Hosting) -> Roster | None:
        return open_roster(self._chain(), hosting.pin) if hosting.pin else None

    def _chain(self) -> bytes:
        return (self._folder / "roster.bin").read_bytes()


def _keys_of(members: Iterable[Member]) -> Mapping[PartyId, VerifyKey]:
    """Return the key that each signs with; of who stands there twice, the one that comes last."""
    return {member.party: member.identity for member in members}


def _key_of(one: Enrolled, hosting: Hosting) -> bytes:
    request = open_enrolment(one.wire, hosting.federation).request
    return read_request(request.encode(), one.party)


def founding_of(statement: bytes) -> Founding:
    """Read a founding statement.

    Raises:
        MalformedMessageError: it is none.
    """
    return read_founding(canonical.decode(statement))


def write_pin(path: Path, pin: str) -> None:
    """The settings in the file name this pin from now on; who may read them stays as it was."""
    value, mode = tomllib.loads(path.read_text(encoding="utf-8")), S_IMODE(path.stat().st_mode)
    keep_file(path, tomli_w.dumps(value | {"pin": pin}).encode(), mode)


REFUSED = (NoMemberError, StaleWordError, RefusedInvitationError, BadSignatureError)
"""Calls that end with a word of refusal; every other error of ours is a call that is none."""
