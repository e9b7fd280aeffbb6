"""How a party takes new keys: its operator says so here, its node enters them."""

import time
from typing import Any

from clients.books import Books
from clients.errors import NodeSettingsError
from clients.rotation import begin, begin_identity
from clients.settings import NodeSettings
from experiments.leaving import told_anew
from federation.ledger.notes import origin_of
from federation.roster_rules import MOST_OWN, is_at_limit
from policies.parties import DATA_ROLES, Role


def rotate(settings: NodeSettings) -> dict[str, Any]:
    """Make the node's next opening and stream keys; one that runs starts anew, to take them up.

    Raises:
        NodeSettingsError: it changed its keys as often as its own word does.
    """
    _require_below_limit(settings)
    is_new = begin(settings)
    what = "new sealing and stream keys" if is_new else "the new keys that were made before"
    return _told(settings, what, "its identity key stays")


def rotate_identity(settings: NodeSettings) -> dict[str, Any]:
    """Make the node's next identity key; one that runs starts anew, to take it up.

    Raises:
        NodeSettingsError: it is suspended, or changed its keys too often, so that its own word is
            not enough; or too few saw the change before; or an order is under way, which a start
            anew would end and pay whole. Nothing was made.
    """
    roster = settings.roster()
    if settings.party not in {m.party for m in roster.active(*DATA_ROLES, Role.KEYHOLDER)}:
        raise NodeSettingsError(
            f"{settings.party} is suspended, so its own word changes no key; nothing was made. Ask "
            "the aggregator's operator to restore it first"
        )
    _require_below_limit(settings)
    _require_seen(settings)
    _require_idle(settings)
    is_new = begin_identity(settings)
    what = "a new identity key" if is_new else "the identity key that was made before"
    value = _told(settings, what, "the old one signs until then, and is deleted")
    value["said"] += (
        " once a quorum of witnesses saw the change. Copy the folder again then: a copy of before "
        "this command does not start any more once the roster names the new key"
    )
    return {**value, "identity": settings.identities[-1].verify_key.hex}


def _require_below_limit(settings: NodeSettings) -> None:
    if is_at_limit(settings.roster(), settings.party):
        raise NodeSettingsError(
            f"{settings.party} changed its keys {MOST_OWN} times, and its own word does so no "
            "more; nothing was made. Let it leave, and join again under another name"
        )


def _require_seen(settings: NodeSettings) -> None:
    if settings.old_identity.exists():
        raise NodeSettingsError(
            f"no quorum of witnesses has seen yet that {settings.party} changed its identity key "
            "before; nothing was made. Run it again after the next order"
        )


def _require_idle(settings: NodeSettings) -> None:
    origin = origin_of(settings.federation, settings.party)
    books = Books.existing(settings.books, origin, settings.identity, time.time)
    if books is None:
        return
    orders = books.open_orders()
    books.disconnect()
    if orders:
        raise NodeSettingsError(
            f"orders under way at {settings.party}: {len(orders)}; a start anew would end them and "
            "spend their price, so nothing was made. Run it again when they are over; what a "
            "stopped node left open is over once it has started again"
        )


def _told(settings: NodeSettings, what: str, besides: str) -> dict[str, Any]:
    return told_anew(settings, "entrepot.node.rotate/1", f"takes up {what}", f"; {besides}")
