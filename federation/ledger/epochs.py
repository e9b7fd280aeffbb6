"""Which epochs of the roster a ledger knows; a chain that lacks one of them is refused.

The founding stands in every pin. Each later epoch is written down when it is taken up, by its
number and digest, and is cosigned like every entry. So who puts back an older chain would have to
put back the ledger too, and that is found by its witnesses.
"""

from collections.abc import Iterable, Sequence

from federation.errors import ForkedRosterError, OlderRosterError
from federation.ledger.entries import Entry, EntryKind
from federation.membership import Roster
from secure_compute.canonical import JSON


def require_known(entries: Iterable[Entry], epochs: Sequence[Roster]) -> None:
    """Return if a chain has every epoch that a ledger knows, and as the ledger knows it.

    entries: all of the ledger; epochs: the roster at each epoch of the chain, the founding first.

    Raises:
        OlderRosterError: the chain ends before one.
        ForkedRosterError: it has another.
    """
    for entry in entries:
        if entry.kind is EntryKind.ROSTER_CHANGED:
            epoch, digest = int(str(entry.body["epoch"])), entry.body["digest"]
            if epoch > len(epochs):
                raise OlderRosterError(
                    f"roster.bin ends at epoch {len(epochs)} and the ledger beside it has epoch "
                    f"{epoch}: an older copy was put back; restore the newest one, every member "
                    "has it"
                )
            if epochs[epoch - 1].digest != digest:
                raise ForkedRosterError(
                    f"roster.bin has another epoch {epoch} than the ledger beside it: restore the "
                    "newest copy, and keep this one as evidence"
                )


def news(entries: Iterable[Entry], roster: Roster, at: int) -> list[Entry]:
    """Return the entry of an epoch that a ledger does not have yet; none of the founding."""
    known = any(e.kind is EntryKind.ROSTER_CHANGED and _is(e, roster) for e in entries)
    return [] if known or roster.epoch == 1 else [changed(roster, at)]


def changed(roster: Roster, at: int) -> Entry:
    """Return the entry that a party writes when it has taken an epoch up."""
    body: dict[str, JSON] = {"epoch": roster.epoch, "digest": roster.digest}
    return Entry(EntryKind.ROSTER_CHANGED, at, "", body)


def _is(entry: Entry, roster: Roster) -> bool:
    return entry.body["epoch"] == roster.epoch
