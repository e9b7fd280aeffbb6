"""Whether a node takes part in its federation, as far as its own folder says. Nobody is asked.

Who has left, or was removed and knows that, does not come here: `clients.checking` refuses it.
"""

from datetime import UTC, datetime

from clients import turned_away
from clients.rosters import LEAVING
from clients.settings import NodeSettings
from experiments.health_line import Line
from federation.membership import Roster
from federation.roster_chain import Suspend, history

_AREA, _NAME = "membership", "roster"


def membership(settings: NodeSettings) -> Line:
    """Return what the roster says of this node, and whether the aggregator lets it in."""
    roster, refused = settings.roster(), turned_away.since(settings.folder)
    if settings.party in roster.suspended:
        return _suspended(settings)
    if refused is not None:
        return _turned_away(settings, refused)
    if (settings.folder / LEAVING).exists():
        said = f"leaves {roster.federation} as soon as it runs and is connected"
        fix = f"run it; or take {LEAVING} out of the folder, if it is to stay"
        return Line(_AREA, _NAME, "warn", said, fix)
    return Line(_AREA, _NAME, "ok", _member(roster))


def _member(roster: Roster) -> str:
    return f"a member of {roster.federation}, as of epoch {roster.epoch}"


def _suspended(settings: NodeSettings) -> Line:
    """Return since when, by whom, and who ends it."""
    party = settings.party
    epochs = history(settings.chain(), settings.pin)
    epoch = next(one for one in reversed(epochs) if one.change == Suspend(party))
    number, by = epoch.roster.epoch, ", ".join(epoch.signers)
    said = f"suspended since epoch {number}, by the word of {by}: it takes part in nothing"
    return Line(_AREA, _NAME, "fail", said, f"ask the aggregator's operator why; {_again(party)}")


def _turned_away(settings: NodeSettings, refused: float) -> Line:
    at = datetime.fromtimestamp(refused, UTC)
    said = (
        f"the aggregator has not let this node in since {at:%Y-%m-%d %H:%M} UTC: it was suspended "
        "or removed, or its key is not registered"
    )
    fix = (
        f"ask the aggregator's operator, who sees in `entrepot aggregator roster` which; "
        f"{_again(settings.party)}; who was removed joins under another name"
    )
    return Line(_AREA, _NAME, "fail", said, fix)


def _again(party: str) -> str:
    back = f"entrepot aggregator revoke {party} --restore --reason WHY"
    return f"there `{back}` ends a suspension"
