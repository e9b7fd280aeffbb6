"""The one place at which a door asks the law whether a caller may call a method, and tells a no.

    guard = Guard(lambda: load_hosting(folder), Denials(folder))
    guard.require(caller, method_at(path), resource)      # returns, or raises and writes it down

Machines come with certificates, people with sessions, entrants with invitations; all are judged by
`policies.access`. Nothing that a door serves goes round it: a handler is made for a method of
`federation.control.methods` or not at all.
"""

from collections.abc import Callable

from aggregator.denials import Denials
from aggregator.errors import AggregatorError
from aggregator.gathering import Gathering
from aggregator.hosting import Hosting, load_hosting
from aggregator.register import Register
from federation.control.methods import METHODS, Method
from federation.control.wire import PATH
from federation.membership import Member
from federation.people.persons import Person
from federation.roster_chain import open_roster
from policies.access.deciding import (
    Allowed,
    Asked,
    Caller,
    Denied,
    Federation,
    Resource,
    decide,
)
from policies.parties import PartyId


class DeniedError(AggregatorError):
    """The law of the doors lets this caller do no such thing; the sentence says which rule."""

    exit_code = 10


def method_at(path: str) -> Method:
    """Return the method that a door serves under this name.

    Raises:
        KeyError: it has no row in the table, so no door may serve it.
    """
    return METHODS[path]


def caller_of(person: Person) -> Caller:
    """Return a person as the law of the doors sees it."""
    seat = person.seat
    return Caller("Person", seat.person, seat.role.value, seat.organisation, seat.jurisdiction)


class Guard:
    """Decisions of one aggregator's doors. hosting: read anew for each call."""

    def __init__(self, hosting: Callable[[], Hosting], denials: Denials) -> None:
        self._hosting = hosting
        self._denials = denials

    def lets(
        self, caller: Caller, method: Method, resource: Resource | None = None, fresh: bool = False
    ) -> Allowed | Denied:
        """Return what the law says; resource: the federation where none is named."""
        hosting = self._hosting()
        what = resource or Federation(hosting.federation)
        return decide(caller, method.action, what, Asked(fresh, hosting.organisation))

    def require(
        self, caller: Caller, method: Method, resource: Resource | None = None, fresh: bool = False
    ) -> Allowed:
        """Return that it is allowed.

        Raises:
            DeniedError: it is not; it was written down.
        """
        decided = self.lets(caller, method, resource, fresh)
        if isinstance(decided, Denied):
            self._denials.tell(decided)
            raise DeniedError(
                "; ".join(f"{r.id} {r.text_en} → {r.fix_en}" for r in decided.reasons)
            )
        return decided


class Machines:
    """What parties' machines may call, by what their certificates name."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._folder = gathering.folder
        self._register = Register(self._folder)
        self._guard = Guard(lambda: load_hosting(self._folder), Denials(self._folder))

    def require(self, party: PartyId, path: str) -> None:
        """Return if a party may call the method at `path`.

        Raises:
            DeniedError: it may not.
        """
        self._guard.require(self._caller(party), method_at(path))

    def admit(self, party: PartyId, certificate: bytes) -> None:
        """Return if a party with this certificate, PEM, may keep a stream.

        Raises:
            NoMemberError: another key took its seat.
            DeniedError: it is no member, or suspended.
        """
        self._gathering.require_key(party, certificate)
        self.require(party, PATH)

    def _caller(self, party: PartyId) -> Caller:
        hosting = load_hosting(self._folder)
        if hosting.pin:
            roster = open_roster((self._folder / "roster.bin").read_bytes(), hosting.pin)
            for member in roster.members:
                if member.party == party:
                    return _machine(member, party not in roster.suspended)
        for seat in self._register.invited():
            if seat.party == party:
                role, place = seat.role.value, seat.jurisdiction.value
                return Caller("Machine", party, role, seat.organisation, place)
        return Caller("Machine", party)


def _machine(member: Member, active: bool) -> Caller:
    words = (member.role.value, member.organisation, member.jurisdiction.value)
    return Caller("Machine", member.party, *words, active)
