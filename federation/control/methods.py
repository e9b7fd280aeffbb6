"""Every method that somebody can call at the aggregator's doors, and what its callers show.

No door serves a method that does not stand here (`aggregator.access`), and each is an action of the
law of the doors (`policies.access`), under the name `Method.action`.

Flower's own ports are no doors of ours: what passes there is Flower's, and in it sealed envelopes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from federation.control.calls import (
    ENROL,
    JOIN,
    LOOK,
    MEMBERSHIP,
    OFFER,
    PEOPLE,
    RENEW,
    SIGN,
    path,
)
from federation.control.wire import METHOD, SERVICE


class Shows(StrEnum):
    """How a caller says who it is."""

    NOTHING = "nothing"
    """An invitation's secret, or what a person logs in with, which the method itself checks."""
    CERTIFICATE = "certificate"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Method:
    """One method of one service."""

    service: str
    name: str
    shows: Shows

    @property
    def action(self) -> str:
        """What the law of the doors calls it, such as `People/Orders`."""
        return f"{self.service.rpartition('.')[2]}/{self.name}"


_BY_SERVICE: Final[Mapping[str, Mapping[Shows, tuple[str, ...]]]] = {
    JOIN: {Shows.NOTHING: (OFFER, ENROL)},
    MEMBERSHIP: {Shows.CERTIFICATE: (LOOK, SIGN, RENEW)},
    SERVICE: {Shows.CERTIFICATE: (METHOD,)},
    PEOPLE: {
        Shows.NOTHING: ("Enrol", "Challenge", "Login"),
        Shows.SESSION: (
            *("WhoAmI", "Sessions", "Logout", "Confirm", "AddPasskey", "RemovePasskey"),
            *("Revoke", "Disable", "People", "Roster", "Orders", "Order", "Propose", "Ledger"),
            *("Waiting", "Countersign", "Answer", "Models", "Card", "Model"),
        ),
    },
}

METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        path(service, name): Method(service, name, shows)
        for service, kinds in _BY_SERVICE.items()
        for shows, names in kinds.items()
        for name in names
    }
)
"""By the name that gRPC has for it."""


def methods_of(service: str) -> tuple[Method, ...]:
    """Return the methods of one service."""
    return tuple(method for method in METHODS.values() if method.service == service)
