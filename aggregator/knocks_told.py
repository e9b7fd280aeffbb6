"""What the log says of who was turned away before any law was asked, and of who changed what.

    with turned_away_told("People/Login", place, person="ana"):
        …                                             # raises as ever; one warning was written

A line has the method, whence the call came and what we answered: no secret, code, token or key. A
name that somebody gives is in it where it could be one, so that nobody writes into the log.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from aggregator.admission import NotAdmittedError
from aggregator.countersigning import NotCountersignedError
from aggregator.door import RefusedInvitationError, TooManyError
from aggregator.gathering import NoMemberError
from aggregator.logins import RefusedLoginError
from federation.people.passkeys import BadPasskeyError
from federation.people.sessions import ClosedSessionError
from federation.roster_rules import is_name
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError

_LOG: Final = logging.getLogger(__name__)
_TURNED_AWAY: Final = (
    *(NotAdmittedError, RefusedInvitationError, TooManyError, NoMemberError, RefusedLoginError),
    *(BadPasskeyError, ClosedSessionError, BadSignatureError, NotCountersignedError),
)
_CHANGES: Final = frozenset(
    {"Enrol", "Disable", "Revoke", "AddPasskey", "RemovePasskey", "Countersign"}
)


@contextmanager
def turned_away_told(action: str, place: str, person: object = "") -> Iterator[None]:
    """Whoever is turned away inside has a line in the log; person: the name that it gave."""
    try:
        yield
    except _TURNED_AWAY as why:
        name = person if isinstance(person, str) and is_name(person) else ""
        fields = {"event": "door.turned_away", "method": action, "place": place, "person": name}
        fields |= {"why": type(why).__name__}
        said = "%s turns somebody away at %s (%s): %s"
        _LOG.warning(said, action, place, name or "no name", why, extra={"fields": fields})
        raise


def tell_change(name: str, by: str, answer: Mapping[str, JSON]) -> None:
    """Write down that somebody enrolled, changed an account or countersigned, once it is done."""
    if name not in _CHANGES:
        return
    person = str(answer.get("person", answer.get("disabled", by)))
    fields = {"event": "people.changed", "method": f"People/{name}", "person": person, "by": by}
    fields |= {"order": str(answer["countersigned"])} if "countersigned" in answer else {}
    said = "%s of %s, by %s."
    _LOG.info(said, name, person, by or "an invitation", extra={"fields": fields})


def tell_handed(by: str, order: str, digest: str, begin: int) -> None:
    """Write down that somebody is handed a piece of the model of an order; begin: its place."""
    fields = {"event": "model.handed_out", "by": by, "order": order, "digest": digest}
    fields |= {"begin": str(begin)}
    said = "The model of %s goes to %s, from byte %d on."
    _LOG.info(said, order[:12], by, begin, extra={"fields": fields})
