"""What composed events mean: the certificate, plain numbers for an attacker, ε for a person.

Many nodes hold the same events; each view is worked out once per list of events.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from experiments.outcome import PersonAt, Plain
from policies.budget.events import Event


def certificate(events: Sequence[Event], delta: float, *, fixed: bool) -> float | None:
    """Return ε by privacy-loss distributions; None: there is none.

    fixed: whether the plan of the events was fixed in advance; there is none for another.
    """
    return _certificate(tuple(events), delta) if fixed else None


def plain(events: Sequence[Event], delta: float, epsilon: float, *, fixed: bool) -> Plain:
    """Return the plain numbers of `events`; epsilon: the gate's, for the textbook's bound."""
    return _plain(tuple(events), delta, epsilon, fixed)


def person(events: Sequence[Event], delta: float, parties: tuple[int, ...]) -> tuple[PersonAt, ...]:
    """Return ε for a person who is at so many parties, each with such an account."""
    return _person(tuple(events), delta, parties)


@lru_cache(maxsize=256)
def _certificate(events: tuple[Event, ...], delta: float) -> float | None:
    from policies.budget.certificate import certify

    return certify(events, delta)


@lru_cache(maxsize=256)
def _plain(events: tuple[Event, ...], delta: float, epsilon: float, fixed: bool) -> Plain:
    from policies.budget.attack import LUCK, Textbook, curve

    if not events:
        return Plain(LUCK, 0.5, LUCK, 0.5, _SOURCES["losses"])
    found, loose = curve(events, fixed=fixed), Textbook(epsilon, delta)
    return Plain(
        caught=max(LUCK, found.caught_of_100()),
        right_guess=round(max(0.5, found.right_guess_rate()), 4),
        textbook_caught=max(LUCK, loose.caught_of_100()),
        textbook_right_guess=round(loose.right_guess_rate(), 4),
        curve=_SOURCES[found.source],
        luck=LUCK,
    )


@lru_cache(maxsize=256)
def _person(
    events: tuple[Event, ...], delta: float, parties: tuple[int, ...]
) -> tuple[PersonAt, ...]:
    from policies.budget.person import person_view

    own = person_view(events, delta, parties, "independent")
    shared = person_view(events, delta, parties, "shared")
    return tuple(PersonAt(count, _finite(own[count]), _finite(shared[count])) for count in parties)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


_SOURCES: Final = {"losses": "pld", "renyi": "rdp"}
