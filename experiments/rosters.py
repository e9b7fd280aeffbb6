"""The chain of epochs in words, and what the aggregator may change in it by itself.

aggregator/revocations.jsonl     why somebody was suspended or restored, one a line
"""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aggregator.rosters import change
from aggregator.settings import AggregatorSettings, load_aggregator
from experiments.errors import UsageError
from experiments.telling import plain
from federation.membership import Member, Roster
from federation.roster_chain import Epoch, Restore, Suspend, history
from policies.parties import PartyId

_REASONS = "revocations.jsonl"


def shown(folder: Path) -> dict[str, Any]:
    """Return what `entrepot aggregator roster --json` prints of the aggregator in `folder`.

    Raises:
        AggregatorSettingsError, FederationError: there is none, or its roster is not the members'.
    """
    settings = load_aggregator(folder)
    epochs = history(settings.chain.read_bytes(), settings.pin)
    roster = epochs[-1].roster
    organisations = {member.organisation for member in roster.members}
    return {
        "schema": "entrepot.aggregator.roster/1",
        "federation": roster.federation,
        "pin": settings.pin,
        "epoch": roster.epoch,
        "digest": roster.digest,
        "colluding": roster.colluding,
        "organisations": len(organisations),
        "members": [_member(member, roster) for member in roster.members],
        "former": [_member(member, roster) for member in roster.former],
        "epochs": [_epoch(epoch) for epoch in epochs],
        "reasons": _reasons(settings),
    }


def spoken(value: Mapping[str, Any]) -> str:
    """Return the same for people."""
    first = (
        f"{value['federation']} is at epoch {value['epoch']}: {len(value['members'])} members of "
        f"{value['organisations']} organisations, up to c = {value['colluding']} may lie together"
    )
    lines = [first, f"pin {value['pin']}", ""]
    lines += [
        f"{m['party']:<16} {m['role']:<16} {m['jurisdiction']:<6} {plain(m['organisation'])}"
        + (", SUSPENDED" if m["suspended"] else "")
        for m in value["members"]
    ]
    lines += [f"{m['party']:<16} was here under key {m['identity'][:16]}…" for m in value["former"]]
    lines.append("")
    lines += [
        f"epoch {e['epoch']}: {e['change']} {e['party']}".rstrip()
        + f", signed by {', '.join(e['signers'])}"
        for e in value["epochs"]
    ]
    lines += [
        f"{_day(r['at'])}: {r['party']} {r['change']}, because: {plain(r['reason'], 200)}"
        for r in value["reasons"]
    ]
    return "\n".join(lines)


def revoked(folder: Path, party: str, reason: str, *, restore: bool) -> dict[str, Any]:
    """Suspend a member, or restore it, and return what was done.

    Raises:
        UsageError: no reason is given.
        RosterChangeError: there is no such member, it is so already, or it is the aggregator.
    """
    if not reason.strip():
        raise UsageError("say why: --reason WORDS; members will ask")
    settings, name = load_aggregator(folder), PartyId(party)
    roster = change(settings, Restore(name) if restore else Suspend(name))
    done = "restored" if restore else "suspended"
    row = {"at": int(time.time()), "party": party, "change": done, "reason": reason}
    with (folder / _REASONS).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row | {"epoch": roster.epoch}, ensure_ascii=False) + "\n")
    more = "" if restore else f"; {_for_good(roster, name)}"
    return {
        "schema": "entrepot.aggregator.revoke/1",
        "party": party,
        "change": done,
        "epoch": roster.epoch,
        "digest": roster.digest,
        "said": f"{party} is {done} from epoch {roster.epoch} on{more}",
    }


def _for_good(roster: Roster, party: PartyId) -> str:
    return (
        f"to remove {party} for good, {roster.colluding + 1} members of other organisations sign "
        "that, none of them the aggregator's; it may also leave itself"
    )


def _member(member: Member, roster: Roster) -> dict[str, Any]:
    return {**member.to_json(), "suspended": member.party in roster.suspended}


def _epoch(epoch: Epoch) -> dict[str, Any]:
    what = epoch.change
    return {
        "epoch": epoch.roster.epoch,
        "digest": epoch.roster.digest,
        "change": "founding" if what is None else type(what).__name__.lower(),
        "party": "" if what is None else what.party,
        "signers": list(epoch.signers),
    }


def _reasons(settings: AggregatorSettings) -> list[dict[str, Any]]:
    path = settings.folder / _REASONS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
