"""What several tests do at the people's door."""

import json
import time
from typing import Any, Final

import pytest

from aggregator.record import Record
from aggregator.settings import load_aggregator
from federation.control.logs import JsonLines
from federation.countersignatures import (
    countersign_for,
    item_of,
)
from federation.ledger.entries import Entry, EntryKind
from federation.mandates import mandate
from federation.orders import sign_order
from policies.parties import PartyId
from tests.people import Desk, Someone, order_of
from tests.rosters import key


def record(desk: Desk) -> Record:
    settings = load_aggregator(desk.folder)
    identity, roster = settings.identity, settings.roster()
    return Record(settings.ledger, settings.party, identity, roster, time.time)


def denials(desk: Desk) -> list[Entry]:
    return [one for one in record(desk).entries() if one.kind is EntryKind.REFUSED]


FRESH: Final = order_of("desk", ("cn", "eu"), nonce="fresh", expires=2_000_000_000)

WAITS: Final = order_of(
    "desk", ("cn", "eu"), nonce="waits", waits_until=1_950_000_000, expires=2_000_000_000
)


def countersigned(who: Someone, order: str = WAITS.id, party: str = "cn") -> dict[str, Any]:
    """Return what a person's machine hands over: its signature, and the party's mandate."""
    name = PartyId(party)
    given = mandate("harbour", name, who.key.verify_key, 2_000_000_000, key(party))
    signed = countersign_for("harbour", order, given, who.key)
    return {"order": order, "countersignature": item_of(name, signed)}


def asked(desk: Desk, who: Someone, order: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return every method that wants a session, by what is asked of it."""
    ids = {name: desk.people.sessions(name)[0].id for name in ("colleague", "stranger")}
    desk.clock.at += 30
    return {
        "WhoAmI": ("WhoAmI", {}),
        "Sessions": ("Sessions", {}),
        "Confirm": ("Confirm", desk.shown(who)),
        "Roster": ("Roster", {}),
        "Orders": ("Orders", {}),
        "Order": ("Order", {"order": order}),
        "Propose": ("Propose", {"order": sign_order(FRESH, key("desk")).hex()}),
        "People": ("People", {}),
        "Ledger": ("Ledger", {}),
        "Answer": ("Answer", {"order": order}),
        "Models": ("Models", {}),
        "Card": ("Card", {"order": order}),
        "Model": ("Model", {"order": order}),
        "Waiting": ("Waiting", {}),
        "Waiting for one": ("Waiting", {"order": order}),
        "Countersign": ("Countersign", countersigned(who, order)),
        "Sessions of a colleague": ("Sessions", {"person": "colleague"}),
        "Sessions of a stranger": ("Sessions", {"person": "stranger"}),
        "Revoke a colleague's": ("Revoke", {"id": ids["colleague"]}),
        "Revoke a stranger's": ("Revoke", {"id": ids["stranger"]}),
        "Disable a colleague": ("Disable", {"person": "colleague"}),
        "Disable a stranger": ("Disable", {"person": "stranger"}),
        "Logout": ("Logout", {}),
    }


def lines_of(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(JsonLines().format(one)) for one in caplog.records]
    return [line for line in lines if line.get("event") == event]
