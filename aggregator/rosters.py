"""The chain of epochs as the aggregator keeps it: it carries it, and can make hardly any of it.

    roster.bin     the chain            roster.lock     held while it is exchanged for a longer one

The aggregator suspends and restores with its own key, at once. Everything else in the chain is
signed by members; a longer chain that begins with this one is taken from whoever brings it.
"""

import fcntl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from aggregator.settings import AggregatorSettings
from federation.membership import Roster
from federation.roster_chain import (
    Change,
    change_statement,
    extended,
    history,
    open_roster,
    require_successor,
)
from federation.whole_files import replace_file
from policies.parties import PartyId


def adopt(settings: AggregatorSettings, chain: bytes) -> Roster:
    """Return the last epoch after a chain was offered; a longer one lies in the folder by then.

    Raises:
        FederationError: it does not begin with the one that is here.
    """
    with _alone(settings):
        own = settings.chain.read_bytes()
        found = require_successor(own, chain, settings.pin)
        if found.digest != open_roster(own, settings.pin).digest:
            replace_file(settings.chain, chain)
        return found


def change(
    settings: AggregatorSettings,
    what: Change,
    signatures: Mapping[PartyId, bytes] | None = None,
    first: Callable[[], object] = lambda: None,
) -> Roster:
    """Return the last epoch after a change.

    signatures: of it, or none where the own one is enough.
    first: what has to be done before the longer chain lies there; done only if it will.

    Raises:
        RosterChangeError: nobody may make it, or those who signed may not.
    """
    with _alone(settings):
        own = settings.chain.read_bytes()
        said = change_statement(open_roster(own, settings.pin), what)
        signed = signatures or {settings.party: settings.identity.sign(said)}
        longer = extended(own, settings.pin, what, signed)
        first()
        replace_file(settings.chain, longer)
        return open_roster(longer, settings.pin)


def epochs(settings: AggregatorSettings) -> tuple[Roster, ...]:
    """Return the roster at every epoch, the founding first."""
    return tuple(epoch.roster for epoch in history(settings.chain.read_bytes(), settings.pin))


def taking_part(settings: AggregatorSettings) -> frozenset[PartyId]:
    """Return the members that are not suspended, as the folder has it at this moment."""
    roster = _at_this_moment(settings)
    return frozenset(member.party for member in roster.members) - roster.suspended


def members(settings: AggregatorSettings) -> frozenset[PartyId]:
    """Return all members, those that are suspended too, as the folder has it at this moment."""
    return frozenset(member.party for member in _at_this_moment(settings).members)


def stamp(settings: AggregatorSettings) -> tuple[int, int]:
    """Return what is another thing whenever another chain lies in the folder."""
    there = settings.chain.stat()
    return there.st_ino, there.st_mtime_ns


def _at_this_moment(settings: AggregatorSettings) -> Roster:
    return _read(settings.chain, settings.pin, stamp(settings))


@lru_cache(maxsize=8)
def _read(path: Path, pin: str, _: tuple[int, int]) -> Roster:
    return open_roster(path.read_bytes(), pin)


@contextmanager
def _alone(settings: AggregatorSettings) -> Iterator[None]:
    with (settings.folder / "roster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
