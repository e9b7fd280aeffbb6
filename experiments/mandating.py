"""A party lets a person's key countersign for it: at its node, and it stands in its ledger."""

import time
from pathlib import Path
from typing import Final

from clients.consulting import books_of
from clients.policy import load_policy
from clients.settings import NodeSettings, load_settings
from experiments.errors import UsageError
from federation.ledger.entries import Entry, EntryKind
from federation.mandates import MOST_DAYS, Mandate, mandate
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.signature import VerifyKey

_DAY: Final = 24 * 3600


def give_mandate(folder: Path, key: str, days: int) -> Mandate:
    """Return the mandate of the party in `folder` for a person's public key, for so many days.

    Raises:
        UsageError: it is no key, or a member's; it is for too long, or would end with this node's
            identity key at once.
        NodeSettingsError: the folder is no node's.
    """
    if not 1 <= days <= MOST_DAYS:
        raise UsageError(f"a mandate is for 1 to {MOST_DAYS} days")
    try:
        person = VerifyKey(key.strip())
    except LocalProtocolError as why:
        raise UsageError("KEY is what `entrepot person mandate` prints: 64 digits") from why
    settings, now = load_settings(folder), int(time.time())
    _require_usable(settings, person)
    until = now + days * _DAY
    given = mandate(settings.federation, settings.party, person, until, settings.identity)
    law = load_policy(settings.folder / "policy").digest
    reasons = [f"mandate={person.hex}", f"until={until}"]
    books_of(settings).note(Entry(EntryKind.APPROVED, now, "", {"policy": law, "reasons": reasons}))
    return given


def _require_usable(settings: NodeSettings, person: VerifyKey) -> None:
    roster = settings.roster()
    if person in {one.identity for one in (*roster.former, *roster.members)}:
        raise UsageError("this is a member's key, and a mandate is for a person's")
    if settings.next_identity.exists():
        raise UsageError(
            "this node is exchanging its identity key, and a mandate ends with the key that signed "
            "it: give it once the roster names the new one"
        )
