"""The people's door without its wire: who calls, whether it may, and what it is told.

Every method goes the same way: whose session it is, what it is about, what the law of the doors
says of that, and only then the method itself. What is not there belongs to nobody: who may not see
what others have is refused in the same words, whether there is such a thing or not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from aggregator.access import Guard, caller_of, method_at
from aggregator.countersigning import Countersigning, waiting_json
from aggregator.errors import AggregatorError
from aggregator.handing_out import answer_json
from aggregator.hosting import Hosting
from aggregator.knocks_told import tell_change, tell_handed, turned_away_told
from aggregator.logins import Logins
from aggregator.model_shelf import ModelShelf
from aggregator.people import People
from aggregator.people_views import OrderBook, ledger_json, roster_json, session_json
from aggregator.settings import load_aggregator
from aggregator.shelf_files import ShelfFiles
from federation.control.calls import PEOPLE, path
from federation.control.methods import Method, methods_of
from federation.countersignatures import ByPerson, given_of
from federation.errors import MalformedMessageError
from federation.people.calling import Call, read_call
from federation.people.persons import Person
from federation.people.sessions import Session, is_fresh
from policies.access.deciding import NOBODY, Account, Allowed, Caller, Order, Resource
from secure_compute import canonical
from secure_compute.canonical import JSON

_ORDER: Final = path(PEOPLE, "Order")
_WAITING: Final = path(PEOPLE, "Waiting")
_CARD: Final = path(PEOPLE, "Card")
_PROPOSE: Final = method_at(path(PEOPLE, "Propose"))
T = TypeVar("T")


class NothingThereError(AggregatorError):
    """What a person names, and might see if there were such a thing, is not there."""

    exit_code = 10


@dataclass(frozen=True, slots=True)
class Visit:
    """One call of somebody who is logged in. fresh: a factor was shown within five minutes."""

    session: Session
    person: Person
    call: Call
    place: str
    fresh: bool


_About: TypeAlias = Callable[[Visit], Resource | None]
_Does: TypeAlias = Callable[[Visit], JSON]


class PeopleDoor:
    """The methods of `entrepot.People`: bytes in, bytes out; threads may share it.

    Args:
        hosting: read anew for each call.
        people, logins, guard: see there.
        now: seconds since 1970.
    """

    def __init__(
        self,
        hosting: Callable[[], Hosting],
        people: People,
        logins: Logins,
        guard: Guard,
        now: Callable[[], float],
    ) -> None:
        self._hosting = hosting
        self._people = people
        self._logins = logins
        self._guard = guard
        self._now = now
        self._files = ShelfFiles()
        self._open: dict[str, Callable[[Call, str], JSON]] = {
            "Enrol": self._logins.enrol,
            "Challenge": lambda call, _: self._logins.challenge(call),
            "Login": self._logins.login,
        }
        self._closed: dict[str, tuple[_About, _Does]] = {
            "WhoAmI": (self._own, self._who_am_i),
            "Logout": (self._own, self._log_out),
            "Confirm": (self._own, self._confirm),
            "AddPasskey": (self._own, self._add_passkey),
            "RemovePasskey": (self._own, self._remove_passkey),
            "Sessions": (self._account, self._list_sessions),
            "Revoke": (self._owner, self._revoke),
            "Disable": (self._account, self._disable),
            "People": (_federation, self._list_people),
            "Roster": (_federation, self._show_roster),
            "Orders": (_federation, self._list_orders),
            "Order": (self._order, self._show_order),
            "Propose": (self._proposed, self._propose),
            "Waiting": (self._asked, self._wait),
            "Answer": (self._order, self._answer),
            "Models": (_federation, self._list_models),
            "Card": (self._order, self._show_card),
            "Model": (self._order, self._hand_model),
            "Countersign": (self._order, self._countersign),
            "Ledger": (_federation, lambda _: ledger_json(self._folder, self._now())),
        }

    def calls(self) -> dict[str, Callable[[bytes, str], bytes]]:
        """Return what answers each method of the service; place: where a call comes from."""
        return {method.name: self._answering(method) for method in methods_of(PEOPLE)}

    def _answering(self, method: Method) -> Callable[[bytes, str], bytes]:
        enter, visit = self._open.get(method.name), self._closed.get(method.name)

        def answered(call: Call, place: str) -> tuple[str, JSON]:
            if enter is not None:
                self._guard.require(NOBODY, method)
                return "", enter(call, place)
            assert visit is not None  # noqa: S101 - looked up below, when the door is made
            about, does = visit
            there = self._visit(call, place)
            self._guard.require(caller_of(there.person), method, about(there), there.fresh)
            return there.person.seat.person, does(there)

        def answer(data: bytes, place: str) -> bytes:
            call = read_call(data)
            with turned_away_told(method.action, place, call.body.get("person")):
                by, value = answered(call, place)
            assert isinstance(value, dict)  # noqa: S101 - as every answer
            tell_change(method.name, by, value)
            return canonical.encode(value)

        if enter is None and visit is None:
            raise KeyError(method.name)
        return answer

    def _visit(self, call: Call, place: str) -> Visit:
        session, person = self._logins.opened(call.session)
        return Visit(session, person, call, place, is_fresh(session, self._now()))

    # -- what a call is about --------------------------------------------------------------------

    @staticmethod
    def _own(visit: Visit) -> Resource:
        return Account(caller_of(visit.person))

    def _account(self, visit: Visit) -> Resource:
        """The account of the person that is named, one's own where nobody is."""
        if "person" not in visit.call.body:
            return self._own(visit)
        return self._account_of(visit.call.text("person"))

    def _owner(self, visit: Visit) -> Resource:
        session = self._meant(visit)
        return self._account_of("" if session is None else session.seat.person)

    def _order(self, visit: Visit) -> Resource:
        name = visit.call.text("order")
        found = self._book().find(name)
        return Order(name, "", frozenset(), frozenset()) if found is None else found.resource

    def _asked(self, visit: Visit) -> Resource | None:
        """The order that is named, the federation where none is."""
        return self._order(visit) if "order" in visit.call.body else None

    def _proposed(self, visit: Visit) -> Resource:
        """The order that is brought; no byte of it is read for who could propose none."""
        mine = Order("", visit.person.seat.organisation, frozenset(), frozenset())
        self._guard.require(caller_of(visit.person), _PROPOSE, mine, visit.fresh)
        return self._book().opened(visit.call.hex("order")).resource

    def _account_of(self, name: str) -> Account:
        found = self._people.find(name)
        return Account(Caller("Person", name) if found is None else caller_of(found))

    def _meant(self, visit: Visit) -> Session | None:
        """Return the session that a call names by the first digits of its hash."""
        said = visit.call.text("id")
        found = [one for one in self._people.sessions() if one.id == said]
        return found[0] if len(found) == 1 else None

    # -- what the methods do ---------------------------------------------------------------------

    def _who_am_i(self, visit: Visit) -> JSON:
        seat, session = visit.person.seat.to_json(), session_json(visit.session)
        passkeys: list[JSON] = [one.id for one in self._people.passkeys(visit.session.seat.person)]
        return {**seat, "session": session, "fresh": visit.fresh, "passkeys": passkeys}

    def _log_out(self, visit: Visit) -> JSON:
        self._people.end(visit.session)
        return {"ended": visit.session.id}

    def _confirm(self, visit: Visit) -> JSON:
        self._logins.confirm(visit.session, visit.person, visit.call, visit.place)
        return {"confirmed": visit.session.id}

    def _add_passkey(self, visit: Visit) -> JSON:
        self._logins.add_passkey(visit.person, visit.call, visit.place)
        return {"passkeys": len(self._people.passkeys(visit.person.seat.person))}

    def _remove_passkey(self, visit: Visit) -> JSON:
        self._logins.remove_passkey(visit.person, visit.call)
        return {"passkeys": len(self._people.passkeys(visit.person.seat.person))}

    def _list_sessions(self, visit: Visit) -> JSON:
        found = self._logins.sessions(self._of(visit))
        return {"sessions": [session_json(one) for one in found]}

    def _revoke(self, visit: Visit) -> JSON:
        session = _there(self._meant(visit))
        self._people.end(session)
        return {"revoked": session.id, "person": session.seat.person}

    def _disable(self, visit: Visit) -> JSON:
        name = self._of(visit).seat.person
        self._people.disable(name)
        return {"disabled": name}

    def _list_people(self, visit: Visit) -> JSON:
        shown = [p for p in self._people.persons() if self._may(visit, Account(caller_of(p)))]
        return {"people": [{**p.seat.to_json(), "disabled": p.disabled} for p in shown]}

    def _list_orders(self, visit: Visit) -> JSON:
        rows = [one for one in self._book().all() if self._may(visit, one.resource, _ORDER)]
        return {"orders": [one.row() for one in rows]}

    def _show_roster(self, visit: Visit) -> JSON:
        return roster_json(self._folder, chain=visit.call.body.get("chain") is True)

    def _answer(self, visit: Visit) -> JSON:
        known = _there(self._book().find(visit.call.text("order")))
        return answer_json(load_aggregator(self._folder), known, visit.call.number("begin"))

    def _list_models(self, visit: Visit) -> JSON:
        shelf, rows = self._shelf(), self._book().all(lambda job: job.status == "done")
        seen = [one for one in rows if self._may(visit, one.resource, _CARD)]
        return {"models": [row for one in seen if (row := shelf.row(one)) is not None]}

    def _show_card(self, visit: Visit) -> JSON:
        return self._shelf().card(_there(self._book().find(visit.call.text("order"))))

    def _hand_model(self, visit: Visit) -> JSON:
        known, begin = (
            _there(self._book().find(visit.call.text("order"))),
            visit.call.number("begin"),
        )
        part = self._shelf().piece(known, begin)
        if part["part"]:
            tell_handed(visit.person.seat.person, known.job.id, str(part["digest"]), begin)
        return part

    def _shelf(self) -> ModelShelf:
        return ModelShelf(load_aggregator(self._folder), self._files)

    def _show_order(self, visit: Visit) -> JSON:
        return _there(self._book().find(visit.call.text("order"))).shown()

    def _propose(self, visit: Visit) -> JSON:
        book = self._book()
        known = book.opened(visit.call.hex("order"))
        book.put(known, self._now())
        return {"order": known.job.id}

    def _wait(self, visit: Visit) -> JSON:
        """Return what may be countersigned; of one order its bytes, for its reader to judge."""
        found = Countersigning(self._folder).waiting(self._now())
        rows = [one for one in found if self._may(visit, one.resource, _WAITING)]
        if "order" not in visit.call.body:
            return {"orders": [waiting_json(one) for one in rows]}
        name = _there(self._book().find(visit.call.text("order"))).job.id
        known = _there(next((one for one in rows if one.job.id == name), None))
        return {**waiting_json(known), "wire": known.job.wire.hex()}

    def _countersign(self, visit: Visit) -> JSON:
        known = _there(self._book().find(visit.call.text("order")))
        party, signed = given_of(visit.call.object("countersignature"))
        if not isinstance(signed, ByPerson):
            raise MalformedMessageError("at this door persons sign, with a mandate of their party")
        who, taking = visit.person, Countersigning(self._folder)
        is_new = taking.take(known, party, signed, who, self._now())
        return {"countersigned": known.job.id, "party": party, "new": is_new}

    def _may(self, visit: Visit, resource: Resource, at: str = path(PEOPLE, "People")) -> bool:
        caller = caller_of(visit.person)
        decided = self._guard.lets(caller, method_at(at), resource, visit.fresh)
        return isinstance(decided, Allowed)

    def _of(self, visit: Visit) -> Person:
        """Return the person that is named, oneself where nobody is."""
        if "person" not in visit.call.body:
            return visit.person
        return _there(self._people.find(visit.call.text("person")))

    @property
    def _folder(self) -> Path:
        return self._hosting().folder

    def _book(self) -> OrderBook:
        return OrderBook(self._folder)


def _there(found: T | None) -> T:
    if found is None:
        raise NothingThereError("there is no such thing here")
    return found


def _federation(_: Visit) -> None:
    return None
